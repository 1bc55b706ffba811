"""A client's own part of a round: gradients or updates of its records, clipped, on the grid, with noise.

Spec: dp §2 (v1). All noise of a round is drawn before a gradient exists. Everything after the integer releases is
post-processing, so a local update may be averaged, clipped and rounded at no further cost.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, reduce
from typing import Final, cast

import numpy as np
import torch
from torch import nn

from protocols.dp import (
    DiscreteGaussian,
    MechanismRecord,
    Mode,
    Noise,
    PoissonSample,
    poisson_sample,
    privatize,
    privatize_share,
    privatize_update,
)
from protocols.dp.clipping import Rows
from protocols.grid import GridVector

from .adapters.opacus import GradientEngine
from .adapters.rows import GradientRows
from .errors import StateError
from .model import GlobalModel
from .networks import base_digest, check_network, has_base, layout_of, linear_network, prepared
from .plan import FederationPlan
from .records import Records

__all__ = ["RAND_BYTES", "Learner", "Records", "check_network", "layout_of", "one_thread", "train_round"]

RAND_BYTES: Final = 32
_CHECKED_AT_ONCE: Final = 1024
_LARGEST: Final = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True, eq=False)
class Learner:
    """One client's records, and the network that learns from them.

    `network` builds it; without one it is the softmax layer that the plan's tensors describe. `base` is the agreed
    `base_digest` of the network's frozen values: a network that has any needs it, so that nobody trains on another
    base by mistake.
    """

    records: Records
    network: Callable[[], nn.Module] | None = None
    base: bytes | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.records, Records):
            raise TypeError("a learner has Records")
        if isinstance(self.network, nn.Module) or not (self.network is None or callable(self.network)):
            raise TypeError("network is the function that builds the network, not the network itself")
        if self.base is not None and (type(self.base) is not bytes or len(self.base) != 32):
            raise TypeError("base is the 32 bytes of base_digest(network)")

    def __repr__(self) -> str:
        return "Learner(<secret>)"

    def build(self, plan: FederationPlan) -> GradientEngine:
        """The network, checked against the plan before a record is read.

        Raises:
            ValueError: see `check_network`; or what is frozen in it is not the agreed base.
        """
        module = linear_network(plan) if self.network is None else self.network()
        found = base_digest(module)
        if self.base is None and has_base(module):
            raise ValueError(
                "the network has frozen parameters or buffers, which must be the same for all clients: agree on their "
                "digest, and give it to the learner as base=base_digest(network)"
            )
        if self.base is not None and not hmac.compare_digest(found, self.base):
            raise ValueError(
                f"the network's frozen values have the digest {found.hex()}, the agreed base {self.base.hex()}: "
                "build it from the same values as everybody else"
            )
        if self.network is None and not self.records.tokens:
            return GradientEngine(module)  # a softmax layer needs no trial
        return prepared(plan, module, tokens=self.records.tokens)

    def check(self, plan: FederationPlan) -> None:
        """Everything that could fail later for reasons that are in the records, now, before anything is spent.

        A client that fails in the one round that samples a record, and not in others, tells that it has the record.

        Run by: a client, once for each plan.

        Raises:
            ValueError: see `build`; or the records are not of the plan's shape and classes, or the network does not
                take one of them, as a token beyond its vocabulary.
        """
        records = self.records
        _check_record_shape(plan, records)
        _check_values(plan, records)
        engine = self.build(plan)
        for start in range(0, len(records.labels), _CHECKED_AT_ONCE):
            part = records.features[start : start + _CHECKED_AT_ONCE]
            try:
                engine.scores(torch.from_numpy(part.copy() if records.tokens else part.astype(np.float32)))
            except (IndexError, RuntimeError) as exc:
                raise ValueError(
                    f"the network does not take one of the records {start} to {start + _CHECKED_AT_ONCE - 1}: {exc}"
                ) from exc


@lru_cache(maxsize=4)
def _law(variance_units: Fraction) -> DiscreteGaussian:
    """The noise's law; its table is public and takes a moment to compute."""
    return DiscreteGaussian(variance_units)


