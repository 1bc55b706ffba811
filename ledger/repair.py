"""Mending a log's SQLite file, as far as that can be done without a copy of it.

Run by: the sequencer's operator, on request, with the log closed. Tiles are made again from whole entries. Beyond the
certified size the file can be cut back to the entries that are known to be whole. Nothing under a certificate is ever
changed, and what is changed is first written to a file beside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import DamagedStoreError
from .locking import WriterLock
from .merkle import EMPTY_ROOT, root
from .note import VerifierKey
from .policy import Policy
from .sqlite import Connection, Database
from .store import Head, SqliteStore
from .survey import Finding, Level, Survey, survey
from .tiled import completed_tiles

__all__ = ["Repair", "repair"]


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair did: the acknowledged entries it gave up, the tiles it made again, and what it had found.

    `copy` is the SQLite file with the rows as they were before, None if nothing had to be changed.
    """

    given_up: range
    tiles: tuple[tuple[int, int], ...]
    findings: tuple[Finding, ...]
    copy: Path | None


def repair(
    path: Path, log_key: VerifierKey, *, policy: Policy | None = None, give_up: bool = False, cosigned: int = 0
) -> Repair:
    """Mend the SQLite file of a log: make tiles again and, only with `give_up`, cut off what is not whole at its end.

    The rows that change are first written to `<path>.repair-<n>`, a file with the same three tables.

    `cosigned` is the largest size any witness has cosigned: ask them. A log cut below a checkpoint that it has signed,
    and grown again otherwise, has signed two roots for one size; so the file is never cut below `cosigned`, nor below
    the certified size. Where checkpoints left that no witness keeps, retire the log's key instead of cutting.

    Raises:
        DamagedStoreError: something under the certificate is damaged, or entries would have to be given up and
            `give_up` is not set, or ones that were cosigned; nothing was changed. The message says which.
        StoreError: another process writes the file, or the storage failed.
    """
    path = Path(path)
    lock = WriterLock(path.with_name(path.name + ".lock"))
    try:
        store = SqliteStore(path, readonly=True)
        try:
            found, strays = survey(store, log_key, policy), store.strays()
            head = _mended_head(path, found, give_up=give_up, cosigned=cosigned)
        finally:
            store.close()
        tiles = {key: data for key, data in found.tiles.items() if key in completed_tiles(0, head.size)}
        copy = None
        if tiles or strays or head != found.head:
            copy = _free_name(path)
            _rewrite(path, head, tiles, copy)
    finally:
        lock.release()
    return Repair(range(head.size, found.head.size), tuple(sorted(tiles)), tuple(found.findings), copy)


def _mended_head(path: Path, found: Survey, *, give_up: bool, cosigned: int) -> Head:
    """The head after the repair."""
    hopeless = [f"{item.where}: {item.what}" for item in found.findings if item.level is Level.CERTIFIED]
    if hopeless:
        raise DamagedStoreError(f"{path}: damaged where only a copy helps; nothing was changed: {'; '.join(hopeless)}")
    keep = found.whole
    if keep < cosigned:
        raise DamagedStoreError(
            f"{path}: entries are whole up to {keep} only, and size {cosigned} was cosigned; nothing was changed: "
            "restore a copy"
        )
    if keep < found.head.size and not give_up:
        raise DamagedStoreError(
            f"{path}: acknowledged entries {keep} to {found.head.size - 1} would be given up; nothing was changed: "
            "restore a copy, or ask for it"
        )
    return Head(keep, EMPTY_ROOT if found.hashes is None else root(found.hashes, keep), found.head.checkpoint)


def _free_name(path: Path) -> Path:
    number = 1
    while (name := path.with_name(f"{path.name}.repair-{number}")).exists():
        number += 1
    return name


def _rewrite(path: Path, head: Head, tiles: Mapping[tuple[int, int], bytes], copy: Path) -> None:
    """Move the rows that go to the file `copy`, commit that, then write the new ones and commit."""
    database = Database(path)
    try:
        with database.transaction() as sql:
            _move(sql, copy, head, tiles)
            sql.executemany("INSERT INTO tiles VALUES (?, ?, ?)", ((*key, data) for key, data in tiles.items()))
            sql.execute("INSERT INTO head VALUES (1, ?, ?, ?)", (head.size, head.root, head.checkpoint))
    finally:
        database.close()


def _move(sql: Connection, copy: Path, head: Head, tiles: Mapping[tuple[int, int], bytes]) -> None:
    covered = completed_tiles(0, head.size) - tiles.keys()
    going = [
        row[:1]
        for row in sql.execute("SELECT rowid, level, i FROM tiles").fetchall()
        if (row[1], row[2]) not in covered
    ]
    saved = Database(copy)
    try:
        with saved.transaction() as out:
            out.execute("CREATE TABLE head (id, size, root, checkpoint)")
            out.execute("CREATE TABLE entries (i, bytes)")
            out.execute("CREATE TABLE tiles (level, i, bytes)")
            out.executemany("INSERT INTO head VALUES (?, ?, ?, ?)", sql.execute("SELECT * FROM head"))
            beyond = sql.execute("SELECT i, bytes FROM entries WHERE i < 0 OR i >= ?", (head.size,))
            out.executemany("INSERT INTO entries VALUES (?, ?)", beyond)
            for key in going:
                tile = sql.execute("SELECT level, i, bytes FROM tiles WHERE rowid = ?", key)
                out.executemany("INSERT INTO tiles VALUES (?, ?, ?)", tile)
    finally:
        saved.close()
    sql.execute("DELETE FROM head")
    sql.execute("DELETE FROM entries WHERE i < 0 OR i >= ?", (head.size,))
    sql.executemany("DELETE FROM tiles WHERE rowid = ?", going)
