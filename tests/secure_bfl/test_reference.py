"""The reference run: what is opened is exactly the sum of what went in."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from ledger import MemoryBlobs
from protocols.arrays import Int64Array
from protocols.dp import MechanismRecord
from protocols.grid import GridVector
from protocols.packing import unpack
from secure_bfl import client as client_module
from secure_bfl import results as results_module
from secure_bfl.local_training import Learner, Records
from secure_bfl.model import GlobalModel
from secure_bfl.plan import FederationPlan
from secure_bfl.reference import Outcome, run_round
from secure_bfl.results import apply_sum
from tests.secure_bfl.federation import NOW


class Known:
    """Updates chosen by the test, and the sums that were opened."""

    def __init__(self, plan: FederationPlan) -> None:
        self.plan, self.updates, self.sums = plan, list[Int64Array](), list[Int64Array]()
        largest = plan.grid.largest
        ramp = np.linspace(-largest, largest, plan.values).astype(np.int64)
        self.give = iter((ramp, np.full(plan.values, largest), 1000 - np.arange(plan.values)))

    def train(
        self, plan: FederationPlan, model: GlobalModel, learner: Learner, *, rand: bytes
    ) -> tuple[GridVector, MechanismRecord]:
        self.updates.append(next(self.give))
        m, event = plan.mechanism, plan.round_event
        record = MechanismRecord(
            event.steps, m.sampling_rate_ppm, m.noise_multiplier_milli, m.clip_units, plan.values, plan.shares
        )
        return GridVector(plan.grid, self.updates[-1]), record


@pytest.fixture(scope="module")
def known(plan: FederationPlan) -> Known:
    return Known(plan)


@pytest.fixture(scope="module")
def outcome(plan: FederationPlan, shares: Sequence[Records], known: Known) -> Iterator[Outcome]:
    def watched(*arguments: Any) -> Int64Array:
        sums: Int64Array = unpack(*arguments)
        known.sums.append(sums)
        return sums

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client_module, "train_round", known.train)
        patch.setattr(results_module, "unpack", watched)
        yield run_round(plan, [Learner(records) for records in shares], blobs=MemoryBlobs(), now=NOW)


def test_the_sum_is_the_sum_of_the_updates(plan: FederationPlan, known: Known, outcome: Outcome) -> None:
    assert len(known.updates) == plan.clients == 3
    expected = sum(known.updates)
    assert len(known.sums) == 1
    assert np.array_equal(known.sums[0], expected)
    assert int(np.abs(known.sums[0]).max()) > 2 * plan.grid.largest * 0.9, "the sum is larger than any one value"


def test_the_model_follows_from_the_sum(plan: FederationPlan, known: Known, outcome: Outcome) -> None:
    zero = GlobalModel.zero(plan.tensors)
    expected = apply_sum(plan, zero, zero, np.sum(known.updates, axis=0), 3)
    assert outcome.model.encode() == expected.encode()
    result = outcome.board.round(1).result
    assert result is not None
    assert result.sentinel_energy == sum(int(v) ** 2 for v in np.sum(known.updates, axis=0)[plan.parameters :])


def test_the_outcome_is_certified_to_its_end(outcome: Outcome) -> None:
    board = outcome.board
    assert outcome.certificate.checkpoint.size == board.log.size
    assert board.replay.committee.policy.verify(outcome.certificate.note) == outcome.certificate
    assert outcome.certificate.cosigners == board.replay.committee.members
    assert board.replay.ignored == []
    result = board.round(1).result
    assert result is not None
    assert board.blobs.has(result.model)


@pytest.mark.parametrize("count", [0, 2, 4])
def test_there_are_as_many_learners_as_clients(plan: FederationPlan, shares: Sequence[Records], count: int) -> None:
    learners = [Learner(records) for records in (*shares, shares[0])]
    with pytest.raises(ValueError, match=f"{count} learners for 3 clients"):
        run_round(plan, learners[:count], blobs=MemoryBlobs(), now=NOW)
