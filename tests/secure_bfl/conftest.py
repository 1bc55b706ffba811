"""Stages of one small federation. They are made once a session: take a `copy()` before changing anything."""

from collections.abc import Sequence

import pytest

from secure_bfl.datasets import load
from secure_bfl.local_training import Records
from secure_bfl.plan import FederationPlan
from tests.secure_bfl.federation import Federation
from tests.secure_bfl.script import Script


@pytest.fixture(scope="session")
def plan() -> FederationPlan:
    """Three clients, of which two are enough; four members, of which two open a sum; two rounds."""
    return FederationPlan.create("digits", clients=3, members=4, threshold=2, rounds=2, minimum_clients=2)


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
