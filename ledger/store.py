"""Where a log keeps its entries and its head: in memory, or in one SQLite file.

Both stores pass the same tests. The SQLite file is the log's own write-ahead log; the published tiles are made from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .checkpoint import MAX_SIZE
from .entry import MAX_ENTRY
from .errors import StateError, StoreError
from .locking import WriterLock
from .merkle import EMPTY_ROOT, HASH_SIZE
from .note import MAX_NOTE
from .octets import is_octets
from .sqlite import Database

__all__ = ["Head", "MemoryStore", "SqliteStore", "Store"]


@dataclass(frozen=True, slots=True)
class Head:
    """Size and root over all stored entries, and the latest certified note. Shapes: root 32 bytes."""

    size: int = 0
    root: bytes = EMPTY_ROOT
    checkpoint: bytes | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_SIZE:
            raise ValueError("a head's size is in [0, 2^63 - 1]")
        if not is_octets(self.root, HASH_SIZE):
            raise ValueError(f"a head's root is {HASH_SIZE} bytes")
        if self.checkpoint is not None and not is_octets(self.checkpoint, 1, MAX_NOTE):
            raise ValueError(f"a head's checkpoint is a note of at most {MAX_NOTE} bytes")


class Store(Protocol):
    """What a log needs of its storage. One writer at a time."""

    def head(self) -> Head:
        """The head of the last committed append; an empty one before the first."""
        ...

    def append(self, entries: Sequence[bytes], head: Head) -> None:
        """Add entries at the end and replace the head, in one durable step or not at all."""
        ...

    def entries(self, start: int, stop: int) -> list[bytes]:
        """The stored entries [start, stop), in order; fewer if the store holds fewer."""
        ...

    def close(self) -> None:
        """Let go of the storage; closing twice does nothing."""
        ...


class MemoryStore:
    """Entries in memory: for tests and simulations, where nothing outlives the process."""

    def __init__(self) -> None:
        self._entries: list[bytes] = []
        self._head = Head()
        self._closed = False

    def head(self) -> Head:
        """See `Store`."""
        self._check_open()
        return self._head

    def append(self, entries: Sequence[bytes], head: Head) -> None:
        """See `Store`."""
        self._check_open()
        _check_append(len(self._entries), entries, head)
        self._entries.extend(entries)
        self._head = head

    def entries(self, start: int, stop: int) -> list[bytes]:
        """See `Store`."""
        self._check_open()
        return self._entries[max(start, 0) : max(stop, 0)]

    def close(self) -> None:
        """See `Store`."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StateError("the store is closed")


class SqliteStore:
    """Entries and head in an SQLite file, synced to disk before `append` returns.

    One writing process: a second one is refused by the lock file `<path>.lock`. The writing connection alone runs
    SQLite's WAL checkpoints. After a failed write the store refuses all work until it is opened anew.

    Raises:
        StoreError: another process writes it, or the file cannot be opened or is damaged.
    """

    def __init__(self, path: Path) -> None:
        path = Path(path)
        self._lock = WriterLock(path.with_name(path.name + ".lock"))
        try:
            self._database = Database(path)
        except StoreError:
            self._lock.release()
            raise
        try:
            self._database.require_tables(
                head="id INTEGER PRIMARY KEY CHECK (id = 1), size INTEGER NOT NULL, "
                "root BLOB NOT NULL, checkpoint BLOB",
                entries="i INTEGER PRIMARY KEY, bytes BLOB NOT NULL",
            )
        except StoreError:
            self.close()
            raise

    def head(self) -> Head:
        """See `Store`."""
        rows = self._database.query("SELECT size, root, checkpoint FROM head WHERE id = 1")
        if not rows:
            return Head()
        try:
            return Head(*rows[0])
        except (TypeError, ValueError) as exc:
            raise StoreError(f"{self._database.path}: the head is damaged ({exc}): restore a copy") from exc

    def append(self, entries: Sequence[bytes], head: Head) -> None:
        """See `Store`."""
        before = self.head().size
        _check_append(before, entries, head)
        with self._database.transaction() as sql:
            sql.executemany("INSERT INTO entries VALUES (?, ?)", enumerate(entries, start=before))
            sql.execute("INSERT OR REPLACE INTO head VALUES (1, ?, ?, ?)", (head.size, head.root, head.checkpoint))

    def entries(self, start: int, stop: int) -> list[bytes]:
        """See `Store`."""
        rows = self._database.query("SELECT i, bytes FROM entries WHERE i >= ? AND i < ? ORDER BY i", (start, stop))
        for expected, (index, data) in enumerate(rows, start=max(start, 0)):
            if index != expected:
                raise StoreError(f"{self._database.path}: entry {expected} is missing: restore a copy")
            if not is_octets(data, 1, MAX_ENTRY):
                raise StoreError(f"{self._database.path}: entry {index} is damaged: restore a copy")
        return [data for _, data in rows]

    def close(self) -> None:
        """See `Store`."""
        self._database.close()
        self._lock.release()


def _check_append(before: int, entries: Sequence[bytes], head: Head) -> None:
    if not all(is_octets(entry, 1, MAX_ENTRY) for entry in entries):
        raise ValueError(f"an entry has 1 to {MAX_ENTRY} bytes")
    if head.size != before + len(entries):
        raise ValueError(f"{len(entries)} entries after {before} do not make a head of size {head.size}")
