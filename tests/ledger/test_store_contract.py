"""The stores of the package pass one suite."""

from tests.ledger.stores import MemoryContract, SqliteContract


class TestMemoryStore(MemoryContract):
    """See `StoreContract`."""


class TestSqliteStore(SqliteContract):
    """See `StoreContract`."""
