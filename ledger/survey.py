"""What of a store can be relied on: every entry hashed, every tile compared, led up to the head and the certificate.

Run by: `ledger.fsck`, which reports it, and `ledger.repair`, which mends by it. Nothing is changed here. Where two
stored things disagree, the one that leads to the head's or the certificate's root is right.

Memory: about 150 bytes for each 256 entries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import product
from typing import Final

from .checkpoint import Checkpoint, verify_checkpoint
from .errors import LedgerError, StoreError
from .merkle import HASH_SIZE, Tree, leaf_hash, root
from .note import VerifierKey
from .policy import Policy
from .store import Head, SqliteStore, Store
from .tile import MAX_TILE, TILE_HEIGHT, TILE_WIDTH, Tile, decode_hashes
from .tiled import completed_tiles, tile_root

__all__ = ["Finding", "Hashes", "Level", "Survey", "survey"]

_MOST_UNCLEAR: Final = 6
"""How many tiles may contradict their entries, with no word from above, before only a copy helps: 2^6 roots to try."""


class Level(Enum):
    """What a finding means for those who rely on the log."""

    DERIVED = "derived"
    """Tiles and published files: made again from the entries, nothing is lost."""
    UNCERTIFIED = "uncertified"
    """Beyond the certified size: mending it may give up entries that were acknowledged."""
    CERTIFIED = "certified"
    """Under the certificate, or the certificate, or the file as a whole: only a copy helps."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be: `where` names it, `what` says how it differs."""

    level: Level
    where: str
    what: str


@dataclass(slots=True)
class Survey:
    """What a store holds, as far as it can be relied on; `findings` say what cannot.

    Entries [0, `whole`) are those that were acknowledged. `hashes` is the tree over at least these, None if there is
    nothing to rely on. `certified` is the stored certificate's checkpoint. `doubtful_head`: beyond the certificate no
    entry is missing and each agrees with its tile, at least one has a tile, and yet they do not lead to the head's
    root: it may be the head that is damaged, and not they.
    """

    head: Head = field(default_factory=Head)
    certified: Checkpoint | None = None
    whole: int = 0
    hashes: Hashes | None = None
    doubtful_head: bool = False
    findings: list[Finding] = field(default_factory=list)
    tiles: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """Full tiles of `hashes` that the store lacks or has otherwise."""

    def add(self, level: Level, where: str, what: str) -> None:
        """Note a finding."""
        self.findings.append(Finding(level, where, what))

    def add_entries(self, numbers: Sequence[int], what: str) -> None:
        """Note damaged entries, neighbours in one finding, and those under the certificate as such."""
        for start, stop in _runs(numbers):
            self.add_range(start, stop, what)

    def add_range(self, start: int, stop: int, what: str) -> None:
        """Note damaged entries [start, stop): in two findings, if the certificate is over some of them."""
        certified = 0 if self.certified is None else self.certified.size
        for level, low, high in (
            (Level.CERTIFIED, start, min(stop, certified)),
            (Level.UNCERTIFIED, max(start, certified), stop),
        ):
            if low < high:
                self.add(level, f"entry {low}" if high == low + 1 else f"entries {low} to {high - 1}", what)


class Hashes:
    """A tree from the roots of its full level-0 tiles and the leaf hashes after them: a `Subtrees`."""

    def __init__(self, store: Store, roots: Sequence[bytes], by_entries: Sequence[bool], tail: Sequence[bytes]) -> None:
        self.size = len(roots) * TILE_WIDTH + len(tail)
        self._store = store
        self._roots = Tree(roots)
        self._by_entries = by_entries
        self._tail = Tree(tail)

    def subtree(self, height: int, index: int) -> bytes:
        """The root of the complete subtree over leaves [index * 2^height, (index + 1) * 2^height)."""
        if height >= TILE_HEIGHT:
            return self._roots.subtree(height - TILE_HEIGHT, index)
        number, inner = divmod(index, TILE_WIDTH >> height)
        leaves = self._tail if number == self._roots.size else Tree(self.leaves(number))
        return leaves.subtree(height, inner)

    def leaves(self, number: int) -> list[bytes]:
        """The leaf hashes of a full level-0 tile: from its entries if they lead to its root, else from the tile."""
        if self._by_entries[number]:
            return [leaf_hash(entry) for entry in self._store.entries(number * TILE_WIDTH, (number + 1) * TILE_WIDTH)]
        return decode_hashes(self._store.tile(0, number) or b"", TILE_WIDTH)

    def has_entries(self, number: int) -> bool:
        """Whether the stored entries of a full level-0 tile lead to its root."""
        return self._by_entries[number]

    def root_of(self, number: int) -> bytes:
        """The root of a full level-0 tile."""
        return self._roots.subtree(0, number)

    def tile(self, tile: Tile) -> bytes:
        """The hashes of a tile, full or partial."""
        if tile.level == 0 and tile.index < self._roots.size:
            return b"".join(self.leaves(tile.index)[: tile.width])
        return b"".join(self.subtree(TILE_HEIGHT * tile.level, tile.start + i) for i in range(tile.width))


