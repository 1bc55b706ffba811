"""A client's own training: DP-SGD on its records, starting from the global model.

Spec: dp §2 (v1). All noise of a round is drawn before a gradient exists. Everything after the integer releases is
post-processing, so the update may be averaged, clipped and rounded at no further cost.
"""

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from torch import nn

from protocols.arrays import Float64Array, Int64Array, frozen
from protocols.dp import DiscreteGaussian, MechanismRecord, poisson_sample, privatize

from .adapters.opacus import GradientEngine
from .errors import StateError
from .model import GlobalModel
from .plan import FederationPlan

__all__ = ["RAND_BYTES", "Records", "linear_model", "train_round"]

RAND_BYTES: Final = 32


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """One client's data. Secret to its owner.

    Shapes: features float64[n, features], labels int64[n].
    """

    features: Float64Array
    labels: Int64Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", frozen(self.features, np.float64, (None, None)))
        object.__setattr__(self, "labels", frozen(self.labels, np.int64, (len(self.features),)))

    def __repr__(self) -> str:
        return "Records(<secret>)"


def linear_model(features: int, classes: int) -> nn.Module:
    """The softmax layer that the plan's vector describes."""
    return nn.Linear(features, classes)


@lru_cache(maxsize=4)
def _law(std_units: Fraction) -> DiscreteGaussian:
    """The noise's law; its table is public and takes a moment to compute."""
    return DiscreteGaussian(std_units)


def train_round(
    plan: FederationPlan, model: GlobalModel, records: Records, *, rand: bytes
) -> tuple[Float64Array, MechanismRecord]:
    """Run the plan's local steps; return the update (local minus global) and what the releases cost.

    Run by: a client. `rand` is 32 fresh bytes; noise and sampling of every step are derived from it.

    Shapes: update float64[parameters], in parameter units.

    Raises:
        ValueError: the records do not have the plan's features and classes.
        StateError: what was released is not what the plan accounts for.
    """
    if len(rand) != RAND_BYTES:
        raise ValueError(f"a round of training needs {RAND_BYTES} fresh random bytes")
    if records.features.shape[1] != plan.features:
        raise ValueError(f"records have {records.features.shape[1]} features, the plan says {plan.features}")
    if ((records.labels < 0) | (records.labels >= plan.classes)).any():
        raise ValueError(f"a label is not one of the plan's classes, 0 to {plan.classes - 1}")
    mechanism, law = plan.mechanism, _law(plan.mechanism.noise_std_units)
    seeds = hashlib.shake_256(b"secure-bfl/local-training/v1" + rand).digest(64 * plan.local_steps)
    noises = [law.sample(plan.parameters, seeds[64 * i : 64 * i + 32]) for i in range(plan.local_steps)]
    torch.set_num_threads(1)  # one small layer: more threads only wait for each other
    engine = GradientEngine(linear_model(plan.features, plan.classes))
    features, labels = torch.from_numpy(records.features.astype(np.float32)), torch.from_numpy(records.labels.copy())
    vector, velocity = model.vector.copy(), np.zeros(plan.parameters)
    momentum, rate = plan.momentum_milli / 1000, plan.learning_rate_micro / 1_000_000
    total: MechanismRecord | None = None
    for step, noise in enumerate(noises):
        sample = poisson_sample(len(records.labels), mechanism, rand=seeds[64 * step + 32 : 64 * step + 64])
        engine.load_flat(vector)
        chosen = torch.from_numpy(sample.indices.copy())
        released, record = privatize(engine.gradients(features[chosen], labels[chosen]), sample, mechanism, noise)
        velocity = momentum * velocity + released.to_gradient(plan.expected_batch)
        vector = vector - rate * velocity
        total = record if total is None else total.merge(record)
    if total is None or total.event() != plan.round_event:
        raise StateError("the releases of this round are not those the plan accounts for")
    return vector - model.vector, total
