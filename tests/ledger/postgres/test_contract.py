"""The store in PostgreSQL passes the suite of all stores."""

from pathlib import Path

import psycopg
import pytest

from ledger.postgres import PostgresStore
from ledger.store import Store
from tests.ledger.postgres.cluster import Cluster
from tests.ledger.stores import StoreContract


class TestPostgresStore(StoreContract):
    """See `StoreContract`. The last part of a path is the schema."""

    @pytest.fixture
    def path(self, pair: Cluster, schema: str) -> Path:
        self.pair = pair
        return Path(schema)

    def open(self, path: Path) -> Store:
        return PostgresStore(self.pair.dsn(), schema=path.name, timeout=20.0, create=True)

    def run(self, path: Path, statement: str, *arguments: object) -> None:
        with psycopg.connect(self.pair.servers[0].dsn(), autocommit=True) as connection:
            connection.execute(f"SET search_path = {path.name}".encode())
            connection.execute(statement.encode(), arguments)

    def spoil_entry(self, path: Path, index: int, data: bytes | None) -> None:
        self.run(path, "DELETE FROM entries WHERE i = %s", index)
        if data is not None:
            self.run(path, "INSERT INTO entries VALUES (%s, %s)", index, data)

    def spoil_tile(self, path: Path, level: int, index: int, data: bytes | None) -> None:
        self.run(path, "DELETE FROM tiles WHERE level = %s AND i = %s", level, index)
        if data is not None:
            self.run(path, "INSERT INTO tiles VALUES (%s, %s, %s)", level, index, data)

    def spoil_head(self, path: Path, size: int, root: bytes) -> None:
        self.run(path, "UPDATE head SET size = %s, root = %s", size, root)