def survey(store: Store, log_key: VerifierKey, policy: Policy | None = None) -> Survey:
    """Check all of a store, and say what of it can be relied on; see `fsck`."""
    found = Survey()
    try:
        found.head = store.head()
        if isinstance(store, SqliteStore):
            for problem in store.integrity():
                found.add(Level.CERTIFIED, "database", f"SQLite finds: {problem}")
        for stray in store.strays():
            what = f"is beyond the head of size {found.head.size}: one of the two is not as it was"
            found.add(Level.UNCERTIFIED, stray, what)
    except StoreError as exc:
        found.add(Level.CERTIFIED, "database", str(exc))
        return found
    if not _check_certificate(found, log_key, policy):
        return found
    computed, stored = _scan(store, found)
    certified, size = found.certified, found.head.size
    found.hashes = _anchored(store, computed, stored, size, found.head.root)
    if found.hashes is None and certified is not None:
        found.hashes = _anchored(store, computed, stored, certified.size, certified.root)
        if found.hashes is None:
            found.add(Level.CERTIFIED, "entries", f"they do not lead to the root certified at size {certified.size}")
            found.add_entries(_suspects(store, computed, stored), "does not have the hash in its tile")
        else:
            _add_head(store, found, computed, stored)
    elif found.hashes is None:
        _add_head(store, found, computed, stored)
    elif certified is not None and root(found.hashes, certified.size) != certified.root:
        found.add(Level.CERTIFIED, "certificate", f"the entries have another root at its size {certified.size}")
    if found.hashes is not None:
        found.whole = _compare(store, found, found.hashes, stored)
    return found


def _add_head(store: Store, found: Survey, computed: Sequence[bytes | None], stored: Sequence[bytes | None]) -> None:
    """Note that the entries do not lead to the head's root, and whether their tiles speak for them."""
    size = found.head.size
    count = size // TILE_WIDTH
    first = 0 if found.certified is None else found.certified.size // TILE_WIDTH
    if first < count == len(computed):
        agreeing = None not in computed[first:] and computed[first:] == stored[first:]
        found.doubtful_head = agreeing and None not in _leaves(store, count * TILE_WIDTH, size)
    what = ", but agree with their tiles" if found.doubtful_head else ""
    found.add(Level.UNCERTIFIED, "head", f"the stored entries do not lead to its root of size {size}{what}")


def _check_certificate(found: Survey, log_key: VerifierKey, policy: Policy | None) -> bool:
    """Verify the stored certificate; False if it cannot be relied on."""
    note, size = found.head.checkpoint, found.head.size
    if note is None:
        return True
    try:
        found.certified = verify_checkpoint(note, log_key) if policy is None else policy.verify(note).checkpoint
    except LedgerError as exc:
        found.add(Level.CERTIFIED, "certificate", str(exc))
        return False
    if found.certified.size > size:
        found.add(Level.CERTIFIED, "head", f"it has size {size}, the certificate {found.certified.size}: rolled back")
        return False
    return True


