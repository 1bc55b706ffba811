"""The run that an audit looks at: the clients' own training, integer sums, the next model as everybody computes it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from protocols.arrays import Float64Array, Int64Array, frozen
from protocols.dp import MechanismRecord, Mode
from protocols.dp.auditing import SentinelRound

from ..local_training import Learner, train_round
from ..model import GlobalModel
from ..plan import FederationPlan
from ..results import apply_sum
from .canaries import Canaries, contribution

__all__ = ["Draw", "Progress", "Rehearsal", "ScoreLaw", "rehearse"]

Draw = Callable[[int], bytes]
"""Where random bytes come from: `os.urandom`, but for tests that must repeat."""

Progress = Callable[[str, int, int], None]
"""Is told what is being done, how many of its parts are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class ScoreLaw:
    """What the claimed mechanism makes of the scores. Units: those of the scores (and their squares)."""

    shift: float
    variance: float
    sampling_variance: float


@dataclass(frozen=True, slots=True, eq=False)
class Rehearsal:
    """A run with canaries. Only the audit may see what is in here: a real share shows its client's data.

    Shapes: shares int64[rounds, participants, plan.values], as the clients would encrypt them.
    """

    plan: FederationPlan
    canaries: Canaries
    shares: Int64Array
    records: tuple[MechanismRecord, ...]
    final: GlobalModel

    def __post_init__(self) -> None:
        object.__setattr__(self, "shares", frozen(self.shares, np.int64, (self.plan.rounds, None, self.plan.values)))

    @property
    def participants(self) -> int:
        """How many clients took part in every round."""
        return int(self.shares.shape[1])

    @property
    def sums(self) -> Int64Array:
        """What the opened sums are. Shapes: int64[rounds, plan.values]."""
        sums: Int64Array = self.shares.sum(axis=1)
        return sums

    def scores(self) -> Float64Array:
        """One score for each canary: from the final weights alone.

        In local mode nobody need be trusted, so the audit takes what each client sent for public, and a canary's score
        is in the sum of its own client's updates, where the noise of no other client hides it. Units: the weights', in
        local mode the grid's.
        """
        if self.plan.mode != Mode.LOCAL:
            return self.canaries.scores(self.final.vector)
        totals = self.shares.sum(axis=0)
        scores = np.zeros(len(self.canaries.included))
        for client in range(self.participants):
            own = self.canaries.of_client(client, self.participants)
            scores[own] = self.canaries.scores(totals[client].astype(np.float64))[own]
        return scores

    def claimed_variance(self, contributors: int) -> float:
        """The variance of one coordinate in the sum of so many clients, if the mechanism is what is accounted.

        From the accounted numbers alone: with shares, `honest_minimum` clients together have (sigma U)^2. Units: the
        plan's grid, squared.
        """
        plan = self.plan
        step = (plan.noise_multiplier_milli * plan.clip_units / 1000) ** 2
        if plan.mode != Mode.LOCAL:
            return contributors / plan.honest_minimum * step
        scale = plan.learning_rate_micro / 1_000_000 * plan.unit / plan.expected_batch / plan.grid.step
        squares = math.fsum(weight**2 for weight in _momentum_weights(plan))
        return contributors * (step * scale**2 * squares + 1 / 12)  # the grid adds the variance of its rounding

    def law(self) -> ScoreLaw:
        """The scores' law under the plan's mechanism."""
        plan, rate = self.plan, self.plan.mechanism.sampling_rate
        signal = contribution(plan.clip_units)
        if plan.mode == Mode.LOCAL:
            step = plan.learning_rate_micro / 1_000_000 * plan.unit / plan.expected_batch / plan.grid.step
            weights = [step * weight for weight in _momentum_weights(plan)] * plan.rounds
            variance = 2 * plan.rounds * self.claimed_variance(1)
        else:
            weights = _impulses(plan, self.participants)
            variance = 2 * self.claimed_variance(self.participants) * math.fsum(weight**2 for weight in weights)
        squares = math.fsum(weight**2 for weight in weights)
        return ScoreLaw(
            shift=rate * signal * math.fsum(weights),
            variance=variance,
            sampling_variance=rate * (1 - rate) * signal**2 * squares,
        )

    def sentinel_rounds(self) -> tuple[SentinelRound, ...]:
        """What the sentinels of each opened sum show."""
        variance = self.claimed_variance(self.participants)
        return tuple(
            SentinelRound(self.plan.sentinels, sum(int(value) ** 2 for value in total), variance)
            for total in self.sums[:, self.plan.parameters :]
        )


def rehearse(plan: FederationPlan, canaries: Canaries, *, draw: Draw, progress: Progress | None = None) -> Rehearsal:
    """Train as the clients do, add up as the committee does, and go on from the sum as everybody does.

    As many clients take part as the plan demands of a sum, and no more. Encryption is left out: sums open exactly.
    """
    participants = plan.minimum_clients
    learners = [Learner(canaries.records(client, participants)) for client in range(participants)]
    model = before = GlobalModel.zero(plan.tensors)
    shares = np.zeros((plan.rounds, participants, plan.values), dtype=np.int64)
    records = []
    for number in range(plan.rounds):
        for client, learner in enumerate(learners):
            update, record = train_round(plan, model, learner, rand=draw(32))
            shares[number, client] = update.values
            records.append(record)
        model, before = apply_sum(plan, model, before, shares[number].sum(axis=0), participants), model
        if progress is not None:
            progress("audit run", number + 1, plan.rounds)
    return Rehearsal(plan, canaries, shares, tuple(records), model)


def _momentum_weights(plan: FederationPlan) -> list[float]:
    """How much each local step's gradient counts in the update, the last one first."""
    weights: list[float] = []
    for _ in range(plan.local_steps):
        weights.append(1.0 + plan.momentum_milli / 1000 * weights[-1] if weights else 1.0)
    return weights


def _impulses(plan: FederationPlan, participants: int) -> list[float]:
    """How much one unit in the sum of each round counts in the final weights: the real rule, applied to one round."""
    size, weights = 1 << 30, []
    for pulse in range(plan.rounds):
        model = before = GlobalModel.zero(plan.tensors)
        for number in range(plan.rounds):
            sums = np.full(plan.values, size if number == pulse else 0, dtype=np.int64)
            model, before = apply_sum(plan, model, before, sums, participants), model
        weights.append(abs(float(model.vector[0])) / size)
    return weights
