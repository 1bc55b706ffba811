"""A sequencer with five witnesses on disk, all on this machine's clock: appends one entry, certifies and publishes."""

import sys
import time
from pathlib import Path

from ledger import Log, Policy, SqliteStore, SqliteWitnessStore, Witness, certify, publish
from tests.ledger.federation import NAMES, ORIGIN, key_of


def main(folder: Path) -> None:
    log = Log(SqliteStore(folder / "log.db", create=True), ORIGIN, key_of("sequencer"))
    log.append(b"entry %d" % log.size)
    witnesses = {
        name: Witness(name, key_of(name), log.verifier, SqliteWitnessStore(folder / f"{name}.db")) for name in NAMES
    }
    policy = Policy(ORIGIN, log.verifier, tuple(witness.verifier for witness in witnesses.values()))
    publish(log, certify(log, witnesses, policy, now=int(time.time())), folder / "public")
    print(log.size)
    log.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
