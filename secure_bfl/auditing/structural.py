"""What no statistic of the released model shows: the code's own parts, each put to a question of its own.

Everything goes through `train_round`, as in a real run. It is a function of its random bytes, so the difference of two
calls with the same bytes holds no noise at all: it is the integer contribution of what was added to the records.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final

import numpy as np

from protocols.arrays import Float64Array, Int64Array
from protocols.dp import DiscreteGaussian, Mode, Noise, poisson_sample, privatize, privatize_share
from protocols.dp.auditing import STRUCTURAL_LEVEL, correlation_p_value, sampling_p_value
from protocols.grid import Grid
from protocols.packing import digit_width

from ..local_training import Learner, Records, train_round
from ..model import GlobalModel, linear_layout
from ..plan import FederationPlan
from .canaries import FEATURE, Canaries, contribution
from .rehearsal import Draw, Rehearsal

__all__ = ["structural_violations"]

_PROBED_FEATURES: Final = 64
_NORM_PROBES: Final = 16
_BASE_RECORDS: Final = 8
_SAMPLING_PROBES: Final = 32
_FULL_BATCH_PROBES: Final = 2
_SIZE_VARIANCE: Final = 8
_MOST_COPIES: Final = 16
_PROBE_VALUE_BITS: Final = 32
_FULL_BATCH: Final = 1_000_000
_KNOWN_VALUES: Final = 256
_KNOWN_NOISE: Final = (
    (Fraction(10**6), "cae9e00e3ceb15ee567aeb997bd8321f1c0a6e187e2c369c95d48b1993372230"),
    (Fraction(1 << 28), "a78d8861ea1b8666080a92795cd1add08386693c19f5ca140499eba72573e57c"),
)
"""Variance, and the SHA-256 of 256 little-endian int64 that 32 zero bytes give: one table, and two."""


def structural_violations(rehearsal: Rehearsal, *, draw: Draw) -> tuple[str, ...]:
    """The names of the checks that fail, in a fixed order. Run by: whoever audits the code, on made-up records.

    claims           every release is recorded as the event that the plan accounts for
    noise-law        the noise is whole numbers of the integer sampler, and that gives its known answers
    noise-source     without records, what is sent is what the integer sampler draws from the random bytes
    noise-repeats    no two rounds, and no two clients, have noise in common
    record-norm      one more record, or a client's whole update, moves the integers by at most the clip bound
    sampler-type     a batch that the Poisson sampler did not draw is refused
    sampling-rate    records are drawn at the plan's rate, and samples vary in size as independent coins do
    """
    plan = rehearsal.plan
    probed = replace(plan, record_shape=(_PROBED_FEATURES,), tensors=linear_layout(_PROBED_FEATURES, plan.classes))
    checks = (
        ("claims", _claims_hold(rehearsal)),
        ("noise-law", _noise_is_integer()),
        ("noise-source", _noise_is_of_its_bytes(probed, draw)),
        ("noise-repeats", _noise_is_fresh(rehearsal)),
        ("record-norm", all(_fits(probed, difference) for difference in _contributions(probed, draw))),
        ("sampler-type", _other_batches_are_refused(probed)),
        ("sampling-rate", plan.mode == Mode.CLIENT or _samples_are_poisson(probed, draw)),
    )
    return tuple(name for name, holds in checks if not holds)


def _claims_hold(rehearsal: Rehearsal) -> bool:
    plan, records = rehearsal.plan, rehearsal.records
    event, expected = plan.round_event, (plan.clip_units, plan.shares, plan.values)
    return (
        len(records) == plan.rounds * rehearsal.participants
        and all(record.event() == event for record in records)
        and all((record.clip_units, record.shares, record.dim) == expected for record in records)
        and plan.privacy.schedule == (event,) * plan.rounds
    )


def _noise_is_integer() -> bool:
    for variance, digest in _KNOWN_NOISE:
        noise = DiscreteGaussian(variance).sample(_KNOWN_VALUES, bytes(32))
        if type(noise) is not Noise or (noise.law, noise.variance_units) != ("discrete-gaussian", variance):
            return False
        values = noise.take()
        if values.dtype != np.int64 or hashlib.sha256(values.astype("<i8").tobytes()).hexdigest() != digest:
            return False
    return True


def _noise_is_of_its_bytes(plan: FederationPlan, draw: Draw) -> bool:
    """Compare a client without records with the sampler's own values: exactly, or to one unit of a local grid."""
    rand = draw(32)
    sent = train_round(plan, _zero(plan), Learner(_no_records(plan)), rand=rand)[0].values
    steps = plan.round_event.steps
    seeds = hashlib.shake_256(b"secure-bfl/local-training/v1" + rand).digest(64 * steps)
    law = _law(plan.mechanism.share_variance_units)
    drawn = [law.sample(plan.values, seeds[64 * step : 64 * step + 32]).take() for step in range(steps)]
    if plan.mode != Mode.LOCAL:
        return bool(np.array_equal(sent, drawn[0]))
    velocity, moved = np.zeros(plan.values), np.zeros(plan.values)
    for values in drawn:
        velocity = plan.momentum_milli / 1000 * velocity + values * (plan.unit / plan.expected_batch)
        moved -= plan.learning_rate_micro / 1_000_000 * velocity
    return int(np.abs(sent - np.rint(moved / plan.grid.step)).max()) <= 1


def _noise_is_fresh(rehearsal: Rehearsal) -> bool:
    plan = rehearsal.plan
    noises = rehearsal.shares[:, :, plan.parameters :].reshape(-1, plan.sentinels)
    return correlation_p_value(noises) >= STRUCTURAL_LEVEL


