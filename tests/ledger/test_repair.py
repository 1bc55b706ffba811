"""A repair changes only what lies beyond the certificate, only on request, and keeps what it changes."""

import dataclasses
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import DamagedStoreError, Head, SqliteStore, StoreError, Tree, leaf_hash
from ledger.fsck import fsck
from ledger.repair import Repair, repair
from ledger.sqlite import Database
from tests.ledger.stores import entries_of, new_log
from tests.ledger.test_fsck import LOG_KEY, Change, entry, head, made, tile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def contents(path: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(path)) as sql:
        return {
            "head": sql.execute("SELECT * FROM head").fetchall(),
            "entries": sql.execute("SELECT * FROM entries ORDER BY i").fetchall(),
            "tiles": sql.execute("SELECT level, i, bytes FROM tiles ORDER BY level, i").fetchall(),
        }


def root_of(size: int) -> bytes:
    return Tree([leaf_hash(data) for data in entries_of(0, size)]).root()


def well(path: Path, size: int) -> None:
    """The log opens with the first `size` entries, is without findings, and goes on."""
    with closing(SqliteStore(path, readonly=True)) as store:
        assert fsck(store, LOG_KEY) == []
    with closing(new_log(SqliteStore(path))) as log:
        assert log.entries() == entries_of(0, size)
        log.append_all(entries_of(size, size + 300))
        assert log.root(size + 300) == root_of(size + 300)
        log.checkpoint()


def test_a_whole_log_is_left_as_it_is(path: Path) -> None:
    made(path)
    before = path.read_bytes()
    assert repair(path, LOG_KEY, give_up=True) == Repair(range(900, 900), (), (), None)
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*.repair-*"))
    well(path, 900)


@pytest.mark.parametrize(
    ("changes", "rebuilt"),
    [
        ([tile(0, 0)], [(0, 0)]),
        ([tile(0, 1, None), tile(0, 2, b"short")], [(0, 1), (0, 2)]),
        ([tile(0, 1), tile(0, 7), tile(3, 0)], [(0, 1)]),
        ([entry(900), entry(2000)], []),
    ],
)
def test_tiles_are_made_again_and_strays_taken_away_without_loss(
    path: Path, changes: list[Change], rebuilt: list[tuple[int, int]]
) -> None:
    federation = made(path)
    whole = contents(path)
    for change in changes:
        change(path)
    damaged = contents(path)
    done = repair(path, LOG_KEY, policy=federation.policy)
    assert (done.given_up, done.tiles) == (range(900, 900), tuple(rebuilt))
    assert done.findings
    assert contents(path) == whole
    assert done.copy == path.with_name("log.db.repair-1")
    kept = contents(done.copy)
    assert kept["head"] == whole["head"]
    for table in ("entries", "tiles"):
        assert kept[table] == [row for row in damaged[table] if row not in whole[table]]
    well(path, 900)


@pytest.mark.parametrize(
    ("changes", "keep"),
    [
        ([entry(600)], 600),
        ([entry(700, None)], 700),
        ([entry(767), tile(0, 0)], 767),
        ([entry(800)], 600),
        ([entry(899, None)], 600),
        ([head("root = ?", bytes(32))], 600),
        ([head("size = 1200")], 600),
    ],
)
def test_entries_beyond_the_certificate_are_given_up_on_request_only(
    path: Path, changes: list[Change], keep: int
) -> None:
    made(path)
    for change in changes:
        change(path)
    damaged = contents(path)
    size = damaged["head"][0][1]
    with pytest.raises(DamagedStoreError, match=f"acknowledged entries {keep} to {size - 1} would be given up"):
        repair(path, LOG_KEY)
    with pytest.raises(DamagedStoreError, match=f"up to {keep} only, and size {keep + 1} was cosigned"):
        repair(path, LOG_KEY, give_up=True, cosigned=keep + 1)
    assert contents(path) == damaged
    assert not list(path.parent.glob("*.repair-*"))
    done = repair(path, LOG_KEY, give_up=True, cosigned=keep)
    assert done.given_up == range(keep, size)
    assert done.copy is not None
    assert contents(done.copy)["head"] == damaged["head"]
    assert contents(done.copy)["entries"] == [row for row in damaged["entries"] if row[0] >= keep]
    now = contents(path)
    assert now["head"] == [(1, keep, root_of(keep), damaged["head"][0][3])]
    assert now["entries"] == damaged["entries"][:keep]
    well(path, keep)


