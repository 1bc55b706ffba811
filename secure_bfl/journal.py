"""What a party has promised, durably, before it does it.

A claim ties a name ("update/<genesis>/<round>", "aggregate/<joint key>/<round>") to one value, once and for ever. The
answer that rests on a claim leaves only after the claim is on disk, so a crash can make a party repeat an answer but
never give a second one.
"""

from pathlib import Path
from typing import Any, Protocol

from ledger import DamagedStoreError
from ledger.sqlite import Database

from .errors import StateError

__all__ = ["Journal", "MemoryJournal", "SqliteJournal"]


class Journal(Protocol):
    """Single-use claims."""

    def claim(self, name: str, value: bytes) -> None:
        """Tie `name` to `value` durably; the same pair again is fine.

        Raises:
            StateError: the name is tied to another value.
        """
        ...

    def get(self, name: str) -> bytes | None:
        """The value of a claim, or None."""
        ...

    def count(self, prefix: str) -> int:
        """How many claims have names with this prefix."""
        ...


def _conflict(name: str) -> StateError:
    return StateError(f"{name} was claimed before with another value; it is single-use and is not done again")


class MemoryJournal:
    """Claims in memory: for tests and simulations, where nothing outlives the process."""

    def __init__(self) -> None:
        self._claims: dict[str, bytes] = {}

    def claim(self, name: str, value: bytes) -> None:
        """See `Journal`."""
        if self._claims.setdefault(name, bytes(value)) != value:
            raise _conflict(name)

    def get(self, name: str) -> bytes | None:
        """See `Journal`."""
        return self._claims.get(name)

    def count(self, prefix: str) -> int:
        """See `Journal`."""
        return sum(name.startswith(prefix) for name in self._claims)


class SqliteJournal:
    """Claims in an SQLite file, on disk before `claim` returns."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        with self._database.transaction() as sql:
            sql.execute("CREATE TABLE IF NOT EXISTS claims (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")

    def claim(self, name: str, value: bytes) -> None:
        """See `Journal`."""
        with self._database.transaction() as sql:
            sql.execute("INSERT INTO claims VALUES (?, ?) ON CONFLICT DO NOTHING", (name, value))
            kept = self._only(sql.execute("SELECT value FROM claims WHERE name = ?", (name,)).fetchall(), name)
            if kept != value:
                raise _conflict(name)

    def get(self, name: str) -> bytes | None:
        """See `Journal`."""
        rows = self._database.query("SELECT value FROM claims WHERE name = ?", (name,))
        return self._only(rows, name) if rows else None

    def count(self, prefix: str) -> int:
        """See `Journal`."""
        rows = self._database.query("SELECT count(*) FROM claims WHERE substr(name, 1, ?) = ?", (len(prefix), prefix))
        return int(rows[0][0])

    def _only(self, rows: list[Any], name: str) -> bytes:
        """The value in the one row that a claim has."""
        match rows:
            case [(bytes(value),)]:
                return value
        raise DamagedStoreError(
            f"{self._database.path}: the claim of {name} is damaged; leave the file as it is and restore a copy"
        )

    def close(self) -> None:
        """Close the file."""
        self._database.close()
