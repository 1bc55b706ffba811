"""What a commit is worth when the standby, the connection or the server goes away while it runs."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from time import monotonic, sleep

import psycopg
import pytest

from ledger.errors import StoreError
from ledger.log import Log
from ledger.postgres import PostgresStore
from tests.ledger.federation import ORIGIN, key_of
from tests.ledger.postgres.cluster import Cluster
from tests.ledger.postgres.loader import entry_of

Opener = Callable[..., PostgresStore]
UNKNOWN = "not known whether the last write was committed"


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    """Where an append runs that waits for something the test does meanwhile."""
    with ThreadPoolExecutor(1) as executor:
        yield executor


def log_of(store: PostgresStore, size: int = 0) -> Log:
    log = Log(store, ORIGIN, key_of("sequencer"))
    if size:
        log.append_all([entry_of(i) for i in range(size)])
    return log


def await_waiting(pair: Cluster, pid: int) -> None:
    """Until that session's commit waits for the standby."""
    deadline = monotonic() + 20
    with pair.servers[0].connect() as connection:
        query = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'SyncRep'"
        while not connection.execute(query, (pid,)).fetchall():
            assert monotonic() < deadline
            sleep(0.02)


def pid_of(store: PostgresStore) -> int:
    return store._session.usable().info.backend_pid


def waiting_append(pair: Cluster, store: PostgresStore, aside: ThreadPoolExecutor) -> "Future[int]":
    """An append of entry 3 after three, while the standby is dead: committed on the primary, and waiting."""
    log, pid = log_of(store, 3), pid_of(store)
    pair.servers[1].kill()
    waiting = aside.submit(log.append, entry_of(3))
    await_waiting(pair, pid)
    return waiting


def test_without_its_standby_an_append_fails_in_bounded_time(opened: Opener, pair: Cluster) -> None:
    primary, standby = pair.servers
    store = opened(timeout=2.0)
    log = log_of(store, 3)
    standby.kill()
    began = monotonic()
    with pytest.raises(StoreError, match=rf"{UNKNOWN} \(no answer within 2 s\)"):
        log.append(entry_of(3))
    assert 1.9 < monotonic() - began < 15
    with pytest.raises(StoreError):
        log.append(entry_of(3))
    with pytest.raises(StoreError, match="no synchronous standby is connected"):
        opened()
    standby.start()
    standby.await_sync(primary)
    again = log_of(opened())  # on the primary's disk it was, and now on the standby's too
    assert again.entries() == [entry_of(i) for i in range(4)]
    assert again.append(entry_of(4)) == 4


def test_a_cancelled_wait_for_the_standby_is_no_success(
    opened: Opener, pair: Cluster, aside: ThreadPoolExecutor
) -> None:
    store = opened(require_standby=False)  # then the server's warning is all there is to go by
    pid = pid_of(store)
    waiting = waiting_append(pair, store, aside)
    pair.servers[0].run(f"SELECT pg_cancel_backend({pid})")
    with pytest.raises(StoreError, match=rf"{UNKNOWN} \(canceling wait for synchronous replication"):
        waiting.result(20)


def test_a_commit_that_an_emptied_setting_lets_go_is_no_success(
    opened: Opener, pair: Cluster, aside: ThreadPoolExecutor
) -> None:
    store = opened(timeout=2.0)
    waiting = waiting_append(pair, store, aside)
    pair.servers[0].run("ALTER SYSTEM SET synchronous_standby_names = ''", "SELECT pg_reload_conf()")
    with pytest.raises(StoreError, match=rf"{UNKNOWN} \(no synchronous standby confirmed it\)"):
        waiting.result(20)


