"""Certification: a quorum of cosignatures on the log's checkpoint, and what the log keeps of it."""

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ledger import (
    Certificate,
    Checkpoint,
    CosigningWitness,
    EquivocationError,
    Log,
    MemoryStore,
    MemoryWitnessStore,
    Policy,
    QuorumError,
    SqliteStore,
    StateError,
    Store,
    StoreError,
    Witness,
    certify,
    cosign,
    parse_note,
    sign_checkpoint,
    verify_checkpoint,
)
from ledger.errors import SizeConflictError
from tests.ledger.federation import NAMES, ORIGIN, Federation, key_of
from tests.ledger.stores import new_log


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "log.db", create=True)
    yield made
    made.close()


def test_a_certificate_is_kept(store: Store) -> None:
    federation = Federation(store)
    first = federation.grow(5)
    assert first.cosigners == NAMES
    assert federation.log.certified() == first.note
    federation.log.append(b"more")
    again = new_log(store)
    assert again.certified() == first.note
    second = federation.grow(1)
    assert (second.checkpoint.size, federation.log.certified()) == (7, second.note)
    federation.log.keep_certificate(first)
    assert federation.log.certified() == second.note
    assert federation.certify(now=99).checkpoint == second.checkpoint


def test_members_that_are_away_are_named() -> None:
    federation = Federation()
    federation.log.append(b"a")
    some = dict.fromkeys(NAMES[:2]) | dict(list(federation.witnesses.items())[2:])
    with pytest.raises(QuorumError, match=r"needs 4 of 5 cosignatures, has 3; missing: member-1, member-2$") as caught:
        certify(federation.log, some, federation.policy, now=1)
    assert (caught.value.have, caught.value.culprits) == (NAMES[2:], ())
    assert federation.log.certified() is None
    some["member-2"] = federation.witnesses["member-2"]
    assert certify(federation.log, some, federation.policy, now=1).cosigners == NAMES[1:]
    # the one that was away needs a proof from 0 now, and catches up
    assert federation.grow(3).cosigners == NAMES


class _Answering:
    """A far witness that answers as told."""

    def __init__(self, answer: str | Exception, size: int = 0) -> None:
        self._answer = answer
        self.size = size

    def add_checkpoint(self, old_size: int, proof: Sequence[bytes], note: bytes, *, now: int) -> str:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def test_bad_answers_count_as_missing_and_are_named() -> None:
    federation = Federation()
    federation.log.append(b"a")
    note = federation.log.checkpoint()
    other = sign_checkpoint(Checkpoint(ORIGIN, 9, bytes(32)), key_of("sequencer"))
    lie = EquivocationError("lie", evidence=(note, other))
    forged = EquivocationError("lie", evidence=(note, b"garbage"))
    for answer, size, reason, blamed in (
        ("garbage", 0, "em dash", True),
        (cosign(other, "member-1", key_of("member-1"), now=1), 0, "member-1 is bad", True),
        (cosign(note, "member-1", key_of("stranger"), now=1), 0, "not its key", True),
        (cosign(note, "member-2", key_of("member-2"), now=1), 0, "signature line of member-2", True),
        (cosign(note, "member-1", key_of("member-1"), now=1) * 2, 0, "signature line", True),
        (TimeoutError("no answer in 5 s"), 0, "no answer in 5 s", False),
        (StateError("busy"), 0, "busy", False),
        ("", 7, "has cosigned size 7", False),
        (lie, 0, "does not prove", True),
        (forged, 0, "does not prove", True),
    ):
        witnesses: dict[str, CosigningWitness | None] = {"member-1": _Answering(answer, size), "member-2": None}
        with pytest.raises(QuorumError, match=reason) as caught:
            certify(federation.log, witnesses, federation.policy, now=1)
        assert caught.value.culprits == (("member-1",) if blamed else ())
        assert caught.value.missing == NAMES
    # with one such member, four others are a quorum
    good: dict[str, CosigningWitness | None] = {**federation.witnesses, "member-1": _Answering("garbage")}
    assert certify(federation.log, good, federation.policy, now=1).cosigners == NAMES[1:]


def test_proved_equivocation_is_not_passed_over() -> None:
    honest, forked = Federation(), Federation()
    honest.log.append(b"a")
    forked.log.append(b"b")
    honest.certify()
    with pytest.raises(EquivocationError) as caught:
        certify(forked.log, honest.witnesses, forked.policy, now=1)
    one, other = (verify_checkpoint(note, honest.log.verifier) for note in caught.value.evidence)
    assert one.size == other.size
    assert one.root != other.root


