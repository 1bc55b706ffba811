"""The SQLite file: what it says when SQLite refuses."""

import sqlite3
from pathlib import Path

import pytest

from ledger import SqliteWitnessStore, StateError, StoreError
from ledger.sqlite import Database


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
