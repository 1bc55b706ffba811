"""The SQLite store alone: schema versions, readers beside the writer, and its own checks."""

import hashlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ledger import DamagedStoreError, Head, SqliteStore, StateError, StoreError, Tree, leaf_hash
from ledger.store import SCHEMA_VERSION
from ledger.tiled import completed_tiles
from tests.ledger.federation import Federation
from tests.ledger.stores import entries_of, new_log, put

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


def run(path: Path, *statements: str) -> list[Any]:
    with closing(sqlite3.connect(path, isolation_level=None)) as sql:
        return [sql.execute(statement).fetchall() for statement in statements]


def old_file(path: Path, size: int) -> Head:
    """A file as the version before tiles were kept made it."""
    entries = entries_of(0, size)
    head = Head(size, Tree([leaf_hash(entry) for entry in entries]).root())
    with closing(sqlite3.connect(path, isolation_level=None)) as sql:
        sql.execute("PRAGMA journal_mode=WAL")
        sql.execute("CREATE TABLE head (id INTEGER PRIMARY KEY CHECK (id = 1), size INTEGER NOT NULL, "
                    "root BLOB NOT NULL, checkpoint BLOB)")  # fmt: skip
        sql.execute("CREATE TABLE entries (i INTEGER PRIMARY KEY, bytes BLOB NOT NULL)")
        sql.execute("BEGIN")
        sql.executemany("INSERT INTO entries VALUES (?, ?)", enumerate(entries))
        if size:
            sql.execute("INSERT INTO head VALUES (1, ?, ?, NULL)", (size, head.root))
        sql.execute("COMMIT")
    return head