def test_no_two_forks_are_both_certified_with_one_dishonest_witness() -> None:
    federation, fork = Federation(), Federation()
    federation.log.append(b"a")
    fork.log.append(b"b")
    two_faced = Witness("member-5", key_of("member-5"), fork.log.verifier, MemoryWitnessStore())
    assert (
        len(certify(federation.log, {**federation.witnesses, "member-1": None}, federation.policy, now=1).cosigners)
        == 4
    )
    faces = {"member-1": federation.witnesses["member-1"], "member-5": two_faced}
    with pytest.raises(QuorumError, match="has 2; missing: member-2, member-3, member-4"):
        certify(fork.log, faces, fork.policy, now=1)


def test_certify_is_called_with_the_logs_own_policy() -> None:
    federation = Federation()
    other = Log(MemoryStore(), "example.com/other", key_of("other"))
    with pytest.raises(ValueError, match="the policy is of"):
        certify(other, {}, federation.policy, now=1)
    with pytest.raises(ValueError, match="not witnesses of this policy: member-9"):
        certify(federation.log, {"member-9": None}, federation.policy, now=1)
    foreign = Policy("example.com/other", other.verifier, federation.policy.witnesses)
    with pytest.raises(QuorumError):
        certify(other, {}, foreign, now=1)
    with pytest.raises(StateError, match="not of the entries of this log"):
        federation.log.keep_certificate(Certificate(Checkpoint(ORIGIN, 1, bytes(32)), ("a",), _note(1)))


def _note(size: int) -> bytes:
    return sign_checkpoint(Checkpoint(ORIGIN, size, bytes(32)), key_of("sequencer"))


class _Far:
    """A far witness, whose size nobody knows before it says so."""

    def __init__(self, near: Witness, *, says: int | None = None) -> None:
        self._near = near
        self._says = says
        self.size = 0
        self.asked: list[int] = []

    def add_checkpoint(self, old_size: int, proof: Sequence[bytes], note: bytes, *, now: int) -> str:
        self.asked.append(old_size)
        if self._says is not None:
            raise SizeConflictError("not from there", size=self._says)
        if old_size != self._near.size:
            raise SizeConflictError("not from there", size=self._near.size)
        return self._near.add_checkpoint(old_size, proof, note, now=now)


def test_a_witness_that_says_its_size_is_asked_once_more() -> None:
    federation = Federation()
    far = {name: _Far(witness) for name, witness in federation.witnesses.items()}
    federation.log.append(b"a")
    certify(federation.log, far, federation.policy, now=1)
    federation.log.append_all([b"b", b"c"])
    assert certify(federation.log, far, federation.policy, now=2).cosigners == NAMES
    assert [witness.asked for witness in far.values()] == [[0, 0, 1]] * 5


@pytest.mark.parametrize(
    ("says", "asked", "reason"), [(0, [0], "not from there"), (1, [0, 1], "not from there"), (9, [0], "rolled back")]
)
def test_a_witness_that_contradicts_itself_counts_as_missing(says: int, asked: list[int], reason: str) -> None:
    federation = Federation()
    federation.log.append_all([b"a", b"b"])
    liar = _Far(federation.witnesses["member-1"], says=says)
    with pytest.raises(QuorumError, match=reason) as caught:
        certify(federation.log, {"member-1": liar}, federation.policy, now=1)
    assert (liar.asked, caught.value.culprits) == (asked, ())
    witnesses: dict[str, CosigningWitness | None] = {**federation.witnesses, "member-1": liar}
    assert certify(federation.log, witnesses, federation.policy, now=1).cosigners == NAMES[1:]


class _Slow(_Far):
    """A far witness that does not answer before it is told to, and then would like a proof from size 1."""

    def __init__(self, near: Witness) -> None:
        super().__init__(near)
        self.told = threading.Event()
        self.thread: threading.Thread | None = None

    def add_checkpoint(self, old_size: int, proof: Sequence[bytes], note: bytes, *, now: int) -> str:
        self.asked.append(old_size)
        self.thread = threading.current_thread()
        self.told.wait(timeout=20)
        raise SizeConflictError("not from there", size=1)


