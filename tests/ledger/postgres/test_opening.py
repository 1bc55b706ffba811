"""Opening a store in PostgreSQL: which servers, tables, names and second writers are refused, and what is said."""

import copy
import pickle
import traceback
from collections.abc import Callable

import psycopg
import pytest

from ledger import _postgres, postgres
from ledger.errors import DamagedStoreError, StoreError
from ledger.postgres import SCHEMA_VERSION, PostgresStore
from tests.ledger.postgres.cluster import Cluster
from tests.ledger.postgres.loader import entry_of
from tests.ledger.postgres.test_store import batch, head_of, log_of, run

Opener = Callable[..., PostgresStore]
SECRET = "correct-horse"


def test_a_second_writer_waits_a_moment_and_is_refused(opened: Opener, pair: Cluster) -> None:
    first = opened()
    pid = first._session.usable().info.backend_pid
    with pytest.raises(StoreError, match=rf"another process writes it \(server process {pid}\)"):
        opened()
    log_of(first).append_all(batch(0, 3))
    first.close()
    assert opened().head().size == 3


def test_a_writer_that_another_has_followed_cannot_append(opened: Opener) -> None:
    zombie, size = opened(), 3
    zombie.append(batch(0, size), {}, head_of(size))
    zombie._session.query("SELECT pg_advisory_unlock_all()")  # as if the server had lost the session's lock
    successor = opened()
    with pytest.raises(StoreError, match="another process has opened it for writing since"):
        zombie.append([entry_of(size)], {}, head_of(size + 1))
    with pytest.raises(StoreError, match="close it and open it again"):
        zombie.head()
    successor.append([entry_of(size)], {}, head_of(size + 1))
    assert successor.entries(0, 9) == batch(0, size + 1)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE schema_version SET version = 99", f"is of version 99, this program knows {SCHEMA_VERSION}"),
        ("UPDATE schema_version SET version = 0", "schema_version is damaged"),
        ("DELETE FROM schema_version", "schema_version is damaged"),
        ("DROP TABLE tiles", "a table is missing"),
        ("ALTER TABLE entries SET UNLOGGED", "not logged"),
        ("DELETE FROM head", "the head is missing"),
        ("ALTER TABLE head RENAME TO heads; CREATE TABLE head (a integer)", "another program's"),
        ("DROP TABLE schema_version", "another program's"),
        ("CREATE RULE thin AS ON INSERT TO entries DO INSTEAD NOTHING", "has rule thin, which no log has"),
        (
            "CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
            "CREATE TRIGGER thin BEFORE INSERT ON entries FOR EACH ROW EXECUTE FUNCTION skip()",
            "has trigger thin, which no log has",
        ),
    ],
)
def test_other_tables_are_refused_and_left_alone(
    opened: Opener, pair: Cluster, schema: str, statement: str, message: str
) -> None:
    log = log_of(opened())
    log.append_all(batch(0, 3))
    log.close()
    run(pair, schema, statement)
    with pytest.raises(StoreError, match=message) as caught:
        opened()
    assert isinstance(caught.value, DamagedStoreError) == ("99" not in statement)
    assert run(pair, schema, "SELECT count(*) FROM entries") == [(3,)]


def test_earlier_versions_are_brought_up_to_date_in_order(
    opened: Opener, pair: Cluster, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened().close()
    later = ("ALTER TABLE {schema}.head ADD a integer", "ALTER TABLE {schema}.head RENAME a TO b")
    monkeypatch.setattr(postgres, "_MIGRATIONS", (*postgres._MIGRATIONS, *later, "SELECT 1 / 0"))
    monkeypatch.setattr(postgres, "SCHEMA_VERSION", 4)
    with pytest.raises(StoreError, match="division by zero"):
        opened()
    assert run(pair, schema, "SELECT version FROM schema_version") == [(1,)]
    with pytest.raises(psycopg.errors.UndefinedColumn):
        run(pair, schema, "SELECT a FROM head")
    monkeypatch.setattr(postgres, "_MIGRATIONS", (*postgres._MIGRATIONS[:1], *later))
    monkeypatch.setattr(postgres, "SCHEMA_VERSION", 3)
    opened().close()
    assert run(pair, schema, "SELECT b FROM head") == [(None,)]
    assert run(pair, schema, "SELECT version FROM schema_version") == [(3,)]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("fsync = off", "fsync or full_page_writes is off"),
        ("full_page_writes = off", "fsync or full_page_writes is off"),
        ("synchronous_standby_names = ''", "synchronous_standby_names is empty"),
        ("synchronous_standby_names = 'another'", "no synchronous standby is connected"),
        ("default_transaction_read_only = on", "takes no writes"),
    ],
)
def test_a_server_that_could_lose_what_it_acknowledges_is_refused(
    opened: Opener, pair: Cluster, setting: str, message: str
) -> None:
    primary = pair.servers[0]
    primary.run(f"ALTER SYSTEM SET {setting}", "SELECT pg_reload_conf()", "SELECT pg_sleep(0.2)")
    with pytest.raises(StoreError, match=message):
        opened(primary.dsn())
    if "standby_names" in setting:  # a log of one server only, if so asked
        if "''" in setting:
            log_of(opened(require_standby=False)).append_all(batch(0, 3))
    else:
        with pytest.raises(StoreError, match=message):
            opened(primary.dsn(), require_standby=False)


