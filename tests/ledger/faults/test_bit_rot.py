"""Bytes that changed on the disk below the checkpoint: refused by opening, reading or fsck, and left as they are."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ledger import Log, SqliteStore, StoreError
from ledger.fsck import fsck
from tests.ledger.federation import ORIGIN, Federation, key_of

SIZE = 600
KEY = key_of("sequencer")


def _entries() -> list[bytes]:
    return [b"entry %d" % i for i in range(SIZE)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a log certified at its size, closed."""
    path = tmp_path_factory.mktemp("whole") / "log.db"
    federation = Federation(SqliteStore(path, create=True))
    federation.grow(SIZE)
    federation.log.close()
    return path.read_bytes()


def _noticed(path: Path) -> str:
    """By whom: opening, reading, fsck, or nobody; and the content is the acknowledged one if nobody."""
    try:
        log = Log(SqliteStore(path, create=True), ORIGIN, KEY)
    except StoreError:
        return "opening"
    try:
        assert log.size == SIZE
        read = log.entries()
        for height in range(10):
            for index in range(SIZE >> height):
                log.subtree(height, index)
    except StoreError:
        return "reading"
    finally:
        log.close()
    assert read == _entries()
    assert log.verifier.name == ORIGIN
    try:
        store = SqliteStore(path, create=True)
    except StoreError:
        return "opening"
    try:
        return "fsck" if fsck(store, log.verifier) else "nobody"
    finally:
        store.close()


def test_a_flipped_bit_anywhere_in_the_file(whole: bytes, tmp_path: Path) -> None:
    path, counts = tmp_path / "log.db", Counter[str]()
    for case, at in enumerate(range(0, len(whole), 211)):
        changed = bytearray(whole)
        changed[at] ^= 1 << case % 8
        path.write_bytes(changed)
        before = sha256(changed).digest()
        by = _noticed(path)
        counts[by] += 1
        assert by == "nobody" or sha256(path.read_bytes()).digest() == before, "refused, and written to"
        path.unlink()
    print(f"bit rot, {len(whole)} bytes:", dict(counts))
    assert counts.total() > 100
    assert counts["opening"] + counts["reading"] + counts["fsck"] > counts.total() // 3


def _rows(name: str) -> list[tuple[str, tuple[Any, ...]]]:
    if name == "entries":
        return [("UPDATE entries SET bytes = ? WHERE i = ?", (b"entry %d!" % i, i)) for i in range(0, SIZE, 23)]
    if name == "entries swapped":
        statement = "UPDATE entries SET bytes = (SELECT bytes FROM entries WHERE i = ?) WHERE i = ?"
        return [(statement, (i + 1, i)) for i in range(0, SIZE - 1, 31)]
    if name == "entries gone":
        return [("DELETE FROM entries WHERE i = ?", (i,)) for i in range(0, SIZE, 37)]
    if name == "tiles gone":
        return [("DELETE FROM tiles WHERE level = 0 AND i = ?", (i,)) for i in range(SIZE // 256)]
    return [("UPDATE tiles SET bytes = ? WHERE level = 0 AND i = ?", (bytes(8192), i)) for i in range(SIZE // 256)]


@pytest.mark.parametrize("name", ["entries", "entries swapped", "entries gone", "tiles", "tiles gone"])
def test_every_changed_row_is_noticed(whole: bytes, tmp_path: Path, name: str) -> None:
    path, counts = tmp_path / "log.db", Counter[str]()
    for statement, arguments in _rows(name):
        path.write_bytes(whole)
        sql = sqlite3.connect(path, isolation_level=None)
        sql.execute(statement, arguments)
        sql.close()
        before = sha256(path.read_bytes()).digest()
        counts[_noticed(path)] += 1
        assert sha256(path.read_bytes()).digest() == before
    print(f"bit rot, {name}:", dict(counts))
    assert counts["nobody"] == 0
    assert counts.total() == len(_rows(name)) > 1


@pytest.mark.parametrize(
    "change",
    [
        lambda row: (row[0] - 1, *row[1:]),
        lambda row: (row[0] + 1, *row[1:]),
        lambda row: (row[0], bytes(32), row[2]),
        lambda row: (*row[:2], row[2].replace(b"600", b"599")),
        lambda row: (*row[:2], row[2][:-5] + b"AAAA\n"),
        lambda row: (256, *row[1:]),
    ],
)
def test_a_changed_head_is_noticed(whole: bytes, tmp_path: Path, change: Callable[[Any], Any]) -> None:
    path = tmp_path / "log.db"
    path.write_bytes(whole)
    sql = sqlite3.connect(path, isolation_level=None)
    row = sql.execute("SELECT size, root, checkpoint FROM head").fetchone()
    sql.execute("UPDATE head SET size = ?, root = ?, checkpoint = ?", change(row))
    sql.close()
    before = sha256(path.read_bytes()).digest()
    by = _noticed_or_cosignature(path)
    assert by != "nobody"
    assert sha256(path.read_bytes()).digest() == before


def _noticed_or_cosignature(path: Path) -> str:
    """A cosignature in the stored note is checked against a policy, not by the log, which knows none."""
    by = _noticed(path)
    if by != "nobody":
        return by
    federation = Federation()
    store = SqliteStore(path, create=True)
    try:
        return "fsck" if fsck(store, federation.log.verifier, policy=federation.policy) else "nobody"
    finally:
        store.close()
