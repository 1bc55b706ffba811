"""A process that appends its own entries to a shared log whenever nobody else writes, and says where they are."""

import sys
import time
from pathlib import Path

from ledger import Log, SqliteStore, StoreError
from tests.ledger.federation import ORIGIN, key_of


def main(path: Path, name: str, count: int) -> None:
    done, refused = 0, 0
    while done < count:
        try:
            log = Log(SqliteStore(path, create=True), ORIGIN, key_of("sequencer"))
        except StoreError as exc:
            if "another process writes here" not in str(exc):
                raise
            if not refused:
                print("waiting", flush=True)
            refused += 1
            time.sleep(0.002)
            continue
        index = log.append(f"{name} {done}".encode())
        print(index, f"{name} {done}", flush=True)
        done += 1
        log.close()
    print("refused", refused)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