@pytest.mark.parametrize(
    "changes",
    [
        [entry(7)],
        [entry(599, None)],
        [entry(7), tile(0, 0)],
        [entry(7), entry(800)],
        [head("checkpoint = x'00'")],
        [head("size = 599")],
        [head("size = 'ten'")],
    ],
)
def test_what_is_under_the_certificate_is_never_touched(path: Path, changes: list[Change]) -> None:
    made(path)
    for change in changes:
        change(path)
    damaged = contents(path)
    with pytest.raises(DamagedStoreError, match="copy"):
        repair(path, LOG_KEY, give_up=True)
    assert contents(path) == damaged
    assert not list(path.parent.glob("*.repair-*"))


def test_without_a_certificate_nothing_is_known_to_be_whole_if_the_root_is_not_reached(path: Path) -> None:
    made(path, certified=0, size=300)
    entry(280)(path)
    done = repair(path, LOG_KEY, give_up=True)
    assert done.given_up == range(300)
    with closing(SqliteStore(path)) as store:
        assert store.head() == Head()
    well(path, 0)


def test_a_second_repair_keeps_the_copy_of_the_first(path: Path) -> None:
    made(path)
    for number in (1, 2):
        tile(0, 0)(path)
        assert repair(path, LOG_KEY).copy == path.with_name(f"log.db.repair-{number}")
    assert [row[:2] for row in contents(path.with_name("log.db.repair-1"))["tiles"]] == [(0, 0)]


def test_a_repair_has_the_file_to_itself(path: Path) -> None:
    made(path)
    with closing(SqliteStore(path)), pytest.raises(StoreError, match="another process writes here"):
        repair(path, LOG_KEY)
    repair(path, LOG_KEY)
    path.unlink()
    with pytest.raises(StoreError, match="cannot be opened"):
        repair(path, LOG_KEY)
    SqliteStore(path).close()  # the lock was let go


def test_a_repair_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(path)
    tile(0, 0)(path)
    damaged = contents(path)
    real = Database.transaction

    def full(database: Database) -> Any:
        if database.path != path:
            raise StoreError("the disk is full")
        return real(database)

    with monkeypatch.context() as patch:
        patch.setattr(Database, "transaction", full)
        with pytest.raises(StoreError, match="the disk is full"):
            repair(path, LOG_KEY)
    assert contents(path) == damaged
    assert repair(path, LOG_KEY).tiles == ((0, 0),)
    well(path, 900)


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "log.db"
    made(path, certified=300, size=600)
    with closing(sqlite3.connect(path)) as sql:
        sql.execute("PRAGMA journal_mode=DELETE")
    return path.read_bytes()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255)), min_size=1, max_size=8), st.booleans())
def test_whatever_bytes_of_the_file_change_what_is_certified_is_kept_or_the_file_is_refused(
    tmp_path: Path, whole_file: bytes, changes: list[tuple[int, int]], first_page: bool
) -> None:
    path, data = tmp_path / "log.db", bytearray(whole_file)
    for left in tmp_path.iterdir():
        left.unlink()
    for place, byte in changes:
        data[place % (4096 if first_page else len(data))] = byte
    path.write_bytes(data)
    try:
        with closing(SqliteStore(path, readonly=True)) as store:
            fsck(store, LOG_KEY)
        repair(path, LOG_KEY, give_up=True)
    except StoreError:
        return
    with closing(new_log(SqliteStore(path))) as log:
        assert log.size >= 300
        assert log.entries() == entries_of(0, log.size)


def test_a_repair_is_a_record(path: Path) -> None:
    made(path)
    done = repair(path, LOG_KEY)
    with pytest.raises(dataclasses.FrozenInstanceError):
        done.copy = path  # type: ignore[misc]