# --- versions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 255, 256, 1500, 66_000])
def test_a_file_of_the_version_before_tiles_is_brought_up_to_date(path: Path, size: int) -> None:
    head = old_file(path, size)
    with closing(SqliteStore(path, create=True)) as store:
        assert store.head() == head
        assert all(store.tile(*key) is not None for key in completed_tiles(0, size))
        log = new_log(store)
        log.append_all(entries_of(size, size + 300))
        assert log.entries() == entries_of(0, size + 300)
    assert run(path, "PRAGMA user_version") == [[(SCHEMA_VERSION,)]]
    with closing(SqliteStore(path, create=True)) as store:
        assert new_log(store).size == size + 300


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE entries SET bytes = x'00' WHERE i = 3",
        "DELETE FROM entries WHERE i = 3",
        "DELETE FROM entries WHERE i >= 300",
        "UPDATE head SET size = 599",
        "UPDATE head SET root = x'00'",
    ],
)
def test_a_damaged_file_is_not_brought_up_to_date(path: Path, damage: str) -> None:
    old_file(path, 600)
    before = run(path, damage, "SELECT * FROM entries", "SELECT * FROM head")[1:]
    for _ in range(2):
        with pytest.raises(DamagedStoreError):
            SqliteStore(path, create=True)
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
    assert run(path, "SELECT * FROM entries", "SELECT * FROM head", tables, "PRAGMA user_version") == [
        *before, [("entries",), ("head",)], [(0,)]
    ]  # fmt: skip


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 1000, -1])
def test_a_file_of_another_version_is_refused_and_left_alone(path: Path, version: int) -> None:
    SqliteStore(path, create=True).close()
    run(path, f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    for readonly in (False, True):
        with pytest.raises(StoreError, match=f"is of schema version {version}, this program knows {SCHEMA_VERSION}"):
            SqliteStore(path, readonly=readonly)
    assert path.read_bytes() == before
    run(path, f"PRAGMA user_version = {SCHEMA_VERSION}")
    SqliteStore(path, create=True).close()  # the lock was let go


def test_a_file_that_lost_its_version_or_a_table_is_refused(path: Path) -> None:
    SqliteStore(path, create=True).close()
    run(path, "PRAGMA user_version = 0")
    with pytest.raises(DamagedStoreError, match="lost its schema version"):
        SqliteStore(path, create=True)
    run(path, f"PRAGMA user_version = {SCHEMA_VERSION}", "DROP TABLE tiles")
    with pytest.raises(DamagedStoreError, match="lacks the table tiles"):
        SqliteStore(path, create=True)
    run(path, "PRAGMA user_version = 0", "DROP TABLE head")
    with pytest.raises(DamagedStoreError, match="lacks the table head"):
        SqliteStore(path, create=True)
    other = path.with_name("other.db")
    run(other, "CREATE TABLE things (i)")
    with pytest.raises(DamagedStoreError, match="holds table 'things', which no log has"):
        SqliteStore(other, create=True)
    with pytest.raises(DamagedStoreError, match="lacks the table entries, head"):
        SqliteStore(other, readonly=True)


# --- a store that is not there ----------------------------------------------------------------------------------------


def test_a_missing_file_is_no_new_log_unless_that_is_asked_for(path: Path) -> None:
    with pytest.raises(StoreError, match="holds no log: mount its disk"):
        SqliteStore(path)
    assert list(path.parent.iterdir()) == []
    with closing(SqliteStore(path, create=True)) as store:
        put(store, entries_of(0, 3))
    with closing(SqliteStore(path)) as store:
        assert store.head().size == 3
    with closing(SqliteStore(path, create=True)) as store:  # made before: opened as it is
        assert store.head().size == 3
    away = path.with_name("elsewhere.db")
    path.rename(away)
    with pytest.raises(StoreError, match="holds no log"):
        SqliteStore(path)
    away.rename(path)
    assert new_log(SqliteStore(path)).size == 3


def test_an_empty_file_is_no_log(path: Path) -> None:
    path.touch()
    for _ in range(2):  # nor does it become one by being refused
        with pytest.raises(StoreError, match="holds no log"):
            SqliteStore(path)
    SqliteStore(path, create=True).close()
    SqliteStore(path).close()


def test_a_reader_makes_nothing(path: Path) -> None:
    with pytest.raises(ValueError, match="for reading only is not created"):
        SqliteStore(path, create=True, readonly=True)


# --- writers ----------------------------------------------------------------------------------------------------------


def test_links_lead_to_one_lock(path: Path) -> None:
    path.with_name("folder").mkdir()
    first, second = path.with_name("link.db"), path.with_name("folder") / "link.db"
    first.symlink_to(path)
    second.symlink_to(first)
    with closing(SqliteStore(first, create=True)):
        for name in (path, second):
            with pytest.raises(StoreError, match="another process writes here"):
                SqliteStore(name, create=True)
    assert [each.name for each in path.parent.glob("*.lock")] == ["log.db.lock"]
    with closing(SqliteStore(path)), pytest.raises(StoreError, match="another process writes here"):
        SqliteStore(second)


def test_a_file_with_hard_links_and_a_link_to_itself_are_refused(path: Path) -> None:
    SqliteStore(path, create=True).close()
    other = path.with_name("other.db")
    other.hardlink_to(path)
    for name in (path, other):
        with pytest.raises(StoreError, match="one file under 2 names"):
            SqliteStore(name)
    other.unlink()
    SqliteStore(path).close()
    loop = path.with_name("loop.db")
    loop.symlink_to(loop)
    with pytest.raises(StoreError, match="check the links that lead to it"):
        SqliteStore(loop, create=True)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE head SET size = 11, root = zeroblob(32)",
        "UPDATE head SET root = zeroblob(32)",
        "UPDATE head SET checkpoint = x'00'",
        "DELETE FROM head",
    ],
)
def test_a_head_that_another_process_has_moved_is_not_written_over(path: Path, change: str) -> None:
    with closing(SqliteStore(path, create=True)) as store:
        put(store, entries_of(0, 10))
        head = store.head()
        run(path, change)
        before = run(path, "SELECT * FROM head", "SELECT * FROM entries")
        with pytest.raises(StoreError, match="another process has written it since"):
            store.append((), {}, head)
        with pytest.raises(StoreError, match="another process has written it since"):
            store.append([b"more"], {}, Head(11, bytes(32)))
        assert run(path, "SELECT * FROM head", "SELECT * FROM entries") == before


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM entries WHERE i = new.i; END", "trigger 't'"),
        ("CREATE VIEW v AS SELECT * FROM entries", "view 'v'"),
        ("CREATE INDEX other ON entries (bytes)", "index 'other'"),
        ("CREATE TABLE more (i)", "table 'more'"),
    ],
)
def test_what_is_no_part_of_a_log_is_refused_by_writers_and_found_by_readers(
    path: Path, statement: str, name: str
) -> None:
    SqliteStore(path, create=True).close()
    run(path, statement)
    for create in (False, True):
        with pytest.raises(DamagedStoreError, match=f"holds {name}, which no log has"):
            SqliteStore(path, create=create)
    with closing(SqliteStore(path, readonly=True)) as store:
        assert store.integrity() == [f"{name} is not a log's: drop it"]