@contextmanager
def one_thread() -> Iterator[None]:
    """Sums in the same order every time; and small layers on more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train_round(
    plan: FederationPlan, model: GlobalModel, learner: Learner, *, rand: bytes
) -> tuple[GridVector, MechanismRecord]:
    """A client's part of one round, ready to pack and encrypt, and what its release costs.

    Run by: a client. `rand` is 32 fresh bytes; noise and sampling of every step are derived from it.

    In local mode the vector is the update (local minus global) of the plan's noisy steps, on the plan's grid. In
    distributed mode it is the sum of the sampled records' clipped gradients with a share of the noise, in client mode
    the clipped update with a share of the noise: both in units of the mechanism, and secret until they are summed.

    Shapes: plan.values integers, the sentinels last.

    Raises:
        ValueError: the records, the model or the network are not the plan's; nothing is released.
        StateError: what was released is not what the plan accounts for.
    """
    if len(rand) != RAND_BYTES:
        raise ValueError(f"a round of training needs {RAND_BYTES} fresh random bytes")
    _check_shapes(plan, model, learner.records)
    with one_thread():
        engine = learner.build(plan)
        _check_values(plan, learner.records)
        steps = plan.round_event.steps
        seeds = hashlib.shake_256(b"secure-bfl/local-training/v1" + rand).digest(64 * steps)
        law = _law(plan.mechanism.share_variance_units)
        noises = [law.sample(plan.values, seeds[64 * step : 64 * step + 32]) for step in range(steps)]
        samplers = [seeds[64 * step + 32 : 64 * step + 64] for step in range(steps)]
        try:
            vector, record = _TRAINING[Mode(plan.mode)](plan, model, learner.records, engine, noises, samplers)
        except IndexError as exc:
            raise ValueError(f"a record does not fit the network, as a token beyond its vocabulary: {exc}") from exc
    if record.event() != plan.round_event:
        raise StateError("the releases of this round are not those the plan accounts for")
    return vector, record


def _check_shapes(plan: FederationPlan, model: GlobalModel, records: Records) -> None:
    if model.layout != plan.tensors:
        raise ValueError("the model does not have the plan's tensors")
    _check_record_shape(plan, records)


def _check_record_shape(plan: FederationPlan, records: Records) -> None:
    if records.record_shape != plan.record_shape:
        raise ValueError(f"a record has the shape {records.record_shape}, the plan says {plan.record_shape}")


def _check_values(plan: FederationPlan, records: Records) -> None:
    if ((records.labels < 0) | (records.labels >= plan.classes)).any():
        raise ValueError(f"a label is not one of the plan's classes, 0 to {plan.classes - 1}")
    if records.tokens and (records.features < 0).any():
        raise ValueError("a token is negative")


def _local(
    plan: FederationPlan,
    model: GlobalModel,
    records: Records,
    engine: GradientEngine,
    noises: Sequence[Noise],
    samplers: Sequence[bytes],
) -> tuple[GridVector, MechanismRecord]:
    """Several steps of DP-SGD, each with all its noise. Sentinels move by the same arithmetic as parameters."""
    start = np.concatenate([model.vector, np.zeros(plan.sentinels)])
    vector, velocity = start, np.zeros(plan.values)
    momentum, rate = plan.momentum_milli / 1000, plan.learning_rate_micro / 1_000_000
    done = list[MechanismRecord]()
    for noise, seed in zip(noises, samplers, strict=True):
        sample = poisson_sample(len(records.labels), plan.mechanism, rand=seed)
        engine.load_flat(vector[: plan.parameters])
        released, record = privatize(_gradients(engine, records, sample), sample, plan.mechanism, noise)
        velocity = momentum * velocity + released.to_gradient(plan.expected_batch)
        vector = vector - rate * velocity
        done.append(record)
    return plan.grid.quantize(vector - start), reduce(MechanismRecord.merge, done)


def _distributed(
    plan: FederationPlan,
    model: GlobalModel,
    records: Records,
    engine: GradientEngine,
    noises: Sequence[Noise],
    samplers: Sequence[bytes],
) -> tuple[GridVector, MechanismRecord]:
    """One sum of clipped gradients at the global model, with a share of the noise."""
    sample = poisson_sample(len(records.labels), plan.mechanism, rand=samplers[0])
    engine.load_flat(model.vector)
    gradients = _gradients(engine, records, sample)
    share, record = privatize_share(gradients, sample, plan.mechanism, noises[0], limit=plan.limit)
    return GridVector(plan.grid, share.take()), record


def _client(
    plan: FederationPlan,
    model: GlobalModel,
    records: Records,
    engine: GradientEngine,
    noises: Sequence[Noise],
    _: Sequence[bytes],
) -> tuple[GridVector, MechanismRecord]:
    """Gradient descent on the mean loss of all records; the whole update is clipped, and has a share of the noise.

    Records that are not finite in float32 are left out. An update that is not finite counts as zero.
    """
    features, labels = records.features, records.labels
    if not records.tokens:
        finite = (np.abs(features) <= _LARGEST).all(axis=tuple(range(1, features.ndim)))
        features, labels = features[finite], labels[finite]
    vector, velocity = model.vector, np.zeros(plan.parameters)
    momentum, rate = plan.momentum_milli / 1000, plan.learning_rate_micro / 1_000_000
    with np.errstate(over="ignore", invalid="ignore"):  # what diverges is bounded below, like everything else
        for _step in range(plan.local_steps):
            if not (np.abs(vector) <= _LARGEST).all():
                break
            engine.load_flat(vector)
            velocity = momentum * velocity + engine.sum_gradient(features, labels) / max(1, len(labels))
            vector = vector - rate * velocity
    share, record = privatize_update(vector - model.vector, plan.mechanism, noises[0])
    return GridVector(plan.grid, share.take()), record


def _gradients(engine: GradientEngine, records: Records, sample: PoissonSample) -> Rows:
    """The sample's gradients, each computed when it is read: a batch of any size fits the memory."""
    return cast(Rows, GradientRows(engine, records.features, records.labels, sample.indices))


_Training = Callable[
    [FederationPlan, GlobalModel, Records, GradientEngine, Sequence[Noise], Sequence[bytes]],
    tuple[GridVector, MechanismRecord],
]
_TRAINING: Final[dict[Mode, _Training]] = {Mode.LOCAL: _local, Mode.DISTRIBUTED: _distributed, Mode.CLIENT: _client}
