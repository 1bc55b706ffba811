"""One SQLite file, written so that what was committed survives a crash: the only importer of sqlite3.

With one writer: write-ahead log, `synchronous=FULL`. With several: rollback journal, `synchronous=EXTRA`, as SQLite
before 3.51.3 can lose commits where two connections run WAL checkpoints (readers never run them here). No memory map.
After a failed commit the connection refuses all work until it is opened anew, because after a failed sync nobody knows
which pages are on disk.
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
# So the sqlite3 module says that a text in a row is not UTF-8, and gives it no error code of SQLite.
_NOT_TEXT: Final = "Could not decode to UTF-8"
_WRITING: Final = ("journal_mode=WAL", "synchronous=FULL", "fullfsync=ON")
_SHARED: Final = ("synchronous=EXTRA", "fullfsync=ON")
_READING: Final = ("query_only=ON", "wal_autocheckpoint=0")


class Database:
    """A connection to one SQLite file. One thread at a time.

    With `shared` other processes may write the file too. One that was written without is converted when it is opened by
    one process alone; until then it is a write-ahead log as before.

    With `readonly` it sees what is committed, and writes nothing: no table, no row, no WAL checkpoint, and it makes no
    file where none is. Beside a write-ahead log it needs write access to the folder all the same, for SQLite's `-shm`
    file.

    Raises:
        StoreError: the file cannot be opened, or is damaged.
    """

    def __init__(self, path: Path, *, readonly: bool = False, shared: bool = False) -> None:
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
            pragmas = _READING if readonly else _SHARED if shared else _WRITING
            for pragma in (*pragmas, "mmap_size=0", "trusted_schema=OFF"):
                self._sql.execute(f"PRAGMA {pragma}").fetchall()
            if shared and not readonly:
                _leave_write_ahead_log(self._sql)
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
        elif (
            isinstance(exc, UnicodeDecodeError)
            or str(exc).startswith(_NOT_TEXT)
            or (code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))
        ):
            return DamagedStoreError(f"{self.path} {what} ({exc}): it is damaged; leave it as it is and restore a copy")
        elif code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            advice = "another process is writing it: try again"
        elif self.readonly and code is not None and code & 0xFF == sqlite3.SQLITE_READONLY:
            advice = "a write was interrupted; whoever opens it for writing undoes that"
        return StoreError(f"{self.path} {what} ({exc}): {advice}")


def _leave_write_ahead_log(sql: Connection) -> None:
    """Go over to a rollback journal, unless another connection has the file open."""
    try:
        sql.execute("PRAGMA journal_mode=DELETE").fetchall()
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
