"""Where a log keeps its entries, its full tiles and its head: in memory, or in one SQLite file.

All stores pass the same tests. The SQLite file is the log's own write-ahead log; what is published is made from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from .checkpoint import MAX_SIZE
from .entry import MAX_ENTRY
from .errors import DamagedStoreError, StateError, StoreError
from .locking import WriterLock
from .merkle import EMPTY_ROOT, HASH_SIZE, leaf_hash
from .note import MAX_NOTE
from .octets import is_octets
from .sqlite import Connection, Database
from .tile import MAX_TILE
from .tiled import TiledTree, completed_tiles

__all__ = ["Head", "MemoryStore", "SqliteStore", "Store", "check_append"]

SCHEMA_VERSION: Final = 1
"""Version of the SQLite schema, kept as its `user_version`. Version 0 had no tiles."""
_TABLES: Final = {
    "head": "id INTEGER PRIMARY KEY CHECK (id = 1), size INTEGER NOT NULL, root BLOB NOT NULL, checkpoint BLOB",
    "entries": "i INTEGER PRIMARY KEY, bytes BLOB NOT NULL",
    "tiles": "level INTEGER NOT NULL, i INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (level, i)",
}
_READ: Final = 1024


@dataclass(frozen=True, slots=True)
class Head:
    """Size and root over all stored entries, and the latest certified note. Shapes: root 32 bytes."""

    size: int = 0
    root: bytes = EMPTY_ROOT
    checkpoint: bytes | None = None

    def __post_init__(self) -> None:
        if type(self.size) is not int or not 0 <= self.size <= MAX_SIZE:
            raise ValueError("a head's size is an integer in [0, 2^63 - 1]")
        if not is_octets(self.root, HASH_SIZE):
            raise ValueError(f"a head's root is {HASH_SIZE} bytes")
        if self.checkpoint is not None and not is_octets(self.checkpoint, 1, MAX_NOTE):
            raise ValueError(f"a head's checkpoint is a note of at most {MAX_NOTE} bytes")


class Store(Protocol):
    """What a log needs of its storage. One writer at a time."""

    def head(self) -> Head:
        """The head of the last committed append; an empty one before the first."""
        ...

    def append(self, entries: Sequence[bytes], tiles: Mapping[tuple[int, int], bytes], head: Head) -> None:
        """Add entries at the end, keep the full tiles they complete, replace the head: one durable step or nothing.

        `tiles` maps (level, number) to 8192 bytes. When this returns, all of it survives a crash.

        Raises:
            ValueError: entries, tiles and head do not fit together (`check_append`); nothing was written.
            StateError: closed, or opened for reading only; nothing was written.
            StoreError: the storage failed; whether anything was written shows when the store is opened again.
        """
        ...

    def entries(self, start: int, stop: int) -> list[bytes]:
        """The stored entries [start, stop), in order; fewer if the store holds fewer."""
        ...

    def tile(self, level: int, index: int) -> bytes | None:
        """The 8192 bytes of a full tile, or None if it is not kept."""
        ...

    def strays(self) -> list[str]:
        """Names of entries and tiles that the head does not cover; some, if there are many.

        Either they were never acknowledged, or the head is not the latest.
        """
        ...

    def close(self) -> None:
        """Let go of the storage; closing twice does nothing."""
        ...


class MemoryStore:
    """Entries in memory: for tests and simulations, where nothing outlives the process."""

    def __init__(self) -> None:
        self._entries: list[bytes] = []
        self._tiles: dict[tuple[int, int], bytes] = {}
        self._head = Head()
        self._closed = False

    def head(self) -> Head:
        """See `Store`."""
        self._check_open()
        return self._head

    def append(self, entries: Sequence[bytes], tiles: Mapping[tuple[int, int], bytes], head: Head) -> None:
        """See `Store`."""
        self._check_open()
        check_append(len(self._entries), entries, tiles, head)
        self._entries.extend(entries)
        self._tiles.update(tiles)
        self._head = head

    def entries(self, start: int, stop: int) -> list[bytes]:
        """See `Store`."""
        self._check_open()
        return self._entries[max(start, 0) : max(stop, 0)]

    def tile(self, level: int, index: int) -> bytes | None:
        """See `Store`."""
        self._check_open()
        return self._tiles.get((level, index))

    def strays(self) -> list[str]:
        """See `Store`: there never are any."""
        return []

    def close(self) -> None:
        """See `Store`."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StateError("the store is closed")


