"""A learner is checked whole before anything is spent: what cannot fail later cannot tell who was sampled."""

import numpy as np
import pytest
from torch import nn

from protocols.dp import Mode
from secure_bfl.local_training import Learner
from secure_bfl.networks import layout_of
from secure_bfl.plan import FederationPlan
from secure_bfl.records import Records
from secure_bfl.training import Training

VOCABULARY = 5


class Words(nn.Module):
    """Two tokens a record."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(VOCABULARY, 3), nn.Linear(6, 2)

    def forward(self, tokens: object) -> object:
        return self.out(self.embed(tokens).flatten(1))


def plan_of(network: nn.Module) -> FederationPlan:
    training = Training(
        (2,), classes=2, records=3000, mode=Mode.DISTRIBUTED, local_steps=1, tensors=layout_of(network), clip_units=4096
    )
    return FederationPlan.create("words", clients=2, members=3, threshold=2, rounds=1, training=training, epsilon=50)


def records(count: int, *, bad: int | None = None) -> Records:
    tokens = np.arange(2 * count, dtype=np.int64).reshape(count, 2) % VOCABULARY
    if bad is not None:
        tokens[bad, 1] = VOCABULARY
    return Records(tokens, np.arange(count, dtype=np.int64) % 2)


def test_every_record_is_tried_once() -> None:
    plan = plan_of(Words())
    Learner(records(2100), Words).check(plan)
    Learner(records(0), Words).check(plan)
    for bad in (0, 1023, 1024, 2099):
        with pytest.raises(ValueError, match=r"the network does not take one of the records \d+ to \d+"):
            Learner(records(2100, bad=bad), Words).check(plan)


def test_labels_and_shapes_are_tried_as_well() -> None:
    plan, good = plan_of(Words()), records(4)
    with pytest.raises(ValueError, match="a label is not one of the plan's classes"):
        Learner(Records(good.features, np.array([0, 1, 2, 0])), Words).check(plan)
    with pytest.raises(ValueError, match="a token is negative"):
        Learner(Records(good.features - 1, good.labels), Words).check(plan)
    with pytest.raises(ValueError, match="a record has the shape"):
        Learner(Records(good.features[:, :1], good.labels), Words).check(plan)


def test_what_is_not_finite_is_no_reason() -> None:
    """It counts as zero when it is sampled."""
    from secure_bfl.training import settings

    plan = FederationPlan.create("digits", training=settings("digits", Mode.DISTRIBUTED), rounds=1)
    features = np.zeros((3, 64))
    features[1, 5] = np.nan
    Learner(Records(features, np.zeros(3, dtype=np.int64))).check(plan)
