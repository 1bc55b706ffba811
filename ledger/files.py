"""Writing files so that they are on disk, whole, or not there at all; and reading them with a bound.

The order is: the folders and their names in the folders above, a temporary file, its bytes, fsync, rename (or link),
fsync of the folder. Temporary files are named `.<name>.<...>.tmp`; one that a crash left is never read and may be
removed.

After a failed fsync the kernel may call the lost pages clean, and a second fsync of the same file then succeeds without
writing them (https://lwn.net/Articles/752063/). So a file whose sync failed is thrown away and never synced again: who
tries once more writes a new one.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from .disk import DISK, Files
from .errors import StateError, StoreError

__all__ = [
    "DurableFile",
    "create_durably",
    "open_bounded",
    "read_bounded",
    "remove_durably",
    "sync_name",
    "write_durably",
]

_ATTEMPTS: Final = 1000
_PROBE: Final = 4096


class DurableFile:
    """A new file under a temporary name beside `path`, which gets its own name when it is whole and on disk.

    Write it, then `replace` or `create`, once; leave the `with` block without, and nothing stays of it.
    Missing folders are made. `mode` are the permissions (0o600 for secrets).

    Raises:
        StoreError: the disk is full or fails; from every method.
        StateError: written after it was whole, or used after a failure: what of it is on disk, nobody knows.
    """

    def __init__(self, path: Path, *, mode: int = 0o644, files: Files = DISK) -> None:
        self.path = Path(path)
        self._files = files
        self._handle: int | None = None
        self._named = False
        try:
            _have_folder(self.path.parent, files)
            self._temporary, self._handle = _create_temporary(self.path, mode, files)
        except OSError as exc:
            raise _failed(self.path, exc) from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # it is thrown away, or an error is on its way already
            self._close()
        if not self._named:
            _remove(self._temporary, self._files)

    def write(self, data: bytes) -> None:
        """Add bytes at the end."""
        handle = self._open()
        try:
            left = memoryview(data)
            while left:
                left = left[self._files.write(handle, left) :]
        except OSError as exc:
            with suppress(OSError):
                self._close()
            raise _failed(self.path, exc) from exc

    def replace(self, path: Path | None = None) -> None:
        """Let the file stand at `path` (by default its own), in the place of what was there; on disk on return."""
        path = self.path if path is None else Path(path)
        try:
            self._finish(path)
            self._files.rename(self._temporary, path)
            self._named = True
            self._files.sync_folder(path.parent)
        except OSError as exc:
            raise _failed(path, exc) from exc

    def create(self, path: Path | None = None) -> bool:
        """Let the file stand at `path` if nothing does; True: it is there, on disk; False: another is, on disk."""
        path = self.path if path is None else Path(path)
        try:
            self._finish(path)
            try:
                self._files.link(self._temporary, path)
                created = True
            except FileExistsError:
                created = False
            _remove(self._temporary, self._files)
            self._named = True
            self._files.sync_folder(path.parent)
        except OSError as exc:
            raise _failed(path, exc) from exc
        return created

    def _open(self) -> int:
        if self._handle is None:
            raise StateError(f"{self.path}: the temporary file is whole or failed; write a new one")
        return self._handle

    def _finish(self, path: Path) -> None:
        """Sync the bytes, once, and have the folder of the name to come."""
        handle = self._open()
        try:
            self._files.sync(handle)
        finally:
            self._close()
        if path.parent != self.path.parent:
            _have_folder(path.parent, self._files)

    def _close(self) -> None:
        if self._handle is not None:
            handle, self._handle = self._handle, None
            self._files.close(handle)


def write_durably(path: Path, data: bytes, *, mode: int = 0o644, files: Files = DISK) -> None:
    """Put `data` at `path`, replacing what was there; when this returns it is on disk.

    Missing folders are made. `mode` are the permissions of a new file (0o600 for secrets).

    Raises:
        StoreError: the disk is full or fails; at `path` there is what was there before or the new bytes, whole.
    """
    with DurableFile(path, mode=mode, files=files) as file:
        file.write(data)
        file.replace()


def create_durably(path: Path, data: bytes, *, mode: int = 0o644, files: Files = DISK) -> bool:
    """Put `data` at `path` if nothing is there; when this returns True it is on disk, False means `path` was taken.

    Of several processes that try at once, exactly one gets True.

    Raises:
        StoreError: the disk is full or fails; at `path` there is what was there before, or nothing, or the new bytes.
    """
    with DurableFile(path, mode=mode, files=files) as file:
        file.write(data)
        return file.create()


def sync_name(path: Path, *, files: Files = DISK) -> bool:
    """Bring the name of a file that stands at `path` already to the disk; False if there is none.

    Whoever gave it that name may have been killed before the name was on disk.

    Raises:
        StoreError: the disk fails.
    """
    try:
        if not files.is_file(path):
            return False
        _have_folder(path.parent, files)
        files.sync_folder(path.parent)
    except OSError as exc:
        raise _failed(path, exc) from exc
    return True


def remove_durably(path: Path, *, files: Files = DISK) -> None:
    """Take a file away; when this returns its name is gone from the disk. Nothing if there is none.

    Raises:
        StoreError: it cannot be removed, or the disk fails; it may still be there, whole.
    """
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            files.unlink(path)
        if files.is_folder(path.parent):
            files.sync_folder(path.parent)
    except OSError as exc:
        raise StoreError(
            f"{path} was not removed: {exc.strerror}; check the disk and the folder's permissions"
        ) from exc


@contextmanager
def open_bounded(path: Path, *, limit: int, files: Files = DISK) -> Iterator[tuple[int, int] | None]:
    """Open a regular file of at most `limit` bytes for the block: its handle and size, or None if there is none.

    Raises:
        StoreError: larger than `limit`, not a regular file, or unreadable, then or within the block.
    """
    try:
        handle = files.open(path)
    except (FileNotFoundError, NotADirectoryError):
        yield None
        return
    except OSError as exc:
        raise StoreError(f"{path} cannot be read: {exc.strerror}") from exc
    try:
        found = files.status(handle)
        if not stat.S_ISREG(found.st_mode):
            raise StoreError(f"{path} is not a regular file")
        if found.st_size > limit:
            raise StoreError(f"{path} has {found.st_size} bytes, more than the {limit} it may have")
        yield handle, found.st_size
    except OSError as exc:
        raise StoreError(f"{path} cannot be read: {exc.strerror}") from exc
    finally:
        with suppress(OSError):  # what was read was read
            files.close(handle)


def read_bounded(path: Path, *, limit: int, files: Files = DISK) -> bytes | None:
    """Read a regular file of at most `limit` bytes, or return None if there is none.

    Raises:
        StoreError: larger than `limit`, not a regular file, or unreadable.
    """
    with open_bounded(path, limit=limit, files=files) as found:
        if found is None:
            return None
        handle, size = found
        data = bytearray()
        # No buffer is larger than the file: the limit can be megabytes where the file has a few bytes.
        while len(data) <= limit and (more := files.read(handle, max(size - len(data), _PROBE))):
            data += more
    if len(data) > limit:
        raise StoreError(f"{path} grew over {limit} bytes while it was read")
    return bytes(data)


def _create_temporary(path: Path, mode: int, files: Files) -> tuple[Path, int]:
    for attempt in range(_ATTEMPTS):
        temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}-{attempt}.tmp")
        try:
            return temporary, files.create(temporary, mode)
        except FileExistsError:
            continue
    raise OSError(errno.EEXIST, "too many temporary files left in the folder")


def _have_folder(folder: Path, files: Files) -> None:
    """Make a folder and those above it, each with its name on disk before anything is put into it.

    That a folder is there does not mean that its name is on disk: its maker may have been killed before the sync.
    """
    if not files.is_folder(folder):
        _have_folder(folder.parent, files)
        files.make_folder(folder)
    try:
        files.sync_folder(folder.parent)
    except PermissionError:
        return  # a folder one may not read: it was set up by somebody else


def _remove(temporary: Path, files: Files) -> None:
    try:
        files.unlink(temporary)
    except OSError:
        return  # gone already, or an error that follows the one to report; a temporary file left behind is harmless


def _failed(path: Path, exc: OSError) -> StoreError:
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(f"{path} was not written: the disk is full; free some space and try again")
    return StoreError(f"{path} was not written: {exc.strerror}; check the disk and the folder's permissions")
