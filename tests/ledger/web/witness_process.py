"""A witness's process: serves one witness from one SQLite file, says where, and runs until it is killed."""

import sys
import time
from pathlib import Path

from ledger import ED25519, SqliteWitnessStore, VerifierKey, Witness
from ledger.web.server import Server
from ledger.web.witness import witness_app
from tests.ledger.federation import ORIGIN, key_of


def main(path: Path) -> None:
    log_key = VerifierKey(ORIGIN, ED25519, key_of("sequencer").public)
    witness = Witness("member-1", key_of("member-1"), log_key, SqliteWitnessStore(path))
    server = Server(witness_app({ORIGIN: witness}, lambda: int(time.time())))
    print(server.url, flush=True)
    server.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