@pytest.mark.parametrize("size", ["3.5", "299.5", "'abc'", "x'00'", "9e999", "-1"])
def test_a_head_with_another_size_than_a_number_is_damaged(path: Path, size: str) -> None:
    SqliteStore(path, create=True).close()
    run(path, f"INSERT OR REPLACE INTO head VALUES (1, {size}, zeroblob(32), NULL)")  # noqa: S608
    for readonly in (False, True):
        with pytest.raises(DamagedStoreError, match="the head is damaged"):
            SqliteStore(path, readonly=readonly).head()
    run(path, "DELETE FROM head")
    SqliteStore(path).close()  # the lock was let go


@pytest.mark.parametrize("size", [True, 3.0, "3", -1, 2**63])
def test_a_head_has_a_size(size: Any) -> None:
    with pytest.raises(ValueError, match="size is an integer"):
        Head(size)


def test_text_in_a_row_that_is_not_utf8_is_damage(path: Path) -> None:
    with closing(SqliteStore(path, create=True)) as store:
        put(store, entries_of(0, 10))
        run(path, "UPDATE entries SET bytes = CAST(x'ff' AS TEXT) WHERE i = 5")
        with pytest.raises(DamagedStoreError, match="cannot be read"):
            store.entries(0, 10)


# --- readers ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def writer(path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(path, create=True)
    yield store
    store.close()


def test_a_reader_sees_what_is_committed_while_the_writer_writes(path: Path, writer: SqliteStore) -> None:
    put(writer, entries_of(0, 300))
    with closing(SqliteStore(path, readonly=True)) as reader, closing(SqliteStore(path, readonly=True)) as another:
        assert reader.entries(0, 300) == entries_of(0, 300)
        with writer._database.transaction() as sql:
            sql.execute("INSERT INTO entries VALUES (300, x'00')")
            assert reader.entries(0, 1000) == entries_of(0, 300)
            sql.execute("DELETE FROM entries WHERE i = 300")
        head = put(writer, entries_of(300, 600))
        for one in (reader, another):
            assert one.head() == head
            assert one.entries(0, 1000) == entries_of(0, 600)
            assert one.tile(0, 1) == writer.tile(0, 1)
            assert (one.strays(), one.integrity()) == ([], [])


def test_a_reader_writes_nothing(path: Path, writer: SqliteStore) -> None:
    put(writer, entries_of(0, 300))
    wal = path.with_name(path.name + "-wal")
    with closing(SqliteStore(path, readonly=True)) as reader:
        with pytest.raises(StateError, match="opened for reading only"):
            put(reader, entries_of(300, 301))
        assert reader._database.query("PRAGMA wal_autocheckpoint") == [(0,)]
        with pytest.raises(StoreError, match="readonly"):
            reader._database.query("DELETE FROM entries")
        before = path.read_bytes(), wal.read_bytes()
        reader.entries(0, 300)
    assert (path.read_bytes(), wal.read_bytes()) == before
    assert len(before[1]) > 0


LEFT_BY_A_CRASH = """
import os, sys
from pathlib import Path
from ledger import SqliteStore
from tests.ledger.stores import entries_of, new_log, put
put(SqliteStore(Path(sys.argv[1]), create=True), entries_of(0, 300))
os._exit(9)
"""


