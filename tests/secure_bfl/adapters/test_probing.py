"""Networks whose gradients are not those of single records are found before a record is read."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from secure_bfl.adapters import probing
from secure_bfl.adapters.opacus import GradientEngine
from secure_bfl.adapters.probing import check_gradients, takes_tokens
from tests.secure_bfl.adapters.architectures import CLASSES, TRAINABLE, Around, Attention, Text, remembering


@pytest.mark.parametrize("name", TRAINABLE)
def test_what_can_be_trained_passes(name: str) -> None:
    architecture = TRAINABLE[name]
    engine = GradientEngine(architecture.build())
    before = engine.flat()
    assert takes_tokens(engine, architecture.shape) is architecture.tokens
    check_gradients(engine, architecture.shape, CLASSES, tokens=architecture.tokens)
    assert np.array_equal(engine.flat(), before)


class Pair(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Linear(4, CLASSES)

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.scores(rows), rows


NOT_OF_ONE_RECORD: dict[str, Callable[[nn.Module, torch.Tensor], torch.Tensor]] = {
    "a batch mean": lambda _, rows: rows - rows.mean(dim=0),
    "a batch maximum": lambda _, rows: rows / rows.amax(dim=0),
    "a neighbour": lambda _, rows: rows + 0.01 * rows.roll(1, dims=0),
    "a batch deviation": lambda _, rows: rows / (1 + rows.std(dim=0, correction=0)),
    "dropout by hand": lambda _, rows: nn.functional.dropout(rows, 0.5, training=True),
    "noise": lambda _, rows: rows + torch.randn_like(rows),
}


@pytest.mark.parametrize("name", NOT_OF_ONE_RECORD)
def test_a_gradient_that_depends_on_others_or_on_chance(name: str) -> None:
    engine = GradientEngine(Around(NOT_OF_ONE_RECORD[name]))
    before = engine.flat()
    with pytest.raises(ValueError, match="not a function of that record alone"):
        check_gradients(engine, (4,), CLASSES, tokens=False)
    assert np.array_equal(engine.flat(), before)


def test_a_network_that_needs_a_batch() -> None:
    by_hand = Around(lambda _, rows: nn.functional.batch_norm(rows, None, None, training=True))
    with pytest.raises(ValueError, match=r"a record alone has no gradient: .*no statistics over the batch"):
        check_gradients(GradientEngine(by_hand), (4,), CLASSES, tokens=False)


def test_a_network_that_remembers() -> None:
    with pytest.raises(ValueError, match="changes its own buffers"):
        check_gradients(GradientEngine(Around(remembering)), (4,), CLASSES, tokens=False)


def test_layers_that_opacus_cannot_follow() -> None:
    with pytest.raises(ValueError, match="no per-record gradients"):
        check_gradients(GradientEngine(Attention(batch_first=False)), (5, 4), CLASSES, tokens=False)


def test_records_and_scores_of_another_kind() -> None:
    engine = GradientEngine(nn.Linear(4, CLASSES))
    with pytest.raises(ValueError, match=r"does not run on float32 values of shape \(5,\)"):
        check_gradients(engine, (5,), CLASSES, tokens=False)
    with pytest.raises(ValueError, match="does not run on int64 tokens"):
        check_gradients(engine, (4,), CLASSES, tokens=True)
    with pytest.raises(ValueError, match="does not run on float32 values"):
        check_gradients(GradientEngine(Text()), (5,), CLASSES, tokens=False)
    with pytest.raises(ValueError, match=r"each of 4 classes, \[batch, 4\]; for 3 records it gives \(3, 3\)"):
        check_gradients(engine, (4,), 4, tokens=False)
    with pytest.raises(ValueError, match=r"it gives tuple"):
        check_gradients(GradientEngine(Pair()), (4,), CLASSES, tokens=False)
    with pytest.raises(ValueError, match=r"neither on float32 values nor on int64 tokens of shape \(5,\)"):
        takes_tokens(engine, (5,))


def test_gradients_that_are_not_finite() -> None:
    engine = GradientEngine(Around(lambda _, rows: rows / 0))
    with pytest.raises(ValueError, match="not finite"):
        check_gradients(engine, (4,), CLASSES, tokens=False)


def test_made_up_records_are_the_same_everywhere() -> None:
    values = probing._made_up_records((2, 3), tokens=False)
    assert values.shape == (3, 2, 3)
    assert 0 <= float(values.min()) < float(values.max()) <= 1
    tokens = probing._made_up_records((5,), tokens=True)
    assert tokens.dtype == torch.int64
    assert tokens.tolist() == [[1, 0, 1, 0, 1], [1, 0, 0, 1, 0], [1, 0, 0, 0, 1]]
