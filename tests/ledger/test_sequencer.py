"""Admission: verified, durable, in one commit with others, and never doubtful without an error."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ledger import DamagedStoreError, Head, Log, MemoryStore, SqliteStore, StateError, StoreError, sign_entry
from ledger import sequencer as sequencer_module
from ledger.entry import sign_bundle
from ledger.errors import BusyError
from ledger.sequencer import MAX_REASON, Admission, Sequencer
from ledger.verifying import Verdict, VerifierPool
from tests.ledger.federation import CONTEXT, ORIGIN, key_of, signed

KEYS = {name: key_of(name).public for name in ("client-1", "client-2")}
PATIENCE = 20.0


class SlowStore(MemoryStore):
    """A store whose next appends wait for `go`, and fail where they shall."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.go = threading.Event()
        self.go.set()
        self.begun = threading.Event()
        self.error: BaseException | None = None

    def append(self, entries: Sequence[bytes], *rest: Any) -> None:
        self.begun.set()
        assert self.go.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        super().append(entries, *rest)
        self.batches.append(len(entries))


@pytest.fixture
def store() -> SlowStore:
    return SlowStore()


@pytest.fixture
def pool() -> Iterator[VerifierPool]:
    with VerifierPool(KEYS, context=CONTEXT, workers=0) as pool:
        yield pool


@pytest.fixture
def sequencer(store: SlowStore, pool: VerifierPool) -> Sequencer:
    return Sequencer(Log(store, ORIGIN, key_of("sequencer")), pool)


