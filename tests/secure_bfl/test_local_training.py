"""A client's training: noise first, every release accounted, and the update is what a plain computation gives."""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from protocols.arrays import Float64Array
from protocols.dp import DiscreteGaussian, Mechanism, MechanismRecord, poisson_sample, privatize
from secure_bfl import local_training
from secure_bfl.adapters.opacus import GradientEngine
from secure_bfl.errors import StateError
from secure_bfl.local_training import RAND_BYTES, Records, linear_model, train_round
from secure_bfl.model import GlobalModel
from secure_bfl.plan import FederationPlan
from secure_bfl.training import TRAINING, Training

RAND = bytes(range(32))
SMALL = Training(
    features=4, classes=3, records=120, local_steps=4, rounds=2, clip_norm_micro=500_000, momentum_milli=500
)


def small_plan(**changes: Any) -> FederationPlan:
    return FederationPlan.create("small", clients=2, training=replace(SMALL, **changes))


def small_records(count: int = 60) -> Records:
    features = np.sin(np.arange(count * 4, dtype=np.float64) * 0.7).reshape(count, 4)
    return Records(features, (np.arange(count) % 3).astype(np.int64))


def zero(plan: FederationPlan) -> GlobalModel:
    return GlobalModel.zero(plan.features, plan.classes)


def softmax_gradients(vector: Float64Array, records: Records, chosen: Any, classes: int) -> Float64Array:
    """Gradients of the cross-entropy of a softmax layer, record by record, from the textbook."""
    features, labels = records.features[chosen], records.labels[chosen]
    width = features.shape[1]
    weight, bias = vector[: classes * width].reshape(classes, width), vector[classes * width :]
    scores = features @ weight.T + bias
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    chances[np.arange(len(labels)), labels] -= 1
    outer = chances[:, :, None] * features[:, None, :]
    gradients: Float64Array = np.concatenate([outer.reshape(len(labels), -1), chances], axis=1)
    return gradients


def plainly(plan: FederationPlan, start: GlobalModel, records: Records, rand: bytes) -> Float64Array:
    """The same training in plain floating point: clip, add the same noise, step."""
    mechanism = plan.mechanism
    seeds = hashlib.shake_256(b"secure-bfl/local-training/v1" + rand).digest(64 * plan.local_steps)
    vector, velocity = start.vector.copy(), np.zeros(plan.parameters)
    for step in range(plan.local_steps):
        noise_seed, sample_seed = seeds[64 * step : 64 * step + 32], seeds[64 * step + 32 : 64 * step + 64]
        noise = DiscreteGaussian(mechanism.noise_std_units).sample(plan.parameters, noise_seed).take()
        chosen = poisson_sample(len(records.labels), mechanism, rand=sample_seed).indices
        gradients = softmax_gradients(vector, records, chosen, plan.classes)
        norms = np.linalg.norm(gradients, axis=1, keepdims=True)
        clipped = gradients * np.minimum(1, mechanism.clip_norm / np.maximum(norms, 1e-12))
        total = clipped.sum(axis=0) + noise * (mechanism.clip_norm / mechanism.clip_units)
        velocity = plan.momentum_milli / 1000 * velocity + total / plan.expected_batch
        vector = vector - plan.learning_rate_micro / 1e6 * velocity
    return vector - start.vector


@pytest.mark.parametrize(
    ("epsilon", "changes"),
    [(100.0, {}), (8.0, {}), (0.5, {}), (8.0, {"momentum_milli": 0}), (8.0, {"sampling_rate_ppm": 400_000})],
    ids=["small noise", "usual noise", "huge noise", "no momentum", "a sample of the records"],
)
def test_the_update_is_what_a_plain_computation_gives(epsilon: float, changes: dict[str, Any]) -> None:
    plan = FederationPlan.create("small", clients=2, training=replace(SMALL, **changes), epsilon=epsilon)
    records = small_records()
    start = GlobalModel(4, 3, np.cos(np.arange(plan.parameters)))
    update, record = train_round(plan, start, records, rand=RAND)
    expected = plainly(plan, start, records, RAND)
    step = plan.learning_rate_micro / 1e6 / plan.expected_batch * plan.mechanism.clip_norm / plan.clip_units
    truncated = 2 * plan.local_steps * step * len(records.labels) / (1 - plan.momentum_milli / 1000)
    assert np.abs(expected).max() > 20 * truncated, "the tolerance is far below what is compared"
    assert np.abs(update - expected).max() < truncated
    assert record.event() == plan.round_event


def test_the_digits_plan_too(plan: FederationPlan, shares: Sequence[Records]) -> None:
    update, record = train_round(plan, zero(plan), shares[0], rand=RAND)
    expected = plainly(plan, zero(plan), shares[0], RAND)
    assert np.abs(update - expected).max() < 0.02 * np.abs(expected).max()
    mechanism = plan.mechanism
    assert record == MechanismRecord(
        plan.local_steps, 1_000_000, mechanism.noise_multiplier_milli, mechanism.clip_units, plan.parameters
    )


def test_deterministic_in_rand() -> None:
    plan, records = small_plan(), small_records()
    one, two = (train_round(plan, zero(plan), records, rand=RAND)[0] for _ in range(2))
    other = train_round(plan, zero(plan), records, rand=bytes(32))[0]
    assert np.array_equal(one, two)
    assert np.abs(one - other).min() > 0, "every coordinate has other noise"