def _scan(store: Store, found: Survey) -> tuple[list[bytes | None], list[bytes | None]]:
    """Roots of the full level-0 tiles, from the entries and from the stored tiles; notes what is no entry.

    It ends where 256 entries in a row are missing: a damaged head may state any size.
    """
    computed: list[bytes | None] = []
    stored: list[bytes | None] = []
    size = found.head.size
    for start in range(0, size, TILE_WIDTH):
        stop = min(start + TILE_WIDTH, size)
        leaves = _leaves(store, start, stop)
        if not any(leaves):
            found.add_range(start, size, "is missing, or comes after 256 that are")
            break
        found.add_entries([start + i for i, leaf in enumerate(leaves) if leaf is None], "is missing, or no entry")
        if stop - start == TILE_WIDTH:
            whole = [leaf for leaf in leaves if leaf is not None]
            computed.append(tile_root(b"".join(whole)) if len(whole) == TILE_WIDTH else None)
            data = _stored_tile(store, 0, start // TILE_WIDTH)
            stored.append(None if data is None else tile_root(data))
    return computed, stored


def _leaves(store: Store, start: int, stop: int) -> list[bytes | None]:
    """Leaf hashes of the stored entries; None for one that is missing or no entry."""
    try:
        entries = store.entries(start, stop)
    except StoreError:
        if stop - start == 1:
            return [None]
        return [leaf for i in range(start, stop) for leaf in _leaves(store, i, i + 1)]
    return [*(leaf_hash(entry) for entry in entries), *[None] * (stop - start - len(entries))]


def _stored_tile(store: Store, level: int, index: int) -> bytes | None:
    try:
        data = store.tile(level, index)
    except StoreError:
        return None
    return data if data is not None and len(data) == MAX_TILE else None


def _anchored(
    store: Store, computed: Sequence[bytes | None], stored: Sequence[bytes | None], size: int, expected: bytes
) -> Hashes | None:
    """The tree of this size and root, from entries or tiles, whichever lead to it; None if neither do."""
    count = size // TILE_WIDTH
    tail = [leaf for leaf in _leaves(store, count * TILE_WIDTH, size) if leaf is not None]
    if len(tail) != size % TILE_WIDTH:
        return None
    for chosen in _choices(store, computed[:count], stored[:count]):
        roots = [item for item in chosen if item is not None]
        if len(roots) == count:
            hashes = Hashes(store, roots, [a == b for a, b in zip(computed, roots, strict=False)], tail)
            if root(hashes, size) == expected:
                return hashes
    return None


def _choices(
    store: Store, computed: Sequence[bytes | None], stored: Sequence[bytes | None]
) -> Iterator[Sequence[bytes | None]]:
    """Roots for the full level-0 tiles, where the entries' and the stored tile's differ: all of the one kind, all of
    the other, then what the tile above states, and each combination of the few of which it says nothing.
    """
    yield [other if one is None else one for one, other in zip(computed, stored, strict=True)]
    yield [one if other is None else other for one, other in zip(computed, stored, strict=True)]
    chosen: list[bytes | None] = []
    unclear: list[int] = []
    above = b""
    for number, (one, other) in enumerate(zip(computed, stored, strict=True)):
        if number % TILE_WIDTH == 0:
            above = _stored_tile(store, 1, number // TILE_WIDTH) or b""
        at = number % TILE_WIDTH * HASH_SIZE
        stated = above[at : at + HASH_SIZE]
        if one != other and one is not None and other is not None and stated not in (one, other):
            unclear.append(number)
        chosen.append(stated if stated in (one, other) else one if other is None else other)
    if len(unclear) <= _MOST_UNCLEAR:
        for kinds in product((computed, stored), repeat=len(unclear)):
            for number, kind in zip(unclear, kinds, strict=True):
                chosen[number] = kind[number]
            yield chosen


def _suspects(store: Store, computed: Sequence[bytes | None], stored: Sequence[bytes | None]) -> list[int]:
    """Entries whose hash is not the one in their stored tile."""
    suspects: list[int] = []
    for number, (one, other) in enumerate(zip(computed, stored, strict=True)):
        if one is not None and other is not None and one != other:
            suspects += _differing(store, number, decode_hashes(_stored_tile(store, 0, number) or b"", TILE_WIDTH))
    return suspects


def _differing(store: Store, number: int, leaves: Sequence[bytes]) -> list[int]:
    start = number * TILE_WIDTH
    found = _leaves(store, start, start + TILE_WIDTH)
    return [start + i for i, (one, leaf) in enumerate(zip(found, leaves, strict=True)) if one not in (None, leaf)]


def _compare(store: Store, found: Survey, hashes: Hashes, stored: Sequence[bytes | None]) -> int:
    """Compare entries and tiles with the tree; returns the number of the first entry that is not whole."""
    whole = hashes.size
    for number in range(hashes.size // TILE_WIDTH):
        if hashes.has_entries(number):
            continue
        start, expected = number * TILE_WIDTH, hashes.leaves(number)
        if whole == hashes.size:
            leaves = _leaves(store, start, start + TILE_WIDTH)
            whole = start + next(i for i, leaf in enumerate(leaves) if leaf != expected[i])
        found.add_entries(_differing(store, number, expected), "does not have the hash in its tile")
    for level, index in sorted(completed_tiles(0, hashes.size)):
        tile = Tile(level, index)
        if level == 0 and stored[index] == hashes.root_of(index):
            continue
        made, data = hashes.tile(tile), _stored_tile(store, level, index)
        if data != made:
            found.tiles[level, index] = made
            what = "is missing" if data is None else "is not made of the hashes below it"
            found.add(Level.DERIVED, tile.path(), f"{what} in the store")
    return whole


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Consecutive numbers as ranges [start, stop)."""
    start = stop = -1
    for number in (*numbers, -1):
        if number != stop and start >= 0:
            yield start, stop
        start, stop = (start if number == stop else number), number + 1
