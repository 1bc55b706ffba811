"""A log of millions of entries: how fast it grows, opens and proves, and in how much memory.

Run by its path, with the path of such a log, it opens that log in a new process and prints one JSON line; it imports
nothing but the ledger, so that the memory it tells is the ledger's.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from ledger import (
    Log,
    MemoryWitnessStore,
    Policy,
    SigningKey,
    SqliteStore,
    Witness,
    certify,
    leaf_hash,
    verify_inclusion,
)
from ledger.sqlite import Database

__all__ = ["ENTRY_SIZE", "BareStore", "append_rate", "bare_rate", "entries_of", "grow", "main"]

ENTRY_SIZE: Final = 128
"""Bytes of an entry here; nothing is signed."""
_ORIGIN: Final = "example.com/bench"
_STEP: Final = 4096
_PROOFS: Final = 500
_SPREAD: Final = 2_654_435_761  # a prime: multiples of it fall everywhere


def _key() -> SigningKey:
    return SigningKey.from_seed(b"sequencer".ljust(32, b"\x00"))


def entries_of(start: int, stop: int) -> list[bytes]:
    """Different entries of `ENTRY_SIZE` bytes."""
    return [i.to_bytes(8, "big") * (ENTRY_SIZE // 8) for i in range(start, stop)]


class BareStore:
    """What any durable log costs at least: rows into one table of an SQLite file, as durably as ours."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        with self._database.transaction() as sql:
            sql.execute("CREATE TABLE rows (i INTEGER PRIMARY KEY, bytes BLOB NOT NULL)")
        self._size = 0

    def append_all(self, entries: list[bytes]) -> None:
        """Add rows in one transaction."""
        with self._database.transaction() as sql:
            sql.executemany("INSERT INTO rows VALUES (?, ?)", enumerate(entries, start=self._size))
        self._size += len(entries)

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def bare_rate(count: int, batch: int) -> float:
    """Unsigned rows a second into `BareStore`, one commit a batch."""
    with TemporaryDirectory() as folder:
        store = BareStore(Path(folder) / "bare.sqlite")
        try:
            return _rate(store.append_all, count, batch)
        finally:
            store.close()


def append_rate(count: int, batch: int) -> float:
    """Unsigned entries a second into a log on disk, one commit a batch."""
    with TemporaryDirectory() as folder:
        log = Log(SqliteStore(Path(folder) / "log.sqlite", create=True), _ORIGIN, _key())
        try:
            return _rate(log.append_all, count, batch)
        finally:
            log.close()


def _rate(append: Callable[[list[bytes]], object], count: int, batch: int) -> float:
    batches = [entries_of(at, min(at + batch, count)) for at in range(0, count, batch)]
    began = time.perf_counter()
    for each in batches:
        append(each)
    return round(count / (time.perf_counter() - began), 1)


def grow(path: Path, sizes: tuple[int, ...], say: Callable[[str], None]) -> list[tuple[int, float]]:
    """Make a log that has these sizes one after the other, certified at each; the rate of appending up to each."""
    log = Log(SqliteStore(path, create=True), _ORIGIN, _key())
    member = SigningKey.from_seed(b"member".ljust(32, b"\x00"))
    witness = Witness("member", member, log.verifier, MemoryWitnessStore())
    policy = Policy(_ORIGIN, log.verifier, (witness.verifier,))
    curve = []
    for size in sizes:
        start, seconds = log.size, 0.0
        while log.size < size:
            batch = entries_of(log.size, min(log.size + _STEP, size))
            began = time.perf_counter()
            log.append_all(batch)
            seconds += time.perf_counter() - began
        curve.append((size, round((size - start) / seconds, 1)))
        certify(log, {witness.verifier.name: witness}, policy, now=1_700_000_000)
        say(f"a log of {size} entries: {curve[-1][1]:.0f} a second")
    log.close()
    return curve


def _peak_mib() -> float | None:
    """The most memory that this program ever had; `getrusage` would count what its parent had before it."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024, 1)
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def main() -> int:
    """Open the log at the path given, prove and verify entries everywhere in it; print what it took."""
    began = time.perf_counter()
    log = Log(SqliteStore(Path(sys.argv[1]), create=True), _ORIGIN, _key())
    opened = time.perf_counter() - began
    root, times = log.root(log.size), []
    for number in range(_PROOFS):
        index = number * _SPREAD % log.size
        began = time.perf_counter()
        proof = log.inclusion_proof(index, log.size)
        times.append(time.perf_counter() - began)
        verify_inclusion(leaf_hash(entries_of(index, index + 1)[0]), index, log.size, proof, root)
    found = {
        "size": log.size,
        "open_s": round(opened, 4),
        "proof_ms": round(1000 * statistics.median(times), 4),
        "peak_rss_mib": _peak_mib(),
    }
    log.close()
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