def test_noise_is_fresh_in_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, seen = small_plan(), list[bytes]()
    sample = DiscreteGaussian.sample

    def watched(self: DiscreteGaussian, n: int, rand: bytes) -> Any:
        seen.append(rand)
        return sample(self, n, rand)

    monkeypatch.setattr(DiscreteGaussian, "sample", watched)
    train_round(plan, zero(plan), small_records(), rand=RAND)
    assert len(set(seen)) == len(seen) == plan.local_steps


def test_noise_is_drawn_before_any_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, events = small_plan(), list[str]()
    sample, gradients = DiscreteGaussian.sample, GradientEngine.gradients

    def drawn(self: DiscreteGaussian, n: int, rand: bytes) -> Any:
        events.append("noise")
        return sample(self, n, rand)

    def computed(self: Any, features: Any, labels: Any) -> Any:
        events.append("gradients")
        return gradients(self, features, labels)

    def released(*arguments: Any) -> Any:
        events.append("release")
        return privatize(*arguments)

    monkeypatch.setattr(DiscreteGaussian, "sample", drawn)
    monkeypatch.setattr(GradientEngine, "gradients", computed)
    monkeypatch.setattr(local_training, "privatize", released)
    train_round(plan, zero(plan), small_records(), rand=RAND)
    assert events == ["noise"] * plan.local_steps + ["gradients", "release"] * plan.local_steps


def test_an_empty_share_still_releases_noise() -> None:
    plan = small_plan()
    empty = Records(np.zeros((0, 4)), np.zeros(0, dtype=np.int64))
    update, record = train_round(plan, zero(plan), empty, rand=RAND)
    assert np.abs(update).min() > 0
    assert record.event() == plan.round_event


def test_a_record_that_is_not_finite_counts_as_none() -> None:
    plan, records = small_plan(), small_records()
    features = records.features.copy()
    features[7] = np.nan
    without = Records(np.delete(records.features, 7, axis=0), np.delete(records.labels, 7))
    spoiled, _ = train_round(plan, zero(plan), Records(features, records.labels), rand=RAND)
    clean, _ = train_round(plan, zero(plan), without, rand=RAND)
    assert np.allclose(spoiled, clean, atol=1e-6)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_rand_has_a_size(size: int) -> None:
    assert RAND_BYTES == 32
    with pytest.raises(ValueError, match="32 fresh random bytes"):
        train_round(small_plan(), zero(small_plan()), small_records(), rand=bytes(size))


def test_records_of_another_shape() -> None:
    plan = small_plan()
    with pytest.raises(ValueError, match="records have 5 features, the plan says 4"):
        train_round(plan, zero(plan), Records(np.zeros((3, 5)), np.zeros(3, dtype=np.int64)), rand=RAND)
    for label in (-1, 3, -100):
        records = Records(np.zeros((3, 4)), np.array([0, label, 1], dtype=np.int64))
        with pytest.raises(ValueError, match=r"^a label is not one of the plan's classes, 0 to 2$"):
            train_round(plan, zero(plan), records, rand=RAND)
    with pytest.raises(ValueError, match="shape"):
        Records(np.zeros((3, 4)), np.zeros(2, dtype=np.int64))
    with pytest.raises(TypeError, match="dtype"):
        Records(np.zeros((3, 4), np.float32), np.zeros(3, dtype=np.int64))


def test_a_release_that_the_plan_does_not_account_for(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = small_plan()

    def cheaper(*arguments: Any) -> Any:
        released, record = privatize(*arguments)
        return released, replace(record, noise_multiplier_milli=record.noise_multiplier_milli - 1)

    monkeypatch.setattr(local_training, "privatize", cheaper)
    with pytest.raises(StateError, match="not those the plan accounts for"):
        train_round(plan, zero(plan), small_records(), rand=RAND)


def test_inputs_are_not_changed(plan: FederationPlan, shares: Sequence[Records]) -> None:
    start = zero(plan)
    before = copy.deepcopy((start.vector, shares[0].features, shares[0].labels))
    train_round(plan, start, shares[0], rand=RAND)
    for kept, now in zip(before, (start.vector, shares[0].features, shares[0].labels), strict=True):
        assert np.array_equal(kept, now)


def test_records_are_secret_and_copied() -> None:
    features = np.ones((2, 3))
    records = Records(features, np.zeros(2, dtype=np.int64))
    features[:] = 7
    assert records.features.max() == 1
    assert not records.features.flags.writeable
    assert repr(records) == "Records(<secret>)"


def test_the_layer_is_the_plans() -> None:
    layer = linear_model(TRAINING["digits"].features, TRAINING["digits"].classes)
    assert sum(p.numel() for p in layer.parameters()) == 650
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]


def test_the_mechanism_is_the_plans() -> None:
    plan = small_plan(sampling_rate_ppm=400_000)
    assert isinstance(plan.mechanism, Mechanism)
    _, record = train_round(plan, zero(plan), small_records(), rand=RAND)
    assert (record.sampling_rate_ppm, record.steps, record.dim) == (400_000, 4, plan.parameters)
