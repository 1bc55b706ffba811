"""A client's part of a round: noise first, all of it accounted, and the vector is what a plain computation gives."""

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from protocols.arrays import Float64Array, Int64Array
from protocols.dp import DiscreteGaussian, MechanismRecord, Mode, poisson_sample
from secure_bfl import local_training
from secure_bfl.adapters.opacus import GradientEngine
from secure_bfl.errors import StateError
from secure_bfl.local_training import RAND_BYTES, Learner, train_round
from secure_bfl.model import GlobalModel
from secure_bfl.networks import linear_network
from secure_bfl.plan import FederationPlan
from secure_bfl.records import Records
from secure_bfl.training import Training

RAND = bytes(range(32))
SMALL = Training((4,), classes=3, records=120, local_steps=4, rounds=2, clip_norm_micro=500_000, momentum_milli=500)
MODES = {
    "local": SMALL,
    "distributed": replace(SMALL, mode=Mode.DISTRIBUTED, local_steps=1, clip_units=1 << 12),
    "client": replace(SMALL, mode=Mode.CLIENT, clip_units=1 << 20),
}
RELEASES = {"local": "privatize", "distributed": "privatize_share", "client": "privatize_update"}


@lru_cache
def small_plan(
    mode: str = "local", *, epsilon: float = 8.0, sentinels: int = 16, rate_ppm: int = 1_000_000, **changes: Any
) -> FederationPlan:
    training = replace(MODES[mode], **changes)
    plan = FederationPlan.create(
        "small", mode=training.mode, clients=2, training=training, epsilon=epsilon, sentinels=sentinels
    )
    return replace(plan, sampling_rate_ppm=rate_ppm)  # a sample would need less noise: the vector is what matters here


def small_records(count: int = 60) -> Records:
    features = np.sin(np.arange(count * 4, dtype=np.float64) * 0.7).reshape(count, 4)
    return Records(features, (np.arange(count) % 3).astype(np.int64))


def zero(plan: FederationPlan) -> GlobalModel:
    return GlobalModel.zero(plan.tensors)


def waves(plan: FederationPlan) -> GlobalModel:
    return GlobalModel(plan.tensors, np.cos(np.arange(plan.parameters)))


def values(plan: FederationPlan, start: GlobalModel, records: Records, rand: bytes = RAND) -> Int64Array:
    return train_round(plan, start, Learner(records), rand=rand)[0].values


def noise_of(plan: FederationPlan, step: int = 0, rand: bytes = RAND) -> Int64Array:
    law = DiscreteGaussian(plan.mechanism.share_variance_units)
    return law.sample(plan.values, seeds_of(plan, rand)[64 * step : 64 * step + 32]).take()


def seeds_of(plan: FederationPlan, rand: bytes) -> bytes:
    return hashlib.shake_256(b"secure-bfl/local-training/v1" + rand).digest(64 * plan.round_event.steps)


def chosen_of(plan: FederationPlan, records: Records, step: int = 0, rand: bytes = RAND) -> Int64Array:
    seed = seeds_of(plan, rand)[64 * step + 32 : 64 * step + 64]
    return poisson_sample(len(records.labels), plan.mechanism, rand=seed).indices


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


