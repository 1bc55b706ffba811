"""A repair changes only what lies beyond the certificate, only on request, and keeps what it changes."""

import dataclasses
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger import DamagedStoreError, SqliteStore, StoreError, Tree, leaf_hash
from ledger.fsck import fsck
from ledger.repair import Repair, repair
from ledger.sqlite import Database
from tests.ledger.stores import entries_of, new_log
from tests.ledger.test_fsck import LOG_KEY, SPOIL, Change, entry, head, made, tile


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
    with closing(new_log(SqliteStore(path, create=True))) as log:
        assert log.entries() == entries_of(0, size)
        log.append_all(entries_of(size, size + 300))
        assert log.root(size + 300) == root_of(size + 300)
        log.checkpoint()


def test_a_whole_log_is_left_as_it_is(path: Path) -> None:
    made(path)
    before = path.read_bytes()
    assert repair(path, LOG_KEY, give_up=True, cosigned=0) == Repair(range(900, 900), (), (), None)
    assert path.read_bytes() == before
    assert not list(path.parent.glob("*.repair-*"))
    well(path, 900)


@pytest.mark.parametrize(
    ("changes", "rebuilt"),
    [
        ([tile(0, 0)], [(0, 0)]),
        ([tile(0, 1, None), tile(0, 2, b"short")], [(0, 1), (0, 2)]),
        ([tile(0, 1), tile(0, 7), tile(3, 0)], [(0, 1)]),
        ([tile(0, 3), tile(0, 9)], []),
    ],
)
def test_tiles_are_made_again_and_stray_ones_taken_away_without_loss(
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
        ([entry(800), tile(0, 2)], 600),
        ([entry(899, None)], 600),
        ([head("root = ?", bytes(32)), entry(700, None)], 600),
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
        repair(path, LOG_KEY, give_up=True, cosigned=0)
    assert contents(path) == damaged
    assert not list(path.parent.glob("*.repair-*"))


@pytest.mark.parametrize(
    ("certified", "size", "changes"),
    [
        (0, 300, [entry(280)]),
        (0, 300, [head("root = ?", bytes(32))]),
        (0, 300, [entry(7), entry(280)]),
        (0, 30, [head("root = ?", bytes(32))]),
        (600, 900, [head("root = ?", bytes(32))]),
        (600, 900, [head("root = ?", bytes(32)), entry(900)]),
        (600, 900, [entry(800)]),
        (600, 768, [head("root = ?", bytes(32))]),
    ],
)
def test_where_the_head_may_be_what_is_damaged_nothing_is_cut(
    path: Path, certified: int, size: int, changes: list[Change]
) -> None:
    made(path, certified=certified, size=size)
    for change in changes:
        change(path)
    damaged = contents(path)
    with pytest.raises(DamagedStoreError, match="it may be the head that is damaged; nothing was changed"):
        repair(path, LOG_KEY, give_up=True, cosigned=0)
    assert contents(path) == damaged
    assert not list(path.parent.glob("*.repair-*"))


def test_a_tail_that_no_tile_speaks_for_can_be_given_up(path: Path) -> None:
    made(path, certified=800)
    entry(850)(path)
    assert repair(path, LOG_KEY, give_up=True, cosigned=800).given_up == range(800, 900)
    well(path, 800)


def test_a_head_that_was_rolled_back_does_not_cut_what_was_acknowledged_after_it(path: Path) -> None:
    made(path, certified=0, size=300)
    head("size = 280, root = ?", root_of(280))(path)
    damaged = contents(path)
    with pytest.raises(DamagedStoreError, match="beyond the head, perhaps acknowledged, 280 to 299 would be given up"):
        repair(path, LOG_KEY)
    with pytest.raises(DamagedStoreError, match="up to 280 only, and size 290 was cosigned"):
        repair(path, LOG_KEY, give_up=True, cosigned=290)
    assert contents(path) == damaged
    done = repair(path, LOG_KEY, give_up=True, cosigned=280)
    assert done.given_up == range(280, 300)
    assert done.copy is not None
    assert contents(done.copy)["entries"] == damaged["entries"][280:]
    well(path, 280)


@pytest.mark.parametrize(
    ("number", "given_up"), [(900, range(900, 901)), (2000, range(900, 2001)), (-1, range(900, 901))]
)
def test_rows_beyond_the_head_are_given_up_on_request_only(path: Path, number: int, given_up: range) -> None:
    made(path)
    entry(number)(path)
    with pytest.raises(DamagedStoreError, match="beyond the head, perhaps acknowledged"):
        repair(path, LOG_KEY)
    assert repair(path, LOG_KEY, give_up=True, cosigned=900).given_up == given_up
    well(path, 900)


def test_what_was_cosigned_must_be_said(path: Path) -> None:
    made(path)
    with pytest.raises(ValueError, match="say the largest size that a witness has cosigned"):
        repair(path, LOG_KEY, give_up=True)
    for wrong in (-1, True, 7.0):
        with pytest.raises(ValueError, match="an integer from 0 on"):
            repair(path, LOG_KEY, cosigned=wrong)  # type: ignore[arg-type]


def test_rows_with_text_that_is_not_utf8_are_named_and_taken_away(path: Path) -> None:
    made(path)
    whole = contents(path)
    text = "CAST(x'ff' AS TEXT)"
    SPOIL.run(path, f"INSERT INTO tiles VALUES ({text}, 1, x'00'), (1, {text}, {text})")  # noqa: S608
    SPOIL.run(path, f"INSERT INTO entries VALUES (901, {text})")  # noqa: S608
    with closing(SqliteStore(path, readonly=True)) as store:
        places = [item.where for item in fsck(store, LOG_KEY)]
    assert sorted(places) == ["entry 901", "tile 1 of level text", "tile text of level 1"]
    done = repair(path, LOG_KEY, give_up=True, cosigned=900)
    assert done.copy is not None
    kept = contents(done.copy)
    assert kept["entries"] == [(901, b"\xff")]
    assert sorted(kept["tiles"], key=str) == [(1, b"\xff", b"\xff"), (b"\xff", 1, b"\x00")]
    assert contents(path) == whole
    well(path, 900)


def test_a_repair_and_the_log_have_one_lock_through_links(path: Path) -> None:
    made(path)
    link = path.with_name("link.db")
    link.symlink_to(path)
    with closing(SqliteStore(path)), pytest.raises(StoreError, match="another process writes here"):
        repair(link, LOG_KEY)
    assert repair(link, LOG_KEY).copy is None


def test_a_second_repair_keeps_the_copy_of_the_first(path: Path) -> None:
    made(path)
    for number in (1, 2):
        tile(0, 0)(path)
        assert repair(path, LOG_KEY).copy == path.with_name(f"log.db.repair-{number}")
    assert [row[:2] for row in contents(path.with_name("log.db.repair-1"))["tiles"]] == [(0, 0)]


def test_a_repair_has_the_file_to_itself(path: Path) -> None:
    made(path)
    with closing(SqliteStore(path, create=True)), pytest.raises(StoreError, match="another process writes here"):
        repair(path, LOG_KEY)
    repair(path, LOG_KEY)
    path.unlink()
    with pytest.raises(StoreError, match="cannot be opened"):
        repair(path, LOG_KEY)
    SqliteStore(path, create=True).close()  # the lock was let go


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


def kept_entries(path: Path) -> set[Any]:
    try:
        return set(contents(path)["entries"])
    except sqlite3.OperationalError:  # killed before the copy had its tables
        return set()


def killed_at(path: Path, step: int) -> bool:
    """Repair in another process, killed before its `step`-th writing SQL statement; False if it has not so many."""
    child = os.fork()
    if not child:
        steps = iter(range(step))
        real = Database.__init__

        def count(_: str) -> None:
            if next(steps, None) is None:
                os.kill(os.getpid(), SIGKILL)

        def traced(database: Database, path: Path, *, readonly: bool = False) -> None:
            real(database, path, readonly=readonly)
            if not readonly:
                assert database._sql is not None
                database._sql.set_trace_callback(count)

        Database.__init__ = traced  # type: ignore[method-assign,assignment]
        try:
            repair(path, LOG_KEY, give_up=True, cosigned=300)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_a_repair_that_is_killed_anywhere_loses_no_row(path: Path) -> None:
    made(path, certified=300, size=512)
    entry(508)(path)
    tile(0, 0, None)(path)
    data, before = path.read_bytes(), set(contents(path)["entries"])
    step = copied = cut = 0
    alive = True
    while alive:
        for left in path.parent.iterdir():
            left.unlink()
        path.write_bytes(data)
        alive = killed_at(path, step)
        step += 1
        saved = [kept_entries(each) for each in sorted(path.parent.glob("*.repair-?"))]
        now = kept_entries(path)
        assert before <= now.union(*saved)
        copied += any(saved)
        cut += now < before
        if step % 5 == 0 or not alive:
            repair(path, LOG_KEY, give_up=True, cosigned=300)
            with closing(new_log(SqliteStore(path))) as log:
                assert log.entries() == entries_of(0, 508)
    assert copied > cut > 0


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
        repair(path, LOG_KEY, give_up=True, cosigned=0)
    except StoreError:
        return
    with closing(new_log(SqliteStore(path, create=True))) as log:
        assert log.size >= 300
        assert log.entries() == entries_of(0, log.size)


def test_a_repair_is_a_record(path: Path) -> None:
    made(path)
    done = repair(path, LOG_KEY)
    with pytest.raises(dataclasses.FrozenInstanceError):
        done.copy = path  # type: ignore[misc]
