"""Whole trainings, for what privacy costs in accuracy: a federation's, and that of one party who holds all records.

The federation's is the plan's own: what each client computes, the integer sum, the step that follows from it.
Encryption and ledger are left out, since sums are exact with or without them.
"""

import os
from collections.abc import Sequence
from typing import cast

import numpy as np

from protocols.dp import DiscreteGaussian, Mechanism, Mode, poisson_sample, privatize
from protocols.dp.clipping import Rows

from ..adapters.opacus import GradientEngine
from ..adapters.rows import GradientRows
from ..datasets import Dataset
from ..local_training import Learner, train_round
from ..model import GlobalModel
from ..networks import linear_network
from ..plan import FederationPlan
from ..records import Records
from ..results import apply_sum

__all__ = ["accuracy_of", "central", "federated"]


def federated(plan: FederationPlan, data: Dataset, contributors: Sequence[int] | None = None) -> GlobalModel:
    """Train as the plan says; the final model. `contributors`: how many clients take part in each round, if not all.

    Raises:
        ValueError: the data are not split over the plan's clients.
    """
    if len(data.shares) != plan.clients:
        raise ValueError(f"the data are split over {len(data.shares)} clients, the plan has {plan.clients}")
    learners = [Learner(records) for records in data.shares]
    before = model = GlobalModel.zero(plan.tensors)
    last: list[GlobalModel] = []
    for number in range(1, plan.rounds + 1):
        present = learners[: plan.clients if contributors is None else contributors[number - 1]]
        total = np.zeros(plan.values, np.int64)
        for learner in present:
            total += train_round(plan, model, learner, rand=os.urandom(32))[0].values
        before, model = model, apply_sum(plan, model, before, total, len(present))
        last += [model] if number >= plan.average_from else []
    return GlobalModel.mean(last)


def central(plan: FederationPlan, data: Dataset) -> GlobalModel:
    """DP-SGD by one party who holds all records and is trusted with them: all of the noise, once, in every step.

    The plan's gradients, integers, sampler, learning rate, rounds and accountant; nobody drops out.

    Raises:
        ValueError: the plan is not one of distributed mode.
    """
    if plan.mode != Mode.DISTRIBUTED:
        raise ValueError("a central run is compared with distributed mode")
    records = _joined(data)
    mechanism = Mechanism(
        plan.clip_units, plan.clip_norm_micro, plan.noise_multiplier_milli, plan.sampling_rate_ppm, sentinels=0
    )
    law = DiscreteGaussian(mechanism.share_variance_units)
    rate, momentum = plan.learning_rate_micro / 1_000_000, plan.momentum_milli / 1000
    engine = GradientEngine(linear_network(plan))
    before = model = GlobalModel.zero(plan.tensors)
    last: list[GlobalModel] = []
    for number in range(1, plan.rounds + 1):
        noise = law.sample(plan.parameters, os.urandom(32))
        sample = poisson_sample(len(records.labels), mechanism, rand=os.urandom(32))
        engine.load_flat(model.vector)
        rows = GradientRows(engine, records.features, records.labels, sample.indices)
        gradient = privatize(cast(Rows, rows), sample, mechanism, noise)[0].to_gradient(
            plan.expected_batch * plan.clients
        )
        before, model = model, model.moved(momentum * (model.vector - before.vector) - rate * gradient)
        last += [model] if number >= plan.average_from else []
    return GlobalModel.mean(last)


def _joined(data: Dataset) -> Records:
    """All training records together."""
    return Records(
        np.concatenate([share.features for share in data.shares]),
        np.concatenate([share.labels for share in data.shares]),
    )


def accuracy_of(model: GlobalModel, data: Dataset) -> float:
    """The share of the held-out records that a linear model predicts right."""
    return model.accuracy(data.held_out.features.astype(np.float64), data.held_out.labels)