def test_the_last_reader_after_a_crashed_writer_runs_no_wal_checkpoint(path: Path) -> None:
    command = [sys.executable, "-c", LEFT_BY_A_CRASH, str(path)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 9
    files = (path, path.with_name(path.name + "-wal"))
    before = [hashlib.sha256(file.read_bytes()).digest() for file in files]
    with closing(SqliteStore(path, readonly=True)) as reader:
        assert reader.entries(0, 300) == entries_of(0, 300)
    assert [hashlib.sha256(file.read_bytes()).digest() for file in files] == before
    with closing(SqliteStore(path, create=True)) as store:
        assert store.entries(0, 300) == entries_of(0, 300)


def test_a_reader_needs_a_file_that_is_up_to_date(path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        SqliteStore(path, readonly=True)
    assert not path.exists()
    old_file(path, 300)
    with pytest.raises(StoreError, match="open it for writing first"):
        SqliteStore(path, readonly=True)
    SqliteStore(path, create=True).close()
    SqliteStore(path, readonly=True).close()
    assert SqliteStore(path, readonly=True).path == path


def test_a_log_over_a_reader_is_not_misled_by_its_writer(path: Path, writer: SqliteStore) -> None:
    """The writer goes on between a reader's look at the head and at what is beyond it."""
    federation = Federation(writer)
    federation.grow(300)

    class Behind(SqliteStore):
        def entries(self, start: int, stop: int) -> list[bytes]:
            if start == 300:
                federation.grow(1)
            return super().entries(start, stop)

    with closing(Behind(path, readonly=True)) as reader:
        log = new_log(reader)
        assert (log.size, federation.log.size) == (300, 301)
        with pytest.raises(StateError, match="reading only"):
            log.append(b"more")
        assert log.entry(299) == b"entry 299"


# --- its own checks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["'text'", "x''", "zeroblob(65536)", "7", "1.5"])
def test_rows_that_are_no_entries_are_refused(path: Path, data: str) -> None:
    with closing(SqliteStore(path, create=True)) as store:
        put(store, entries_of(0, 5))
        run(path, f"UPDATE entries SET bytes = {data} WHERE i = 3")  # noqa: S608
        with pytest.raises(DamagedStoreError, match="entry 3 is damaged"):
            store.entries(0, 5)
        assert store.entries(0, 3) == entries_of(0, 3)


@pytest.mark.parametrize("data", ["'text'", "x''", "zeroblob(8191)", "7"])
def test_rows_that_are_no_tiles_are_refused(path: Path, data: str) -> None:
    with closing(SqliteStore(path, create=True)) as store:
        put(store, entries_of(0, 256))
        run(path, f"UPDATE tiles SET bytes = {data}")  # noqa: S608
        with pytest.raises(DamagedStoreError, match="tile 0 of level 0 is damaged"):
            store.tile(0, 0)


@pytest.mark.parametrize("change", ["size = 'ten'", "size = -1", "root = x'00'", "root = 'text'", "checkpoint = x''"])
def test_a_row_that_is_no_head_is_refused(path: Path, change: str) -> None:
    with closing(SqliteStore(path, create=True)) as store:
        put(store, entries_of(0, 256))
        run(path, f"UPDATE head SET {change}")  # noqa: S608
        with pytest.raises(DamagedStoreError, match="the head is damaged"):
            store.head()


def test_strays_are_what_no_head_covers(path: Path) -> None:
    with closing(SqliteStore(path, create=True)) as store:
        put(store, entries_of(0, 600))
        assert store.strays() == []
        run(
            path,
            "INSERT INTO entries VALUES (-5, x'00')",
            "INSERT INTO entries VALUES (700, x'00')",
            "INSERT INTO tiles VALUES (0, 2, x'00')",
            "INSERT INTO tiles VALUES (1, 0, x'00')",
            "INSERT INTO tiles VALUES (-1, 0, x'00')",
            "INSERT INTO tiles VALUES (7, 0, x'00')",
            "INSERT INTO tiles VALUES ('text', 0, x'00')",
        )
        assert sorted(store.strays()) == [
            "entry -5", "entry 700", "tile 0 of level -1", "tile 0 of level 1", "tile 0 of level 7",
            "tile 0 of level text", "tile 2 of level 0",
        ]  # fmt: skip
        run(path, "DELETE FROM head")
        assert "entry 0" in store.strays()


def test_a_stray_in_the_way_of_an_append_is_not_overwritten(path: Path) -> None:
    for statement in ("INSERT INTO entries VALUES (2, x'00')", "INSERT INTO tiles VALUES (0, 0, x'00')"):
        with closing(SqliteStore(path, create=True)) as store:
            size = put(store, entries_of(0, 1)).size
            run(path, statement)
            with pytest.raises(StoreError, match="UNIQUE"):
                put(store, entries_of(size, size + 300))
            with pytest.raises(StoreError, match="open it again"):
                store.head()
        path.unlink()


def test_the_checks_of_sqlite_find_an_index_that_lacks_rows(path: Path) -> None:
    with closing(SqliteStore(path, create=True)) as store:
        put(store, entries_of(0, 600))
        assert store.integrity() == []
    # A second index, empty, in the place of the one that SQLite made.
    with closing(sqlite3.connect(path, isolation_level=None)) as sql:
        sql.execute("PRAGMA writable_schema=ON")
        sql.execute("CREATE TABLE other (level, i)")
        sql.execute("CREATE INDEX empty ON other (level, i)")
        (root,) = sql.execute("SELECT rootpage FROM sqlite_master WHERE name = 'empty'").fetchone()
        sql.execute("UPDATE sqlite_master SET rootpage = ? WHERE name = 'sqlite_autoindex_tiles_1'", (root,))
    with closing(SqliteStore(path, readonly=True)) as store:
        assert any("missing from index sqlite_autoindex_tiles_1" in problem for problem in store.integrity())
