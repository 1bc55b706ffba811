"""Writing files so that they are on disk, whole, or not there at all; and reading them with a bound.

The order is: a temporary file in the same folder, its bytes, fsync, rename (or link), fsync of the folder. Temporary
files are named `.<name>.<...>.tmp`; one left by a crash is never read and may be removed.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
from pathlib import Path
from typing import Final

from .errors import StoreError

__all__ = ["create_durably", "read_bounded", "write_durably"]

_ATTEMPTS: Final = 1000
_PROBE: Final = 4096


def write_durably(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Put `data` at `path`, replacing what was there; when this returns it is on disk.

    Missing folders are made. `mode` are the permissions of a new file (0o600 for secrets).

    Raises:
        StoreError: the disk is full or fails; what was at `path` before is still there, whole.
    """
    path = Path(path)
    temporary = _write_temporary(path, data, mode)
    try:
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as exc:
        _remove(temporary)
        raise _failed(path, exc) from exc


def create_durably(path: Path, data: bytes, *, mode: int = 0o644) -> bool:
    """Put `data` at `path` if nothing is there; when this returns True it is on disk, False means `path` was taken.

    Of several processes that try at once, exactly one gets True.

    Raises:
        StoreError: the disk is full or fails.
    """
    path = Path(path)
    temporary = _write_temporary(path, data, mode)
    try:
        os.link(temporary, path)
        created = True
    except FileExistsError:
        created = False
    except OSError as exc:
        _remove(temporary)
        raise _failed(path, exc) from exc
    _remove(temporary)
    try:
        _sync_folder(path.parent)
    except OSError as exc:
        raise _failed(path, exc) from exc
    return created


def read_bounded(path: Path, *, limit: int) -> bytes | None:
    """Read a regular file of at most `limit` bytes, or return None if there is none.

    Raises:
        StoreError: larger than `limit`, not a regular file, or unreadable.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise StoreError(f"{path} cannot be read: {exc.strerror}") from exc
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise StoreError(f"{path} is not a regular file")
        if found.st_size > limit:
            raise StoreError(f"{path} has {found.st_size} bytes, more than the {limit} it may have")
        data = bytearray()
        # No buffer is larger than the file: the limit can be megabytes where the file has a few bytes.
        while len(data) <= limit and (more := os.read(descriptor, max(found.st_size - len(data), _PROBE))):
            data += more
    except OSError as exc:
        raise StoreError(f"{path} cannot be read: {exc.strerror}") from exc
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise StoreError(f"{path} grew over {limit} bytes while it was read")
    return bytes(data)


def _write_temporary(path: Path, data: bytes, mode: int) -> Path:
    try:
        _make_folders(path.parent)
        temporary, descriptor = _open_temporary(path, mode)
    except OSError as exc:
        raise _failed(path, exc) from exc
    try:
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as exc:
        _remove(temporary)
        raise _failed(path, exc) from exc
    except BaseException:
        _remove(temporary)
        raise
    return temporary


def _open_temporary(path: Path, mode: int) -> tuple[Path, int]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    for attempt in range(_ATTEMPTS):
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}-{attempt}.tmp")
        try:
            return temporary, os.open(temporary, flags, mode)
        except FileExistsError:
            continue
    raise OSError(errno.EEXIST, "too many temporary files left in the folder")


def _make_folders(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(temporary: Path) -> None:
    try:
        temporary.unlink(missing_ok=True)
    except OSError:
        return  # the first error is the one to report; a temporary file left behind is harmless


def _failed(path: Path, exc: OSError) -> StoreError:
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(f"{path} was not written: the disk is full; free some space and try again")
    return StoreError(f"{path} was not written: {exc.strerror}; check the disk and the folder's permissions")
