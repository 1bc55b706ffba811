"""Opacus as gradient engine and cross-check: equal to a loop over records, and without traces on the model."""

import copy

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from protocols.dp import PrivacyEvent, epsilon_pld
from secure_bfl.adapters.opacus import GradientEngine, per_record_gradients, prv_epsilon, rdp_epsilon


def network() -> nn.Module:
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(size, 6, generator=generator), torch.randint(0, 3, (size,), generator=generator)


def one_by_one(model: nn.Module, features: torch.Tensor, labels: torch.Tensor) -> npt.NDArray[np.float32]:
    rows = []
    for feature, label in zip(features, labels, strict=True):
        reference = copy.deepcopy(model)
        loss = nn.functional.cross_entropy(reference(feature[None]), label[None])
        grads = torch.autograd.grad(loss, [p for _, p in reference.named_parameters()])
        rows.append(torch.cat([g.reshape(-1) for g in grads]).numpy())
    return np.stack(rows)


def test_equal_to_a_loop_over_the_records() -> None:
    model, (features, labels) = network(), batch(9)
    gradients = per_record_gradients(model, features, labels)
    assert gradients.dtype == np.float32
    assert np.abs(gradients - one_by_one(model, features, labels)).max() < 1e-6
    assert np.abs(gradients).max() > 0.1


def test_an_engine_can_be_called_again_and_again() -> None:
    model, (features, labels) = network(), batch(7)
    engine = GradientEngine(model)
    first = engine.gradients(features, labels)
    assert (engine.gradients(features[:4], labels[:4]) == first[:4]).all()
    assert engine.gradients(features[:0], labels[:0]).shape == (0, engine.dim)
    assert (engine.gradients(features, labels) == first).all()
    with torch.no_grad():
        assert (engine.gradients(features, labels) == first).all()


def test_flat_vectors() -> None:
    model, (features, labels) = network(), batch(3)
    engine = GradientEngine(model)
    flat = torch.cat([p.detach().reshape(-1) for p in model.parameters()]).numpy()
    assert (engine.flat() == flat).all()
    moved = flat.astype(np.float64) + 0.25
    engine.load_flat(moved)
    assert (engine.flat() == moved.astype(np.float32)).all()
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.25)
    assert np.abs(engine.gradients(features, labels) - one_by_one(other, features, labels)).max() < 1e-6
    engine.flat()[:] = 0
    assert (engine.flat() == moved.astype(np.float32)).all()
    for wrong in (flat[:-1], flat[None]):
        with pytest.raises(ValueError, match="shape"):
            engine.load_flat(wrong)
    for value in (np.nan, np.inf, 1e300):
        with pytest.raises(ValueError, match="finite"):
            engine.load_flat(np.full(engine.dim, value))
    assert (engine.flat() == moved.astype(np.float32)).all()


def test_the_model_is_left_alone() -> None:
    model, (features, labels) = network(), batch(5)
    before = copy.deepcopy(model.state_dict())
    model.eval()
    per_record_gradients(model, features, labels)
    assert not model.training
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._backward_hooks
    for parameter in model.parameters():
        assert parameter.grad is None
        assert not hasattr(parameter, "grad_sample")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_failed_call_leaves_nothing_behind() -> None:
    engine = GradientEngine(network())
    features, labels = batch(4)
    expected = engine.gradients(features, labels)
    with pytest.raises(IndexError):
        engine.gradients(features, labels + 100)
    assert (engine.gradients(features, labels) == expected).all()


def test_refused_models() -> None:
    frozen = network()
    next(frozen.parameters()).requires_grad_(False)
    cases: list[tuple[nn.Module, str]] = [
        (nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)), "per-record"),
        (nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.5)), "random"),
        (nn.Tanh(), "no parameters"),
        (frozen, "trainable"),
        (network().double(), "float32"),
    ]
    for model, reason in cases:
        with pytest.raises(ValueError, match=reason):
            GradientEngine(model)
    assert GradientEngine(nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.0))).dim == 28


def test_as_many_labels_as_features() -> None:
    features, labels = batch(3)
    with pytest.raises(ValueError, match="rows"):
        per_record_gradients(network(), features, labels[:2])


def test_published_epsilons() -> None:
    assert rdp_epsilon([PrivacyEvent(1500, 40_000, 2250)], 1e-5) == pytest.approx(7.32911117143, abs=1e-9)
    assert prv_epsilon([PrivacyEvent(1500, 40_000, 2249)], 1e-5) == pytest.approx(6.777395712, abs=1e-6)


@pytest.mark.parametrize(
    "events", [[PrivacyEvent(1500, 40_000, 2249)], [PrivacyEvent(4000, 50_000, 200), PrivacyEvent(2000, 100_000, 50)]]
)
def test_three_accountants_agree(events: list[PrivacyEvent]) -> None:
    tight = epsilon_pld(events, 1e-5)
    assert tight - 1e-3 <= prv_epsilon(events, 1e-5) <= tight + 0.02
    assert rdp_epsilon(events, 1e-5) >= tight
