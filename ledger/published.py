"""Reading a published log and checking all of it, or the part that a proof needs, against a checkpoint's root.

Spec: C2SP tlog-tiles, RFC 6962 §2.1. A tile is believed once its root is the hash that the tile above has for it, and
the tiles of the right edge once they lead to the checkpoint's root. So nothing is believed before it is verified, and
no more than one tile a level is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .checkpoint import MAX_SIZE, parse_checkpoint
from .errors import ConsistencyError, ProofError
from .merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root,
    verify_consistency,
    verify_inclusion,
)
from .note import parse_note
from .source import DirectorySource, LogSource
from .tile import TILE_HEIGHT, TILE_WIDTH, Tile

__all__ = [
    "PublishedEntry",
    "PublishedLog",
    "PublishedTree",
    "TreeHead",
    "published_consistency_proof",
    "published_entry",
    "published_inclusion_proof",
    "read_published",
    "verify_published",
]


class TreeHead(Protocol):
    """What a published log is checked against: the size and root of a checkpoint."""

    @property
    def size(self) -> int:
        """How many entries."""
        ...

    @property
    def root(self) -> bytes:
        """The root over them."""
        ...


@dataclass(frozen=True, slots=True)
class PublishedLog:
    """What `read_published` found: the note, its signatures not verified, and the entries, which lead to its root."""

    note: bytes
    entries: list[bytes]

    def __post_init__(self) -> None:
        if parse_checkpoint(parse_note(self.note).text).size != len(self.entries):
            raise ValueError("a published log has as many entries as its checkpoint says")


@dataclass(frozen=True, slots=True)
class PublishedEntry:
    """An entry and the proof that it is in the tree of a checkpoint. Made by `published_entry`, which verified it."""

    index: int
    entry: bytes
    proof: tuple[bytes, ...]


class PublishedTree:
    """The tree of a published log, made of the tiles that are asked for. It keeps one tile a level.

    Run by: anyone, on hostile tiles. `ledger.merkle.inclusion_proof` and `consistency_proof` work on it. A full tile is
    believed once the tile above has its root. The partial tiles are read at once: `is_authentic` says whether they have
    the root of the head. If so, all that `subtree` returns is of the tree of that head.

    Raises:
        ValueError: the head's size is not in [0, 2^63 - 1].
        ProofError: a partial tile is missing, or not as long as it must be.
    """

    def __init__(self, source: LogSource, head: TreeHead) -> None:
        if not 0 <= head.size <= MAX_SIZE:
            raise ValueError("a tree size is in [0, 2^63 - 1]")
        self._source = source
        self._size = head.size
        self._kept: dict[int, tuple[int, list[bytes]]] = {}
        self._edge: dict[int, list[bytes]] = {}
        for level in reversed(range((self._size.bit_length() + TILE_HEIGHT - 1) // TILE_HEIGHT)):
            count = self._size >> (TILE_HEIGHT * level)
            if width := count % TILE_WIDTH:
                self._edge[level] = source.hashes(Tile(level, count // TILE_WIDTH, width))
        self.is_authentic: bool = root(self, self._size) == head.root

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        return self._size

    def subtree(self, height: int, index: int) -> bytes:
        """The root of the complete subtree over leaves [index * 2^height, (index + 1) * 2^height).

        Raises:
            ValueError: the tree has no such subtree.
            ProofError: a tile that it needs is missing, or is not the one that the tile above names.
        """
        if not (0 <= height < MAX_SIZE.bit_length() and index >= 0 and (index + 1) << height <= self._size):
            raise ValueError(f"no complete subtree {index} of height {height} in a tree of {self._size} leaves")
        level, rest = divmod(height, TILE_HEIGHT)
        first, last = index << rest, (index + 1) << rest
        start = first // TILE_WIDTH * TILE_WIDTH
        return _subtree_root(self.hashes(level, first // TILE_WIDTH)[first - start : last - start])

    def tile(self, level: int, index: int) -> Tile:
        """The tile of that level and number, as wide as it is in this tree.

        Raises:
            ValueError: the tree has no such tile.
        """
        return Tile(level, index, min(TILE_WIDTH, (self._size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH))

    def hashes(self, level: int, index: int) -> list[bytes]:
        """The hashes of one tile, checked against the tile above it; see `subtree`."""
        tile = self.tile(level, index)
        if not tile.is_full:
            return self._edge[level]
        number, kept = self._kept.get(level, (None, []))
        if number != index:
            kept = self._source.hashes(tile)
            self._check(tile, kept)
            self._kept[level] = index, kept
        return kept

    def _check(self, tile: Tile, hashes: Sequence[bytes]) -> None:
        """Compare the root of a full tile with what the tile above has for it."""
        above, place = divmod(tile.index, TILE_WIDTH)
        if self.hashes(tile.level + 1, above)[place] != _subtree_root(hashes):
            raise ProofError(
                f"hash {place} of {self.tile(tile.level + 1, above).path()} is not the root of {tile.path()}"
            )


def verify_published(
    source: LogSource,
    head: TreeHead,
    *,
    on_entry: Callable[[int, bytes], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Check every entry and every tile of a published log against the root of a checkpoint, in order.

    Run by: anyone, on hostile files. Memory does not grow with the log. `on_entry(index, entry)` is called with entries
    that are verified already: each is under the root of `head`. `progress(count)` is called after each bundle with the
    number of entries checked. The signatures on the checkpoint are the caller's to verify, before.

    Raises:
        ProofError: the first entry or tile that is missing, changed, removed or out of order, by name.
        StoreError: a file is larger than it may be, or unreadable.
    """
    tree = PublishedTree(source, head)
    for index in range((head.size + TILE_WIDTH - 1) // TILE_WIDTH):
        tile = tree.tile(0, index)
        stated = source.hashes(tile) if tile.is_full else tree.hashes(0, index)
        found = source.bundle(tile)
        _check_bundle(tile, [leaf_hash(entry) for entry in found], stated)
        if tile.is_full:
            tree._check(tile, stated)
        if on_entry is not None and tree.is_authentic:
            for number, entry in enumerate(found, start=tile.start):
                on_entry(number, entry)
        if progress is not None:
            progress(tile.start + tile.width)
    if not tree.is_authentic:
        raise _other_root(head)


def read_published(directory: Path) -> PublishedLog:
    """Read a published log and check all of it against its checkpoint's root.

    Run by: anyone, on hostile files. The signatures on the note are not verified: pass it to `Policy.verify`.
    Checked: each entry against its hash in the level-0 tile, each higher tile against the one below, the root against
    the checkpoint. No more than one file's largest allowed size is read at a time. All entries are held in memory;
    `verify_published` holds few.

    Raises:
        ProofError: the first entry or tile that is missing, changed, removed or out of order, by name.
        DecodeError: the checkpoint is missing or is not one.
        StoreError: a file is larger than it may be, or unreadable.
    """
    source = DirectorySource(directory)
    note = source.checkpoint()
    entries: list[bytes] = []
    head = parse_checkpoint(parse_note(note).text)
    verify_published(source, head, on_entry=lambda _, entry: entries.append(entry))
    return PublishedLog(note, entries)


def published_entry(source: LogSource, head: TreeHead, index: int) -> PublishedEntry:
    """Fetch entry `index`, and the proof that it is in the tree of the checkpoint; verified before it is returned.

    Run by: anyone, on hostile files. It reads one bundle, and O(log n) tiles.

    Raises:
        ValueError: the checkpoint's tree has no such entry.
        ProofError: a file is missing, or the files do not lead to the checkpoint's root.
        StoreError: a file is larger than it may be, or unreadable.
    """
    if not 0 <= index < head.size:
        raise ValueError(f"no entry {index} in a log of {head.size}")
    tree = _authentic(source, head)
    tile = tree.tile(0, index // TILE_WIDTH)
    found = source.bundle(tile)
    _check_bundle(tile, [leaf_hash(entry) for entry in found], tree.hashes(0, tile.index))
    entry = found[index - tile.start]
    proof = inclusion_proof(tree, index, head.size)
    verify_inclusion(leaf_hash(entry), index, head.size, proof, head.root)
    return PublishedEntry(index, entry, tuple(proof))


def published_inclusion_proof(source: LogSource, head: TreeHead, index: int) -> tuple[bytes, ...]:
    """The proof that the published entry `index` is in the tree of the checkpoint; see `published_entry`."""
    return published_entry(source, head, index).proof


def published_consistency_proof(source: LogSource, old: TreeHead, new: TreeHead) -> list[bytes]:
    """The proof that the tree of `new` begins with the tree of `old`; verified before it is returned.

    Run by: anyone, on hostile files.  It reads O(log n) tiles; none for an old
    size of 0, from which nothing has to be proved.

    Raises:
        ConsistencyError: the old tree is larger, or is not what the new one begins with: the log was rolled back, or
            showed two histories.
        ProofError: a file is missing, or the files do not lead to the new checkpoint's root.
        StoreError: a file is larger than it may be, or unreadable.
    """
    if old.size > new.size:
        raise ConsistencyError(f"the log had {old.size} entries and now has {new.size}: it was rolled back")
    if old.size == 0:
        return []
    proof = consistency_proof(_authentic(source, new), old.size, new.size) if old.size < new.size else []
    verify_consistency(old.size, new.size, proof, old.root, new.root)
    return proof


def _authentic(source: LogSource, head: TreeHead) -> PublishedTree:
    tree = PublishedTree(source, head)
    if not tree.is_authentic:
        raise _other_root(head)
    return tree


def _other_root(head: TreeHead) -> ProofError:
    return ProofError(
        f"the {head.size} published entries do not have the root the checkpoint states: "
        "entries and hashes were changed together, or the checkpoint is another log's"
    )


def _check_bundle(tile: Tile, found: Sequence[bytes], stated: Sequence[bytes]) -> None:
    """Compare the hashes of a bundle's entries with its tile's, and say what happened to the first that differs."""
    if list(found) == list(stated):
        return
    name, hashes = tile.bundle_path(), tile.path()
    differs = (i for i, (one, other) in enumerate(zip(found, stated, strict=False)) if one != other)
    first = next(differs, min(len(found), len(stated)))
    where = tile.start + first
    if len(found) < len(stated):
        raise ProofError(f"entry {where} was removed: {name} holds {len(found)} entries, {hashes} {len(stated)} hashes")
    if len(found) > len(stated):
        raise ProofError(
            f"entry {where} was inserted: {name} holds {len(found)} entries, {hashes} {len(stated)} hashes"
        )
    if found[first] in stated:
        place = tile.start + stated.index(found[first])
        raise ProofError(f"entry {where} is out of order: {name} holds there what {hashes} has at {place}")
    raise ProofError(f"entry {where} was changed: in {name} it does not have the hash in {hashes}")


def _subtree_root(hashes: Sequence[bytes]) -> bytes:
    """The root over a power of two of hashes."""
    while len(hashes) > 1:
        hashes = [node_hash(hashes[i], hashes[i + 1]) for i in range(0, len(hashes), 2)]
    return hashes[0]