def clipped(rows: Float64Array, plan: FederationPlan) -> Float64Array:
    """Every row with norm at most the clip norm, and the sentinels' zeros."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    short = rows * np.minimum(1, plan.mechanism.clip_norm / np.maximum(norms, 1e-12))
    padded: Float64Array = np.concatenate([short, np.zeros((len(rows), plan.sentinels))], axis=1)
    return padded


def plainly(plan: FederationPlan, start: GlobalModel, records: Records) -> Float64Array:
    """Local mode in plain floating point: clip, add the same noise, step."""
    vector, velocity = np.concatenate([start.vector, np.zeros(plan.sentinels)]), np.zeros(plan.values)
    begin = vector
    for step in range(plan.local_steps):
        chosen = chosen_of(plan, records, step)
        gradients = softmax_gradients(vector[: plan.parameters], records, chosen, plan.classes)
        total = clipped(gradients, plan).sum(axis=0) + noise_of(plan, step) * plan.unit
        velocity = plan.momentum_milli / 1000 * velocity + total / plan.expected_batch
        vector = vector - plan.learning_rate_micro / 1e6 * velocity
    update: Float64Array = vector - begin
    return update


@pytest.mark.parametrize(
    ("epsilon", "changes"),
    [(100.0, {}), (8.0, {}), (0.5, {}), (8.0, {"momentum_milli": 0}), (8.0, {"rate_ppm": 400_000})],
    ids=["small noise", "usual noise", "huge noise", "no momentum", "a sample of the records"],
)
def test_local_updates_are_what_a_plain_computation_gives(epsilon: float, changes: dict[str, Any]) -> None:
    plan, records = small_plan(epsilon=epsilon, **changes), small_records()
    vector, record = train_round(plan, waves(plan), Learner(records), rand=RAND)
    update, expected = vector.values * plan.grid.step, plainly(plan, waves(plan), records)
    step = plan.learning_rate_micro / 1e6 / plan.expected_batch * plan.unit
    truncated = 2 * plan.local_steps * step * len(records.labels) / (1 - plan.momentum_milli / 1000) + plan.grid.step
    assert np.abs(expected).max() > 20 * truncated, "the tolerance is far below what is compared"
    assert np.abs(update - expected).max() < truncated
    assert vector.grid == plan.grid
    assert record.event() == plan.round_event


@pytest.mark.parametrize("sampling", [1_000_000, 400_000])
def test_distributed_vectors_are_sums_of_clipped_gradients_and_noise(sampling: int) -> None:
    plan, records = small_plan("distributed", rate_ppm=sampling), small_records()
    vector, record = train_round(plan, waves(plan), Learner(records), rand=RAND)
    chosen = chosen_of(plan, records)
    assert (len(chosen) == 60) is (sampling == 1_000_000)
    rows = clipped(softmax_gradients(waves(plan).vector, records, chosen, plan.classes), plan) / plan.unit
    assert np.abs(rows.sum(axis=0)).max() > 5000
    assert np.abs(vector.values - noise_of(plan) - np.trunc(rows).sum(axis=0)).max() <= 2
    assert (vector.grid.step, vector.grid.value_bits) == (1, plan.value_bits)
    assert (record.event(), record.shares) == (plan.round_event, plan.shares)


@pytest.mark.parametrize("momentum", [0, 500])
def test_client_vectors_are_clipped_updates_and_noise(momentum: int) -> None:
    plan, records = small_plan("client", momentum_milli=momentum), small_records()
    vector, record = train_round(plan, waves(plan), Learner(records), rand=RAND)
    local, velocity = waves(plan).vector, np.zeros(plan.parameters)
    for _ in range(plan.local_steps):
        mean = softmax_gradients(local, records, slice(None), plan.classes).mean(axis=0)
        velocity = momentum / 1000 * velocity + mean
        local = local - plan.learning_rate_micro / 1e6 * velocity
    update = clipped((local - waves(plan).vector)[None], plan)[0] / plan.unit
    assert np.linalg.norm(update) > 0.1 * plan.clip_units
    assert np.abs(vector.values - noise_of(plan) - update).max() < 1e-4 * plan.clip_units
    assert record == MechanismRecord(
        1, 1_000_000, plan.noise_multiplier_milli, plan.clip_units, plan.values, plan.shares
    )


def test_the_digits_plan_too(shares: Sequence[Records]) -> None:
    plan = FederationPlan.create("digits", mode=Mode.LOCAL, clients=3, rounds=2)
    vector, record = train_round(plan, zero(plan), Learner(shares[0]), rand=RAND)
    expected = plainly(plan, zero(plan), shares[0])
    assert np.abs(vector.values * plan.grid.step - expected).max() < 0.02 * np.abs(expected).max()
    assert (record.steps, record.dim) == (plan.local_steps, 650 + 256)


@pytest.mark.parametrize("mode", MODES)
def test_sentinels_have_the_planned_variance(mode: str) -> None:
    plan = small_plan(mode, sentinels=4096)
    sentinels = values(plan, waves(plan), small_records())[plan.parameters :]
    assert len(sentinels) == 4096
    assert float(np.square(sentinels).mean()) == pytest.approx(plan.sentinel_variance(1), rel=0.1)


@pytest.mark.parametrize("mode", MODES)
def test_deterministic_in_rand(mode: str) -> None:
    plan, records = small_plan(mode), small_records()
    one, two = (values(plan, zero(plan), records) for _ in range(2))
    other = values(plan, zero(plan), records, bytes(32))
    assert np.array_equal(one, two)
    assert (one != other).mean() > 0.9, "other noise everywhere"


@pytest.mark.parametrize("mode", MODES)
def test_noise_is_fresh_and_drawn_before_any_gradient(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, events, seeds = small_plan(mode), list[str](), list[bytes]()
    sample, build = DiscreteGaussian.sample, Learner.build

    def drawn(self: DiscreteGaussian, n: int, rand: bytes) -> Any:
        events.append("noise")
        seeds.append(rand)
        return sample(self, n, rand)

    def built(self: Learner, plan: FederationPlan) -> GradientEngine:
        engine = build(self, plan)
        events.clear()  # the check of the network is over: what follows is computed from records
        return engine

    for name in ("compute", "sum_gradient"):
        compute = getattr(GradientEngine, name)

        def computed(self: Any, *arguments: Any, compute: Any = compute) -> Any:
            events.append("gradients")
            return compute(self, *arguments)

        monkeypatch.setattr(GradientEngine, name, computed)
    monkeypatch.setattr(DiscreteGaussian, "sample", drawn)
    monkeypatch.setattr(Learner, "build", built)
    release = getattr(local_training, RELEASES[mode])

    def released(*arguments: Any, **options: Any) -> Any:
        made = release(*arguments, **options)
        events.append("release")
        return made

    monkeypatch.setattr(local_training, RELEASES[mode], released)
    train_round(plan, zero(plan), Learner(small_records()), rand=RAND)
    steps = plan.round_event.steps
    assert len(set(seeds)) == len(seeds) == steps
    assert (
        events
        == ["noise"] * steps
        + {
            "local": ["gradients", "release"] * steps,
            "distributed": ["gradients", "release"],
            "client": [*["gradients"] * plan.local_steps, "release"],
        }[mode]
    )


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_share_still_releases_noise(mode: str) -> None:
    plan = small_plan(mode)
    empty = Records(np.zeros((0, 4)), np.zeros(0, dtype=np.int64))
    vector, record = train_round(plan, waves(plan), Learner(empty), rand=RAND)
    if mode != "local":
        assert np.array_equal(vector.values, noise_of(plan))
    assert (vector.values != 0).mean() > 0.9
    assert record.event() == plan.round_event


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_a_record_that_is_not_finite_counts_as_none(mode: str, bad: float) -> None:
    plan, records = small_plan(mode), small_records()
    features = records.features.copy()
    features[7, 2] = bad
    without = Records(np.delete(records.features, 7, axis=0), np.delete(records.labels, 7))
    spoiled = values(plan, waves(plan), Records(features, records.labels))
    assert np.abs(spoiled - values(plan, waves(plan), without)).max() <= 2
    assert np.abs(spoiled - values(plan, waves(plan), records)).max() > 2


def test_an_update_that_diverges_counts_as_zero() -> None:
    plan = replace(small_plan("client"), learning_rate_micro=2**62, local_steps=100)
    features = (1e30 * small_records().features).astype(np.float64)
    found = values(plan, waves(plan), Records(features, small_records().labels))
    assert np.linalg.norm((found - noise_of(plan)).astype(np.float64)) <= plan.clip_units


def test_a_sum_is_clamped_before_the_noise() -> None:
    plan = small_plan("distributed")
    alike = Records(np.ones((2000, 4)), np.zeros(2000, dtype=np.int64))
    sums = values(plan, zero(plan), alike) - noise_of(plan)
    assert np.abs(sums).max() == plan.limit
    assert (np.abs(sums[: plan.parameters]) == plan.limit).all()
    assert not sums[plan.parameters :].any()


@pytest.mark.parametrize("size", [0, 31, 33])
def test_rand_has_a_size(size: int) -> None:
    assert RAND_BYTES == 32
    with pytest.raises(ValueError, match="32 fresh random bytes"):
        values(small_plan(), zero(small_plan()), small_records(), bytes(size))


def labelled(*labels: int) -> Records:
    return Records(np.zeros((len(labels), 4)), np.array(labels, dtype=np.int64))


WRONG = {
    "shape": (Records(np.zeros((3, 5)), np.zeros(3, dtype=np.int64)), r"has the shape \(5,\), the plan says \(4,\)"),
    "sides": (Records(np.zeros((3, 4, 1)), np.zeros(3, dtype=np.int64)), r"has the shape \(4, 1\)"),
    "below": (labelled(0, -1, 1), r"^a label is not one of the plan's classes, 0 to 2$"),
    "ignored": (labelled(0, -100, 1), r"^a label is not one of the plan's classes, 0 to 2$"),
    "above": (labelled(0, 3, 1), r"^a label is not one of the plan's classes, 0 to 2$"),
    "tokens": (Records(np.zeros((3, 4), np.int64), np.zeros(3, dtype=np.int64)), "does not run on int64 tokens"),
}


@pytest.mark.parametrize("name", WRONG)
def test_records_that_are_not_the_plans(name: str) -> None:
    records, reason = WRONG[name]
    with pytest.raises(ValueError, match=reason):
        values(small_plan(), zero(small_plan()), records)


def test_another_model() -> None:
    other = GlobalModel.zero(small_plan(classes=4).tensors)
    with pytest.raises(ValueError, match="the model does not have the plan's tensors"):
        values(small_plan(), other, small_records())


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (lambda: nn.Linear(4, 2), r"not the one of the plan: its tensor weight \(2, 4\) stands where .* \(3, 4\)"),
        (lambda: nn.Linear(4, 3, bias=False), "it has 1 trainable tensors, not 2"),
        (lambda: nn.Sequential(nn.Linear(4, 3)), r"its tensor 0.weight \(3, 4\) stands where the plan has weight"),
    ],
    ids=["shape", "number", "name"],
)
def test_another_network_is_refused_before_a_record_is_read(network: Callable[[], nn.Module], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        train_round(small_plan(), zero(small_plan()), Learner(labelled(99), network), rand=RAND)


@pytest.mark.parametrize("mode", MODES)
def test_a_release_that_the_plan_does_not_account_for(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, release = small_plan(mode), getattr(local_training, RELEASES[mode])

    def cheaper(*arguments: Any, **options: Any) -> Any:
        released, record = release(*arguments, **options)
        return released, replace(record, noise_multiplier_milli=record.noise_multiplier_milli - 1)

    monkeypatch.setattr(local_training, RELEASES[mode], cheaper)
    with pytest.raises(StateError, match="not those the plan accounts for"):
        values(plan, zero(plan), small_records())


def test_the_law_has_the_plans_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    plan, seen = small_plan("distributed"), list[Fraction]()
    law = local_training._law

    def watched(variance: Fraction) -> DiscreteGaussian:
        seen.append(variance)
        return law(variance)

    monkeypatch.setattr(local_training, "_law", watched)
    values(plan, zero(plan), small_records())
    assert seen == [plan.mechanism.noise_variance_units / plan.shares]


def test_nothing_of_the_process_is_changed() -> None:
    plan, threads, state = small_plan("distributed"), torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(2)
    try:
        values(plan, zero(plan), small_records())
        assert torch.get_num_threads() == 2
        with pytest.raises(ValueError, match="a label"):
            values(plan, zero(plan), labelled(99))
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.get_rng_state(), state), "nothing is drawn from torch"
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("mode", MODES)
def test_inputs_are_not_changed(mode: str) -> None:
    plan, records = small_plan(mode), small_records()
    start = waves(plan)
    before = copy.deepcopy((start.vector, records.features, records.labels))
    values(plan, start, records)
    for kept, now in zip(before, (start.vector, records.features, records.labels), strict=True):
        assert np.array_equal(kept, now)


def test_the_layer_is_the_plans() -> None:
    plan = FederationPlan.create("digits", mode=Mode.LOCAL, clients=3)
    layer = linear_network(plan)
    assert [(name, tuple(p.shape)) for name, p in layer.named_parameters()] == [("weight", (10, 64)), ("bias", (10,))]
    assert not any(p.any() for p in layer.parameters())
    with pytest.raises(ValueError, match="a network of its own: give the learner the function"):
        linear_network(replace(plan, tensors=plan.tensors[:1]))


def test_a_linear_model_of_records_with_several_sides() -> None:
    plan = small_plan("distributed", record_shape=(2, 2))
    flat, records = small_plan("distributed"), small_records()
    folded = Records(records.features.reshape(-1, 2, 2), records.labels)
    assert np.abs(values(plan, waves(plan), folded) - values(flat, waves(flat), records)).max() <= 2


def test_a_learner_shows_nothing() -> None:
    assert repr(Learner(small_records())) == "Learner(<secret>)"
