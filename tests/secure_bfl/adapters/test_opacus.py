"""Opacus as gradient engine and cross-check: equal to a loop over records, and without traces on the model."""

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from opacus.grad_sample import GradSampleModule
from torch import nn

from protocols.dp import PrivacyEvent, epsilon_pld
from secure_bfl.adapters import opacus
from secure_bfl.adapters.opacus import GradientEngine, per_record_gradients, prv_epsilon, rdp_epsilon
from secure_bfl.adapters.rows import GradientRows
from tests.secure_bfl.adapters.architectures import CLASSES, TRAINABLE, Lora, Text, records, seeded


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
        parameters = [p for _, p in reference.named_parameters() if p.requires_grad]
        grads = torch.autograd.grad(loss, parameters, allow_unused=True)
        parts = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, grads, strict=True)]
        rows.append(torch.cat([part.reshape(-1) for part in parts]).numpy())
    return np.stack(rows)


def evaluated(model: nn.Module) -> nn.Module:
    """Without dropout, and batch normalisation by its own statistics."""
    return copy.deepcopy(model).eval()


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


@pytest.mark.parametrize("name", TRAINABLE)
def test_every_architecture_is_equal_to_a_loop_over_the_records(name: str) -> None:
    model = seeded(TRAINABLE[name].build())
    values, labels = records(TRAINABLE[name], 7)
    features = torch.from_numpy(values if TRAINABLE[name].tokens else values.astype(np.float32))
    expected = one_by_one(evaluated(model), features, torch.from_numpy(labels))
    engine = GradientEngine(model)
    found = engine.gradients(features, torch.from_numpy(labels))
    assert found.shape == (7, sum(p.numel() for p in model.parameters() if p.requires_grad))
    assert np.abs(expected).max() > 0.05
    assert np.abs(found - expected).max() < 1e-5
    assert np.abs(engine.sum_gradient(values, labels) - expected.sum(axis=0)).max() < 1e-5
    assert engine.gradients(features[:0], torch.from_numpy(labels[:0])).shape == (0, engine.dim)
    assert engine.compute(values, labels, np.zeros(0, dtype=np.int64)).shape == (0, engine.dim)
    assert not engine.sum_gradient(values[:0], labels[:0]).any()


