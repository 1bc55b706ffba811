"""A lock file that lets one process at a time write a folder or a log."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from .errors import StoreError

if sys.platform == "win32":
    import msvcrt
else:
    try:
        import fcntl
    except ImportError:  # a POSIX system without advisory locks
        fcntl = None  # type: ignore[assignment]

__all__ = ["WriterLock"]

_TAKEN: Final = (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)


class WriterLock:
    """Held from construction to `release`. The system drops it when the process dies, where it has file locks.

    Without them (neither fcntl nor msvcrt) the file's existence is the lock: after a crash it must be removed by hand.

    Raises:
        StoreError: another writer holds it, or the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._descriptor: int | None = None
        self._by_existence = sys.platform != "win32" and fcntl is None
        flags = os.O_RDWR | os.O_CREAT | (os.O_EXCL if self._by_existence else 0)
        try:
            descriptor = os.open(self.path, flags, 0o644)
        except FileExistsError as exc:
            raise StoreError(f"{self.path} exists: another process writes here, or one died; then remove it") from exc
        except OSError as exc:
            raise StoreError(f"{self.path} cannot be made: {exc.strerror}; check the folder's permissions") from exc
        try:
            if sys.platform == "win32":
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            elif not self._by_existence:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(descriptor)
            if exc.errno in _TAKEN:
                raise StoreError(f"{self.path} is locked: another process writes here; stop it first") from exc
            raise StoreError(f"{self.path} cannot be locked: {exc.strerror}; check the disk") from exc
        self._descriptor = descriptor

    @classmethod
    def beside(cls, path: Path) -> Self:
        """The lock `<file>.lock` of a file that need not be there yet: one for all symbolic links that lead to it.

        Raises:
            StoreError: another writer holds it, it cannot be made, or the file has hard links: each would have a lock
                of its own.
        """
        try:
            resolved = Path(path).resolve()
            names = resolved.stat().st_nlink if resolved.exists() else 1
        except (OSError, RuntimeError) as exc:  # a link that leads to itself
            raise StoreError(f"{path} cannot be opened: {exc}; check the links that lead to it") from exc
        if names > 1 and resolved.is_file():
            raise StoreError(f"{path} is one file under {names} names (hard links): remove the others, or copy it")
        return cls(resolved.with_name(resolved.name + ".lock"))

    def release(self) -> None:
        """Let the next writer in; releasing twice does nothing."""
        if self._descriptor is None:
            return
        with suppress(OSError):  # whatever the disk says, the descriptor is closed and the lock is let go
            os.close(self._descriptor)
        self._descriptor = None
        if self._by_existence:
            self.path.unlink(missing_ok=True)
