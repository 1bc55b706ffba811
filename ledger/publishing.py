"""A log published as plain files that anyone can copy, serve and check.

Spec: C2SP tlog-tiles. `tile/<L>/<N>[.p/<W>]` hold hashes, `tile/entries/<N>[.p/<W>]` entries, `checkpoint` the
certified note. The checkpoint is written last, so what it names is always there. The files are made from the log and
hold nothing that cannot be made again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from .checkpoint import Checkpoint, verify_checkpoint
from .disk import DISK, Files
from .errors import ConsistencyError, LedgerError, StateError, StoreError
from .files import read_bounded, write_durably
from .log import Log
from .note import MAX_NOTE
from .policy import Certificate
from .source import CHECKPOINT
from .tile import TILE_HEIGHT, TILE_WIDTH, Tile, encode_bundle

__all__ = ["publish"]


def publish(log: Log, certificate: Certificate, directory: Path, *, files: Files = DISK) -> None:
    """Write the log at the certified size into a folder, durably, the checkpoint last.

    Run by: the sequencer. Only what came after the checkpoint that the folder holds is written, so the cost is that of
    the new entries. A partial tile is removed once its full tile is in place, which tlog-tiles has readers turn to. An
    interrupted call is made good by the next one. To have lost files written again, remove `checkpoint` first: then
    all of them are.

    Raises:
        StateError: the certificate is not of this log's entries.
        ConsistencyError: the folder holds a larger checkpoint, or one that this log does not extend.
        StoreError: the disk is full or fails, or the folder holds another log.
    """
    directory = Path(directory)
    new = certificate.checkpoint
    if new.origin != log.origin or new.size > log.size or log.root(new.size) != new.root:
        raise StateError(f"the certificate of size {new.size} is not of the entries of this log")
    published = _published_size(log, new, directory, files)
    tiles = sorted(_new_tiles(published, new.size), key=lambda tile: not tile.is_full)
    for tile in tiles:
        write_durably(directory / tile.path(), log.tile(tile), files=files)
        if tile.level == 0:
            bundle = encode_bundle(log.entries(tile.start, tile.start + tile.width))
            write_durably(directory / tile.bundle_path(), bundle, files=files)
        if tile.is_full:
            _remove_partials(directory / f"{tile.path()}.p", files)
            if tile.level == 0:
                _remove_partials(directory / f"{tile.bundle_path()}.p", files)
    write_durably(directory / CHECKPOINT, certificate.note, files=files)


def _new_tiles(old: int, new: int) -> Iterator[Tile]:
    """The tiles of a tree of `new` entries that its first `old` entries do not have, or not as wide."""
    level = 0
    while new:
        if new != old:
            for index in range(old // TILE_WIDTH, (new + TILE_WIDTH - 1) // TILE_WIDTH):
                yield Tile(level, index, min(TILE_WIDTH, new - index * TILE_WIDTH))
        level, old, new = level + 1, old >> TILE_HEIGHT, new >> TILE_HEIGHT


def _published_size(log: Log, new: Checkpoint, directory: Path, files: Files) -> int:
    """The size already published in the folder, 0 if none, after checking that this log extends it."""
    note = read_bounded(directory / CHECKPOINT, limit=MAX_NOTE, files=files)
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


def _remove_partials(folder: Path, files: Files) -> None:
    """Remove the partial tiles of one full tile, and their folder."""
    try:
        for name in files.names(folder):
            files.unlink(folder / name)
        files.remove_folder(folder)
    except OSError as exc:
        raise StoreError(f"{folder} cannot be removed: {exc.strerror}") from exc
