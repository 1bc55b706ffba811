"""Tiles and entry bundles: the pieces a log is stored and published in.

Spec: C2SP tlog-tiles. A tile of level L holds up to 256 hashes, the i-th hash of tile N being the root over the entries
[(256 N + i) 256^L, (256 N + i + 1) 256^L). A bundle holds the up to 256 entries of the level-0 tile of its number, each
behind its length as a big-endian uint16.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from .entry import MAX_ENTRY
from .errors import DecodeError
from .merkle import HASH_SIZE

__all__ = [
    "MAX_BUNDLE",
    "MAX_LEVEL",
    "MAX_TILE",
    "TILE_HEIGHT",
    "TILE_WIDTH",
    "Tile",
    "decode_bundle",
    "decode_hashes",
    "encode_bundle",
    "tiles_of",
]

TILE_HEIGHT: Final = 8
"""Levels of the tree in one tile."""
TILE_WIDTH: Final = 256
"""Hashes in a full tile, entries in a full bundle."""
MAX_LEVEL: Final = 7
"""The highest level a tree of fewer than 2^63 entries has."""
MAX_TILE: Final = TILE_WIDTH * HASH_SIZE
"""Bytes of a full tile."""
MAX_BUNDLE: Final = TILE_WIDTH * (2 + MAX_ENTRY)
"""Bytes a bundle may have."""
_PREFIX: Final = 2


@dataclass(frozen=True, slots=True)
class Tile:
    """Which tile: its level, its number within the level, and how many of its 256 places are filled."""

    level: int
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if not (0 <= self.level <= MAX_LEVEL and self.index >= 0 and 1 <= self.width <= TILE_WIDTH):
            raise ValueError(f"no tile has level {self.level}, number {self.index} and width {self.width}")

    @property
    def start(self) -> int:
        """Number, within its level, of its first hash."""
        return self.index * TILE_WIDTH

    @property
    def is_full(self) -> bool:
        """Whether all its 256 places are filled."""
        return self.width == TILE_WIDTH

    def full(self) -> Tile:
        """The same tile when it is full."""
        return Tile(self.level, self.index)

    def path(self) -> str:
        """Where the hashes are published, below the log's folder or address."""
        return f"tile/{self.level}/{self._number()}"

    def bundle_path(self) -> str:
        """Where the entries of this level-0 tile are published.

        Raises:
            ValueError: entries stand below level 0 only.
        """
        if self.level:
            raise ValueError(f"a tile of level {self.level} has no entries of its own")
        return f"tile/entries/{self._number()}"

    def _number(self) -> str:
        parts = [f"{self.index % 1000:03d}"]
        rest = self.index // 1000
        while rest:
            parts.insert(0, f"x{rest % 1000:03d}")
            rest //= 1000
        return "/".join(parts) + ("" if self.is_full else f".p/{self.width}")


def tiles_of(size: int) -> Iterator[Tile]:
    """All tiles of a tree of `size` entries, level by level, the last of each level perhaps partial."""
    level, count = 0, size
    while count:
        for index in range((count + TILE_WIDTH - 1) // TILE_WIDTH):
            yield Tile(level, index, min(TILE_WIDTH, count - index * TILE_WIDTH))
        level, count = level + 1, count // TILE_WIDTH


def decode_hashes(data: bytes, width: int) -> list[bytes]:
    """The `width` hashes of a tile.

    Run by: anyone, on hostile bytes.

    Raises:
        DecodeError: other than 32 bytes a hash.
    """
    if len(data) != width * HASH_SIZE:
        raise DecodeError(f"{len(data)} bytes are not {width} hashes")
    return [data[i : i + HASH_SIZE] for i in range(0, len(data), HASH_SIZE)]


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """The bytes of up to 256 entries, each of at most `MAX_ENTRY` bytes.

    Raises:
        ValueError: too many entries, or one that is too long.
    """
    if len(entries) > TILE_WIDTH or any(len(entry) > MAX_ENTRY for entry in entries):
        raise ValueError(f"a bundle holds at most {TILE_WIDTH} entries of at most {MAX_ENTRY} bytes")
    return b"".join(len(entry).to_bytes(_PREFIX, "big") + entry for entry in entries)


def decode_bundle(data: bytes, *, most: int = TILE_WIDTH) -> list[bytes]:
    """The entries of a bundle, at most `most` of them. An entry may be empty: other logs have such.

    Run by: anyone, on hostile bytes.

    Raises:
        DecodeError: it ends within an entry, or holds more than `most`.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + _PREFIX
        at = start + int.from_bytes(data[at:start], "big")
        if start > len(data) or at > len(data):
            raise DecodeError(f"the bundle ends within its entry {len(entries)}")
        if len(entries) == most:
            raise DecodeError(f"the bundle holds more than {most} entries")
        entries.append(data[start:at])
    return entries
