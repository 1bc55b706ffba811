"""The log: order, durability, damage, crashes, one writer, bounded memory."""

import dataclasses
import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from ledger import (
    Certificate,
    Checkpoint,
    DamagedStoreError,
    Head,
    Log,
    MemoryStore,
    SqliteStore,
    StateError,
    Store,
    StoreError,
    Tree,
    leaf_hash,
    sign_checkpoint,
    verify_checkpoint,
    verify_consistency,
    verify_inclusion,
)
from ledger.tile import Tile, tiles_of
from tests.ledger.federation import ORIGIN, Federation, key_of, signed
from tests.ledger.stores import entries_of, new_log

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "log.db", create=True)
    yield made
    made.close()


def test_entries_keep_their_order_and_place(store: Store) -> None:
    log = new_log(store)
    assert (log.size, log.entries(), log.certified()) == (0, [], None)
    assert log.append(b"a") == 0
    assert log.append_all([b"b", b"c"]) == range(1, 3)
    assert log.append_all([]) == range(3, 3)
    assert (log.size, log.entries(), log.entry(1), log.entries(1, 2)) == (3, [b"a", b"b", b"c"], b"b", [b"b"])
    again = new_log(store)
    assert (again.size, again.entries(), again.checkpoint()) == (3, log.entries(), log.checkpoint())


def test_checkpoints_and_proofs_verify(store: Store) -> None:
    log = new_log(store)
    log.append_all([b"%d" % i for i in range(9)])
    old = verify_checkpoint(log.checkpoint(), log.verifier)
    log.append_all([b"%d" % i for i in range(9, 20)])
    new = verify_checkpoint(log.checkpoint(), log.verifier)
    assert (old.size, new.size, new.origin) == (9, 20, ORIGIN)
    assert (log.root(9), log.root(20)) == (old.root, new.root)
    verify_consistency(9, 20, log.consistency_proof(9, 20), old.root, new.root)
    verify_inclusion(leaf_hash(b"4"), 4, 20, log.inclusion_proof(4, 20), new.root)
    assert log.checkpoint() == log.checkpoint()


def test_the_caller_asks_within_the_log(store: Store) -> None:
    log = new_log(store)
    log.append(b"a")
    for ask in (
        lambda: log.append(b""),
        lambda: log.append(bytes(65_536)),
        lambda: log.append("text"),  # type: ignore[arg-type]
        lambda: log.append_all([b"fine", b""]),
        lambda: log.entry(1),
        lambda: log.entry(-1),
        lambda: log.entries(0, 2),
        lambda: log.entries(1, 0),
        lambda: log.root(2),
    ):
        with pytest.raises(ValueError):
            ask()
    assert (log.size, log.entries()) == (1, [b"a"])
    log.close()
    with pytest.raises(StateError, match="closed"):
        log.append(b"b")
    assert log.size == 1


def test_a_head_is_checked_on_construction() -> None:
    for changes in ({"size": -1}, {"root": b"short"}, {"checkpoint": b""}, {"checkpoint": bytes(65_537)}):
        with pytest.raises(ValueError):
            dataclasses.replace(Head(), **changes)


# --- damage -----------------------------------------------------------------------------------------------------------


def _damaged(tmp_path: Path, *statements: tuple[str, tuple[Any, ...]]) -> Callable[[], Log]:
    """A log of ten entries, certified at size 10, on which statements are run behind its back."""
    path = tmp_path / "log.db"
    federation = Federation(SqliteStore(path, create=True))
    federation.grow(10)
    federation.log.close()
    sql = sqlite3.connect(path, isolation_level=None)
    for statement, arguments in statements:
        sql.execute(statement, arguments)
    sql.close()
    return lambda: new_log(SqliteStore(path, create=True))


def test_an_undamaged_log_opens(tmp_path: Path) -> None:
    log = _damaged(tmp_path)()
    assert log.size == 10
    assert log.certified() is not None
    log.close()


