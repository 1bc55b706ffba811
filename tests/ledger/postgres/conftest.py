"""One pair of servers for the tests of this folder; each test has a schema of its own."""

import os
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from ledger.postgres import PostgresStore
from tests.ledger.postgres.cluster import Cluster, find_binaries

_NUMBERS = count()


def make_cluster() -> Cluster:
    binaries = find_binaries()
    if binaries is None:
        message = "no PostgreSQL server programs: install Debian's package `postgresql`"
        if "postgresql" in os.environ.get("SECURE_BFL_NEEDS", "").split(","):
            pytest.fail(message)
        pytest.skip(message)
    return Cluster(binaries)


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    """A pair that the tests of one module may take apart."""
    cluster = make_cluster()
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[Cluster]:
    cluster = make_cluster()
    yield cluster
    cluster.close()


@pytest.fixture
def pair(shared_cluster: Cluster) -> Iterator[Cluster]:
    """The shared pair: the primary is the first, the standby the second; whatever a test did is mended after it."""
    yield shared_cluster
    primary, standby = shared_cluster.servers
    for server in (primary, standby):
        if server.process is None:
            server.start()
    primary.run("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")
    standby.await_sync(primary)


@pytest.fixture
def schema() -> str:
    return f"log_{next(_NUMBERS)}"


@pytest.fixture
def opened(pair: Cluster, schema: str) -> Iterator[Callable[..., PostgresStore]]:
    """Open this test's schema through the DSN of both servers, or another one; whatever is opened is closed."""
    stores: list[PostgresStore] = []

    def open_store(dsn: str | None = None, *, timeout: float = 10.0, **options: bool) -> PostgresStore:
        options.setdefault("create", not options.get("readonly", False))
        stores.append(PostgresStore(dsn or pair.dsn(), schema=schema, timeout=timeout, **options))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()
