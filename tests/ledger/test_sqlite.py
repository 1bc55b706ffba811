"""The SQLite file: what it says when SQLite refuses."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ledger import SqliteWitnessStore, StateError, StoreError
from ledger.sqlite import Database, _leave_write_ahead_log


def _database(path: Path) -> Database:
    database = Database(path)
    database.require_tables(things="i INTEGER PRIMARY KEY")
    return database


def test_a_transaction_is_whole_or_undone(tmp_path: Path) -> None:
    database = _database(tmp_path / "a.db")

    def interrupted() -> None:
        with database.transaction() as sql:
            sql.execute("INSERT INTO things VALUES (1)")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert database.query("SELECT i FROM things") == []
    with database.transaction() as sql:
        sql.execute("INSERT INTO things VALUES (2)")
    assert database.query("SELECT i FROM things") == [(2,)]
    database.close()
    with pytest.raises(StateError, match="closed"):
        database.query("SELECT i FROM things")


def test_a_rollback_that_fails_poisons(tmp_path: Path) -> None:
    database = _database(tmp_path / "a.db")

    class Broken:
        in_transaction = True

        def execute(self, _: str) -> None:
            raise sqlite3.OperationalError("disk I/O error")

    database._undo(Broken())  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="close it and open it again"):
        database.query("SELECT i FROM things")
    database.close()


def test_a_busy_file_is_said_and_can_be_tried_again(tmp_path: Path) -> None:
    database = _database(tmp_path / "a.db")
    database.query("PRAGMA busy_timeout = 0")
    rival = sqlite3.connect(tmp_path / "a.db", isolation_level=None)
    rival.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="another process is writing it: try again"), database.transaction():
        raise AssertionError("the transaction must not begin")
    rival.execute("ROLLBACK")
    rival.close()
    with database.transaction() as sql:
        sql.execute("INSERT INTO things VALUES (1)")
    database.close()


def test_statements_that_fail_are_said(tmp_path: Path) -> None:
    database = _database(tmp_path / "a.db")
    for arguments in ((2**70,), (object(),)):
        with pytest.raises(StoreError, match="cannot be read"):
            database.query("SELECT i FROM things WHERE i = ?", arguments)
    database.close()


def test_a_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    _database(tmp_path / "a.db").close()
    with pytest.raises(StoreError, match="lacks the table state"):
        SqliteWitnessStore(tmp_path / "a.db")
    (tmp_path / "b.db").mkdir()
    with pytest.raises(StoreError, match="cannot be opened"):
        Database(tmp_path / "b.db")


# Several processes that write one file


def _mode(database: Database) -> tuple[str, int]:
    """Journal mode, and what it syncs: 2 is FULL, 3 EXTRA."""
    return database.query("PRAGMA journal_mode")[0][0], database.query("PRAGMA synchronous")[0][0]


def _add(database: Database, number: int) -> None:
    with database.transaction() as sql:
        sql.execute("INSERT INTO things VALUES (?)", (number,))


def _things(database: Database) -> list[int]:
    return [row[0] for row in database.query("SELECT i FROM things ORDER BY i")]


def test_one_writer_has_a_write_ahead_log_and_several_have_none(tmp_path: Path) -> None:
    database = _database(tmp_path / "a.db")
    assert _mode(database) == ("wal", 2)
    shared = Database(tmp_path / "b.db", shared=True)
    shared.require_tables(things="i INTEGER PRIMARY KEY")
    assert _mode(shared) == ("delete", 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db", "a.db-shm", "a.db-wal", "b.db"]
    database.close()
    shared.close()


def test_a_write_ahead_log_is_converted_when_nobody_else_has_it_open(tmp_path: Path) -> None:
    old = _database(tmp_path / "a.db")
    _add(old, 1)
    shared = Database(tmp_path / "a.db", shared=True)  # beside a process of an earlier version: as it was
    assert _mode(shared) == ("wal", 3)
    _add(shared, 2)
    _add(old, 3)
    assert _things(shared) == _things(old) == [1, 2, 3]
    old.close()
    one = Database(tmp_path / "a.db", shared=True)
    assert _mode(one)[0] == "wal"
    shared.close()
    one.close()
    one, other = (Database(tmp_path / "a.db", shared=True) for _ in range(2))
    assert _mode(one) == _mode(other) == ("delete", 3)
    _add(one, 4)
    _add(other, 5)
    assert _things(one) == _things(other) == [1, 2, 3, 4, 5]
    assert [path.name for path in tmp_path.iterdir()] == ["a.db"]
    one.close()
    other.close()


def test_what_was_killed_before_it_was_converted_is_kept(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from ledger.sqlite import Database, _leave_write_ahead_log\n"
        "database = Database(Path(sys.argv[1])); database.require_tables(things='i INTEGER PRIMARY KEY')\n"
        "with database.transaction() as sql: sql.execute('INSERT INTO things VALUES (7)')\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.db")], check=False)
    assert (tmp_path / "a.db-wal").stat().st_size > 0
    shared = Database(tmp_path / "a.db", shared=True)
    assert _mode(shared)[0] == "delete"
    assert _things(shared) == [7]
    shared.close()


def test_another_failure_of_the_conversion_is_said() -> None:
    class Broken:
        def execute(self, _: str) -> None:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error

    with pytest.raises(sqlite3.OperationalError, match="disk I/O"):
        _leave_write_ahead_log(Broken())  # type: ignore[arg-type]


def test_a_reader_does_not_undo_what_a_killed_writer_left(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    shared = Database(path, shared=True)
    shared.require_tables(things="i INTEGER PRIMARY KEY", more="b BLOB")
    _add(shared, 1)
    shared.close()
    script = (
        "import os, sqlite3, sys; sql = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "sql.execute('PRAGMA cache_size=1'); sql.execute('BEGIN IMMEDIATE'); sql.execute('DELETE FROM things')\n"
        "sql.execute('INSERT INTO more VALUES (zeroblob(1000000))'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    left = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    assert "a.db-journal" in left
    reader = Database(path, readonly=True, shared=True)
    with pytest.raises(StoreError, match="whoever opens it for writing undoes that"):
        reader.query("SELECT i FROM things")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == left
    writer = Database(path, shared=True)
    assert _things(writer) == _things(reader) == [1]
    writer.close()
    reader.close()
