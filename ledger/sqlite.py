"""One SQLite file, written so that what was committed survives a crash: the only importer of sqlite3.

Write-ahead log, `synchronous=FULL`, no memory map. After a failed commit the connection refuses all work until it is
opened anew, because after a failed sync nobody knows which pages are on disk.

SQLite before 3.51.3 can lose commits where two connections run WAL checkpoints: readers never run them here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from .errors import DamagedStoreError, StateError, StoreError

__all__ = ["Connection", "Database"]

Connection = sqlite3.Connection
"""What a transaction runs its statements on."""

# What the module raises on a failing or damaged file: the names in a damaged schema need not be UTF-8.
_FAILURES: Final = (sqlite3.Error, UnicodeDecodeError)
_WRITING: Final = ("journal_mode=WAL", "synchronous=FULL", "fullfsync=ON")
_READING: Final = ("query_only=ON", "wal_autocheckpoint=0")


class Database:
    """A connection to one SQLite file. One thread at a time.

    With `readonly` it sees what is committed, and writes nothing: no table, no row, no WAL checkpoint, and it makes no
    file where none is. It needs write access to the folder all the same, for SQLite's `-shm` file.

    Raises:
        StoreError: the file cannot be opened, or is damaged.
    """

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        self.path = Path(path)
        self.readonly = readonly
        self._failed = False
        place: Path | str = f"{self.path.absolute().as_uri()}?mode=ro" if readonly else self.path
        try:
            self._sql: Connection | None = sqlite3.connect(
                place, uri=readonly, isolation_level=None, timeout=10.0, check_same_thread=False
            )
        except _FAILURES as exc:
            raise self._error("cannot be opened", exc) from exc
        try:
            for pragma in (*(_READING if readonly else _WRITING), "mmap_size=0", "trusted_schema=OFF"):
                self._sql.execute(f"PRAGMA {pragma}").fetchall()
        except _FAILURES as exc:
            self.close()
            raise self._error("cannot be opened", exc) from exc

    def tables(self) -> set[str]:
        """The names of what the schema holds."""
        return {row[0] for row in self.query("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def require_tables(self, **tables: str) -> None:
        """Make the tables, each with its columns, if the file is new; if it holds anything, it must hold them all.

        Raises:
            StoreError: a table is missing in a file that is not new: it is damaged, or another program's.
        """
        found = {row[0] for row in self.query("SELECT name FROM sqlite_master")}
        if not found:
            with self.transaction() as sql:
                for name, columns in tables.items():
                    sql.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")
        elif not tables.keys() <= found:
            missing = ", ".join(sorted(tables.keys() - found))
            raise DamagedStoreError(
                f"{self.path} lacks the table {missing}: it is damaged, or another program's; restore a copy"
            )

    def query(self, statement: str, arguments: Sequence[object] = ()) -> list[Any]:
        """Run one reading statement and return its rows.

        Raises:
            StateError: closed.
            StoreError: SQLite failed, or a commit failed before.
        """
        sql = self._usable()
        try:
            return sql.execute(statement, tuple(arguments)).fetchall()
        except (*_FAILURES, OverflowError) as exc:
            raise self._error("cannot be read", exc) from exc

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Run statements in one transaction that is on disk when the block is left, or undone if it raises.

        Raises:
            StateError: closed, or opened for reading only.
            StoreError: SQLite failed; the database then refuses all work until it is opened anew.
        """
        sql = self._usable()
        if self.readonly:
            raise StateError(f"{self.path} was opened for reading only")
        try:
            sql.execute("BEGIN IMMEDIATE")
        except _FAILURES as exc:
            raise self._error("cannot be written", exc) from exc
        try:
            yield sql
            sql.execute("COMMIT")
        except _FAILURES as exc:
            self._failed = True
            self._undo(sql)
            raise self._error("was not written", exc) from exc
        except BaseException:
            self._undo(sql)
            raise

    def close(self) -> None:
        """Close the connection; closing twice does nothing."""
        if self._sql is not None:
            self._sql.close()
            self._sql = None

    def _usable(self) -> Connection:
        if self._sql is None:
            raise StateError(f"{self.path} is closed")
        if self._failed:
            raise StoreError(f"{self.path}: an earlier write failed; close it and open it again")
        return self._sql

    def _undo(self, sql: Connection) -> None:
        try:
            if sql.in_transaction:
                sql.execute("ROLLBACK")
        except _FAILURES:
            self._failed = True

    def _error(self, what: str, exc: Exception) -> StoreError:
        advice = "check the disk and the file's permissions, then open it again"
        code = getattr(exc, "sqlite_errorcode", None)
        if code is not None and code & 0xFF == sqlite3.SQLITE_FULL:
            advice = "the disk is full: free some space, then open it again; nothing acknowledged is lost"
        elif isinstance(exc, UnicodeDecodeError) or (
            code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
        ):
            return DamagedStoreError(f"{self.path} {what} ({exc}): it is damaged; leave it as it is and restore a copy")
        elif code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            advice = "another process is writing it: try again"
        return StoreError(f"{self.path} {what} ({exc}): {advice}")
