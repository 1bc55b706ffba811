"""A Merkle tree whose hashes stay in the store: the right edge in memory, everything else in full tiles.

Spec: RFC 6962 §2.1 for the tree, C2SP tlog-tiles for the tiles. The edge is the one partial tile of each level, so the
memory it takes does not depend on the tree's size. A full tile read from the store is used only after its 255 inner
hashes were computed and its root was found to be the hash that the tile above, or the edge, states.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from .errors import DamagedStoreError, StateError
from .merkle import EMPTY_ROOT, HASH_SIZE, consistency_proof, inclusion_proof, node_hash, root
from .octets import is_octets
from .tile import MAX_TILE, TILE_HEIGHT, TILE_WIDTH, Tile

__all__ = ["Growth", "ReadTile", "TiledTree", "completed_tiles", "tile_root"]

ReadTile = Callable[[int, int], bytes | None]
"""Reads the bytes of a full tile by level and number; None if it is not kept."""

# The nodes of one tile, a byte string for each height 0 to 8, the bottom row first. Immutable, so sharing is safe.
_Rows = tuple[bytes, ...]
_EMPTY: Final[_Rows] = (b"",) * (TILE_HEIGHT + 1)
_LEAF_TILES: Final = 256
"""Level-0 tiles kept parsed, 16 KiB each."""
_UPPER_TILES: Final = 1024
"""Tiles of higher levels kept parsed: all those of a log of 67 million entries."""
_MAX_HEIGHT: Final = 63


def completed_tiles(old: int, new: int) -> set[tuple[int, int]]:
    """Level and number of every full tile that a tree of `new` entries has and its first `old` entries have not."""
    tiles: set[tuple[int, int]] = set()
    level = 0
    while new:
        old, new = old >> TILE_HEIGHT, new >> TILE_HEIGHT
        tiles.update((level, index) for index in range(old, new))
        level += 1
    return tiles


def tile_root(hashes: bytes) -> bytes:
    """The root of a full tile, from its 256 hashes one after the other.

    Raises:
        ValueError: other than 8192 bytes.
    """
    if len(hashes) != MAX_TILE:
        raise ValueError(f"a full tile has {MAX_TILE} bytes")
    return _grown(_EMPTY, hashes)[TILE_HEIGHT]


@dataclass(frozen=True, slots=True, eq=False)
class Growth:
    """What leaves added to a tree make of it, before they are. Shapes: root 32 bytes, each tile 8192 bytes.

    `tiles` are the full tiles that they complete, by level and number. Made by `TiledTree.prepare`.
    """

    start: int
    size: int
    root: bytes
    tiles: Mapping[tuple[int, int], bytes]
    edge: tuple[_Rows, ...] = field(repr=False)

    def __post_init__(self) -> None:
        if self.tiles.keys() != completed_tiles(self.start, self.size):
            raise ValueError(f"the tiles are not those completed from size {self.start} to {self.size}")


class TiledTree:
    """A growing Merkle tree over the full tiles of a store. One thread at a time.

    `read` gives a full tile; `tail` are the leaf hashes after the last full level-0 tile. Opening reads at most 255
    tiles a level and checks the root. A `Subtrees`, so roots and proofs of every older size can be made from it.

    Cost in hashes: an append about 1 a leaf, a root log n, a proof log n and 255 for each tile not read lately.

    Raises:
        ValueError: `tail` is not as long as the size says.
        DamagedStoreError: the tiles and the tail do not lead to `root`, or a tile is missing.
    """

    __slots__ = ("_edge", "_leaf_tiles", "_read", "_size", "_upper_tiles")

    def __init__(self, read: ReadTile, size: int = 0, root: bytes = EMPTY_ROOT, tail: Sequence[bytes] = ()) -> None:
        if len(tail) != size % TILE_WIDTH:
            raise ValueError(f"a tree of size {size} has {size % TILE_WIDTH} leaves after its last full tile")
        self._read = read
        self._size = size
        self._leaf_tiles: OrderedDict[tuple[int, int], _Rows] = OrderedDict()
        self._upper_tiles: OrderedDict[tuple[int, int], _Rows] = OrderedDict()
        edge = [_grown(_EMPTY, _joined(tail))]
        while count := size >> TILE_HEIGHT * len(edge):
            below = len(edge) - 1
            tiles = ((below, index) for index in range(count - count % TILE_WIDTH, count))
            edge.append(_grown(_EMPTY, b"".join(self._kept(tile, self._full(*tile))[TILE_HEIGHT] for tile in tiles)))
        self._edge = tuple(edge)
        if _root_of(self._edge) != root:
            raise DamagedStoreError(f"the stored tiles and entries do not lead to the stored root of size {size}")

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        return self._size

    def prepare(self, leaf_hashes: Sequence[bytes]) -> Growth:
        """What the tree is with these leaves at its end. The tree itself does not change: see `commit`.

        Raises:
            ValueError: a leaf hash is not of 32 bytes.
        """
        edge = list(self._edge)
        tiles: dict[tuple[int, int], bytes] = {}
        data, level = _joined(leaf_hashes), 0
        while data:
            rows = edge[level] if level < len(edge) else _EMPTY
            index = self._size >> TILE_HEIGHT * (level + 1)
            above: list[bytes] = []
            at = 0
            while at < len(data):
                more = data[at : at + MAX_TILE - len(rows[0])]
                rows, at = _grown(rows, more), at + len(more)
                if len(rows[0]) == MAX_TILE:
                    tiles[level, index] = rows[0]
                    above.append(rows[TILE_HEIGHT])
                    rows, index = _EMPTY, index + 1
            edge[level : level + 1] = [rows]
            data, level = b"".join(above), level + 1
        return Growth(self._size, self._size + len(leaf_hashes), _root_of(edge), tiles, tuple(edge))

    def commit(self, growth: Growth) -> None:
        """Take over what was prepared, once its tiles are in the store.

        Raises:
            StateError: the tree has changed since it was prepared.
        """
        if growth.start != self._size:
            raise StateError(f"prepared at size {growth.start}, the tree has {self._size} leaves now: prepare it again")
        self._size, self._edge = growth.size, growth.edge

    def root(self, size: int | None = None) -> bytes:
        """The root over the first `size` leaves (all of them by default)."""
        return root(self, size) if size is not None else _root_of(self._edge)

    def subtree(self, height: int, index: int) -> bytes:
        """The root of the complete subtree over leaves [index * 2^height, (index + 1) * 2^height).

        Raises:
            ValueError: the tree has no such subtree.
            DamagedStoreError: a tile is missing, or is not the one that was stored.
        """
        if not (0 <= height < _MAX_HEIGHT and index >= 0 and (index + 1) << height <= self._size):
            raise ValueError(f"no complete subtree {index} of height {height} in a tree of {self._size} leaves")
        level, inner = divmod(height, TILE_HEIGHT)
        width = TILE_WIDTH >> inner
        at = index % width * HASH_SIZE
        return self._rows(level, index // width)[inner][at : at + HASH_SIZE]

    def tile(self, tile: Tile) -> bytes:
        """The hashes of a tile, full or partial, of this tree or of an older size of it, one after the other.

        Raises:
            ValueError: the tree has not so many leaves.
            DamagedStoreError: as `subtree`.
        """
        if (tile.start + tile.width) << TILE_HEIGHT * tile.level > self._size:
            raise ValueError(f"no {tile.path()} in a tree of {self._size} leaves")
        return self._rows(tile.level, tile.index)[0][: tile.width * HASH_SIZE]

    def inclusion_proof(self, index: int, size: int) -> list[bytes]:
        """The audit path of leaf `index` in the tree of the first `size` leaves; see `ledger.merkle`."""
        return inclusion_proof(self, index, size)

    def consistency_proof(self, old: int, new: int) -> list[bytes]:
        """The proof that the first `new` leaves begin with the first `old`; see `ledger.merkle`."""
        return consistency_proof(self, old, new)

    def _rows(self, level: int, index: int) -> _Rows:
        """The nodes of a tile: of the edge, or of a full tile, which is checked against the hash above it."""
        if index == self._size >> TILE_HEIGHT * (level + 1):
            return self._edge[level]
        kept = self._leaf_tiles if level == 0 else self._upper_tiles
        if (level, index) in kept:
            kept.move_to_end((level, index))
            return kept[level, index]
        rows = self._full(level, index)
        if rows[TILE_HEIGHT] != self.subtree(TILE_HEIGHT * (level + 1), index):
            raise DamagedStoreError(
                f"{Tile(level, index).path()} changed in the store: it does not have the root stated above it"
            )
        return self._kept((level, index), rows)

    def _kept(self, key: tuple[int, int], rows: _Rows) -> _Rows:
        kept, most = (self._leaf_tiles, _LEAF_TILES) if key[0] == 0 else (self._upper_tiles, _UPPER_TILES)
        kept[key] = rows
        if len(kept) > most:
            kept.popitem(last=False)
        return rows

    def _full(self, level: int, index: int) -> _Rows:
        data = self._read(level, index)
        if data is None:
            raise DamagedStoreError(f"{Tile(level, index).path()} is missing in the store")
        if not is_octets(data, MAX_TILE):
            raise DamagedStoreError(f"{Tile(level, index).path()} is damaged in the store: not {MAX_TILE} bytes")
        return _grown(_EMPTY, data)


def _joined(hashes: Sequence[bytes]) -> bytes:
    if not all(len(item) == HASH_SIZE for item in hashes):
        raise ValueError(f"a leaf hash is {HASH_SIZE} bytes")
    return b"".join(hashes)


def _grown(rows: _Rows, data: bytes) -> _Rows:
    """A tile's nodes with more hashes in the bottom row: each row has the parents of all pairs in the row below."""
    grown = [rows[0] + data]
    for upper in rows[1:]:
        lower = grown[-1]
        pairs = range(2 * len(upper), len(lower) - HASH_SIZE, 2 * HASH_SIZE)
        grown.append(upper + b"".join([sha256(b"\x01" + lower[i : i + 2 * HASH_SIZE]).digest() for i in pairs]))
    return tuple(grown)


def _root_of(edge: Sequence[_Rows]) -> bytes:
    """The root from the edge alone: the last node of each row of odd length is a complete subtree, the lowest last."""
    peaks = [row[-HASH_SIZE:] for rows in edge for row in rows[:TILE_HEIGHT] if len(row) // HASH_SIZE % 2]
    if not peaks:
        return EMPTY_ROOT
    result = peaks[0]
    for peak in peaks[1:]:
        result = node_hash(peak, result)
    return result