class Call(threading.Thread):
    """A call in a thread of its own, with what it returned or raised."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.result: Any = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._work()
        except BaseException as exc:  # noqa: BLE001 -- kept for the test
            self.error = exc

    def done(self) -> "Call":
        self.join(PATIENCE)
        assert not self.is_alive()
        return self


def await_that(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def group(sequencer: Sequencer, store: SlowStore, batches: Sequence[Sequence[bytes]]) -> list[Call]:
    """Hold the store with a first batch, and have the others wait behind it."""
    store.go.clear()
    store.begun.clear()
    calls = [Call(lambda: sequencer.admit([signed(1000)]))]
    assert store.begun.wait(PATIENCE)
    for number, batch in enumerate(batches, start=1):
        calls.append(Call(lambda batch=batch: sequencer.admit(batch)))  # type: ignore[misc]
        await_that(lambda number=number: len(sequencer._waiting) == number)  # type: ignore[misc]
    return calls


def test_good_entries_are_neighbours_and_bad_ones_say_why(sequencer: Sequencer, store: SlowStore) -> None:
    stranger = sign_entry(1, "nobody", 1, key_of("nobody"), context=CONTEXT)
    forged = sign_entry(1, "client-2", 1, key_of("client-1"), context=CONTEXT)
    elsewhere = sign_entry(1, "client-1", 1, key_of("client-1"), context=bytes(32))
    together = sign_bundle([(1, 1), (1, 2)], "client-2", key_of("client-2"), context=CONTEXT)
    batch = [signed(1), stranger, signed(2), forged, b"", bytes(70_000), elsewhere, *together, signed(4)]
    found = sequencer.admit(batch)
    assert [each.index for each in found] == [0, None, 1, None, None, None, None, 2, 3, 4]
    assert store.batches == [5]
    assert store.entries(0, 9) == [signed(1), signed(2), *together, signed(4)]
    reasons = [each.reason or "" for each in found]
    assert "no key of nobody" in reasons[1]
    assert "not signed by client-2" in reasons[3]
    assert "not signed by client-1 for this federation" in reasons[6]
    assert sequencer.admit([signed(3)]) == [Admission(index=5)]
    assert sequencer.admit([b"x"])[0].index is None
    assert sequencer.admit([]) == []
    assert store.batches == [5, 1]


def test_batches_that_wait_are_committed_together(sequencer: Sequencer, store: SlowStore) -> None:
    calls = group(sequencer, store, [[signed(10 * n + i) for i in range(n)] for n in (1, 2, 3)])
    store.go.set()
    indices = [[each.index for each in call.done().result] for call in calls]
    assert indices == [[0], [1], [2, 3], [4, 5, 6]]
    assert store.batches == [1, 6]
    assert store.entries(2, 4) == [signed(20), signed(21)]


def test_the_next_batch_is_verified_while_one_is_committed(store: SlowStore) -> None:
    class Watched(VerifierPool):
        def check(self, entries: Sequence[bytes]) -> list[Verdict]:
            verdicts = super().check(entries)
            checked.append(len(entries))
            return verdicts

    checked: list[int] = []
    with Watched(KEYS, context=CONTEXT, workers=0) as pool:
        sequencer = Sequencer(Log(store, ORIGIN, key_of("sequencer")), pool)
        calls = group(sequencer, store, [[signed(i) for i in range(7)]])
        assert checked == [1, 7]  # and yet the first is not committed
        assert store.batches == []
        store.go.set()
        assert [len(call.done().result) for call in calls] == [1, 7]


# Copies: a published entry verifies for whoever hands it in


class Counting(VerifierPool):
    """A pool that tells what it was asked to verify."""

    def __init__(self) -> None:
        super().__init__(KEYS, context=CONTEXT, workers=0)
        self.checked: list[bytes] = []

    def check(self, entries: Sequence[bytes]) -> list[Verdict]:
        self.checked += entries
        return super().check(entries)


def test_a_copy_has_the_index_of_what_is_there_and_costs_no_verification(store: SlowStore) -> None:
    pool = Counting()
    sequencer = Sequencer(Log(store, ORIGIN, key_of("sequencer")), pool)
    bad = b"no entry"
    first = sequencer.admit([signed(1), bad, signed(1), signed(2), bad])
    assert [each.index for each in first] == [0, None, 0, 1, None]
    assert first[1] == first[4]
    assert pool.checked == [signed(1), bad, signed(2)]
    copies = sequencer.admit([signed(2)] * 5 + [signed(3)] + [signed(1)] * 5)
    assert [each.index for each in copies] == [1] * 5 + [2] + [0] * 5
    assert sequencer.admit([signed(1)] * 100) == [Admission(index=0)] * 100
    assert pool.checked == [signed(1), bad, signed(2), signed(3)]
    assert store.entries(0, 9) == [signed(1), signed(2), signed(3)]
    assert store.batches == [2, 1]


def test_what_was_refused_is_not_remembered(sequencer: Sequencer, store: SlowStore, pool: VerifierPool) -> None:
    other = sign_entry(1, "client-3", 1, key_of("client-3"), context=CONTEXT)
    assert sequencer.admit([other])[0].index is None
    pool.replace_keys({**KEYS, "client-3": key_of("client-3").public})
    assert sequencer.admit([other]) == [Admission(index=0)]
    assert store.entries(0, 9) == [other]


def test_one_entry_in_batches_that_wait_together_is_appended_once(sequencer: Sequencer, store: SlowStore) -> None:
    held = signed(1000)  # it is being committed while the others wait
    calls = group(sequencer, store, [[signed(1), held], [signed(2), signed(1)], [held], [signed(1), signed(2)]])
    store.go.set()
    assert [[each.index for each in call.done().result] for call in calls] == [[0], [1, 0], [2, 1], [0], [1, 2]]
    assert store.entries(0, 9) == [held, signed(1), signed(2)]
    assert store.batches == [1, 2]


def test_copies_that_wait_alone_need_no_commit(sequencer: Sequencer, store: SlowStore) -> None:
    calls = group(sequencer, store, [[signed(1000)], [signed(1000)]])
    store.go.set()
    assert [call.done().result for call in calls] == [[Admission(index=0)]] * 3
    assert store.batches == [1]


def test_what_was_not_committed_is_not_remembered(sequencer: Sequencer, store: SlowStore) -> None:
    sequencer.admit([signed(1)])
    calls = group(sequencer, store, [[signed(2), signed(1)]])
    store.error = StoreError("the disk is full")
    store.go.set()
    assert [type(call.done().error) for call in calls] == [StoreError] * 2
    with pytest.raises(StoreError):  # not even of what is there: nobody knows what is
        sequencer.admit([signed(1)])
    assert list(sequencer._recent._indices.values()) == [0]
    store.error = None
    again = Sequencer(Log(store, ORIGIN, key_of("sequencer")), sequencer._pool)
    assert [each.index for each in again.admit([signed(2), signed(1), signed(1000)])] == [1, 0, 2]


def test_so_many_are_remembered_and_again_after_a_restart(
    store: SlowStore, pool: VerifierPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequencer_module, "REMEMBERED", 300)
    entries = sign_bundles(310)
    first = Sequencer(Log(store, ORIGIN, key_of("sequencer")), pool)
    for at in range(0, 310, 100):
        first.admit(entries[at : at + 100])
    for sequencer in (first, Sequencer(Log(store, ORIGIN, key_of("sequencer")), pool)):
        assert len(sequencer._recent._indices) == len(sequencer._recent._hashes) == 300
        assert [each.index for each in sequencer.admit(entries[10:])] == list(range(10, 310))
        assert store.head().size == 310
    assert sequencer.admit([entries[9], entries[10]]) == [Admission(index=310), Admission(index=10)]
    assert [each.index for each in sequencer.admit([entries[9], entries[11], entries[10]])] == [310, 11, 311]
    assert len(sequencer._recent._indices) == 300


def sign_bundles(count: int) -> list[bytes]:
    return [
        entry
        for at in range(0, count, 62)
        for entry in sign_bundle([(1, at + i) for i in range(62)], "client-1", key_of("client-1"), context=CONTEXT)
    ][:count]


def test_copies_of_before_are_remembered_by_the_last_one(
    store: SlowStore, pool: VerifierPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequencer_module, "REMEMBERED", 4)
    log = Log(store, ORIGIN, key_of("sequencer"))
    log.append_all([signed(1), signed(1), signed(2), signed(1)])
    sequencer = Sequencer(log, pool)
    assert [each.index for each in sequencer.admit([signed(1), signed(2)])] == [3, 2]
    assert [each.index for each in sequencer.admit([signed(3), signed(4)])] == [4, 5]  # the first two are forgotten
    assert [each.index for each in sequencer.admit([signed(1), signed(2)])] == [3, 2]


def test_what_a_borrower_appends_is_remembered_too(
    sequencer: Sequencer, store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequencer.admit([signed(1)])
    with sequencer.exclusively() as log:
        log.append_all([signed(2), signed(3)])
    assert [each.index for each in sequencer.admit([signed(4), signed(3), signed(1)])] == [3, 2, 0]
    monkeypatch.setattr(sequencer_module, "REMEMBERED", 2)
    with sequencer.exclusively() as log:
        log.append_all([signed(5), signed(6), signed(7)])
    assert [each.index for each in sequencer.admit([signed(8), signed(7), signed(5)])] == [7, 6, 8]
    assert [each.index for each in sequencer.admit([signed(1)])] == [9]  # it is too old


def test_a_log_whose_tiles_are_damaged_takes_no_entries(pool: VerifierPool) -> None:
    store = MemoryStore()
    log = Log(store, ORIGIN, key_of("sequencer"))
    log.append_all(sign_bundles(300))
    store._tiles[0, 0] = bytes(8192)
    with pytest.raises(DamagedStoreError, match="tile/0/000"):
        Sequencer(log, pool)


def test_of_many_callers_with_the_same_entries_each_gets_the_one_index(sequencer: Sequencer, store: SlowStore) -> None:
    entries = [signed(i) for i in range(60)]
    found: list[dict[bytes, int | None]] = []

    def work(caller: int) -> None:
        mine: dict[bytes, int | None] = {}
        for at in range(0, 60, 10):
            batch = [entries[(7 * i + 11 * caller) % 60] for i in range(at, at + 10)]
            admissions = sequencer.admit(batch)
            mine.update({entry: each.index for entry, each in zip(batch, admissions, strict=True)})
        found.append(mine)

    calls = [Call(lambda caller=caller: work(caller)) for caller in range(6)]  # type: ignore[misc]
    assert [call.done().error for call in calls] == [None] * 6
    stored = store.entries(0, 100)
    assert sorted(stored) == sorted(entries)
    assert found == [{entry: i for i, entry in enumerate(stored)}] * 6


# Faults


@pytest.mark.parametrize("error", [StoreError("the disk is full"), OSError("gone"), MemoryError("none left")])
def test_a_failing_store_fails_all_who_wait_and_all_after(
    error: BaseException, sequencer: Sequencer, store: SlowStore
) -> None:
    assert sequencer.admit([signed(1)]) == [Admission(index=0)]
    calls = group(sequencer, store, [[signed(2)], [signed(3)]])
    store.error = error
    store.go.set()
    for call in calls:
        assert isinstance(call.done().error, StoreError)
        assert str(error) in str(call.error)
    store.error = None
    with pytest.raises(StoreError, match="open the log again"):
        sequencer.admit([signed(4)])
    with pytest.raises(StoreError, match="open the log again"), sequencer.exclusively():
        pass
    assert store.batches == [1]
    assert store.head().size == 1


def test_a_failure_fails_those_that_are_committed_in_the_same_group(sequencer: Sequencer, store: SlowStore) -> None:
    calls = group(sequencer, store, [[signed(2)], [signed(3)]])
    original = store.append

    def fails_then(entries: Sequence[bytes], *rest: Any) -> None:
        if len(entries) == 2:
            raise StoreError("no second commit")
        original(entries, *rest)

    store.append = fails_then  # type: ignore[method-assign]
    store.go.set()
    assert calls[0].done().result == [Admission(index=0)]
    for call in calls[1:]:
        assert isinstance(call.done().error, StoreError)
        assert "no second commit" in str(call.error)


def test_an_interrupted_commit_is_not_taken_for_a_good_one(sequencer: Sequencer, store: SlowStore) -> None:
    store.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        sequencer.admit([signed(1)])
    store.error = None
    with pytest.raises(StoreError, match="interrupted"):
        sequencer.admit([signed(1)])


def test_who_is_interrupted_while_waiting_leaves_nothing_behind(
    sequencer: Sequencer, store: SlowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    [first] = group(sequencer, store, [])

    def interrupted(predicate: Callable[[], bool]) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sequencer._turn, "wait_for", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sequencer.admit([signed(2)])
    store.go.set()
    assert first.done().result == [Admission(index=0)]
    assert sequencer.admit([signed(3)]) == [Admission(index=1)]


def test_there_is_room_for_so_much_and_no_more(store: SlowStore, pool: VerifierPool) -> None:
    need = len(signed(1000)) + 64
    sequencer = Sequencer(Log(store, ORIGIN, key_of("sequencer")), pool, room=2 * need)
    [held] = group(sequencer, store, [])
    with pytest.raises(BusyError, match="try again later"):
        sequencer.admit([signed(1001), signed(1002)], wait=False)
    waiting = Call(lambda: sequencer.admit([signed(1001), signed(1002)]))
    waiting.join(0.1)
    assert waiting.is_alive()
    with pytest.raises(ValueError, match="divide it"):
        sequencer.admit([signed(1000)] * 3)
    store.go.set()
    assert held.done().result == [Admission(index=0)]
    assert waiting.done().result == [Admission(index=1), Admission(index=2)]
    assert sequencer.admit([signed(1003), signed(1004)], wait=False)[0].index == 3
    with pytest.raises(ValueError, match="room for something"):
        Sequencer(Log(MemoryStore(), ORIGIN, key_of("sequencer")), pool, room=0)


def test_who_waits_for_room_is_told_of_a_failure(store: SlowStore, pool: VerifierPool) -> None:
    sequencer = Sequencer(Log(store, ORIGIN, key_of("sequencer")), pool, room=len(signed(1000)) + 64)
    [held] = group(sequencer, store, [])
    waiting = Call(lambda: sequencer.admit([signed(1000)]))
    store.error = StoreError("the disk is gone")
    store.go.set()
    assert isinstance(held.done().error, StoreError)
    assert isinstance(waiting.done().error, StoreError)


def test_the_log_is_lent_between_commits(sequencer: Sequencer, store: SlowStore) -> None:
    sequencer.admit([signed(1)])
    with sequencer.exclusively() as log:
        call = Call(lambda: sequencer.admit([signed(2)]))
        await_that(lambda: len(sequencer._waiting) == 1)
        call.join(0.05)
        assert call.is_alive()
        assert log.size == 1
        assert log.inclusion_proof(0, 1) == []
    assert call.done().result == [Admission(index=1)]
    with pytest.raises(DamagedStoreError), sequencer.exclusively():
        raise DamagedStoreError("an entry changed")
    with pytest.raises(StoreError, match="an entry changed"):
        sequencer.admit([signed(3)])


def test_the_log_is_not_lent_during_a_commit(sequencer: Sequencer, store: SlowStore) -> None:
    def borrow() -> int:
        with sequencer.exclusively() as log:
            return log.size

    [held] = group(sequencer, store, [])
    borrower = Call(borrow)
    borrower.join(0.1)
    assert borrower.is_alive()
    store.go.set()
    assert borrower.done().result == 1
    assert held.done().result == [Admission(index=0)]


def test_other_errors_of_a_borrower_do_not_stop_admission(sequencer: Sequencer) -> None:
    with pytest.raises(KeyError), sequencer.exclusively():
        raise KeyError("mine")
    assert sequencer.admit([signed(1)]) == [Admission(index=0)]


def test_closing_answers_what_was_taken_and_takes_no_more(sequencer: Sequencer, store: SlowStore) -> None:
    calls = group(sequencer, store, [[signed(1)]])
    closing = Call(sequencer.close)
    closing.join(0.05)
    assert closing.is_alive()
    with pytest.raises(StateError, match="closed"):
        sequencer.admit([signed(2)])
    store.go.set()
    closing.done()
    assert [call.done().result[0].index for call in calls] == [0, 1]
    with pytest.raises(StateError, match="closed"), sequencer.exclusively():
        pass


def test_an_error_of_the_verifiers_admits_nothing(sequencer: Sequencer, store: SlowStore, pool: VerifierPool) -> None:
    pool.close()
    with pytest.raises(StateError, match="closed"):
        sequencer.admit([signed(1)])
    assert store.head() == Head()
    assert sequencer._taken == 0


def test_entries_are_bytes(sequencer: Sequencer) -> None:
    with pytest.raises(TypeError, match="bytes"):
        sequencer.admit(["text"])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("index", "reason"),
    [(None, None), (1, "why"), (-1, None), (2**63, None), (None, ""), (None, "a\nb"), (None, "x" * (MAX_REASON + 1))],
)
def test_an_admission_is_an_index_or_a_reason(index: int | None, reason: str | None) -> None:
    with pytest.raises(ValueError):
        Admission(index, reason)


def test_reasons_are_one_line_of_bounded_length(sequencer: Sequencer) -> None:
    name = "é" * 120
    [found] = sequencer.admit([sign_entry(1, name, 0, key_of("x"), context=CONTEXT)])
    assert found.reason is not None
    assert len(found.reason) <= MAX_REASON
    long = "long-" * 50
    [cut] = sequencer.admit([sign_entry(1, long, 0, key_of("x"), context=CONTEXT)])
    assert cut.reason is not None
    assert len(cut.reason) == MAX_REASON
    assert cut.reason.endswith("…")
    assert sequencer_module._as_line("a\nb\u202e") == "a?b?"


def test_what_has_an_index_is_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = Log(SqliteStore(path, create=True), ORIGIN, key_of("sequencer"))
    admitted: dict[int, bytes] = {}
    with VerifierPool(KEYS, context=CONTEXT, workers=1) as pool:
        sequencer = Sequencer(log, pool)

        def work(caller: int) -> None:
            for number in range(6):
                batch = [signed(1000 * caller + 10 * number + i) for i in range(5)]
                batch[2] = b"bad"
                found = sequencer.admit(batch)
                assert found[2].index is None
                admitted.update({each.index: e for each, e in zip(found, batch, strict=True) if each.index is not None})

        calls = [Call(lambda caller=caller: work(caller)) for caller in range(4)]  # type: ignore[misc]
        assert [call.done().error for call in calls] == [None] * 4
        sequencer.close()
    log.close()
    again = Log(SqliteStore(path, create=True), ORIGIN, key_of("sequencer"))
    assert again.size == 4 * 6 * 4
    assert dict(enumerate(again.entries())) == admitted
    again.close()
