"""A process that appends entries to a log in PostgreSQL and says how many are acknowledged, until a write fails."""

import os
import sys
from hashlib import shake_128

from ledger.errors import StoreError
from ledger.log import Log
from ledger.postgres import PostgresStore
from tests.ledger.federation import ORIGIN, key_of

__all__ = ["entry_of"]


def entry_of(index: int) -> bytes:
    """Entry `index`, of a signed entry's size."""
    return shake_128(index.to_bytes(8, "big")).digest(250)


def main(dsn: str, schema: str) -> None:
    log = Log(PostgresStore(dsn, schema=schema, timeout=5.0, create=True), ORIGIN, key_of("sequencer"))
    try:
        while True:
            batch = 1 + log.size % 97
            print(log.append_all([entry_of(i) for i in range(log.size, log.size + batch)]).stop, flush=True)
    except StoreError as exc:
        sys.exit(str(exc))


if __name__ == "__main__":
    main(os.environ["LOADER_DSN"], sys.argv[1])