@pytest.mark.parametrize("name", ["mlp", "cnn", "text", "lora"])
def test_rows_are_the_same_gradients(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, (values, labels) = seeded(TRAINABLE[name].build()), records(TRAINABLE[name], 9)
    chosen = np.array([8, 0, 3, 4, 7], dtype=np.int64)
    features = torch.from_numpy(values if TRAINABLE[name].tokens else values.astype(np.float32))
    whole = per_record_gradients(model, features[chosen], torch.from_numpy(labels[chosen]))
    assert np.array_equal(GradientEngine(model).compute(values, labels, chosen), whole)
    computed = list[int]()
    compute = GradientEngine.compute

    def watched(self: GradientEngine, *arguments: Any) -> Any:
        computed.append(len(arguments[2]))
        return compute(self, *arguments)

    monkeypatch.setattr(GradientEngine, "compute", watched)
    for rows, expected in ((2, [2, 2, 1]), (1, [1] * 5), (100, [5])):
        engine = GradientEngine(model)
        engine.rows = rows
        gradients, computed[:] = GradientRows(engine, values, labels, chosen), []
        assert (gradients.shape, gradients.ndim, len(gradients)) == (whole.shape, 2, 5)
        parts = [gradients[i : i + 1].copy() for i in range(5)]
        assert np.abs(np.concatenate(parts) - whole).max() < 1e-6
        assert computed == expected, "each row once"
        assert np.abs(gradients[3:] - whole[3:]).max() < 1e-6
        assert np.abs(gradients[1:4] - whole[1:4]).max() < 1e-6, "and in any order"
        assert gradients[5:9].shape == (0, engine.dim)
        with pytest.raises(ValueError, match="consecutive rows"):
            gradients[::2]
        assert repr(gradients) == f"GradientRows(dim={engine.dim}, <secret>)"


def test_the_memory_of_a_chunk_is_bounded() -> None:
    engine = GradientEngine(nn.Sequential(nn.Linear(1000, 700), nn.Tanh(), nn.Linear(700, 3)))
    assert engine.rows * 4 * engine.dim <= opacus.CHUNK_BYTES <= 1 << 28
    assert 30 < engine.rows < 60
    assert GradientEngine(nn.Linear(4, 3)).rows > 1 << 20


def test_one_record_that_is_not_finite_spoils_no_other() -> None:
    for name in ("mlp", "cnn", "lora"):
        model, (values, labels) = seeded(TRAINABLE[name].build()), records(TRAINABLE[name], 5)
        clean = GradientEngine(model).compute(values, labels, np.arange(5))
        for bad in (np.nan, np.inf, 1e300):
            spoiled = values.copy()
            spoiled[2] = bad
            found = GradientEngine(model).compute(spoiled, labels, np.arange(5))
            assert not np.isfinite(found[2]).all()
            assert np.array_equal(np.delete(found, 2, axis=0), np.delete(clean, 2, axis=0))


def test_frozen_parts_are_left_as_they_are() -> None:
    model = TRAINABLE["frozen body"].build()
    before = copy.deepcopy(model.state_dict())
    values, labels = records(TRAINABLE["frozen body"], 6)
    engine = GradientEngine(model)
    frozen = engine.frozen_values()
    for _ in range(2):
        engine.compute(values, labels, np.arange(6))
    assert len(frozen) == 7, "two layers of two tensors, and the three statistics"
    assert all(torch.equal(old, new) for old, new in zip(frozen, engine.frozen_values(), strict=True))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert engine.dim == 64 * CLASSES + CLASSES


def test_padding_learns_nothing() -> None:
    values, labels = records(TRAINABLE["text"], 6)
    found = GradientEngine(Text(padding=0)).compute(values, labels, np.arange(6))
    assert (values == 0).any()
    assert not found[:, :5].any(), "the row of token 0"
    assert GradientEngine(Text(padding=None)).compute(values, labels, np.arange(6))[:, :5].any()


def test_gradients_that_opacus_keeps_to_itself_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = dict(GradSampleModule.GRAD_SAMPLERS)

    def elsewhere(layer: Any, activations: Any, backprops: Any) -> Any:
        del layer.weight._current_grad_sample
        return rules[nn.Linear](layer, activations, backprops)

    monkeypatch.setattr(opacus._PerRecord, "GRAD_SAMPLERS", {**rules, nn.Linear: elsewhere})
    model, (features, labels) = network(), batch(4)
    assert np.abs(per_record_gradients(model, features, labels) - one_by_one(model, features, labels)).max() < 1e-6


def test_nothing_of_opacus_is_changed_for_others() -> None:
    rules = GradSampleModule.GRAD_SAMPLERS
    assert rules[nn.Embedding].__module__.startswith("opacus.")
    assert rules[nn.Linear].__module__.startswith("opacus.")


def frozen(model: nn.Module) -> nn.Module:
    return model.requires_grad_(False)


class Buffered(nn.Linear):
    def __init__(self) -> None:
        super().__init__(6, 3)
        self.register_buffer("mask", torch.ones(3))


REFUSED: list[tuple[nn.Module, str]] = [
    (nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4)), r"layer 1 \(BatchNorm1d\) .*GroupNorm.*ModuleValidator.fix"),
    (nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4, affine=False)), r"layer 1 \(BatchNorm1d\) .*whole batch"),
    (nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.5)), r"layer 1 \(Dropout\) draws random .*rate to 0"),
    (nn.Sequential(nn.Conv1d(1, 2, 3), nn.InstanceNorm1d(2, track_running_stats=True)), "track_running_stats=False"),
    (Text(nn.LSTM), r"layer recurrent \(LSTM\) .*opacus.layers.DPLSTM"),
    (Text(nn.GRU), r"layer recurrent \(GRU\) .*opacus.layers.DPGRU"),
    (
        nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0),
        r"layer self_attn \(MultiheadAttention\) .*DPMultiheadAttention",
    ),
    (nn.EmbeddingBag(5, 3), r"layer model \(EmbeddingBag\) .*use Embedding"),
    (nn.Embedding(5, 3, max_norm=1.0), "max_norm"),
    (nn.Embedding(5, 3, scale_grad_by_freq=True), "scale_grad_by_freq"),
    (nn.Embedding(5, 3, sparse=True), "sparse"),
    (Buffered(), "no per-record gradients: .*buffers.*fix: keep buffers"),
    (nn.Tanh(), "no trainable parameters"),
    (frozen(network()), "no trainable parameters"),
    (network().double(), "parameter 0.weight must be float32, not torch.float64"),
]


@pytest.mark.parametrize(("model", "reason"), REFUSED, ids=[f"{n}" for n in range(len(REFUSED))])
def test_refused_models(model: nn.Module, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        GradientEngine(model)


def test_every_layer_is_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"layer 1 \(BatchNorm1d\).*; layer 2 \(Dropout\)"):
        GradientEngine(nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Dropout(0.1)))


def test_what_is_frozen_may_hold_any_layer() -> None:
    assert GradientEngine(nn.Sequential(nn.Linear(6, 4), nn.Dropout(0.0))).dim == 28
    body = frozen(nn.Sequential(nn.BatchNorm1d(6), nn.Dropout(0.5)))
    assert GradientEngine(nn.Sequential(body, nn.Linear(6, 4))).dim == 28
    assert GradientEngine(Lora(4, 6)).dim == 2 * 4 + 6 * 2


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
