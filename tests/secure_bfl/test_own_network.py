"""A round with a network of one's own."""

import copy
import hashlib

import numpy as np
import pytest
import torch
from torch import nn

from ledger import MemoryBlobs
from protocols.dp import Mode
from secure_bfl.errors import StateError
from secure_bfl.local_training import Learner
from secure_bfl.networks import layout_of, network_with, start_of
from secure_bfl.plan import FederationPlan
from secure_bfl.records import Records
from secure_bfl.reference import run_round
from secure_bfl.training import Training
from tests.secure_bfl.federation import NOW


def test_a_network_of_ones_own_from_its_first_model() -> None:
    """Four pixels, a hidden layer of three: the round starts from what the plan names, and from nothing else."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    start = start_of(network)
    training = Training(
        (4,), classes=2, records=60, mode=Mode.DISTRIBUTED, local_steps=1, tensors=layout_of(network),
        initial=hashlib.sha256(start.encode()).digest(), clip_units=4096,
    )  # fmt: skip
    plan = FederationPlan.create("toy", clients=2, members=3, threshold=2, rounds=1, training=training, epsilon=50)
    rows = np.cos(np.arange(240)).reshape(60, 4)
    labels = (rows[:, 0] > 0).astype(np.int64)
    learners = [Learner(Records(rows[i::2], labels[i::2]), lambda: copy.deepcopy(network)) for i in range(2)]
    outcome = run_round(plan, learners, blobs=MemoryBlobs(), now=NOW, start=start)
    assert outcome.model.layout == layout_of(network)
    assert not np.array_equal(outcome.model.vector, start.vector)
    assert network_with(network, outcome.model)(torch.zeros(1, 4)).shape == (1, 2)
    with pytest.raises(StateError, match="the first round starts from the plan's model"):
        run_round(plan, learners, blobs=MemoryBlobs(), now=NOW)
