"""A process that appends entries to a log and says which are acknowledged, until it is killed."""

import sys
from pathlib import Path

from ledger import Log, SqliteStore
from tests.ledger.federation import ORIGIN, key_of, signed


def main(path: Path) -> None:
    log = Log(SqliteStore(path, create=True), ORIGIN, key_of("sequencer"))
    while True:
        index = log.append(signed(log.size))
        print(index, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
