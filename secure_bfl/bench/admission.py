"""Signed entries on their way into a durable log: prepared once, admitted again and again, each time into a new log.

Run by its path, it tells what a verification costs, as one JSON line.
"""

import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from ledger import Log, SigningKey, SqliteStore, Value, verify_strict
from ledger.entry import sign_bundle
from ledger.sequencer import Admission, Sequencer
from ledger.verifying import VerifierPool

__all__ = [
    "TOGETHER",
    "AdmissionRun",
    "Prepared",
    "admit_all",
    "admit_over_http",
    "median_rate",
    "verification_us",
]

TOGETHER: Final = 8
"""Entries under one signature, where several are."""
_SENDERS: Final = 10
_CONTEXT: Final = bytes(32)
_ORIGIN: Final = "example.com/bench"
_VERIFICATIONS: Final = 400
_REPEATS: Final = 5


def _key(name: str) -> SigningKey:
    return SigningKey.from_seed(name.encode().ljust(32, b"\x00"))


@dataclass(frozen=True, slots=True)
class Prepared:
    """Batches of entries by ten senders, of about the size that a client's commitment to its update has."""

    batches: tuple[tuple[bytes, ...], ...]
    keys: Mapping[str, bytes]

    @classmethod
    def sign(cls, count: int, *, batch: int, together: int) -> "Prepared":
        """Sign `count` entries, so many `together` under one signature, and divide them into batches."""
        keys = [_key(f"client-{i}") for i in range(_SENDERS)]
        entries: list[bytes] = []
        while len(entries) < count:
            sender = len(entries) // together % _SENDERS
            contents: list[tuple[int, Value]] = [
                (1, {1: len(entries) + i, 2: bytes(32)}) for i in range(min(together, count - len(entries)))
            ]
            entries += sign_bundle(contents, f"client-{sender}", keys[sender], context=_CONTEXT)
        batches = tuple(tuple(entries[at : at + batch]) for at in range(0, count, batch))
        return cls(batches, {f"client-{i}": key.public for i, key in enumerate(keys)})

    @property
    def count(self) -> int:
        """How many entries there are."""
        return sum(map(len, self.batches))


@dataclass(frozen=True, slots=True)
class AdmissionRun:
    """All entries admitted once. Units: in the names; CPU is that of this process and of its verifiers."""

    entries_per_s: float
    cpu_us_per_entry: float | None


Admit = Callable[[Sequence[bytes]], list[Admission]]


def admit_all(prepared: Prepared, *, callers: int, workers: int) -> AdmissionRun:
    """Admit all batches from as many threads, into a new log on disk.

    Raises:
        RuntimeError: not all were admitted.
    """
    with _sequencer(prepared, workers) as (sequencer, pool):
        return _timed(prepared, [sequencer.admit] * callers, pool)


def admit_over_http(prepared: Prepared, *, callers: int, workers: int) -> AdmissionRun:
    """The same over loopback HTTP; server and clients share this process.

    Raises:
        ImportError: the extra `server` is not installed.
        RuntimeError: not all were admitted.
    """
    from ledger.web.client import HttpClient
    from ledger.web.entries import entries_app, submit
    from ledger.web.server import running

    with _sequencer(prepared, workers) as (sequencer, pool), running(entries_app(sequencer), threads=callers) as server:
        clients = [HttpClient(server.url, timeout=60.0) for _ in range(callers)]
        try:
            return _timed(prepared, [partial(submit, client) for client in clients], pool)
        finally:
            for client in clients:
                client.close()


@contextmanager
def _sequencer(prepared: Prepared, workers: int) -> Iterator[tuple[Sequencer, VerifierPool]]:
    with TemporaryDirectory() as folder, VerifierPool(prepared.keys, context=_CONTEXT, workers=workers) as pool:
        pool.check(prepared.batches[0])  # until the processes have started
        log = Log(SqliteStore(Path(folder) / "log.sqlite", create=True), _ORIGIN, _key("sequencer"))
        try:
            yield Sequencer(log, pool), pool
        finally:
            log.close()


def _timed(prepared: Prepared, callers: Sequence[Admit], pool: VerifierPool) -> AdmissionRun:
    left = iter(prepared.batches)
    lock = threading.Lock()
    indices: list[int] = []

    def work(admit: Admit) -> None:
        while True:
            with lock:
                batch = next(left, None)
            if batch is None:
                return
            found = admit(batch)
            indices.extend(each.index for each in found if each.index is not None)

    threads = [threading.Thread(target=work, args=(admit,)) for admit in callers]
    cpu, began = _cpu_seconds(pool), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall, after = time.perf_counter() - began, _cpu_seconds(pool)
    if sorted(indices) != list(range(prepared.count)):
        raise RuntimeError(f"{len(indices)} of {prepared.count} entries were admitted")
    used = None if cpu is None or after is None else round(1e6 * (after - cpu) / prepared.count, 1)
    return AdmissionRun(round(prepared.count / wall, 1), used)


def _cpu_seconds(pool: VerifierPool) -> float | None:
    """CPU seconds of this process and of the pool's until now; None where the system does not tell."""
    total = time.process_time()
    try:
        for pid in pool.pids:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
    return total


def median_rate(runs: Sequence[AdmissionRun]) -> AdmissionRun:
    """The median of each figure."""
    used = [run.cpu_us_per_entry for run in runs if run.cpu_us_per_entry is not None]
    rate = statistics.median(run.entries_per_s for run in runs)
    return AdmissionRun(round(rate, 1), round(statistics.median(used), 1) if len(used) == len(runs) else None)


def verification_us() -> float:
    """CPU microseconds of one strict verification: of 400 messages as long as those of entries; median of 5 times."""
    keys = [_key(f"client-{i}") for i in range(_SENDERS)]
    messages = [i.to_bytes(112, "big") for i in range(_VERIFICATIONS)]
    signed = [(keys[i % _SENDERS].public, keys[i % _SENDERS].sign(each), each) for i, each in enumerate(messages)]
    found = []
    for _ in range(_REPEATS):
        began = time.process_time()
        for public, signature, message in signed:
            verify_strict(public, signature, message)
        found.append((time.process_time() - began) / _VERIFICATIONS)
    return round(1e6 * statistics.median(found), 2)


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"verify_us": verification_us()}) + "\n")