class SqliteStore:
    """Entries, tiles and head in an SQLite file, synced to disk before `append` returns.

    A file that is missing, or empty, is refused: a disk that is not mounted must not look like a new log, which would
    sign a second root for a size. With `create` it is made; one that is there is opened as it is. So `create` is for
    a log's first start, and only for that.

    One writing process: a second one is refused by the lock file `<path>.lock`, through symbolic links too. The
    writing connection alone runs SQLite's WAL checkpoints. After a failed write the store refuses all work until it is
    opened anew. A file of an earlier version is brought up to date when it is opened for writing.

    With `readonly`, beside a writer or without: takes no lock, changes nothing, sees what is committed.

    Raises:
        ValueError: `create` with `readonly`.
        StoreError: another process writes it, or the file is missing, cannot be opened, is damaged, has triggers or
            views, or is of another version.
    """

    def __init__(self, path: Path, *, create: bool = False, readonly: bool = False) -> None:
        path = Path(path)
        if create and readonly:
            raise ValueError("a store that is opened for reading only is not created")
        if not create and not readonly and not path.exists():
            raise StoreError(_no_log(path))
        self._create = create
        self._lock = None if readonly else WriterLock.beside(path)
        try:
            self._database = Database(path, readonly=readonly)
        except StoreError:
            self._release()
            raise
        try:
            self._check_schema()
            self._last = Head() if readonly else self.head()
        except StoreError:
            self.close()
            raise

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._database.path

    def head(self) -> Head:
        """See `Store`."""
        rows = self._database.query("SELECT size, root, checkpoint FROM head WHERE id = 1")
        if not rows:
            return Head()
        try:
            return Head(*rows[0])
        except (TypeError, ValueError) as exc:
            raise DamagedStoreError(f"{self.path}: the head is damaged ({exc}): restore a copy") from exc

    def append(self, entries: Sequence[bytes], tiles: Mapping[tuple[int, int], bytes], head: Head) -> None:
        """See `Store`."""
        if self._database.readonly:
            raise StateError(f"{self.path} was opened for reading only")
        before = self._last.size
        check_append(before, entries, tiles, head)
        with self._database.transaction() as sql:
            if self.head() != self._last:
                raise StoreError(f"{self.path}: another process has written it since: stop one, open it again")
            sql.executemany("INSERT INTO entries VALUES (?, ?)", enumerate(entries, start=before))
            _write_tiles(sql, tiles)
            sql.execute("INSERT OR REPLACE INTO head VALUES (1, ?, ?, ?)", (head.size, head.root, head.checkpoint))
        self._last = head

    def entries(self, start: int, stop: int) -> list[bytes]:
        """See `Store`."""
        rows = self._database.query("SELECT i, bytes FROM entries WHERE i >= ? AND i < ? ORDER BY i", (start, stop))
        for expected, (index, data) in enumerate(rows, start=max(start, 0)):
            if index != expected:
                raise DamagedStoreError(f"{self.path}: entry {expected} is missing: restore a copy")
            if not is_octets(data, 1, MAX_ENTRY):
                raise DamagedStoreError(f"{self.path}: entry {index} is damaged: restore a copy")
        return [data for _, data in rows]

    def tile(self, level: int, index: int) -> bytes | None:
        """See `Store`."""
        rows = self._database.query("SELECT bytes FROM tiles WHERE level = ? AND i = ?", (level, index))
        if not rows:
            return None
        if not is_octets(rows[0][0], MAX_TILE):
            raise DamagedStoreError(f"{self.path}: tile {index} of level {level} is damaged: not {MAX_TILE} bytes")
        return bytes(rows[0][0])

    def close(self) -> None:
        """See `Store`."""
        self._database.close()
        self._release()

    def integrity(self) -> list[str]:
        """What SQLite's own check of its file finds wrong, at most 100 findings, and what is no table of a log.

        It reads the whole file.
        """
        found = [str(row[0]) for row in self._database.query("PRAGMA integrity_check(100)")]
        return [*([] if found == ["ok"] else found), *(f"{name} is not a log's: drop it" for name in self._foreign())]

    def strays(self) -> list[str]:
        """See `Store`: at most 100 of each table. A level or number that is none is named by its type."""
        # One statement sees one commit: a writer beside this reader moves the head with its rows.
        entries = self._database.query(
            "SELECT i FROM entries WHERE i < 0 OR i >= coalesce((SELECT size FROM head WHERE id = 1), 0) LIMIT 100"
        )
        tiles = self._database.query(
            "SELECT CASE typeof(level) WHEN 'integer' THEN level ELSE typeof(level) END, "
            "CASE typeof(i) WHEN 'integer' THEN i ELSE typeof(i) END FROM tiles "
            "WHERE typeof(level) <> 'integer' OR typeof(i) <> 'integer' "
            "OR level NOT BETWEEN 0 AND 6 OR i < 0 "
            "OR i >= (coalesce((SELECT size FROM head WHERE id = 1), 0) >> (8 * (level + 1))) LIMIT 100"
        )
        return [*(f"entry {row[0]}" for row in entries), *(f"tile {row[1]} of level {row[0]}" for row in tiles)]

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _check_schema(self) -> None:
        database = self._database
        version = database.query("PRAGMA user_version")[0][0]
        if not 0 <= version <= SCHEMA_VERSION:
            raise StoreError(
                f"{self.path} is of schema version {version}, this program knows {SCHEMA_VERSION}: use a newer program"
            )
        found = database.tables()
        if not found and not version and not self._create and not database.readonly:
            raise StoreError(_no_log(self.path))
        if not database.readonly and (foreign := self._foreign()):
            raise DamagedStoreError(f"{self.path} holds {', '.join(foreign)}, which no log has: drop it, run `fsck`")
        wanted = _TABLES.keys() if version else {"head", "entries"}
        if (found or version) and not wanted <= found:
            raise DamagedStoreError(
                f"{self.path} lacks the table {', '.join(sorted(wanted - found))}: it is damaged, or another "
                "program's; restore a copy"
            )
        if not version and "tiles" in found:
            raise DamagedStoreError(f"{self.path} has lost its schema version: restore a copy")
        if version == SCHEMA_VERSION:
            return
        if database.readonly:
            raise StoreError(f"{self.path} holds no log of schema version {SCHEMA_VERSION}: open it for writing first")
        with database.transaction() as sql:
            for table, columns in _TABLES.items():
                if table not in found:
                    sql.execute(f"CREATE TABLE {table} ({columns})")
            self._make_tiles(sql)
            sql.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _foreign(self) -> list[str]:
        """What the schema holds beside a log's tables and the indexes SQLite makes for them, at most 100."""
        rows = self._database.query(
            "SELECT type || ' ' || quote(name) FROM sqlite_master WHERE NOT (type = 'table' AND name IN (?, ?, ?)) "
            "AND NOT (type = 'index' AND sql IS NULL) LIMIT 100",
            tuple(_TABLES),
        )
        return [str(row[0]) for row in rows]

    def _make_tiles(self, sql: Connection) -> None:
        """Migrate from version 0, which kept no tiles: make them from the entries, which must be those of the head."""
        head, tree = self.head(), TiledTree(self.tile)
        while tree.size < head.size and (found := self.entries(tree.size, min(tree.size + _READ, head.size))):
            growth = tree.prepare([leaf_hash(entry) for entry in found])
            _write_tiles(sql, growth.tiles)
            tree.commit(growth)
        if (tree.size, tree.root()) != (head.size, head.root):
            raise DamagedStoreError(
                f"{self.path}: the stored entries are not those that were acknowledged: nothing was changed; leave the "
                "file as it is and restore a copy"
            )


def check_append(before: int, entries: Sequence[bytes], tiles: Mapping[tuple[int, int], bytes], head: Head) -> None:
    """Check that an append fits a store of `before` entries. Every `Store` does this before it writes.

    Raises:
        ValueError: an entry, the head's size or the set of tiles is not right.
    """
    if not all(is_octets(entry, 1, MAX_ENTRY) for entry in entries):
        raise ValueError(f"an entry has 1 to {MAX_ENTRY} bytes")
    if head.size != before + len(entries):
        raise ValueError(f"{len(entries)} entries after {before} do not make a head of size {head.size}")
    if tiles.keys() != completed_tiles(before, head.size) or not all(is_octets(t, MAX_TILE) for t in tiles.values()):
        raise ValueError(f"the tiles are not those of {MAX_TILE} bytes that entries {before} to {head.size} complete")


def _no_log(path: Path) -> str:
    return f"{path} holds no log: mount its disk or restore a copy; only for a new log, ask for the file to be made"


def _write_tiles(sql: Connection, tiles: Mapping[tuple[int, int], bytes]) -> None:
    sql.executemany("INSERT INTO tiles VALUES (?, ?, ?)", ((*key, data) for key, data in tiles.items()))
