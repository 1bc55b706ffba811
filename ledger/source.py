"""Where a published log is read from: a folder, a server, or anything else that hands out files by their path.

Spec: C2SP tlog-tiles. All of it is hostile: a source bounds what it reads, and `ledger.published` verifies it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from .errors import DecodeError, ProofError
from .files import read_bounded
from .merkle import HASH_SIZE
from .note import MAX_NOTE
from .tile import MAX_BUNDLE, MAX_TILE, TILE_WIDTH, Tile, decode_bundle

__all__ = ["CHECKPOINT", "DirectorySource", "FileSource", "LogSource"]

CHECKPOINT = "checkpoint"
"""Path of the checkpoint, below the log's folder or address."""


class LogSource(Protocol):
    """A published log, as somebody shows it. Nothing that it returns is verified."""

    def checkpoint(self) -> bytes:
        """The newest checkpoint, a signed note.

        Raises:
            DecodeError: there is none.
            StoreError: unreadable, or larger than a note may be.
        """
        ...

    def hashes(self, tile: Tile) -> list[bytes]:
        """The hashes of a tile, as many as it is wide; taken from the full tile if the partial one is gone.

        Raises:
            ProofError: it is missing, or has another length; the message names it.
            StoreError: unreadable, or larger than a tile may be.
        """
        ...

    def bundle(self, tile: Tile) -> list[bytes]:
        """The entries below a level-0 tile, at most 256; taken from the full bundle if the partial one is gone.

        Raises:
            ProofError: it is missing, or is no bundle; the message names it.
            StoreError: unreadable, or larger than a bundle may be.
        """
        ...


class FileSource:
    """A log in the layout of tlog-tiles, over a function that reads a file: `read(path, limit)` returns at most `limit`
    bytes, None if there is no such file, and raises one of this package's errors otherwise. `name` is for messages.
    """

    def __init__(self, read: Callable[[str, int], bytes | None], name: str) -> None:
        self._read = read
        self.name = name

    def checkpoint(self) -> bytes:
        """See `LogSource.checkpoint`."""
        note = self._read(CHECKPOINT, MAX_NOTE)
        if note is None:
            raise DecodeError(f"{self.name} holds no checkpoint")
        return note

    def hashes(self, tile: Tile) -> list[bytes]:
        """See `LogSource.hashes`."""
        data = self._read(tile.path(), MAX_TILE)
        if data is None and not tile.is_full:
            whole = self._read(tile.full().path(), MAX_TILE)
            data = None if whole is None else whole[: tile.width * HASH_SIZE]
        if data is None:
            raise ProofError(f"{tile.path()} is missing")
        if len(data) != tile.width * HASH_SIZE:
            raise ProofError(f"{tile.path()} holds {len(data)} bytes, not {tile.width} hashes")
        return [data[i : i + HASH_SIZE] for i in range(0, len(data), HASH_SIZE)]

    def bundle(self, tile: Tile) -> list[bytes]:
        """See `LogSource.bundle`."""
        found, most = tile.bundle_path(), TILE_WIDTH
        data = self._read(found, MAX_BUNDLE)
        if data is None and not tile.is_full:
            found, most = tile.full().bundle_path(), tile.width
            data = self._read(found, MAX_BUNDLE)
        if data is None:
            raise ProofError(f"{tile.bundle_path()} is missing")
        try:
            return decode_bundle(data)[:most]
        except DecodeError as exc:
            raise ProofError(f"{found}: {exc}") from exc


class DirectorySource(FileSource):
    """A log in a folder, its own or a copy."""

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)
        super().__init__(self._file, str(self.directory))

    def _file(self, path: str, limit: int) -> bytes | None:
        return read_bounded(self.directory / path, limit=limit)