def test_a_session_ended_while_it_commits_is_no_success(
    opened: Opener, pair: Cluster, aside: ThreadPoolExecutor
) -> None:
    primary, standby = pair.servers
    store = opened()
    pid = pid_of(store)
    waiting = waiting_append(pair, store, aside)
    primary.run(f"SELECT pg_terminate_backend({pid})")
    with pytest.raises(StoreError, match=UNKNOWN):
        waiting.result(20)
    standby.start()
    standby.await_sync(primary)
    assert log_of(opened()).size == 4


def test_a_session_ended_before_it_commits_wrote_nothing(opened: Opener, pair: Cluster) -> None:
    store = opened()
    log = log_of(store, 3)
    pair.servers[0].run(f"SELECT pg_terminate_backend({pid_of(store)}, 5000)")
    with pytest.raises(StoreError, match="was not written"):
        log.append(entry_of(3))
    assert log_of(opened()).size == 3


def test_a_commit_that_the_server_turned_down_is_no_success(opened: Opener, pair: Cluster, schema: str) -> None:
    store = opened()
    with (
        pytest.raises(StoreError, match=r"the server answered ROLLBACK"),
        store._session.transaction(),
        suppress(psycopg.Error),
    ):
        store._session.change("SELECT 1 / 0")
    store.close()
    log = log_of(opened())
    pair.servers[0].run(
        "CREATE OR REPLACE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'too late'; END $$",
        f"CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON {schema}.entries INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION fail()",
    )
    with pytest.raises(StoreError, match=rf"{UNKNOWN} \(too late\)"):
        log.append(entry_of(0))
    pair.servers[0].run(f"DROP TRIGGER fail ON {schema}.entries")
    assert log_of(opened()).size == 0


def test_a_frozen_server_does_not_hold_us(opened: Opener, pair: Cluster) -> None:
    primary, _ = pair.servers
    store = opened(timeout=2.0)
    log = log_of(store, 3)
    primary.pause()
    try:
        began = monotonic()
        with pytest.raises(StoreError, match=r"no answer within 2 s"):
            log.append(entry_of(3))
        assert monotonic() - began < 15
        with pytest.raises(StoreError, match="close it and open it again"):
            store.entries(0, 1)
        dsn = primary.dsn() + " connect_timeout=2"
        with pytest.raises(StoreError, match="no server lets us in"):
            opened(dsn)
    finally:
        primary.resume()
    assert log_of(opened()).entries() == [entry_of(i) for i in range(3)]


def test_settings_of_the_role_do_not_weaken_a_commit(
    opened: Opener, pair: Cluster, schema: str, aside: ThreadPoolExecutor
) -> None:
    primary, _ = pair.servers
    weak = ("synchronous_commit = off", "client_min_messages = error", f"search_path = {schema}, pg_catalog")
    primary.run(*(f"ALTER ROLE admin SET {setting}" for setting in weak))
    try:
        store = opened(require_standby=False)
        pid = pid_of(store)
        waiting = waiting_append(pair, store, aside)  # it waits although its role's default is not to
        primary.run(f"SELECT pg_cancel_backend({pid})")
        with pytest.raises(StoreError, match=UNKNOWN):
            waiting.result(20)
    finally:
        primary.run("ALTER ROLE admin RESET ALL")


def test_what_an_opening_finds_is_on_the_standby_too(opened: Opener, pair: Cluster) -> None:
    """A commit whose wait was cut short is seen by the next opening, which must not build on it before it is safe."""
    standby = pair.servers[1]
    log = log_of(opened(timeout=2.0), 3)
    standby.pause()  # it still counts as connected
    try:
        for attempt in (lambda: log.append(entry_of(3)), lambda: opened(timeout=2.0)):
            with pytest.raises(StoreError, match=rf"{UNKNOWN} \(no answer"):
                attempt()
    finally:
        standby.resume()
    assert log_of(opened()).size == 4
    reader = opened(standby.dsn(), readonly=True)
    deadline = monotonic() + 20
    while reader.head().size < 4:
        assert monotonic() < deadline
    assert reader.entries(0, 9) == [entry_of(i) for i in range(4)]
