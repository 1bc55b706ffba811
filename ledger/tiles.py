"""A log published as plain files that anyone can copy, serve and check.

Spec: C2SP tlog-tiles. `tile/<L>/<N>[.p/<W>]` hold hashes, `tile/entries/<N>[.p/<W>]` entries, `checkpoint` the
certified note. The checkpoint is written last, so what it names is always there. The files are made from the log and
hold nothing that cannot be made again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .checkpoint import Checkpoint, parse_checkpoint, verify_checkpoint
from .entry import MAX_ENTRY
from .errors import ConsistencyError, DecodeError, LedgerError, ProofError, StateError, StoreError
from .files import read_bounded, write_durably
from .log import Log
from .merkle import EMPTY_ROOT, HASH_SIZE, Tree, leaf_hash, node_hash
from .note import MAX_NOTE, parse_note
from .policy import Certificate

__all__ = ["TILE_WIDTH", "PublishedLog", "publish", "read_published"]

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 256
"""Hashes in a full tile, entries in a full bundle."""
_MAX_BUNDLE: Final = TILE_WIDTH * (2 + MAX_ENTRY)
_ENTRIES: Final = "entries"


@dataclass(frozen=True, slots=True)
class PublishedLog:
    """What `read_published` found: the note, its signatures not verified, and the entries, which lead to its root."""

    note: bytes
    entries: list[bytes]

    def __post_init__(self) -> None:
        if parse_checkpoint(parse_note(self.note).text).size != len(self.entries):
            raise ValueError("a published log has as many entries as its checkpoint says")


@dataclass(frozen=True, slots=True)
class _Tile:
    """One tile of a tree: level and index, and how many of its 256 places are filled."""

    level: int
    index: int
    width: int

    def path(self, kind: str | None = None) -> str:
        """Its path under the published folder; `kind` is the first part instead of the level."""
        parts = [f"{self.index % 1000:03d}"]
        rest = self.index // 1000
        while rest:
            parts.insert(0, f"x{rest % 1000:03d}")
            rest //= 1000
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{self.level if kind is None else kind}/{'/'.join(parts)}{partial}"

    @property
    def start(self) -> int:
        """Number, within its level, of its first hash."""
        return self.index * TILE_WIDTH

    def full(self) -> _Tile:
        """The same tile when it is full."""
        return _Tile(self.level, self.index, TILE_WIDTH)


def publish(log: Log, certificate: Certificate, directory: Path) -> None:
    """Write the log at the certified size into a folder, durably, the checkpoint last.

    Run by: the sequencer. Full tiles already published are left; partial tiles are removed once their full tile and the
    checkpoint are in place. An interrupted call is made good by the next one.

    Raises:
        StateError: the certificate is not of this log's entries.
        ConsistencyError: the folder holds a larger checkpoint, or one that this log does not extend.
        StoreError: the disk is full or fails, or the folder holds another log.
    """
    directory = Path(directory)
    new = certificate.checkpoint
    if new.origin != log.origin or new.size > log.size or log.root(new.size) != new.root:
        raise StateError(f"the certificate of size {new.size} is not of the entries of this log")
    published = _published_size(log, new, directory)
    for tile in _tiles(new.size):
        written = tile.width == TILE_WIDTH and (tile.start + TILE_WIDTH) << (TILE_HEIGHT * tile.level) <= published
        if not written or not (directory / tile.path()).is_file():
            hashes = (log.subtree(TILE_HEIGHT * tile.level, tile.start + i) for i in range(tile.width))
            write_durably(directory / tile.path(), b"".join(hashes))
        if tile.level == 0 and not (written and (directory / tile.path(_ENTRIES)).is_file()):
            entries = log.entries(tile.start, tile.start + tile.width)
            bundle = b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)
            write_durably(directory / tile.path(_ENTRIES), bundle)
    write_durably(directory / "checkpoint", certificate.note)
    for tile in _tiles(new.size):
        if tile.width == TILE_WIDTH:
            for kind in (None, _ENTRIES) if tile.level == 0 else (None,):
                _remove_partials(directory / (tile.path(kind) + ".p"))


def read_published(directory: Path) -> PublishedLog:
    """Read a published log and check all of it against its checkpoint's root.

    Run by: anyone, on hostile files. The signatures on the note are not verified: pass it to `Policy.verify`.
    Checked: each entry against its hash in the level-0 tile, each higher tile against the one below, the root against
    the checkpoint. No more than one file's largest allowed size is read at a time.

    Raises:
        ProofError: the first entry or tile that is missing, changed, removed or out of order, by name.
        DecodeError: the checkpoint is missing or is not one.
        StoreError: a file is larger than it may be, or unreadable.
    """
    directory = Path(directory)
    note = read_bounded(directory / "checkpoint", limit=MAX_NOTE)
    if note is None:
        raise DecodeError(f"{directory} holds no checkpoint")
    checkpoint = parse_checkpoint(parse_note(note).text)
    entries: list[bytes] = []
    hashes = list(_read_leaves(directory, checkpoint.size, entries))
    peaks: list[bytes] = []
    level = 0
    while hashes:
        whole = len(hashes) // TILE_WIDTH
        peaks = [*_peaks(hashes[whole * TILE_WIDTH :]), *peaks]
        above = [Tree(hashes[i * TILE_WIDTH : (i + 1) * TILE_WIDTH]).root() for i in range(whole)]
        level += 1
        _check_level(directory, level, above)
        hashes = above
    if _fold(peaks) != checkpoint.root:
        raise ProofError(
            f"the {checkpoint.size} published entries do not have the root the checkpoint states: "
            "entries and hashes were changed together, or the checkpoint is another log's"
        )
    return PublishedLog(note, entries)


def _tiles(size: int) -> Iterator[_Tile]:
    """All tiles of a tree, level by level."""
    level, count = 0, size
    while count:
        for index in range((count + TILE_WIDTH - 1) // TILE_WIDTH):
            yield _Tile(level, index, min(TILE_WIDTH, count - index * TILE_WIDTH))
        level, count = level + 1, count // TILE_WIDTH


def _published_size(log: Log, new: Checkpoint, directory: Path) -> int:
    """The size already published in the folder, 0 if none, after checking that this log extends it."""
    note = read_bounded(directory / "checkpoint", limit=MAX_NOTE)
    if note is None:
        return 0
    try:
        old = verify_checkpoint(note, log.verifier)
    except LedgerError as exc:
        raise StoreError(f"{directory} holds another log, or is damaged ({exc}): publish into an empty folder") from exc
    if old.size > new.size or log.root(old.size) != old.root:
        raise ConsistencyError(
            f"{directory} holds a checkpoint of size {old.size} that size {new.size} of this log does not extend",
            culprits=(log.origin,),
        )
    return old.size


def _remove_partials(folder: Path) -> None:
    try:
        if folder.is_dir():
            shutil.rmtree(folder)
    except OSError as exc:
        raise StoreError(f"{folder} cannot be removed: {exc.strerror}") from exc


def _read_tile(directory: Path, tile: _Tile) -> list[bytes]:
    data = read_bounded(directory / tile.path(), limit=TILE_WIDTH * HASH_SIZE)
    if data is None and tile.width < TILE_WIDTH:
        whole = read_bounded(directory / tile.full().path(), limit=TILE_WIDTH * HASH_SIZE)
        data = None if whole is None else whole[: tile.width * HASH_SIZE]
    if data is None:
        raise ProofError(f"{tile.path()} is missing")
    if len(data) != tile.width * HASH_SIZE:
        raise ProofError(f"{tile.path()} holds {len(data)} bytes, not {tile.width} hashes")
    return [data[i : i + HASH_SIZE] for i in range(0, len(data), HASH_SIZE)]


def _read_bundle(directory: Path, tile: _Tile) -> list[bytes]:
    name = tile.path(_ENTRIES)
    data = read_bounded(directory / name, limit=_MAX_BUNDLE)
    cut = TILE_WIDTH
    if data is None and tile.width < TILE_WIDTH:
        data = read_bounded(directory / tile.full().path(_ENTRIES), limit=_MAX_BUNDLE)
        cut = tile.width
    if data is None:
        raise ProofError(f"{name} is missing")
    entries: list[bytes] = []
    position = 0
    while position < len(data):
        end = position + 2 + int.from_bytes(data[position : position + 2], "big")
        if position + 2 > len(data) or end > len(data):
            raise ProofError(f"{name} ends within entry {tile.start + len(entries)}")
        entries.append(data[position + 2 : end])
        position = end
        if len(entries) > TILE_WIDTH:
            raise ProofError(f"{name} holds more than {TILE_WIDTH} entries")
    return entries[:cut]


def _read_leaves(directory: Path, size: int, entries: list[bytes]) -> Iterator[bytes]:
    """Read bundles into `entries` and yield the leaf hashes, each checked against the level-0 tile."""
    for index in range((size + TILE_WIDTH - 1) // TILE_WIDTH):
        tile = _Tile(0, index, min(TILE_WIDTH, size - index * TILE_WIDTH))
        stated = _read_tile(directory, tile)
        found = _read_bundle(directory, tile)
        _check_bundle(tile, [leaf_hash(entry) for entry in found], stated)
        entries.extend(found)
        yield from stated


def _check_bundle(tile: _Tile, found: Sequence[bytes], stated: Sequence[bytes]) -> None:
    """Compare the hashes of a bundle's entries with its tile's, and say what happened to the first that differs."""
    if list(found) == list(stated):
        return
    name, hashes = tile.path(_ENTRIES), tile.path()
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


def _check_level(directory: Path, level: int, expected: Sequence[bytes]) -> None:
    """Compare a level's tiles with the hashes of the full tiles below."""
    for index in range((len(expected) + TILE_WIDTH - 1) // TILE_WIDTH):
        tile = _Tile(level, index, min(TILE_WIDTH, len(expected) - index * TILE_WIDTH))
        for i, stated in enumerate(_read_tile(directory, tile)):
            if stated != expected[tile.start + i]:
                below = _Tile(level - 1, tile.start + i, TILE_WIDTH).path()
                raise ProofError(f"hash {i} of {tile.path()} is not the root of {below}")


def _peaks(hashes: Sequence[bytes]) -> list[bytes]:
    """Roots of the complete subtrees that make up fewer than 256 hashes, largest first."""
    tree, peaks, start = Tree(hashes), list[bytes](), 0
    for height in reversed(range(TILE_HEIGHT)):
        if len(hashes) >> height & 1:
            peaks.append(tree.subtree(height, start >> height))
            start += 1 << height
    return peaks


def _fold(peaks: Sequence[bytes]) -> bytes:
    """The root of a tree from its complete subtrees, largest first."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root