def test_slow_witnesses_hold_nobody_up_together() -> None:
    federation = Federation()
    names = [f"witness-{i}" for i in range(10)]
    near = {name: Witness(name, key_of(name), federation.log.verifier, MemoryWitnessStore()) for name in names}
    policy = Policy(ORIGIN, federation.log.verifier, tuple(each.verifier for each in near.values()))
    federation.log.append_all([b"a", b"b"])
    slow = {name: _Slow(near[name]) for name in names[:3]}
    witnesses = {**{name: _Far(near[name]) for name in reversed(names)}, **slow}
    start = time.monotonic()
    certificate = certify(federation.log, witnesses, policy, now=1, timeout=0.5)
    assert time.monotonic() - start < 1.2
    assert certificate.cosigners == tuple(names[3:])
    assert federation.log.certified() == certificate.note
    signers = [line.name for line in parse_note(certificate.note).signatures]
    assert signers == [ORIGIN, *names[3:]]  # in the policy's order, whoever answered first
    with pytest.raises(QuorumError, match=r"witness-2: no answer within 0\.1 seconds") as caught:
        certify(federation.log, {**slow, "witness-9": None}, policy, now=1, timeout=0.1)
    assert caught.value.culprits == ()
    for each in slow.values():  # a thread that was left behind ends when its witness answers, and asks it no more
        asked, thread = len(each.asked), each.thread
        assert thread is not None
        assert thread.daemon
        each.told.set()
        thread.join(timeout=5)
        assert not thread.is_alive()
        assert len(each.asked) == asked


class _OneThread(Log):
    """A log that remembers which threads asked it for proofs."""

    threads: set[threading.Thread]

    def consistency_proof(self, old: int, new: int) -> list[bytes]:
        self.threads.add(threading.current_thread())
        return super().consistency_proof(old, new)


def test_the_log_is_read_by_the_calling_thread_alone() -> None:
    federation = Federation()
    log = _OneThread(MemoryStore(), ORIGIN, key_of("sequencer"))
    log.threads = set()
    far = {name: _Far(witness) for name, witness in federation.witnesses.items()}
    for entry in (b"a", b"b", b"c"):
        log.append(entry)
        assert certify(log, far, federation.policy, now=1).cosigners == NAMES
    assert [each.asked for each in far.values()] == [[0, 0, 1, 0, 2]] * 5
    assert log.threads == {threading.current_thread()}


def test_witnesses_of_this_process_are_asked_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, threading.Thread]] = []
    real = Witness.add_checkpoint

    def recording(self: Witness, old_size: int, proof: Sequence[bytes], note: bytes, *, now: int) -> str:
        asked.append((self.verifier.name, threading.current_thread()))
        return real(self, old_size, proof, note, now=now)

    monkeypatch.setattr(Witness, "add_checkpoint", recording)
    Federation().grow(3)
    assert asked == [(name, threading.current_thread()) for name in NAMES]


@pytest.mark.parametrize(
    ("error", "reason"),
    [(ValueError("a defect"), "member-1: ValueError: a defect"), (RecursionError(), "member-1: RecursionError: ")],
)
def test_whatever_a_far_witness_brings_about_counts_as_missing(error: Exception, reason: str) -> None:
    federation = Federation()
    federation.log.append(b"a")
    with pytest.raises(QuorumError) as caught:
        certify(federation.log, {"member-1": _Answering(error)}, federation.policy, now=1)
    assert caught.value.reasons == (reason,)
    witnesses: dict[str, CosigningWitness | None] = {**federation.witnesses, "member-1": _Answering(error)}
    assert certify(federation.log, witnesses, federation.policy, now=1).cosigners == NAMES[1:]


def test_a_proof_that_the_log_cannot_make_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(old: int, new: int) -> list[bytes]:
        raise StoreError("the disk is gone")

    federation = Federation()
    far: dict[str, CosigningWitness | None] = {"member-1": _Far(federation.witnesses["member-1"])}
    federation.grow(1)
    federation.log.append(b"b")
    monkeypatch.setattr(federation.log, "consistency_proof", failing)
    for witnesses in (far, {"member-1": federation.witnesses["member-1"]}):
        with pytest.raises(QuorumError, match="member-1: the disk is gone"):
            certify(federation.log, witnesses, federation.policy, now=1)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_witnesses_are_given_some_time(timeout: float) -> None:
    federation = Federation()
    federation.log.append(b"a")
    with pytest.raises(ValueError, match="a timeout above 0 seconds"):
        certify(federation.log, federation.witnesses, federation.policy, now=1, timeout=timeout)
