"""One session with a PostgreSQL server, careful about what it believes: the only importer of psycopg.

No answer is waited for without end. A commit counts only if the server said nothing against it and a synchronous
standby reported, after it, that it has the write-ahead log on its disk up to there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from selectors import DefaultSelector
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql
from psycopg.abc import RV, PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow
from psycopg.waiting import Ready

from .errors import DamagedStoreError, StateError, StoreError

__all__ = ["Session"]

_OLDEST_SERVER: Final = 130000
_CHUNK: Final = 1 << 20
_PAUSE: Final = 0.02
_COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_COPY_TRAILER: Final = b"\xff\xff"
_COMMIT: Final = """
    COMMIT;
    SELECT at.lsn, EXISTS (SELECT FROM pg_stat_replication
                           WHERE sync_state IN ('sync', 'quorum') AND flush_lsn >= at.lsn)
    FROM (SELECT pg_current_wal_flush_lsn() AS lsn) AS at
"""
_CONFIRMED: Final = """
    SELECT pg_sleep(%s), EXISTS (SELECT FROM pg_stat_replication
                                 WHERE sync_state IN ('sync', 'quorum') AND flush_lsn >= %s::pg_lsn)
"""
_SERVER: Final = """
    SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on',
           current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on',
           pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'),
           current_setting('synchronous_standby_names'),
           (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum'))
"""
_ADVICE: Final = {
    "25006": "the server takes no writes: name the primary, or every server in the DSN",
    "42501": "the role lacks a permission: grant it, or let the schema's owner open it once",
    "53100": "the server's disk is full: free some space, then open it again; nothing acknowledged is lost",
    "55P03": "another transaction holds it: end that one, then open it again",
}
# data corrupted, tables or columns missing or of another type, a key that is there already
_DAMAGE: Final = ("XX", "42", "22", "23")


class Session:
    """A connection to one server, for the tables of one schema. One thread at a time.

    After a failed write it refuses all work. In a statement `{schema}` stands for the schema.

    Raises:
        ValueError: the DSN is not a connection string.
        StoreError: no server answers or lets us in.
    """

    def __init__(self, dsn: str, schema: str, *, confirmed: bool, timeout: float) -> None:
        self._schema = sql.Identifier(schema)
        self._confirmed = confirmed
        self._timeout = timeout
        self._failed: str | None = None
        self.where = f"schema {schema}"
        self._connection: _Connection | None = self._connect(_parameters(dsn))
        self.where += f" on {self._connection.info.host}:{self._connection.info.port}"

    def _connect(self, parameters: dict[str, Any]) -> _Connection:
        parameters.setdefault("connect_timeout", "10")
        parameters.setdefault("fallback_application_name", "secure_bfl ledger")
        try:
            connection = _Connection.connect(**parameters, autocommit=True, prepare_threshold=None)
        except psycopg.Error as exc:
            problem = _text(exc)
        else:
            connection.timeout = self._timeout
            connection.add_notice_handler(connection.keep_warning)
            return connection
        password = parameters.get("password")  # what follows is no longer the handler: nothing hangs on the error
        if password:
            problem = problem.replace(password, "<secret>")
        raise StoreError(f"{self.where}: no server lets us in ({problem}): check the DSN, then the server")

    def set_up(self, *, readonly: bool) -> None:
        """Fix the session's settings, and refuse a server that would acknowledge what it can lose.

        Raises:
            StoreError: the server is too old, takes no writes, does not sync, or has no synchronous standby.
        """
        connection = self.usable()
        settings = {
            "search_path": "pg_catalog",
            "synchronous_commit": "on",
            "client_min_messages": "notice",  # a cancelled wait for the standby is a WARNING, and must be heard
            "lock_timeout": f"{min(2000, int(self._timeout * 500))}ms",
            "idle_in_transaction_session_timeout": f"{int(self._timeout * 2000)}ms",
            "tcp_keepalives_idle": "10",  # a writer whose machine died lets go of its lock soon
            "tcp_keepalives_interval": "5",
            "tcp_keepalives_count": "3",
        }
        if readonly:
            settings["default_transaction_read_only"] = "on"
        for name, value in settings.items():
            self.query("SELECT set_config(%s, %s, false)", (name, value))
        if connection.info.server_version < _OLDEST_SERVER:
            raise StoreError(f"{self.where}: the server is older than PostgreSQL {_OLDEST_SERVER // 10000}")
        if not readonly:
            self._check_server()

    def _check_server(self) -> None:
        ((read_only, syncs, sees, names, standbys),) = self.query(_SERVER)
        if read_only:
            raise StoreError(f"{self.where}: {_ADVICE['25006']}")
        if not syncs:
            raise StoreError(f"{self.where}: fsync or full_page_writes is off: what it acknowledges can be lost")
        if not self._confirmed:
            return
        if not sees:
            raise StoreError(f"{self.where}: the role cannot see the standbys: GRANT pg_read_all_stats to it")
        if not names:
            raise StoreError(f"{self.where}: synchronous_standby_names is empty: no commit waits for a standby")
        if not standbys:
            raise StoreError(f"{self.where}: no synchronous standby is connected: start it, then open again")

    def lock(self, key: int) -> None:
        """Take the advisory lock `key`, in [0, 2^63 - 1], until the session ends.

        Raises:
            StoreError: another session has held it for two seconds.
        """
        try:
            self.usable().execute("SELECT pg_advisory_lock(%s::bigint)", (key,))
        except psycopg.errors.LockNotAvailable as exc:
            query = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = %s AND objid = %s"
            holders = ", ".join(str(pid) for (pid,) in self.query(query, (key >> 32, key & 0xFFFFFFFF)))
            raise StoreError(
                f"{self.where}: another process writes it (server process {holders}): stop it first; "
                "if it is gone, end what it left behind with pg_terminate_backend"
            ) from exc
        except psycopg.Error as exc:
            raise self._error("cannot be opened", exc) from exc

    def query(self, statement: LiteralString, arguments: Sequence[object] = ()) -> list[TupleRow]:
        """Run one reading statement and return its rows.

        Raises:
            StateError: closed.
            StoreError: the server failed or did not answer, or a write failed before.
        """
        connection = self.usable()
        try:
            return connection.cursor(binary=True).execute(self._sql(statement), arguments).fetchall()
        except psycopg.Error as exc:
            raise self._error("cannot be read", exc) from exc
        except BaseException:
            self._fail("an earlier read was interrupted")
            raise

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction for `change` and `copy` that is durable when the block is left, or undone if it raises.

        Raises:
            StateError: closed.
            StoreError: not written, or not known to be; the session then refuses all work.
        """
        connection = self.usable()
        connection.warnings.clear()
        try:
            try:
                connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit TO on")
                yield
            except psycopg.Error as exc:
                raise self._error("was not written", exc) from exc
            self._commit(connection)
        except BaseException:
            self._fail("an earlier write failed")
            raise

    def change(self, statement: LiteralString, arguments: Sequence[object] | None = None) -> list[TupleRow]:
        """Run a statement, or several without arguments, in a `transaction`; the rows it returns."""
        cursor = self.usable().execute(self._sql(statement), arguments)
        return cursor.fetchall() if cursor.description else []

    def copy(self, statement: LiteralString, rows: Iterable[bytes]) -> None:
        """Run a COPY in a `transaction`, from rows in PostgreSQL's binary form."""
        with self.usable().cursor() as cursor, cursor.copy(self._sql(statement)) as copy:
            pending = bytearray(_COPY_HEADER)
            for row in rows:
                pending += row
                if len(pending) >= _CHUNK:
                    copy.write(bytes(pending))
                    pending.clear()
            copy.write(bytes(pending) + _COPY_TRAILER)

    def close(self) -> None:
        """Close the connection; closing twice does nothing."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def usable(self) -> _Connection:
        """The connection, if nothing speaks against using it; for this module.

        Raises:
            StateError: closed.
            StoreError: a write failed before.
        """
        if self._connection is None:
            raise StateError(f"{self.where} is closed")
        if self._failed is not None:
            raise StoreError(f"{self.where}: {self._failed}; close it and open it again")
        return self._connection

    def _commit(self, connection: _Connection) -> None:
        try:
            doubt = self._doubt(connection)
        except psycopg.Error as exc:
            raise self._unknown(_text(exc)) from exc
        if doubt:
            raise self._unknown(doubt)

    def _doubt(self, connection: _Connection) -> str:
        """Commit, and say what speaks against its being durable: nothing if all went well.

        The standby is asked for once more after COMMIT: when `synchronous_standby_names` is emptied, commits that
        wait for a standby return without a word.
        """
        cursor = connection.execute(_COMMIT)
        tag = cursor.statusmessage
        cursor.nextset()
        ((lsn, confirmed),) = cursor.fetchall()
        if tag != "COMMIT" or connection.warnings:
            return "; ".join(connection.warnings) or f"the server answered {tag}"
        if not self._confirmed:
            return ""
        for _ in range(int(self._timeout / _PAUSE)):
            if confirmed:
                break
            ((_, confirmed),) = connection.execute(_CONFIRMED, (_PAUSE, lsn)).fetchall()
        return "" if confirmed else "no synchronous standby confirmed it"

    def _fail(self, reason: str) -> None:
        self._failed = reason
        if self._connection is not None:
            self._connection.close()

    def _sql(self, statement: LiteralString) -> sql.Composed:
        return sql.SQL(statement).format(schema=self._schema)

    def _unknown(self, reason: str) -> StoreError:
        return StoreError(
            f"{self.where}: it is not known whether the last write was committed ({reason}); it is not acknowledged: "
            "open it again, its head says"
        )

    def _error(self, what: str, exc: psycopg.Error) -> StoreError:
        code = exc.sqlstate or ""
        text = f"{self.where} {what} ({_text(exc)})"
        if code in _ADVICE:
            return StoreError(f"{text}: {_ADVICE[code]}")
        if code.startswith(_DAMAGE):
            return DamagedStoreError(f"{text}: it is damaged, or another program's; restore a copy")
        return StoreError(f"{text}: check the server, then open it again")


class _NoAnswer(psycopg.OperationalError):
    """The server did not answer in time; the connection is closed."""


class _Connection(psycopg.Connection[TupleRow]):
    """A connection on which no answer is waited for without end, and warnings are kept.

    PostgreSQL's own `statement_timeout` is over before a commit waits for a standby, so the deadline is the client's.
    """

    timeout = 30.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.warnings: list[str] = []

    def keep_warning(self, notice: psycopg.errors.Diagnostic) -> None:
        """Keep a WARNING of the server."""
        if notice.severity_nonlocalized == "WARNING":
            self.warnings.append(notice.message_primary or "a warning")

    def wait(self, gen: PQGen[RV], interval: float = 0.0, timeout: float | None = None) -> RV:
        """Drive one exchange with the server; see `psycopg.Connection.wait`.

        Raises:
            _NoAnswer: nothing came for `self.timeout` seconds; what runs was cancelled and the connection closed.
        """
        try:
            wanted = next(gen)
            with DefaultSelector() as selector:
                selector.register(self.pgconn.socket, wanted)
                while ready := selector.select(self.timeout):
                    wanted = gen.send(Ready(ready[0][1]))
                    selector.modify(self.pgconn.socket, wanted)
        except StopIteration as stop:
            answer: RV = stop.value
            return answer
        with suppress(psycopg.Error):
            self.cancel_safe(timeout=min(self.timeout, 5.0))
        self.close()
        raise _NoAnswer(f"no answer within {self.timeout:g} s")


def _parameters(dsn: str) -> dict[str, Any]:
    """The parameters of a connection string, which may hold a password: nothing of it is ever repeated."""
    parameters: dict[str, Any] | None = None
    with suppress(psycopg.Error):
        parameters = conninfo_to_dict(dsn)
    if parameters is None or "@" in str(parameters.get("host", "")):
        raise ValueError("the DSN is no connection string: quote or percent-encode what is not a letter or digit")
    return parameters


def _text(exc: psycopg.Error) -> str:
    return exc.diag.message_primary or " ".join(str(exc).split()) or type(exc).__name__
