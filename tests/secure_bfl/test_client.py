"""A client: in which order things happen, and that a crash between any two of them costs nothing twice."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from ledger import MemoryBlobs, parse_entry
from protocols.dp import MechanismRecord
from protocols.errors import PrivacyError
from secure_bfl import client as client_module
from secure_bfl.client import Client
from secure_bfl.errors import ChainError, StateError
from secure_bfl.local_training import Records, train_round
from secure_bfl.messages import BudgetSpend, UpdateCommit
from secure_bfl.model import GlobalModel
from secure_bfl.odometer import MemoryOdometer
from secure_bfl.plan import FederationPlan
from tests.secure_bfl.federation import Federation, digest

NAME = "client-1"
EFFECTS = ["reserve", "BUDGET_SPEND", "train", "outbox", "claim", "UPDATE_COMMIT", "blob"]


class CrashError(Exception):
    """The process dies here."""


class Spy:
    """Writes down every effect of a client; dies before or after one of them, if told to."""

    def __init__(self, federation: Federation, patch: pytest.MonkeyPatch, crash: tuple[str, str] | None = None) -> None:
        self.seen: list[str] = []
        self.crash, self.patch = crash, patch
        disk, board = federation.disks[NAME], federation.board
        self._watch(disk.odometer, "reserve", lambda *_: "reserve")
        self._watch(board, "append", lambda body, *_: body.kind.name)
        self._watch(client_module, "train_round", lambda *_: "train")
        self._watch(disk.outbox, "put", lambda *_: "outbox")
        self._watch(disk.journal, "claim", lambda *_: "claim")
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
        plan: FederationPlan, model: GlobalModel, records: Records, *, rand: bytes
    ) -> tuple[np.ndarray[Any, Any], MechanismRecord | None]:
        return np.resize(np.frombuffer(rand, np.uint8), plan.parameters) / 16.0, None

    monkeypatch.setattr(client_module, "train_round", train)


def claimed(federation: Federation) -> bytes | None:
    """The ciphertext that the client claimed, if it did."""
    claim = federation.disks[NAME].journal.get(f"update/{federation.board.replay.context.hex()}/1")
    if claim is None:
        return None
    return federation.disks[NAME].outbox.get(claim[:32], size=int.from_bytes(claim[32:], "big"))


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
        1, event.steps, event.noise_multiplier_milli, event.sampling_rate_ppm, reservation.head
    )
    ciphertext = claimed(federation)
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
    before = claimed(federation)
    assert (before is not None) is ("claim" in reached)
    with pytest.MonkeyPatch.context() as patch:
        again = Spy(federation, patch)
        assert federation.client(1).update(board, 1, federation.zero), "as after a restart"
    assert ("train" in again.seen) is ("claim" not in reached)
    after = claimed(federation)
    assert after is not None
    assert before in (None, after), "what was claimed is sent byte for byte"
    assert len(federation.disks[NAME].odometer.reservations) == 1
    assert federation.disks[NAME].journal.count("") == 1
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


def test_an_exhausted_budget_stops_before_records_are_touched(
    opened: Federation, shares: Sequence[Records], monkeypatch: pytest.MonkeyPatch
) -> None:
    untouched(monkeypatch)
    federation = opened.copy()
    plan = federation.plan
    odometer = MemoryOdometer(unit=plan.dataset, epsilon=plan.epsilon, delta=plan.delta, dim=plan.parameters)
    for number in (1, 2):  # another run spent it all
        odometer.reserve(digest("another run"), number, plan.round_event)
    disk = federation.disks[NAME]
    client = Client(federation.identities[NAME], shares[0], odometer=odometer, journal=disk.journal, outbox=disk.outbox)
    size = federation.log.size
    with pytest.raises(PrivacyError, match="privacy budget"):
        client.update(federation.board, 1, federation.zero)
    assert federation.log.size == size
    assert len(odometer.reservations) == 2
    assert disk.journal.count("") == 0


def test_a_rolled_back_odometer_stops(
    opened: Federation, shares: Sequence[Records], monkeypatch: pytest.MonkeyPatch
) -> None:
    untouched(monkeypatch)
    federation = opened.copy()
    plan, disk = federation.plan, federation.disks[NAME]
    federation.clients[0].reserve(federation.board, 1)
    older = MemoryOdometer(unit=plan.dataset, epsilon=plan.epsilon, delta=plan.delta, dim=plan.parameters)
    client = Client(federation.identities[NAME], shares[0], odometer=older, journal=disk.journal, outbox=MemoryBlobs())
    for step in (
        lambda: client.reserve(federation.board, 1),
        lambda: client.update(federation.board, 1, federation.zero),
    ):
        with pytest.raises(ChainError, match="spending in round 1 that this odometer does not know") as caught:
            step()
        assert caught.value.culprits == (NAME,)
    assert older.reservations == ()


def test_another_model_is_refused_before_anything_is_spent(opened: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    untouched(monkeypatch)
    federation = opened.copy()
    plan = federation.plan
    other = GlobalModel(plan.features, plan.classes, np.ones(plan.parameters))
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

    def train(plan: FederationPlan, model: GlobalModel, records: Records, *, rand: bytes) -> Any:
        seen.append((records, rand))
        return train_round(plan, model, records, rand=rand)

    monkeypatch.setattr(client_module, "train_round", train)
    for client in federation.clients:
        client.update(federation.board, 1, federation.zero)
    assert [records for records, _ in seen] == list(federation.shares)
    assert len({rand for _, rand in seen}) == 3
    assert federation.clients[2].name == "client-3"
