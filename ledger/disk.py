"""What durable writing needs of a file system, and the operating system's own."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

__all__ = ["DISK", "Files"]


class Files(Protocol):
    """What durable writing needs of a file system. Handles are integers; every failure is an OSError.

    `DISK` is the operating system's. Tests put a simulated one in its place, which loses what was not synced.
    """

    def is_folder(self, path: Path) -> bool:
        """Whether a folder stands there."""
        ...

    def is_file(self, path: Path) -> bool:
        """Whether a regular file stands there."""
        ...

    def make_folder(self, path: Path) -> None:
        """Make a folder in one that exists; nothing if it is there already."""
        ...

    def sync_folder(self, path: Path) -> None:
        """Bring the names in a folder to the disk."""
        ...

    def remove_folder(self, path: Path) -> None:
        """Take an empty folder away; nothing if there is none."""
        ...

    def names(self, folder: Path) -> list[str]:
        """The names in a folder, in no order; none if there is no such folder."""
        ...

    def create(self, path: Path, mode: int) -> int:
        """Make a new file and open it for writing; FileExistsError if the name is taken."""
        ...

    def open(self, path: Path) -> int:
        """Open for reading, without waiting for a pipe's other end."""
        ...

    def status(self, handle: int) -> os.stat_result:
        """Type and size of what is open."""
        ...

    def read(self, handle: int, count: int) -> bytes:
        """Up to `count` bytes from where the last read ended; none at the end."""
        ...

    def seek(self, handle: int, position: int) -> None:
        """Let the next read begin at `position`."""
        ...

    def write(self, handle: int, data: memoryview) -> int:
        """Add bytes at the end and return how many were taken."""
        ...

    def sync(self, handle: int) -> None:
        """Bring the bytes of an open file to the disk."""
        ...

    def close(self, handle: int) -> None:
        """Let go of a handle."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name, in one step; what had that name is gone."""
        ...

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name; FileExistsError if it is taken."""
        ...

    def unlink(self, path: Path) -> None:
        """Take a file's name away; FileNotFoundError if there is none."""
        ...


class _Disk:
    """The operating system's files."""

    def is_folder(self, path: Path) -> bool:
        return path.is_dir()

    def is_file(self, path: Path) -> bool:
        return path.is_file()

    def make_folder(self, path: Path) -> None:
        path.mkdir(exist_ok=True)

    def sync_folder(self, path: Path) -> None:
        if sys.platform == "win32":  # folders cannot be opened there
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove_folder(self, path: Path) -> None:
        with suppress(FileNotFoundError, NotADirectoryError):
            path.rmdir()

    def names(self, folder: Path) -> list[str]:
        try:
            return os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def create(self, path: Path, mode: int) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)

    def open(self, path: Path) -> int:
        return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))

    def status(self, handle: int) -> os.stat_result:
        return os.fstat(handle)

    def read(self, handle: int, count: int) -> bytes:
        return os.read(handle, count)

    def seek(self, handle: int, position: int) -> None:
        os.lseek(handle, position, os.SEEK_SET)

    def write(self, handle: int, data: memoryview) -> int:
        return os.write(handle, data)

    def sync(self, handle: int) -> None:
        os.fsync(handle)

    def close(self, handle: int) -> None:
        os.close(handle)

    def rename(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def link(self, source: Path, target: Path) -> None:
        os.link(source, target)

    def unlink(self, path: Path) -> None:
        path.unlink()


DISK: Final[Files] = _Disk()