@pytest.mark.parametrize(
    ("statement", "arguments", "words"),
    [
        ("UPDATE entries SET bytes = ? WHERE i = 4", (b"entry 5",), "not those that were acknowledged"),
        ("UPDATE entries SET bytes = ? WHERE i = 4", ("text",), "entry 4 is damaged"),
        ("UPDATE entries SET bytes = ? WHERE i = 4", (b"",), "entry 4 is damaged"),
        ("DELETE FROM entries WHERE i = 4", (), "entry 4 is missing"),
        ("DELETE FROM entries WHERE i >= 4", (), "entry 4 of 10 is missing"),
        ("UPDATE entries SET i = 20 WHERE i = 4", (), "entry 4 is missing"),
        ("INSERT INTO entries VALUES (10, ?)", (b"entry 10",), "beyond its head"),
        ("UPDATE head SET root = ?", (bytes(32),), "not those that were acknowledged"),
        ("UPDATE head SET root = ?", (b"short",), "the head is damaged"),
        ("UPDATE head SET size = 9", (), "beyond its head"),
        ("UPDATE head SET size = 11", (), "entry 10 of 11 is missing"),
        ("UPDATE head SET size = 'ten'", (), "the head is damaged"),
        ("UPDATE head SET checkpoint = ?", (b"garbage",), "certificate is damaged"),
        ("DELETE FROM head", (), "beyond its head"),
        ("DROP TABLE entries", (), "lacks the table entries"),
    ],
)
def test_damage_is_refused_at_opening(tmp_path: Path, statement: str, arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(StoreError, match=words):
        _damaged(tmp_path, (statement, arguments))()


def test_entries_rewritten_with_their_head_contradict_the_certificate(tmp_path: Path) -> None:
    entries = [b"entry %d" % i for i in range(10)]
    entries[4] = b"rewritten"
    root = Tree([leaf_hash(entry) for entry in entries]).root()
    reopen = _damaged(
        tmp_path,
        ("UPDATE entries SET bytes = ? WHERE i = 4", (b"rewritten",)),
        ("UPDATE head SET root = ?", (root,)),
    )
    with pytest.raises(StoreError, match="not those certified at size 10"):
        reopen()


def test_a_rolled_back_store_contradicts_its_certificate(tmp_path: Path) -> None:
    root = Tree([leaf_hash(b"entry %d" % i) for i in range(6)]).root()
    reopen = _damaged(
        tmp_path, ("DELETE FROM entries WHERE i >= 6", ()), ("UPDATE head SET size = 6, root = ?", (root,))
    )
    with pytest.raises(StoreError, match="not those certified at size 10"):
        reopen()


def test_bytes_that_change_while_the_log_is_open_are_not_served(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    log = new_log(SqliteStore(path, create=True))
    log.append_all([b"a", b"b"])
    sql = sqlite3.connect(path, isolation_level=None)
    sql.execute("UPDATE entries SET bytes = ? WHERE i = 1", (b"x",))
    assert log.entry(0) == b"a"
    with pytest.raises(StoreError, match="entry 1 changed in the store"):
        log.entry(1)
    sql.execute("DELETE FROM entries WHERE i = 1")
    sql.close()
    with pytest.raises(StoreError, match="are missing"):
        log.entry(1)
    log.close()


def test_a_flipped_or_torn_file_never_opens_with_other_content(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    federation = Federation(SqliteStore(path, create=True))
    federation.grow(40)
    federation.log.close()
    whole = path.read_bytes()
    good = federation.log.size
    names = [whole.index(b"tableentries"), whole.index(b"tablehead")]
    content = whole.index(b"entry 7")
    places = [content, *(at + 5 for at in names), *range(0, len(whole), 199)]
    flipped = [whole[:p] + bytes([whole[p] ^ 0x41]) + whole[p + 1 :] for p in places]
    torn = [whole[:-5000], whole[:4096], whole[:100]]
    refused = []
    for damaged in (*flipped, *torn):
        path.write_bytes(damaged)
        try:
            log = new_log(SqliteStore(path, create=True))
        except StoreError:
            refused.append(damaged)
        else:
            assert log.entries() == [b"entry %d" % i for i in range(good)]
            log.close()
    # damage in unused space may pass, since the content is whole; these may not
    assert all(damaged in refused for damaged in (*flipped[:3], *torn))


# --- crashes, full disks, second writers ------------------------------------------------------------------------------


def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    acknowledged = -1
    for _ in range(2):
        command = [sys.executable, "-m", "tests.ledger.writer", str(path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(15):
                acknowledged = int(writer.stdout.readline())
            writer.kill()
            said = writer.stdout.read().split()
            acknowledged = int(said[-1]) if said else acknowledged
        log = new_log(SqliteStore(path, create=True))
        assert log.size >= acknowledged + 1
        assert log.entries() == [signed(i) for i in range(log.size)]
        log.close()
    assert acknowledged >= 29


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    first = SqliteStore(path, create=True)
    with pytest.raises(StoreError, match="another process writes here"):
        SqliteStore(path, create=True)
    command = [sys.executable, "-m", "tests.ledger.writer", str(path)]
    other = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert other.returncode != 0
    assert "another process writes here" in other.stderr
    first.close()
    first.close()
    SqliteStore(path, create=True).close()


def test_a_full_disk_is_said_and_the_log_must_be_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store = SqliteStore(path, create=True)
    log = new_log(store)
    log.append(b"a")
    pages = store._database.query("PRAGMA page_count")[0][0]
    store._database.query(f"PRAGMA max_page_count = {pages + 2}")  # SQLite's own way to have the disk full
    with pytest.raises(StoreError, match="the disk is full: free some space"):
        log.append_all([bytes(60_000)] * 3)
    assert log.size == 1
    for act in (lambda: log.append(b"b"), lambda: log.entries()):
        with pytest.raises(StoreError, match="earlier write failed; close it and open it again"):
            act()
    log.close()
    again = new_log(SqliteStore(path, create=True))
    assert again.entries() == [b"a"]
    again.append(b"b")
    again.close()


class _FailingCommit:
    """A connection whose next COMMIT fails, as after a failed sync."""

    def __init__(self, real: sqlite3.Connection) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def execute(self, statement: str, *arguments: Any) -> Any:
        if statement == "COMMIT":
            raise sqlite3.OperationalError("disk I/O error")
        return self._real.execute(statement, *arguments)


def test_a_failed_commit_poisons_the_store(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    store = SqliteStore(path, create=True)
    log = new_log(store)
    log.append(b"a")
    store._database._sql = _FailingCommit(store._database._sql)  # type: ignore[arg-type,assignment]
    with pytest.raises(StoreError, match="disk I/O error"):
        log.append(b"b")
    with pytest.raises(StoreError, match="open it again"):
        log.append(b"c")
    log.close()
    again = new_log(SqliteStore(path, create=True))
    assert again.entries() == [b"a"]
    again.close()


def test_a_path_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be made"):
        SqliteStore(tmp_path / "no" / "folder" / "log.db", create=True)
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(StoreError, match="cannot be opened"):
        SqliteStore(tmp_path / "folder.db", create=True)
    (tmp_path / "text.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="damaged"):
        SqliteStore(tmp_path / "text.db", create=True)
    (tmp_path / "text.db").unlink()
    SqliteStore(tmp_path / "text.db", create=True).close()  # the lock was let go


def test_synced_commits_in_write_ahead_mode(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "log.db", create=True)
    assert store._database.query("PRAGMA journal_mode") == [("wal",)]
    assert store._database.query("PRAGMA synchronous") == [(2,)]  # FULL
    store.close()


# --- what is done before signing, and after a failure -----------------------------------------------------------------


class _Flipping(MemoryStore):
    """A store that writes other bytes than it was given."""

    def __init__(self, *, entry: int | None = None, tile: tuple[int, int] | None = None) -> None:
        super().__init__()
        self._entry, self._tile = entry, tile

    def append(self, entries: Sequence[bytes], tiles: Mapping[tuple[int, int], bytes], head: Head) -> None:
        super().append(entries, tiles, head)
        if self._entry is not None and self._entry < len(self._entries):
            self._entries[self._entry] = b"other"
        if self._tile in self._tiles:
            self._tiles[self._tile] = bytes(8192)


@pytest.mark.parametrize(
    "store",
    [_Flipping(entry=0), _Flipping(entry=255), _Flipping(entry=300), _Flipping(entry=511), _Flipping(tile=(0, 1))],
)
def test_nothing_is_signed_over_bytes_that_the_store_does_not_have(store: MemoryStore) -> None:
    log = new_log(store)
    assert log.append_all(entries_of(0, 520)) == range(520)
    for _ in range(2):
        with pytest.raises(DamagedStoreError, match="changed in the store"):
            log.checkpoint()


def test_each_entry_is_read_back_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    log = new_log(store)
    read: list[int] = []
    real = type(store).entries

    def entries(self: Store, start: int, stop: int) -> list[bytes]:
        read.extend(range(start, stop))
        return real(self, start, stop)

    monkeypatch.setattr(type(store), "entries", entries)
    log.append_all(entries_of(0, 3000))
    assert read == []
    log.checkpoint()
    log.append_all(entries_of(3000, 3001))
    log.checkpoint()
    log.checkpoint()
    assert read == list(range(3001))


def test_opening_reads_what_is_not_certified_and_the_edge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = Federation(SqliteStore(tmp_path / "log.db", create=True))
    federation.grow(5000)
    federation.log.append_all(entries_of(5000, 5100))
    federation.log.close()
    read: set[int] = set()
    real = SqliteStore.entries

    def entries(self: SqliteStore, start: int, stop: int) -> list[bytes]:
        read.update(range(start, stop))
        return real(self, start, stop)

    monkeypatch.setattr(SqliteStore, "entries", entries)
    log = new_log(SqliteStore(tmp_path / "log.db", create=True))
    assert read == set(range(4864, 5101))
    log.close()


def _asks(log: Log) -> list[Callable[[], object]]:
    certificate = Certificate(Checkpoint(ORIGIN, 1, bytes(32)), ("a",), _note(1))
    return [
        lambda: log.append(b"b"),
        lambda: log.append_all([]),
        lambda: log.entry(0),
        log.entries,
        log.checkpoint,
        lambda: log.root(1),
        lambda: log.subtree(0, 0),
        lambda: log.tile(Tile(0, 0, 1)),
        lambda: log.inclusion_proof(0, 1),
        lambda: log.consistency_proof(1, 1),
        lambda: log.keep_certificate(certificate),
    ]


@pytest.mark.parametrize("failure", [StoreError("the disk is full"), KeyboardInterrupt(), MemoryError()])
def test_after_a_failed_write_the_log_refuses_all_work(
    store: Store, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    log = new_log(store)
    log.append(b"a")

    def fail(*_: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(store, "append", fail)
        with pytest.raises(type(failure)):
            log.append(b"b")
    for ask in _asks(log):
        with pytest.raises(StoreError, match="an earlier write failed; close it and open it again"):
            ask()
    assert (log.size, log.origin) == (1, ORIGIN)
    again = new_log(store)
    assert again.entries() == [b"a"]
    assert again.append(b"b") == 1


def test_a_write_that_happened_although_it_failed_is_found_on_opening(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer was lost on the way: the entries are there, and the log says neither yes nor no before it looks."""
    store = MemoryStore()
    log = new_log(store)
    log.append(b"a")
    real = store.append

    def lose(*arguments: Any) -> None:
        real(*arguments)
        raise StoreError("the connection was lost")

    with monkeypatch.context() as patch:
        patch.setattr(store, "append", lose)
        with pytest.raises(StoreError, match="connection was lost"):
            log.append(b"b")
    with pytest.raises(StoreError, match="open it again"):
        log.append(b"b")
    assert new_log(store).entries() == [b"a", b"b"]


@pytest.mark.parametrize("failure", [StateError("closed"), ValueError("wrong"), TypeError("wrong")])
def test_what_the_store_refuses_before_writing_does_not_stop_the_log(
    store: Store, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    log = new_log(store)

    def refuse(*_: object) -> None:
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(store, "append", refuse)
        with pytest.raises(type(failure)):
            log.append(b"a")
    assert log.append(b"a") == 0
    assert log.entries() == [b"a"]


# --- size -------------------------------------------------------------------------------------------------------------


def test_tiles_of_the_log(store: Store) -> None:
    log = new_log(store)
    log.append_all(entries_of(0, 700))
    leaves = [leaf_hash(entry) for entry in entries_of(0, 700)]
    for tile in (*tiles_of(700), *tiles_of(699), *tiles_of(256), *tiles_of(3)):
        assert log.tile(tile) == b"".join(log.subtree(8 * tile.level, tile.start + i) for i in range(tile.width))
    assert log.tile(Tile(0, 2, 188)) == b"".join(leaves[512:])
    for beyond in (Tile(0, 2, 189), Tile(0, 3, 1), Tile(1, 0, 3), Tile(2, 0, 1)):
        with pytest.raises(ValueError, match="no tile/"):
            log.tile(beyond)


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    log = new_log(SqliteStore(tmp_path / "log.db", create=True))

    def grow(count: int) -> int:
        for _ in range(0, count, 1000):
            log.append_all([b"%064d" % i for i in range(log.size, log.size + 1000)])
            log.checkpoint()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        first = grow(10_000)
        assert grow(30_000) - first < 110 * 16_384 + 500_000  # the tiles kept parsed, and less than 17 bytes an entry
        log._tree._leaf_tiles.clear()
        assert tracemalloc.get_traced_memory()[0] - first < 500_000
    finally:
        tracemalloc.stop()
    log.close()


def _note(size: int) -> bytes:
    return sign_checkpoint(Checkpoint(ORIGIN, size, bytes(32)), key_of("sequencer"))
