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
    """What a repair did: the entries it gave up, the tiles it made again, and what it had found.

    `given_up` goes up to the last row that was cut, which a damaged number can put far away: count on its ends only.
    `copy` is the SQLite file with the rows as they were before, None if nothing had to be changed.
    """

    given_up: range
    tiles: tuple[tuple[int, int], ...]
    findings: tuple[Finding, ...]
    copy: Path | None


def repair(
    path: Path,
    log_key: VerifierKey,
    *,
    policy: Policy | None = None,
    give_up: bool = False,
    cosigned: int | None = None,
) -> Repair:
    """Mend the SQLite file of a log: make tiles again and, only with `give_up`, cut off what is not whole at its end.

    Entries beyond the head are cut only with `give_up` too: either they were never acknowledged, or the head is not the
    latest. Where the entries agree with their tiles and the head alone contradicts them, nothing is cut.

    The rows that change are first written to `<path>.repair-<n>`, a file with the same three tables; what was text in
    a row is there as its bytes.

    `cosigned` is the largest size any witness has cosigned: ask them; with `give_up` it must be said. A log cut below a
    checkpoint that it has signed, and grown again otherwise, has signed two roots for one size; so the file is never
    cut below `cosigned`, nor below the certified size. Where checkpoints left that no witness keeps, retire the log's
    key instead of cutting.

    Raises:
        ValueError: `give_up` without `cosigned`, or no size.
        DamagedStoreError: something under the certificate is damaged, or entries would have to be given up and
            `give_up` is not set, or ones that were cosigned, or it is not known which are whole; nothing was changed.
            The message says which.
        StoreError: another process writes the file, or the storage failed.
    """
    path = Path(path)
    if cosigned is None and give_up:
        raise ValueError("to give up entries, say the largest size that a witness has cosigned, 0 if none ever did")
    if cosigned is not None and (type(cosigned) is not int or cosigned < 0):
        raise ValueError("the size that was cosigned is an integer from 0 on")
    lock = WriterLock.beside(path)
    try:
        store = SqliteStore(path, readonly=True)
        try:
            found, strays = survey(store, log_key, policy), store.strays()
            stop = _stop(path, found.head)
            head = _mended_head(path, found, stop, give_up=give_up, cosigned=cosigned or 0)
        finally:
            store.close()
        tiles = {key: data for key, data in found.tiles.items() if key in completed_tiles(0, head.size)}
        copy = None
        if tiles or strays or head != found.head:
            copy = _free_name(path)
            _rewrite(path, head, tiles, copy)
    finally:
        lock.release()
    return Repair(range(head.size, stop), tuple(sorted(tiles)), tuple(found.findings), copy)


def _stop(path: Path, head: Head) -> int:
    """The number after the last entry: of those that the head covers, and of those that it does not."""
    database = Database(path, readonly=True)
    try:
        stray = database.query("SELECT max(i) FROM entries WHERE i < 0 OR i >= ?", (head.size,))[0][0]
    finally:
        database.close()
    return head.size if stray is None else max(head.size + 1, int(stray) + 1)


def _mended_head(path: Path, found: Survey, stop: int, *, give_up: bool, cosigned: int) -> Head:
    """The head after the repair."""
    hopeless = [f"{item.where}: {item.what}" for item in found.findings if item.level is Level.CERTIFIED]
    if hopeless:
        raise DamagedStoreError(f"{path}: damaged where only a copy helps; nothing was changed: {'; '.join(hopeless)}")
    keep = found.whole
    if found.doubtful_head or (found.hashes is None and found.head.size):
        raise DamagedStoreError(
            f"{path}: it is not known which entries are whole: they do not lead to the head's root, and it may be the "
            "head that is damaged; nothing was changed: restore a copy"
        )
    if keep < cosigned:
        raise DamagedStoreError(
            f"{path}: entries are whole up to {keep} only, and size {cosigned} was cosigned; nothing was changed: "
            "restore a copy"
        )
    if keep < stop and not give_up:
        kind = "acknowledged entries" if keep < found.head.size else "entries beyond the head, perhaps acknowledged,"
        raise DamagedStoreError(
            f"{path}: {kind} {keep} to {stop - 1} would be given up; nothing was changed: restore a copy, or ask for it"
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
    sql.text_factory = bytes  # a damaged row may hold text that is not UTF-8
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