def test_a_made_up_standby_in_the_search_path_is_not_believed(opened: Opener, pair: Cluster, schema: str) -> None:
    primary, standby = pair.servers
    opened().close()
    made_up = "SELECT 'streaming' AS state, 'sync' AS sync_state, 'FF/0'::pg_lsn AS flush_lsn"
    run(pair, schema, f"CREATE VIEW pg_stat_replication AS {made_up}")
    primary.run(f"ALTER ROLE admin SET search_path = {schema}, pg_catalog")
    try:
        standby.kill()
        with pytest.raises(StoreError, match="no synchronous standby is connected"):
            opened()
    finally:
        primary.run("ALTER ROLE admin RESET ALL")


def test_a_standby_and_an_old_server_are_refused(
    opened: Opener, pair: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreError, match="takes no writes"):
        opened(pair.servers[1].dsn())
    monkeypatch.setattr(_postgres, "_OLDEST_SERVER", 990000)
    with pytest.raises(StoreError, match="older than PostgreSQL 99"):
        opened()


def test_the_session_of_a_writer_whose_machine_died_ends_soon(opened: Opener) -> None:
    session = opened()._session
    names = ("idle", "interval", "count")
    idle, interval, count = (
        int(session.query("SELECT current_setting(%s)", (f"tcp_keepalives_{name}",))[0][0]) for name in names
    )
    assert 0 < idle + interval * count <= 30


def test_a_database_without_the_log_is_no_new_log_unless_that_is_asked_for(
    opened: Opener, pair: Cluster, schema: str
) -> None:
    for readonly in (False, True):
        with pytest.raises(StoreError, match="holds no log"):
            opened(create=False, readonly=readonly)
    made = f"SELECT count(*) FROM pg_namespace WHERE nspname = '{schema}'"  # noqa: S608
    assert pair.servers[0].run(made) == [(0,)]
    log_of(opened(create=True)).append(b"entry")
    opened_again = opened(create=False, readonly=True)
    assert opened_again.head().size == 1
    with pytest.raises(ValueError, match="for reading only is not created"):
        opened(create=True, readonly=True)


@pytest.mark.parametrize("schema", ["", "pg_log", "Log", "1log", "a-b", "a" * 64, 'a"; DROP SCHEMA b; --'])
def test_names_that_would_need_quotes_are_refused(schema: str) -> None:
    with pytest.raises(ValueError, match="a schema's name"):
        PostgresStore("host=nowhere.invalid", schema=schema, create=True)


@pytest.mark.parametrize("timeout", [0, 0.05, 3601, float("nan")])
def test_a_wait_is_bounded(timeout: float) -> None:
    with pytest.raises(ValueError, match=r"between 0\.1 and 3600"):
        PostgresStore("host=nowhere.invalid", timeout=timeout, create=True)


@pytest.mark.parametrize(
    "dsn",
    [
        f"host=127.0.0.1 password=word {SECRET}",
        f"postgresql://user:{SECRET}%zz@127.0.0.1/db",
        f"postgresql://user:p@{SECRET}@127.0.0.1/db",
        f"host=127.0.0.1 port=1 password={SECRET}",
        f"postgresql://user:{SECRET}@127.0.0.1:1,127.0.0.1:2/db?connect_timeout=2",
        f"host={SECRET}.invalid port=1 password={SECRET}",
    ],
)
def test_a_password_is_in_no_error(dsn: str) -> None:
    with pytest.raises((ValueError, StoreError)) as caught:
        PostgresStore(dsn, create=True)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__context__ is None


def test_a_wrong_password_is_said_but_not_shown(opened: Opener, pair: Cluster) -> None:
    with pytest.raises(StoreError, match="password authentication failed") as caught:
        opened(pair.dsn().replace(pair.password, SECRET))
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    store = opened()
    shown = repr(store) + repr(store._session) + repr(store._session.usable()) + repr(vars(store._session))
    assert pair.password not in shown
    for leave in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            leave(store)
