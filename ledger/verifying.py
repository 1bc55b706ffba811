"""A pool of processes that verify entries, so that signatures are checked on all processors.

Entries go out, verdicts come back. A process that dies, hangs or answers something else is replaced and its work is
done again; no entry counts as verified but by the answer of a process that has finished it.
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Final, Self

from .entry import check_context, verify_entries
from .errors import StateError, VerifierError
from .octets import is_octets
from .signing import PUBLIC_SIZE

__all__ = ["Verdict", "VerifierPool"]

Verdict = str | None
"""None for an entry that its sender signed, else why it is refused."""

_LARGEST_CHUNK: Final = 256
_SMALLEST_CHUNK: Final = 32
_CHUNK_BYTES: Final = 1024 * 1024
_ATTEMPTS: Final = 3
_GRACE: Final = 5.0


@dataclass(slots=True, eq=False)
class _Chunk:
    """Entries that one process verifies, under the keys that were known when they came."""

    entries: Sequence[bytes]
    keys: Mapping[str, bytes]
    verdicts: Future[list[Verdict]] = field(default_factory=Future)


@dataclass(slots=True, eq=False)
class _Worker:
    """One process and the pipe to it."""

    process: BaseProcess
    pipe: Connection
    keys: Mapping[str, bytes] | None = None
    asked: int = 0


class VerifierPool:
    """Verifies entries in processes of its own. Any number of threads may call it.

    `keys` maps senders to their public keys of 32 bytes. With `workers=0` the calling thread verifies. Units: patience
    in seconds, that a process may take for 256 entries, or 1 MiB of them, before it is held for hung.

    The processes are started afresh (`spawn`), as a fork of a process with threads may hang: a script that makes a pool
    must do so under `if __name__ == "__main__"`.

    Raises:
        ValueError: a number is negative, a key is not 32 bytes, or the context has a wrong size.
    """

    def __init__(self, keys: Mapping[str, bytes], *, context: bytes, workers: int = 2, patience: float = 60.0) -> None:
        if workers < 0 or patience <= 0:
            raise ValueError("a pool has 0 or more workers, and some patience with them")
        check_context(context)
        self._context = context
        self._keys = _checked(keys)
        self._patience = patience
        self._chunks: SimpleQueue[_Chunk | None] = SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()
        self._pids: dict[int, int] = {}
        self._threads = [threading.Thread(target=self._attend, args=(i,), daemon=True) for i in range(workers)]
        for thread in self._threads:
            thread.start()

    @property
    def workers(self) -> int:
        """How many processes verify; 0 if the caller does."""
        return len(self._threads)

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that run now."""
        return tuple(self._pids.values())

    def replace_keys(self, keys: Mapping[str, bytes]) -> None:
        """Verify under these keys whatever `check` is given from now on.

        Raises:
            ValueError: a key is not 32 bytes.
        """
        self._keys = _checked(keys)

    def check(self, entries: Sequence[bytes]) -> list[Verdict]:
        """Verify entries; see `ledger.entry.verify_entries`. One verdict each, in order.

        Raises:
            StateError: the pool is closed.
            VerifierError: no process could be kept alive for long enough; nothing is known about the entries.
        """
        keys = self._keys
        if not self._threads:
            self._check_open()
            return _verdicts(entries, keys, self._context)
        size = max(_SMALLEST_CHUNK, min(_LARGEST_CHUNK, -(-len(entries) // len(self._threads))))
        chunks = [_Chunk(part, keys) for part in _divided(entries, size)]
        with self._lock:
            self._check_open()
            for chunk in chunks:
                self._chunks.put(chunk)
        return [verdict for chunk in chunks for verdict in chunk.verdicts.result()]

    def close(self) -> None:
        """Finish what was handed in, then stop the processes; closing twice does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for _ in self._threads:
                self._chunks.put(None)
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StateError("the pool of verifiers is closed")

    def _attend(self, place: int) -> None:
        """One thread: keep one process busy until the pool is closed."""
        worker: _Worker | None = None
        with suppress(OSError, RuntimeError):  # else it is tried again when there is work
            worker = self._start(place)
        while (chunk := self._chunks.get()) is not None:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    worker = worker or self._start(place)
                    chunk.verdicts.set_result(self._ask(worker, chunk))
                    break
                except Exception as exc:  # noqa: BLE001 -- whatever it is, the caller waits and is told
                    if worker is not None:
                        _stop(worker, grace=0)
                        worker = None
                    if attempt == _ATTEMPTS:
                        text = f"verifier processes failed {attempt} times on the same entries: {exc!r}"
                        chunk.verdicts.set_exception(VerifierError(text))
        if worker is not None:
            _stop(worker, grace=_GRACE)
        self._pids.pop(place, None)

    def _start(self, place: int) -> _Worker:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_serve, args=(theirs, self._context), daemon=True)
        try:
            process.start()
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._pids[place] = process.pid or 0
        return _Worker(process, ours)

    def _ask(self, worker: _Worker, chunk: _Chunk) -> list[Verdict]:
        if worker.keys is not chunk.keys:
            worker.pipe.send(dict(chunk.keys))
            worker.keys = chunk.keys
        worker.asked += 1
        worker.pipe.send((worker.asked, list(chunk.entries)))
        if not worker.pipe.poll(self._patience):
            raise VerifierError(f"no answer within {self._patience} seconds")
        match worker.pipe.recv():
            case (worker.asked, list(verdicts)) if len(verdicts) == len(chunk.entries):
                return verdicts
        raise VerifierError("a verifier process answered something else than it was asked")


def _divided(entries: Sequence[bytes], most: int) -> list[Sequence[bytes]]:
    """Neighbours together, at most so many and at most `_CHUNK_BYTES` of them; one entry at least."""
    parts, start, taken = [], 0, 0
    for at, entry in enumerate(entries):
        if at > start and (at - start == most or taken + len(entry) > _CHUNK_BYTES):
            parts.append(entries[start:at])
            start, taken = at, 0
        taken += len(entry)
    if start < len(entries):
        parts.append(entries[start:])
    return parts


def _serve(pipe: Connection, context: bytes) -> None:
    """The process: verify what comes until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that owns the pool
    keys: Mapping[str, bytes] = {}
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            order = pipe.recv()
            if isinstance(order, dict):
                keys = order
            else:
                number, entries = order
                pipe.send((number, _verdicts(entries, keys, context)))


def _verdicts(entries: Sequence[bytes], keys: Mapping[str, bytes], context: bytes) -> list[Verdict]:
    return [None if error is None else str(error) for error in verify_entries(entries, keys, context=context)]


def _stop(worker: _Worker, *, grace: float) -> None:
    worker.pipe.close()
    worker.process.join(grace)
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()


def _checked(keys: Mapping[str, bytes]) -> Mapping[str, bytes]:
    if not all(is_octets(key, PUBLIC_SIZE) for key in keys.values()):
        raise ValueError(f"a public key is {PUBLIC_SIZE} bytes")
    return dict(keys)
