"""The pool of verifier processes: right verdicts, whatever happens to the processes."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from ledger import sign_entry, verifying
from ledger.entry import sign_bundle, verify_entries
from ledger.errors import StateError, VerifierError
from ledger.verifying import VerifierPool
from tests.ledger.federation import CONTEXT, key_of

KEYS = {name: key_of(name).public for name in ("client-1", "client-2")}


def mixed(count: int) -> list[bytes]:
    """Entries of which every third is not signed by its sender, and every seventh is no entry."""
    entries = []
    for i in range(count):
        key = key_of("client-2" if i % 3 == 0 else "client-1")
        entries.append(b"%d" % i if i % 7 == 0 else sign_entry(1, "client-1", i, key, context=CONTEXT))
    return entries


def expected(entries: list[bytes]) -> list[str | None]:
    return [None if error is None else str(error) for error in verify_entries(entries, KEYS, context=CONTEXT)]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(scope="module")
def pool() -> Iterator[VerifierPool]:
    with VerifierPool(KEYS, context=CONTEXT, workers=2) as pool:
        pool.check(mixed(64))  # both processes have started
        yield pool


def await_pids(pool: VerifierPool, count: int) -> tuple[int, ...]:
    deadline = time.monotonic() + 30
    while len(pool.pids) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return pool.pids


@pytest.mark.parametrize("count", [0, 1, 31, 33, 300])
def test_verdicts_are_those_of_one_process(pool: VerifierPool, count: int) -> None:
    entries = mixed(count)
    assert pool.check(entries) == expected(entries)
    assert pool.workers == 2


def test_the_calling_thread_can_verify_alone() -> None:
    with VerifierPool(KEYS, context=CONTEXT, workers=0) as alone:
        assert alone.check(mixed(50)) == expected(mixed(50))
        assert (alone.workers, alone.pids) == (0, ())
    with pytest.raises(StateError, match="closed"):
        alone.check([])


def test_bundles_are_verified_too(pool: VerifierPool) -> None:
    entries = sign_bundle([(1, i) for i in range(64)], "client-1", key_of("client-1"), context=CONTEXT)
    assert pool.check(entries * 5) == [None] * 320


def test_work_is_divided_by_entries_and_by_bytes() -> None:
    def sizes(entries: list[bytes], most: int) -> list[int]:
        parts = verifying._divided(entries, most)
        assert [entry for part in parts for entry in part] == entries
        assert all(len(part) == 1 or sum(map(len, part)) <= 1 << 20 for part in parts)
        return [len(part) for part in parts]

    assert sizes([], 256) == []
    assert sizes([b"x"] * 600, 256) == [256, 256, 88]
    assert sizes([bytes(65_535)] * 40, 256) == [16, 16, 8]
    assert sizes([bytes(1 << 19)] * 5, 256) == [2, 2, 1]
    assert sizes([bytes(3 << 20), b"x", bytes(3 << 20)], 32) == [1, 1, 1]


def test_no_process_is_sent_more_than_a_chunk_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []

    def ask(pool: VerifierPool, worker: object, chunk: verifying._Chunk) -> list[str | None]:
        sent.append(sum(map(len, chunk.entries)))
        return [None] * len(chunk.entries)

    monkeypatch.setattr(VerifierPool, "_ask", ask)
    with VerifierPool(KEYS, context=CONTEXT, workers=1) as pool:
        assert pool.check([bytes(65_000)] * 250) == [None] * 250
    assert len(sent) == 16
    assert max(sent) <= 1 << 20


def test_many_threads_may_call(pool: VerifierPool) -> None:
    found: dict[int, list[str | None]] = {}

    def call(number: int) -> None:
        found[number] = pool.check(mixed(40 + number))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: expected(mixed(40 + number)) for number in range(6)}


def test_keys_are_replaced(pool: VerifierPool) -> None:
    entries = [sign_entry(1, "client-1", i, key_of("client-2"), context=CONTEXT) for i in range(80)]
    assert None not in pool.check(entries)
    pool.replace_keys({"client-1": KEYS["client-2"]})
    assert pool.check(entries) == [None] * 80
    pool.replace_keys({})
    assert pool.check(entries) == ["no key of client-1 is known here"] * 80
    pool.replace_keys(KEYS)
    assert None not in pool.check(entries)
    with pytest.raises(ValueError, match="32 bytes"):
        pool.replace_keys({"client-1": b"short"})


def test_the_callers_keys_are_copied() -> None:
    keys = dict(KEYS)
    with VerifierPool(keys, context=CONTEXT, workers=0) as alone:
        keys.clear()
        assert alone.check(mixed(3)) == expected(mixed(3))


def test_killed_processes_are_replaced_and_their_work_is_done_again(pool: VerifierPool) -> None:
    entries = mixed(2000)
    right = expected(entries)
    found: list[list[str | None]] = []
    before = await_pids(pool, 2)
    caller = threading.Thread(target=lambda: found.append(pool.check(entries)))
    caller.start()
    for pid in before:  # while they work
        os.kill(pid, signal.SIGKILL)
    caller.join(timeout=60)
    assert found == [right]
    assert not set(before) & set(pool.pids)
    for pid in await_pids(pool, 2):  # while they are idle
        os.kill(pid, signal.SIGKILL)
    assert pool.check(entries[:100]) == right[:100]


def test_a_hung_process_is_replaced() -> None:
    with VerifierPool(KEYS, context=CONTEXT, workers=1, patience=3.0) as pool:
        assert pool.check(mixed(40)) == expected(mixed(40))
        (pid,) = pool.pids
        os.kill(pid, signal.SIGSTOP)
        assert pool.check(mixed(40)) == expected(mixed(40))
        assert pool.pids != (pid,)
        assert not alive(pid)


@pytest.mark.parametrize(
    "answer",
    [None, (0, [None]), (1, []), (1, [None, None]), (1, (None,)), [1, None], "raises EOFError"],
)
def test_only_the_right_answer_counts(answer: object, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pipe:
        """A process that answers what it likes."""

        def send(self, _: object) -> None:
            return None

        def poll(self, _: float) -> bool:
            return True

        def recv(self) -> object:
            if answer == "raises EOFError":
                raise EOFError
            return answer

        def close(self) -> None:
            return None

    class Process:
        pid = 0

        def join(self, _: float | None = None) -> None:
            return None

        def is_alive(self) -> bool:
            return False

    started: list[int] = []

    def start(pool: VerifierPool, place: int) -> object:
        started.append(place)
        return verifying._Worker(Process(), Pipe())  # type: ignore[arg-type]

    monkeypatch.setattr(VerifierPool, "_start", start)
    with VerifierPool(KEYS, context=CONTEXT, workers=1) as pool, pytest.raises(VerifierError, match="failed 3 times"):
        pool.check([b"entry"])
    assert len(started) == 3


def test_processes_that_cannot_be_started_are_an_error_and_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/program")
    monkeypatch.setattr("multiprocessing.spawn._python_exe", b"/no/such/program")
    with VerifierPool(KEYS, context=CONTEXT, workers=1) as pool, pytest.raises(VerifierError, match="failed 3 times"):
        pool.check(mixed(1))


@pytest.mark.parametrize("error", [RuntimeError("not in a child"), KeyError("never foreseen")])
def test_whatever_goes_wrong_the_caller_is_told(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    with VerifierPool(KEYS, context=CONTEXT, workers=1) as pool:
        pool.check(mixed(1))

        def broken(_: object, __: object) -> list[str | None]:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(pool, "_ask", broken)
            for _ in range(2):
                with pytest.raises(VerifierError, match="failed 3 times"):
                    pool.check(mixed(1))
        assert pool.check(mixed(40)) == expected(mixed(40))


def test_closing_ends_the_processes_and_refuses_more() -> None:
    pool = VerifierPool(KEYS, context=CONTEXT, workers=1)
    pool.check(mixed(1))
    pids = pool.pids
    pool.close()
    pool.close()
    assert len(pids) == 1
    assert not any(map(alive, pids))
    assert pool.pids == ()
    with pytest.raises(StateError, match="closed"):
        pool.check(mixed(1))


@pytest.mark.parametrize(
    ("workers", "patience", "context", "keys"),
    [(-1, 1.0, CONTEXT, KEYS), (1, 0.0, CONTEXT, KEYS), (0, 1.0, b"x", KEYS), (0, 1.0, CONTEXT, {"a": bytes(31)})],
)
def test_impossible_pools_are_refused(workers: int, patience: float, context: bytes, keys: dict[str, bytes]) -> None:
    with pytest.raises(ValueError):
        VerifierPool(keys, context=context, workers=workers, patience=patience)
