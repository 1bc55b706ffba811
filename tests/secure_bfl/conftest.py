"""Stages of one small federation. They are made once a session: take a `copy()` before changing anything."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from protocols.tckks import sharing as sharing_module
from secure_bfl.datasets import load
from secure_bfl.local_training import Records
from secure_bfl.plan import FederationPlan
from tests.secure_bfl.federation import Federation
from tests.secure_bfl.keyrun import REPLICATED, SHAMIR, SMALL, founded_on, small_plan
from tests.secure_bfl.script import Script


@pytest.fixture(scope="session")
def plan() -> FederationPlan:
    """Three clients, of which two are enough; four members, of which two open a sum; two rounds, with momentum."""
    planned = FederationPlan.create("digits", clients=3, members=4, threshold=2, rounds=2, minimum_clients=2)
    return replace(planned, momentum_milli=500, average_from=2)


@pytest.fixture(scope="session")
def shares(plan: FederationPlan) -> Sequence[Records]:
    return load(plan.dataset, plan.clients).shares


@pytest.fixture(scope="session")
def founded(plan: FederationPlan, shares: Sequence[Records]) -> Federation:
    """There is a genesis entry."""
    federation = Federation(plan, shares)
    federation.found()
    return federation


@pytest.fixture(scope="session")
def keyed(founded: Federation) -> Federation:
    """Key generation is complete."""
    federation = founded.copy()
    federation.generate_key()
    return federation


@pytest.fixture(scope="session")
def opened(keyed: Federation) -> Federation:
    """Round 1 is open, and empty."""
    federation = keyed.copy()
    federation.operator.open_round(federation.board, 1, federation.zero)
    return federation


@pytest.fixture(scope="session")
def updated(opened: Federation) -> Federation:
    """Every client has committed in round 1."""
    federation = opened.copy()
    federation.open_and_update(1, federation.zero)
    return federation


@pytest.fixture(scope="session")
def voted(updated: Federation) -> Federation:
    """Round 1 is closed and added up, and every member voted."""
    federation = updated.copy()
    federation.close_and_vote(1)
    return federation


@pytest.fixture(scope="session")
def requested(voted: Federation) -> Federation:
    """The aggregate of round 1 is certified and requested."""
    federation = voted.copy()
    federation.request(1)
    return federation


@pytest.fixture(scope="session")
def finished(requested: Federation) -> Federation:
    """Round 1 has its model."""
    federation = requested.copy()
    federation.answer_and_publish(1, federation.zero)
    return federation


@pytest.fixture(scope="session")
def script(plan: FederationPlan) -> Script:
    """A legal run of two rounds with made-up digests."""
    return Script(plan)


# Small committees, for tests of the key.


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shamir's sharing from 3 of 4 on, so that it stays quick."""
    monkeypatch.setattr(sharing_module, "MAX_REPLICATED_PIECES", SMALL)


@pytest.fixture(scope="session")
def keyed_plans() -> dict[tuple[int, int], Federation]:
    """A federation with a key, for each kind of sharing."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing_module, "MAX_REPLICATED_PIECES", SMALL)
        for members, threshold in (REPLICATED, SHAMIR):
            federation = founded_on(small_plan(members, threshold, committee_changes=3), load("digits", 2).shares)
            federation.generate_key()
            made[members, threshold] = federation
    return made


@pytest.fixture
def trio(small: None, keyed_plans: dict[tuple[int, int], Federation]) -> Federation:
    """2 of 3, with a key; pieces stay few."""
    return keyed_plans[REPLICATED].copy()


@pytest.fixture
def quartet(small: None, keyed_plans: dict[tuple[int, int], Federation]) -> Federation:
    """3 of 4 in Shamir's sharing, with a key."""
    return keyed_plans[SHAMIR].copy()
