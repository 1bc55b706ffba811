"""A file system in memory that loses what was not synced, as a power cut does.

Written bytes and changed names stand in the cache, where every reader sees them. `sync` brings a file's bytes to the
disk, `sync_folder` a folder's names. At a power cut each file that was not synced keeps any of the sizes it had since
its last sync and, sector by sector, old or new bytes; each name keeps any of the files it stood for since its folder's
last sync. The choices are independent of one another, which is more than any real disk does.

A sync that fails forgets the bytes it should have written: they stay readable, and the next sync of the same file
succeeds without them, as on Linux.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from random import Random

SECTOR = 8


class PowerCut(BaseException):
    """The process is gone: nothing of it runs after this."""


@dataclass(eq=False)
class File:
    """Bytes in the cache, on the disk, and the states between that a power cut may leave."""

    cached: bytearray = field(default_factory=bytearray)
    disk: bytes = b""
    lost: bool = False
    states: list[bytes] = field(default_factory=list)

    def write(self, data: bytes) -> None:
        self.cached += data
        if not self.lost:
            self.states.append(bytes(self.cached))

    def sync(self) -> None:
        if not self.lost:
            self.disk = bytes(self.cached)
        self.states.clear()

    def fail(self) -> None:
        self.lost = True
        self.states.clear()

    def cut(self, rng: Random) -> None:
        states = [self.disk, *self.states]
        size = len(rng.choice(states))
        left = bytearray()
        for at in range(0, size, SECTOR):
            sector = rng.choice(states)[at : at + SECTOR]
            left += sector + bytes(SECTOR - len(sector))
        self.disk = bytes(left[:size])
        self.cached, self.states, self.lost = bytearray(self.disk), [], False


@dataclass(eq=False)
class Folder:
    """Names in the cache, on the disk, and what each stood for between."""

    cached: dict[str, File | Folder] = field(default_factory=dict)
    disk: dict[str, File | Folder] = field(default_factory=dict)
    states: dict[str, list[File | Folder | None]] = field(default_factory=dict)

    def set(self, name: str, what: File | Folder | None) -> None:
        if what is None:
            del self.cached[name]
        else:
            self.cached[name] = what
        self.states.setdefault(name, []).append(what)

    def sync(self) -> None:
        self.disk = dict(self.cached)
        self.states.clear()

    def cut(self, rng: Random) -> None:
        for name, states in self.states.items():
            left = rng.choice([self.disk.get(name), *states])
            if left is None:
                self.disk.pop(name, None)
            else:
                self.disk[name] = left
        self.cached, self.states = dict(self.disk), {}


class PageCache:
    """`ledger.disk.Files` over that. `left`: how many calls run before the power is cut, or before `error` comes."""

    def __init__(self) -> None:
        self._root = Folder()
        self._open: dict[int, tuple[File | Folder, int]] = {}
        self._handles = 0
        self.left: int | None = None
        self.error: int | None = None
        self.calls = 0
        self.dead = False

    def cut(self, rng: Random) -> None:
        """The power goes: what is on the disk is all there is."""
        seen = set[int]()
        todo: list[File | Folder] = [self._root]
        while todo:  # a file that no name on disk leads to is gone
            node = todo.pop()
            if id(node) not in seen:
                seen.add(id(node))
                node.cut(rng)
                todo.extend(node.cached.values() if isinstance(node, Folder) else ())
        self.kill()

    def kill(self) -> None:
        """The process goes, the cache stays."""
        self._open.clear()
        self.left = self.error = None
        self.dead = False

    def _call(self, syncing: File | None = None) -> None:
        if self.dead:
            raise PowerCut
        self.calls += 1
        if self.left is None:
            return
        self.left -= 1
        if self.left >= 0:
            return
        self.left = None
        if self.error is None:
            self.dead = True
            raise PowerCut
        if syncing is not None:
            syncing.fail()
        raise OSError(self.error, os.strerror(self.error))

    def _find(self, path: Path) -> File | Folder:
        node: File | Folder = self._root
        for part in PurePosixPath(path).parts[1:]:
            if not isinstance(node, Folder):
                raise NotADirectoryError(errno.ENOTDIR, "Not a directory")
            if part not in node.cached:
                raise FileNotFoundError(errno.ENOENT, "No such file")
            node = node.cached[part]
        return node

    def _folder(self, path: Path) -> Folder:
        found = self._find(path)
        if not isinstance(found, Folder):
            raise NotADirectoryError(errno.ENOTDIR, "Not a directory")
        return found

    def _opened(self, what: File | Folder) -> int:
        self._handles += 1
        self._open[self._handles] = what, 0
        return self._handles

    def _file(self, handle: int) -> File:
        what = self._open[handle][0]
        assert isinstance(what, File)
        return what

    def copy_to(self, target: Path, source: Path) -> None:
        """What a reader sees below `source`, as real files."""
        found = self._find(source)
        if isinstance(found, File):
            target.write_bytes(found.cached)
            return
        target.mkdir()
        for name in found.cached:
            self.copy_to(target / name, source / name)

    def is_folder(self, path: Path) -> bool:
        try:
            return isinstance(self._find(path), Folder)
        except OSError:
            return False

    def is_file(self, path: Path) -> bool:
        try:
            return isinstance(self._find(path), File)
        except OSError:
            return False

    def make_folder(self, path: Path) -> None:
        self._call()
        folder = self._folder(path.parent)
        if path.name not in folder.cached:
            folder.set(path.name, Folder())

    def remove_folder(self, path: Path) -> None:
        self._call()
        if self.is_folder(path):
            if self._folder(path).cached:
                raise OSError(errno.ENOTEMPTY, "Directory not empty")
            self._folder(path.parent).set(path.name, None)

    def sync_folder(self, path: Path) -> None:
        self._call()
        self._folder(path).sync()

    def names(self, folder: Path) -> list[str]:
        try:
            return list(self._folder(folder).cached)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def create(self, path: Path, mode: int) -> int:
        self._call()
        folder = self._folder(path.parent)
        if path.name in folder.cached:
            raise FileExistsError(errno.EEXIST, "File exists")
        file = File()
        folder.set(path.name, file)
        return self._opened(file)

    def open(self, path: Path) -> int:
        return self._opened(self._find(path))

    def status(self, handle: int) -> os.stat_result:
        what = self._open[handle][0]
        if isinstance(what, Folder):
            return os.stat_result((stat.S_IFDIR | 0o755, *[0] * 9))
        return os.stat_result((stat.S_IFREG | 0o644, 0, 0, 1, 0, 0, len(what.cached), 0, 0, 0))

    def read(self, handle: int, count: int) -> bytes:
        at = self._open[handle][1]
        data = bytes(self._file(handle).cached[at : at + count])
        self.seek(handle, at + len(data))
        return data

    def seek(self, handle: int, position: int) -> None:
        self._open[handle] = self._file(handle), position

    def write(self, handle: int, data: memoryview) -> int:
        self._call()
        taken = bytes(data[: max(1, len(data) // 2)])  # short, as writes may be
        self._file(handle).write(taken)
        return len(taken)

    def sync(self, handle: int) -> None:
        file = self._file(handle)
        self._call(file)
        file.sync()

    def close(self, handle: int) -> None:
        del self._open[handle]

    def rename(self, source: Path, target: Path) -> None:
        self._call()
        what = self._find(source)
        self._folder(target.parent).set(target.name, what)
        self._folder(source.parent).set(source.name, None)

    def link(self, source: Path, target: Path) -> None:
        self._call()
        folder = self._folder(target.parent)
        if target.name in folder.cached:
            raise FileExistsError(errno.EEXIST, "File exists")
        folder.set(target.name, self._find(source))

    def unlink(self, path: Path) -> None:
        self._call()
        if not isinstance(self._find(path), File):
            raise IsADirectoryError(errno.EISDIR, "Is a directory")
        self._folder(path.parent).set(path.name, None)
