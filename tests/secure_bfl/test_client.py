"""A client: in which order things happen, and that a crash between any two of them costs nothing twice."""

import copy
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ledger import Blobs, MemoryBlobs, parse_entry
from protocols.dp import MechanismRecord, PrivacyEvent
from protocols.errors import PrivacyError
from protocols.grid import GridVector
from secure_bfl import client as client_module
from secure_bfl.client import Client
from secure_bfl.errors import ChainError, StateError
from secure_bfl.local_training import Learner, train_round
from secure_bfl.messages import BudgetSpend, OtherSpend, UpdateCommit
from secure_bfl.model import GlobalModel
from secure_bfl.odometer import MemoryOdometer
from secure_bfl.plan import FederationPlan
from tests.secure_bfl.federation import Federation, digest, odometer_of

NAME = "client-1"
EFFECTS = ["begin", "reserve", "BUDGET_SPEND", "train", "outbox", "persist", "UPDATE_COMMIT", "commit", "blob"]


class CrashError(Exception):
    """The process dies here."""


class Spy:
    """Writes down every effect of a client; dies before or after one of them, if told to."""

    def __init__(self, federation: Federation, patch: pytest.MonkeyPatch, crash: tuple[str, str] | None = None) -> None:
        self.seen: list[str] = []
        self.crash, self.patch = crash, patch
        disk, board = federation.disks[NAME], federation.board
        for name in ("begin", "reserve", "persist", "commit"):
            self._watch(disk.odometer, name, lambda *_, name=name: name)
        self._watch(board, "append", lambda body, *_: body.kind.name)
        self._watch(client_module, "train_round", lambda *_: "train")
        self._watch(disk.outbox, "put", lambda *_: "outbox")
        self._watch(board.blobs, "put", lambda *_: "blob")

    def _watch(self, owner: Any, name: str, label: Callable[..., str]) -> None:
        real = getattr(owner, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            effect = label(*args)
            if self.crash == ("before", effect):
                raise CrashError
            result = real(*args, **kwargs)
            self.seen.append(effect)
            if self.crash == ("after", effect):
                raise CrashError
            return result

        self.patch.setattr(owner, name, watched)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training that gives another update every time, and touches no record."""

    def train(
        plan: FederationPlan, model: GlobalModel, learner: Learner, *, rand: bytes
    ) -> tuple[GridVector, MechanismRecord]:
        values = np.resize(np.frombuffer(rand, np.uint8), plan.values).astype(np.int64)
        return GridVector(plan.grid, values), record_of(plan)

    monkeypatch.setattr(client_module, "train_round", train)


def record_of(plan: FederationPlan, steps: int = 0) -> MechanismRecord:
    """What a round of the plan releases, or one of so many steps."""
    event, mechanism = plan.round_event, plan.mechanism
    return MechanismRecord(
        steps or event.steps,
        event.sampling_rate_ppm,
        event.noise_multiplier_milli,
        mechanism.clip_units,
        plan.parameters,
        mechanism.shares,
    )


def persisted(federation: Federation) -> bytes | None:
    """The ciphertext that the client persisted for round 1, if it did."""
    reservation = federation.disks[NAME].odometer.find(federation.board.replay.context, 1)
    if reservation is None or reservation.upload is None:
        return None
    return federation.disks[NAME].outbox.get(reservation.upload, size=reservation.size)


def test_the_order_of_effects(opened: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = opened.copy()
    spy = Spy(federation, monkeypatch)
    assert federation.clients[0].update(federation.board, 1, federation.zero)
    assert spy.seen == EFFECTS
    state = federation.board.round(1)
    event = federation.plan.round_event
    (reservation,) = federation.disks[NAME].odometer.reservations
    assert (reservation.run, reservation.round) == (federation.board.replay.context, 1)
    assert reservation.event == event
    assert state.spends[NAME] == BudgetSpend(
        1, event.steps, event.noise_multiplier_milli, event.sampling_rate_ppm, (), reservation.head
    )
    assert reservation.index == state.commits[NAME][0]
    assert federation.disks[NAME].odometer.status.runs[0].schedule == (federation.plan.schedule,)
    ciphertext = persisted(federation)
    assert ciphertext is not None
    assert state.commits[NAME][1] == UpdateCommit(1, 0, hashlib.sha256(ciphertext).digest(), b"")
    assert federation.blobs.get(hashlib.sha256(ciphertext).digest(), size=len(ciphertext)) == ciphertext


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_anywhere(opened: Federation, when: str, effect: str) -> None:
    federation = opened.copy()
    board = federation.board
    with pytest.MonkeyPatch.context() as patch:
        spy = Spy(federation, patch, (when, effect))
        with pytest.raises(CrashError):
            federation.clients[0].update(board, 1, federation.zero)
    reached = EFFECTS[: EFFECTS.index(effect) + (when == "after")]
    assert spy.seen == reached
    before = persisted(federation)
    assert (before is not None) is ("persist" in reached)
    with pytest.MonkeyPatch.context() as patch:
        again = Spy(federation, patch)
        assert federation.client(1).update(board, 1, federation.zero), "as after a restart"
    assert ("train" in again.seen) is ("persist" not in reached)
    after = persisted(federation)
    assert after is not None
    assert before in (None, after), "what was persisted is sent byte for byte"
    (reservation,) = federation.disks[NAME].odometer.reservations
    assert reservation.index == board.round(1).commits[NAME][0]
    sent = hashlib.sha256(after).digest()
    assert board.round(1).commits[NAME][1].opened == sent
    assert federation.blobs.has(sent)
    own = [entry for entry in federation.log.entries() if parse_entry(entry).sender == NAME]
    assert len(own) == 2, "one spend and one commitment, ever"
    assert board.replay.ignored == []
    size = federation.log.size
    assert federation.client(1).update(board, 1, federation.zero), "a third time does nothing"
    assert federation.log.size == size


def test_nothing_is_visible_before_it_is_committed(opened: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = opened.copy()
    visible, put = set(federation.blobs.digests()), federation.blobs.put
    monkeypatch.setattr(
        federation.blobs,
        "put",
        lambda data: put(data) if _is_committed(federation, data) else pytest.fail("sent before it was committed"),
    )
    federation.clients[0].update(federation.board, 1, federation.zero)
    assert len(set(federation.blobs.digests()) - visible) == 1


def _is_committed(federation: Federation, data: bytes) -> bool:
    commit = federation.board.round(1).commits.get(NAME)
    return commit is not None and commit[1].opened == hashlib.sha256(data).digest()


@pytest.mark.usefixtures("quick")
def test_a_copier_comes_too_late(opened: Federation) -> None:
    federation = opened.copy()
    board, copier = federation.board, federation.clients[1]
    copier.reserve(board, 1)
    federation.clients[0].update(board, 1, federation.zero)
    stolen = board.round(1).commits[NAME][1].opened
    with pytest.raises(StateError, match="client-2: UPDATE_COMMIT is not allowed now: this ciphertext was"):
        board.append(UpdateCommit(1, 0, stolen, b""), copier.name, copier.identity.signing)
    assert copier.update(board, 1, federation.zero), "it can still send its own"
    assert board.round(1).commits["client-2"][1].opened != stolen


@pytest.mark.usefixtures("quick")
def test_a_lost_upload_is_sent_again(opened: Federation) -> None:
    federation = opened.copy()
    federation.clients[0].update(federation.board, 1, federation.zero)
    digest_sent = federation.board.round(1).commits[NAME][1].opened
    data = federation.blobs._blobs.pop(digest_sent)
    assert federation.client(1).update(federation.board, 1, federation.zero)
    assert federation.blobs._blobs[digest_sent] == data


def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "train_round", lambda *_, **__: pytest.fail("records were touched"))


def restarted(federation: Federation, odometer: MemoryOdometer, outbox: Blobs | None = None) -> Client:
    """The client with another odometer, or outbox, than the one it had."""
    learner, disk = Learner(federation.shares[0]), federation.disks[NAME]
    return Client(federation.identities[NAME], learner, odometer=odometer, outbox=outbox or disk.outbox)


def test_an_exhausted_budget_stops_before_records_are_touched(
    opened: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    untouched(monkeypatch)
    federation = opened.copy()
    plan, odometer = federation.plan, odometer_of(federation.plan)
    odometer.begin(digest("another run"), (plan.schedule,))
    for number in range(1, plan.rounds + 1):  # another run spent it all
        odometer.reserve(digest("another run"), number, plan.round_event)
    client, size = restarted(federation, odometer), federation.log.size
    with pytest.raises(PrivacyError, match="privacy budget"):
        client.update(federation.board, 1, federation.zero)
    assert federation.log.size == size
    assert len(odometer.reservations) == plan.rounds
    assert federation.disks[NAME].outbox._blobs == {}


@pytest.mark.usefixtures("quick")
def test_spending_of_other_runs_stands_on_the_ledger(opened: Federation) -> None:
    federation = opened.copy()
    little = PrivacyEvent(1_000_000, 1_000_000, 3)
    odometer = federation.disks[NAME].odometer
    for run in (digest("one"), digest("two")):
        odometer.begin(run, [little])
        odometer.reserve(run, 1, little)
    odometer.change_budget(epsilon=20.0, delta=federation.plan.delta, reason="room for the Renyi value")
    federation.clients[0].update(federation.board, 1, federation.zero)
    assert federation.board.round(1).spends[NAME].others == (OtherSpend(1_000_000, 1_000_000, 6),)
    assert federation.board.replay.ignored == []


# An odometer that is older than the ledger.


def test_a_rolled_back_odometer_stops(opened: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    untouched(monkeypatch)
    federation = opened.copy()
    federation.clients[0].reserve(federation.board, 1)
    older = odometer_of(federation.plan)
    client = restarted(federation, older, MemoryBlobs())
    for step in (
        lambda: client.reserve(federation.board, 1),
        lambda: client.update(federation.board, 1, federation.zero),
    ):
        with pytest.raises(ChainError, match="spending in round 1 that this odometer does not know") as caught:
            step()
        assert caught.value.culprits == (NAME,)
    assert older.reservations == ()


@pytest.mark.usefixtures("quick")
def test_an_odometer_without_the_upload_stops(opened: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Restored from between the reservation and the ciphertext: the spend is known, and what was sent is not."""
    federation = opened.copy()
    client = federation.clients[0]
    client.reserve(federation.board, 1)
    older = copy.deepcopy(federation.disks[NAME].odometer)
    client.update(federation.board, 1, federation.zero)
    untouched(monkeypatch)
    for spoil in (lambda: None, lambda: older.persist(federation.board.replay.context, 1, digest("other"), 5)):
        spoil()
        for step in (
            lambda: restarted(federation, older).reserve(federation.board, 1),
            lambda: restarted(federation, older).update(federation.board, 1, federation.zero),
        ):
            with pytest.raises(ChainError, match="an update in round 1 that this odometer does not know") as caught:
                step()
            assert caught.value.culprits == (NAME,)


def test_an_odometer_without_the_other_runs_stops(opened: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    untouched(monkeypatch)
    federation = opened.copy()
    board, odometer = federation.board, federation.disks[NAME].odometer
    little, more = PrivacyEvent(1_000_000, 1_000_000, 3), PrivacyEvent(1_000_000, 1_000_000, 4)
    odometer.change_budget(epsilon=20.0, delta=federation.plan.delta, reason="room for the Renyi value")
    before = copy.deepcopy(odometer)
    odometer.begin(board.replay.context, (federation.plan.schedule,))
    odometer.reserve(board.replay.context, 1, federation.plan.round_event)
    for kept in (odometer, before):
        kept.begin(digest("other"), [more])
    odometer.reserve(digest("other"), 1, more)
    federation.clients[0].reserve(board, 1)
    assert board.round(1).spends[NAME].others == (OtherSpend(1_000_000, 1_000_000, 4),)
    before.begin(board.replay.context, (federation.plan.schedule,))
    before.reserve(digest("other"), 1, little)
    known = odometer.find(board.replay.context, 1)
    assert known is not None
    before._reservations[board.replay.context, 1] = known  # so that only the other run's spending is missing
    with pytest.raises(ChainError, match="spending of other runs, stated in round 1, that this odometer does not know"):
        restarted(federation, before).reserve(board, 1)
    federation.client(1).reserve(board, 1)


@pytest.mark.usefixtures("quick")
def test_a_lost_ciphertext_is_not_made_again(opened: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = opened.copy()
    disk, board = federation.disks[NAME], federation.board
    with pytest.MonkeyPatch.context() as patch:
        Spy(federation, patch, ("after", "persist"))
        with pytest.raises(CrashError):
            federation.clients[0].update(board, 1, federation.zero)
    untouched(monkeypatch)
    reservation = disk.odometer.reservations[0]
    assert reservation.upload is not None
    kept = disk.outbox._blobs.pop(reservation.upload)
    for damaged in ({}, {reservation.upload: kept[:-1]}):
        disk.outbox._blobs.update(damaged)
        with pytest.raises(
            StateError, match="round 1 is not in the outbox any more, and another one would be a second"
        ):
            federation.client(1).update(board, 1, federation.zero)
    assert NAME not in board.round(1).commits
    disk.outbox._blobs[reservation.upload] = kept
    assert federation.client(1).update(board, 1, federation.zero)
    assert board.round(1).commits[NAME][1].opened == reservation.upload


@pytest.mark.usefixtures("quick")
def test_a_lost_upload_that_cannot_be_sent_again(opened: Federation) -> None:
    federation = opened.copy()
    federation.clients[0].update(federation.board, 1, federation.zero)
    sent = federation.board.round(1).commits[NAME][1].opened
    for blobs in (federation.blobs, federation.disks[NAME].outbox):
        del blobs._blobs[sent]
    with pytest.raises(StateError, match="not in the outbox any more"):
        federation.client(1).update(federation.board, 1, federation.zero)


@pytest.mark.usefixtures("quick")
def test_a_thief_s_update_is_not_taken_for_ones_own(opened: Federation) -> None:
    federation = opened.copy()
    board, client, event = federation.board, federation.clients[0], federation.plan.round_event
    stolen = federation.identities[NAME].signing
    spend = (1, event.steps, event.noise_multiplier_milli, event.sampling_rate_ppm, (), digest("thief"))
    board.append(BudgetSpend(*spend), NAME, stolen)
    board.append(UpdateCommit(1, 0, digest("thief's"), b""), NAME, stolen)
    for step in (client.reserve, lambda *_: client.update(board, 1, federation.zero)):
        with pytest.raises(ChainError, match="that this odometer does not know"):
            step(board, 1)
    for member in federation.members[:3]:
        member.vote_revocation(board, NAME, reason="stolen")
    claim = client.identity.claim(board.replay)
    for member in federation.members[:3]:
        member.vote_revocation(board, NAME, reason="came to the office", claim=claim)
    assert not client.update(board, 1, federation.zero), "the round has the thief's"
    client.reserve(board, 1)
    (reservation,) = federation.disks[NAME].odometer.reservations
    assert (reservation.round, reservation.upload) == (1, None), "what a thief spent is spent"


# What is refused before anything is spent.


def test_another_model_is_refused_before_anything_is_spent(opened: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    untouched(monkeypatch)
    federation = opened.copy()
    plan = federation.plan
    other = GlobalModel(plan.tensors, np.ones(plan.parameters))
    with pytest.raises(StateError, match="client-1: the model at hand is not the one round 1 starts from"):
        federation.clients[0].update(federation.board, 1, other)
    assert federation.disks[NAME].odometer.reservations == ()
    assert federation.board.round(1).spends == {}


def test_a_closed_round_is_over(opened: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = opened.copy()
    for client in federation.clients[1:]:
        client.update(federation.board, 1, federation.zero)
    federation.operator.close_round(federation.board, 1)
    untouched(monkeypatch)
    size = federation.log.size
    assert not federation.clients[0].update(federation.board, 1, federation.zero)
    assert federation.log.size == size
    assert federation.disks[NAME].odometer.reservations == ()
    assert federation.clients[1].update(federation.board, 1, federation.zero), "one that is in, is in"


def test_a_round_that_is_not_open(keyed: Federation) -> None:
    federation = keyed.copy()
    with pytest.raises(StateError, match="round 1 was not opened yet"):
        federation.clients[0].update(federation.board, 1, federation.zero)


def test_it_trains_on_its_own_records_with_fresh_randomness(
    opened: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation, seen = opened.copy(), []

    def train(plan: FederationPlan, model: GlobalModel, learner: Learner, *, rand: bytes) -> Any:
        seen.append((learner.records, rand))
        return train_round(plan, model, learner, rand=rand)

    monkeypatch.setattr(client_module, "train_round", train)
    for client in federation.clients:
        client.update(federation.board, 1, federation.zero)
    assert [records for records, _ in seen] == list(federation.shares)
    assert len({rand for _, rand in seen}) == 3
    assert federation.clients[2].name == "client-3"


@pytest.mark.usefixtures("quick")
def test_what_was_released_is_what_was_reserved(opened: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = opened.copy()

    def trains_more(plan: FederationPlan, *_: Any, **__: Any) -> tuple[GridVector, MechanismRecord]:
        return GridVector(plan.grid, np.zeros(plan.values, np.int64)), record_of(plan, plan.round_event.steps + 1)

    monkeypatch.setattr(client_module, "train_round", trains_more)
    with pytest.raises(StateError, match="round 1 released something else than was reserved"):
        federation.clients[0].update(federation.board, 1, federation.zero)
    assert persisted(federation) is None
    assert federation.disks[NAME].outbox._blobs == {}


def test_another_network_is_refused_before_anything_is_spent(
    opened: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    untouched(monkeypatch)
    federation = opened.copy()
    disk, size = federation.disks[NAME], federation.log.size
    learner = Learner(federation.shares[0], lambda: torch.nn.Linear(64, 11))
    client = Client(federation.identities[NAME], learner, odometer=disk.odometer, outbox=disk.outbox)
    with pytest.raises(ValueError, match="the network is not the one of the plan"):
        client.update(federation.board, 1, federation.zero)
    assert federation.log.size == size
    assert disk.odometer.status.runs == ()


def test_a_network_is_checked_once(opened: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    federation, built = opened.copy(), list[FederationPlan]()
    client, learner = federation.clients[0], Learner(federation.shares[0])
    monkeypatch.setattr(Learner, "check", lambda _, plan: built.append(plan))
    assert learner.network is None
    for _ in range(2):
        with pytest.MonkeyPatch.context() as patch:
            Spy(federation, patch, ("before", "begin"))
            with pytest.raises(CrashError):
                client.update(federation.board, 1, federation.zero)
    assert built == [federation.plan]


def test_an_odometer_of_another_unit_is_refused(opened: Federation) -> None:
    """What is small for a client may be much for a record: one must not be charged for the other."""
    federation = opened.copy()
    plan, disk = federation.plan, federation.disks[NAME]
    other = MemoryOdometer(dataset=plan.dataset, unit="client", epsilon=plan.epsilon, delta=plan.delta, dim=plan.values)
    client = Client(disk.identity, Learner(federation.shares[0]), odometer=other, outbox=disk.outbox)
    with pytest.raises(StateError, match="counts the spending of a client, the plan protects a record"):
        client.update(federation.board, 1, federation.zero)
    assert other.reservations == ()


def test_a_plan_beyond_its_budget_is_refused_by_the_client_too(
    opened: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = opened.copy()
    roster = federation.board.replay.roster
    assert roster is not None
    beyond = replace(roster, plan=replace(roster.plan, epsilon_milli=roster.plan.epsilon_milli // 2))
    monkeypatch.setattr(federation.board.replay, "roster", beyond)
    with pytest.raises(PrivacyError, match="budget"):
        federation.clients[0].reserve(federation.board, 1)
    assert federation.disks[NAME].odometer.reservations == ()
