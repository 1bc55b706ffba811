"""A log's store in a PostgreSQL database with a synchronous standby (the extra `postgres`).

One schema holds one log: `head`, `entries` and `tiles` as in the SQLite file, and `schema_version`. An append is
acknowledged when it is on the disks of the primary and of a standby. One process writes: a session advisory lock
keeps a second one out, and `head.term`, raised by every opening, stops one that lost its session.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from struct import pack
from typing import Final, LiteralString

from ._postgres import Session
from .checkpoint import MAX_SIZE
from .entry import MAX_ENTRY
from .errors import DamagedStoreError, StateError, StoreError
from .merkle import HASH_SIZE
from .note import MAX_NOTE
from .octets import is_octets
from .store import Head, check_append
from .tile import MAX_LEVEL, MAX_TILE

__all__ = ["DEFAULT_SCHEMA", "SCHEMA_VERSION", "PostgresStore"]

DEFAULT_SCHEMA: Final = "secure_bfl_ledger"
_MIGRATIONS: Final[tuple[LiteralString, ...]] = (
    """
    CREATE TABLE {schema}.head (
        id integer PRIMARY KEY CHECK (id = 1), term bigint NOT NULL,
        size bigint NOT NULL, root bytea NOT NULL, checkpoint bytea
    );
    CREATE TABLE {schema}.entries (i bigint PRIMARY KEY, bytes bytea NOT NULL);
    CREATE TABLE {schema}.tiles (level integer, i bigint, bytes bytea NOT NULL, PRIMARY KEY (level, i));
    ALTER TABLE {schema}.tiles ALTER bytes SET STORAGE EXTERNAL;
    INSERT INTO {schema}.head VALUES (1, 0, 0, sha256(''), NULL)
    """,
)
SCHEMA_VERSION: Final = len(_MIGRATIONS)
"""Version of the tables that this code reads and writes, kept in `schema_version`."""
_NAME: Final = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,62}")
_TABLES: Final = 4


class PostgresStore:
    """Entries, full tiles and head in one schema of a PostgreSQL database.

    Run by: the sequencer, one process, one thread at a time.  `dsn` is a libpq connection string; with several hosts
    and `target_session_attrs=read-write` it follows a fail-over.  Units: `timeout` in seconds, for any one answer.

    A schema without a log is refused: a wrong DSN must not look like a new log, which would sign a second root for a
    size. With `create` the tables are made; a log that is there is opened as it is. So `create` is for a log's first
    start, and only for that.

    With `readonly`, beside a writer or on a standby: takes no lock, changes nothing, sees what is committed there.

    Guarantees: `append` returns after the transaction is on the primary's disk and, with `require_standby`, after a
    synchronous standby reported that it is on its disk too; so is all that a store opened for writing holds. In every
    other case it raises, and the store refuses all work until it is opened anew: its head says what was written.

    Raises:
        ValueError: the DSN, the schema's name or the timeout is none, or `create` with `readonly`.
        StoreError: no server answers; there is no log; another process writes; the server is a standby, does not sync,
            or has no synchronous standby; the tables are of another version.
        DamagedStoreError: the tables are not those of a log, or have triggers or rules.
    """

    def __init__(
        self,
        dsn: str,
        *,
        schema: str = DEFAULT_SCHEMA,
        require_standby: bool = True,
        create: bool = False,
        readonly: bool = False,
        timeout: float = 30.0,
    ) -> None:
        if not _NAME.fullmatch(schema):
            raise ValueError("a schema's name is 1 to 63 of a-z, 0-9 and _, without a digit or pg_ in front")
        if not 0.1 <= timeout <= 3600:
            raise ValueError("the timeout is between 0.1 and 3600 seconds")
        if create and readonly:
            raise ValueError("a store that is opened for reading only is not created")
        self._schema = schema
        self._readonly = readonly
        self._session = Session(dsn, schema, confirmed=require_standby, timeout=timeout)
        self._term = self._size = 0
        try:
            self._session.set_up(readonly=readonly)
            if not readonly:
                self._session.lock(int.from_bytes(sha256(b"ledger writer " + schema.encode()).digest()[:8], "big") >> 1)
            version = self._version()
            if not (version or create or readonly):
                raise StoreError(
                    f"{self._where} holds no log: check the DSN, or restore a copy; only for a new log, ask for its"
                    " tables to be made"
                )
            if not readonly:
                self._migrate(version)
                self._begin_term()
            elif version < SCHEMA_VERSION:
                raise StoreError(f"{self._where} holds no log of version {SCHEMA_VERSION}: open it for writing first")
        except BaseException:
            self.close()
            raise

    @property
    def _where(self) -> str:
        return self._session.where

    def head(self) -> Head:
        """See `Store`."""
        rows = self._session.query(
            "SELECT size, CASE WHEN octet_length(root) = %s THEN root END,"
            " CASE WHEN octet_length(checkpoint) > %s THEN '' ELSE checkpoint END FROM {schema}.head WHERE id = 1",
            (HASH_SIZE, MAX_NOTE),
        )
        try:
            return Head(*rows[0])
        except (IndexError, TypeError, ValueError) as exc:
            raise DamagedStoreError(f"{self._where}: the head is damaged ({exc}): restore a copy") from exc

    def append(self, entries: Sequence[bytes], tiles: Mapping[tuple[int, int], bytes], head: Head) -> None:
        """See `Store`."""
        self._session.usable()
        if self._readonly:
            raise StateError(f"{self._where} was opened for reading only")
        check_append(self._size, entries, tiles, head)
        session = self._session
        with session.transaction():
            replaced = session.change(
                "UPDATE {schema}.head SET size = %s, root = %s, checkpoint = %s"
                " WHERE id = 1 AND term = %s AND size = %s RETURNING id",
                (head.size, head.root, head.checkpoint, self._term, self._size),
            )
            if not replaced:
                raise StoreError(f"{self._where}: another process has opened it for writing since: stop this one")
            if entries:
                rows = (pack(">hiqi", 2, 8, i, len(data)) + data for i, data in enumerate(entries, start=self._size))
                session.copy("COPY {schema}.entries (i, bytes) FROM STDIN (FORMAT BINARY)", rows)
            if tiles:
                rows = (pack(">hiiiqi", 3, 4, level, 8, i, len(data)) + data for (level, i), data in tiles.items())
                session.copy("COPY {schema}.tiles (level, i, bytes) FROM STDIN (FORMAT BINARY)", rows)
        self._size = head.size

    def entries(self, start: int, stop: int) -> list[bytes]:
        """See `Store`."""
        start = max(start, 0)
        rows = self._session.query(
            "SELECT i, CASE WHEN octet_length(bytes) BETWEEN 1 AND %s THEN bytes END FROM {schema}.entries"
            " WHERE i >= %s AND i < %s ORDER BY i",
            (MAX_ENTRY, min(start, MAX_SIZE), max(0, min(stop, MAX_SIZE))),
        )
        for expected, (index, data) in enumerate(rows, start=start):
            if index != expected:
                raise DamagedStoreError(f"{self._where}: entry {expected} is missing: restore a copy")
            if not is_octets(data, 1, MAX_ENTRY):
                raise DamagedStoreError(f"{self._where}: entry {index} is damaged: restore a copy")
        return [data for _, data in rows]

    def tile(self, level: int, index: int) -> bytes | None:
        """See `Store`."""
        if not (0 <= level <= MAX_LEVEL and 0 <= index <= MAX_SIZE):
            return None
        rows = self._session.query(
            "SELECT CASE WHEN octet_length(bytes) = %s THEN bytes END FROM {schema}.tiles WHERE level = %s AND i = %s",
            (MAX_TILE, level, index),
        )
        if rows and not is_octets(rows[0][0], MAX_TILE):
            raise DamagedStoreError(f"{self._where}: tile {index} of level {level} is damaged: not {MAX_TILE} bytes")
        return bytes(rows[0][0]) if rows else None

    def strays(self) -> list[str]:
        """See `Store`: at most 100 of each table."""
        size = self.head().size
        entries = self._session.query(
            "SELECT i FROM {schema}.entries WHERE i < 0 OR i >= %s ORDER BY i LIMIT 100", (size,)
        )
        tiles = self._session.query(
            "SELECT level, i FROM {schema}.tiles WHERE level NOT BETWEEN 0 AND 6 OR i < 0"
            " OR i >= (%s::bigint >> (8 * (level + 1))) ORDER BY level, i LIMIT 100",
            (size,),
        )
        return [*(f"entry {row[0]}" for row in entries), *(f"tile {row[1]} of level {row[0]}" for row in tiles)]

    def close(self) -> None:
        """See `Store`."""
        self._session.close()

    def _version(self) -> int:
        """The version of the tables, 0 where there are none."""
        query = "SELECT to_regclass(%s) IS NULL"
        if self._session.query(query, (f"{self._schema}.schema_version",))[0][0]:
            return 0
        rows = self._session.query("SELECT version FROM {schema}.schema_version")
        if len(rows) != 1 or not isinstance(rows[0][0], int) or rows[0][0] < 1:
            raise DamagedStoreError(f"{self._where}: schema_version is damaged: restore a copy")
        version: int = rows[0][0]
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self._where} is of version {version}, this program knows {SCHEMA_VERSION}: use a newer program"
            )
        return version

    def _migrate(self, version: int) -> None:
        """Bring the tables to this code's version, in one transaction; the lock is held."""
        session = self._session
        if version == SCHEMA_VERSION:
            return
        with session.transaction():
            if not session.change("SELECT 1 FROM pg_namespace WHERE nspname = %s", (self._schema,)):
                session.change("CREATE SCHEMA {schema}")
            if not version:
                session.change("CREATE TABLE {schema}.schema_version (version integer NOT NULL)")
                session.change("INSERT INTO {schema}.schema_version VALUES (0)")
            for statements in _MIGRATIONS[version:]:
                session.change(statements)
            session.change("UPDATE {schema}.schema_version SET version = %s", (SCHEMA_VERSION,))

    def _begin_term(self) -> None:
        """Shut out earlier writers. The commit is confirmed, and with it all that was committed before."""
        session = self._session
        with session.transaction():
            ((logged,),) = session.change(
                "SELECT count(*) FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = 'r'"
                " AND relpersistence = 'p' AND relname IN ('head', 'entries', 'tiles', 'schema_version')",
                (self._schema,),
            )
            if logged != _TABLES:
                raise DamagedStoreError(f"{self._where}: a table is missing, or not logged and so not on the standby")
            ((foreign,),) = session.change(
                "SELECT string_agg(name, ', ') FROM ("
                " SELECT 'trigger ' || tgname AS name FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid"
                " WHERE relnamespace = %s::regnamespace AND NOT tgisinternal"
                " UNION ALL SELECT 'rule ' || rulename FROM pg_rules WHERE schemaname = %s LIMIT 100) AS found",
                (self._schema, self._schema),
            )
            if foreign:
                raise DamagedStoreError(f"{self._where} has {foreign}, which no log has: drop it, then run `fsck`")
            rows = session.change("UPDATE {schema}.head SET term = term + 1 WHERE id = 1 RETURNING term, size")
            if not rows:
                raise DamagedStoreError(f"{self._where}: the head is missing: restore a copy")
            self._term, self._size = rows[0]