def _fits(plan: FederationPlan, difference: Int64Array) -> bool:
    """Whether what one record, or one client, adds is within the clip bound, and leaves the sentinels alone."""
    moved, sentinels = difference[: plan.parameters], difference[plan.parameters :]
    return sum(int(value) ** 2 for value in moved) <= plan.clip_units**2 and not sentinels.any()


def _contributions(plan: FederationPlan, draw: Draw) -> Iterator[Int64Array]:
    """The integers that records spread over every coordinate add, one beside others that are there already."""
    everybody = replace(plan, sampling_rate_ppm=_FULL_BATCH)
    law = _law(plan.mechanism.share_variance_units)
    for _ in range(_NORM_PROBES):
        rand = draw(32)
        if plan.mode == Mode.LOCAL:
            rows = 2 * FEATURE * _uniform((_BASE_RECORDS + 1, plan.parameters), draw)
            with_it, without = (
                privatize(
                    part,
                    poisson_sample(len(part), everybody.mechanism, rand=rand),
                    everybody.mechanism,
                    law.sample(plan.values, rand),
                )[0].values
                for part in (rows, rows[:-1])
            )
        else:
            records = _spread_records(plan, _BASE_RECORDS + 1, draw)
            fewer = _no_records(plan) if plan.mode == Mode.CLIENT else _first(records, _BASE_RECORDS)
            with_it, without = (
                train_round(everybody, _zero(plan), Learner(part), rand=rand)[0].values for part in (records, fewer)
            )
        yield with_it - without


def _other_batches_are_refused(plan: FederationPlan) -> bool:
    class Batch:
        """As a shuffled batch would look."""

        indices: Any = np.arange(1, dtype=np.int64)
        n_records = size = 1
        sampling_rate_ppm = plan.sampling_rate_ppm

        def _claim(self) -> None: ...

    mechanism = plan.mechanism
    noise = _law(mechanism.share_variance_units).sample(1 + plan.sentinels, bytes(32))
    batch: Any = Batch()
    try:
        if mechanism.shares == 1:
            privatize(np.zeros((1, 1)), batch, mechanism, noise)
        else:
            privatize_share(np.zeros((1, 1)), batch, mechanism, noise, limit=plan.clip_units)
    except TypeError:
        return True
    return False


def _samples_are_poisson(plan: FederationPlan, draw: Draw) -> bool:
    """Count whom each sample holds: canaries show by their own coordinates, exactly, once the noise is taken out."""
    plan = replace(plan, momentum_milli=0)
    if plan.mode != Mode.LOCAL:  # room for any number of records
        grid = Grid(_PROBE_VALUE_BITS, 0)
        plan = replace(plan, value_bits=grid.value_bits, digit_width=digit_width(grid, plan.clients))
    canaries = Canaries(np.ones(_PROBED_FEATURES, dtype=np.bool_))
    single, copies = canaries.records(0, 1), _copies(plan.mechanism.sampling_rate)
    repeated = np.repeat(np.arange(_PROBED_FEATURES), copies)
    everybody = Records(single.features[repeated], single.labels[repeated])
    unit = float(contribution(plan.clip_units))
    if plan.mode == Mode.LOCAL:
        unit *= plan.learning_rate_micro / 1_000_000 * plan.unit / plan.expected_batch / plan.grid.step
    trials = len(everybody.labels) * plan.round_event.steps
    sizes = []
    for _ in range(_FULL_BATCH_PROBES if plan.sampling_rate_ppm == _FULL_BATCH else _SAMPLING_PROBES):
        rand = draw(32)
        with_them, without = (
            train_round(plan, _zero(plan), Learner(part), rand=rand)[0].values
            for part in (everybody, _no_records(plan))
        )
        times = np.rint(np.abs(canaries.scores((with_them - without).astype(np.float64))) / unit)
        sizes.append(int(times.sum()))
    if max(sizes) > trials:
        return False
    found, records = np.array(sizes, dtype=np.int64), np.full(len(sizes), trials, dtype=np.int64)
    return sampling_p_value(found, records, plan.sampling_rate_ppm) >= STRUCTURAL_LEVEL


def _copies(rate: float) -> int:
    """How many records have each feature, so that the sizes of samples vary enough to tell them from fixed ones."""
    return min(_MOST_COPIES, math.ceil(_SIZE_VARIANCE / (_PROBED_FEATURES * rate * (1 - rate)))) if rate < 1 else 1


@lru_cache(maxsize=4)
def _law(variance_units: Fraction) -> DiscreteGaussian:
    """The sampler; its table is public and takes a moment to compute."""
    return DiscreteGaussian(variance_units)


def _zero(plan: FederationPlan) -> GlobalModel:
    return GlobalModel.zero(plan.tensors)


def _no_records(plan: FederationPlan) -> Records:
    return Records(np.zeros((0, *plan.record_shape)), np.zeros(0, dtype=np.int64))


def _first(records: Records, count: int) -> Records:
    return Records(records.features[:count], records.labels[:count])


def _spread_records(plan: FederationPlan, count: int, draw: Draw) -> Records:
    labels = np.frombuffer(draw(count), np.uint8).astype(np.int64) % plan.classes
    return Records(FEATURE * _uniform((count, *plan.record_shape), draw), labels)


def _uniform(shape: tuple[int, ...], draw: Draw) -> Float64Array:
    """Values spread evenly over [-1, 1)."""
    count = int(np.prod(shape))
    values: Float64Array = np.frombuffer(draw(4 * count), "<u4").reshape(shape) / 2.0**31 - 1.0
    return values
