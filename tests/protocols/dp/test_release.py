"""One private step: exact sampling, exact sensitivity, the right noise, and nothing that can be used twice."""

import copy
import math
import pickle
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from protocols.dp import (
    DiscreteGaussian,
    GradientSum,
    Mechanism,
    MechanismRecord,
    Noise,
    PoissonSample,
    PrivacyEvent,
    Skellam,
    poisson_sample,
    privatize,
)
from protocols.dp.clipping import _enforce_norm
from protocols.errors import StateError

SEED = bytes(range(32))
FULL = Mechanism(clip_units=4096, clip_norm_micro=1_000_000, noise_multiplier_milli=1000, sampling_rate_ppm=1_000_000)
Rows = npt.NDArray[np.float32] | npt.NDArray[np.float64]


def exact_sum(gradients: Rows, mechanism: Mechanism = FULL) -> npt.NDArray[np.int64]:
    """The released sum with the noise put to zero."""
    nothing = Noise(np.zeros(gradients.shape[1], dtype=np.int64), mechanism.noise_variance_units)
    return privatize(gradients, poisson_sample(len(gradients), mechanism, rand=SEED), mechanism, nothing)[0].values


def squared_norm(vector: npt.NDArray[np.int64]) -> int:
    return sum(int(v) ** 2 for v in vector)


def test_full_batch_takes_everybody() -> None:
    assert poisson_sample(1000, FULL, rand=SEED).indices.tolist() == list(range(1000))
    assert poisson_sample(0, FULL, rand=SEED).size == 0


def test_each_record_is_taken_independently_with_the_rate() -> None:
    mechanism = replace(FULL, sampling_rate_ppm=300_000)
    sizes, taken = [], np.zeros(200)
    for i in range(500):
        sample = poisson_sample(200, mechanism, rand=i.to_bytes(32, "big"))
        assert (np.diff(sample.indices) > 0).all()
        sizes.append(sample.size)
        taken[sample.indices] += 1
    # The size is Binomial(200, 0.3): a fixed-size or shuffled batch would have no variance.
    assert abs(np.mean(sizes) - 60) < 5 * math.sqrt(42 / 500)
    assert 0.75 < np.var(sizes) / 42 < 1.35
    assert stats.chisquare(taken, np.full(200, taken.sum() / 200)).pvalue > 1e-4


def test_samples_are_made_by_the_sampler_only_and_stay_secret() -> None:
    with pytest.raises(TypeError, match="poisson_sample"):
        PoissonSample(np.arange(3), 3, 1_000_000, origin=object())
    sample = poisson_sample(5, FULL, rand=SEED)
    assert repr(sample) == "PoissonSample(<secret>)"
    for action in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="secret"):
            action(sample)
    with pytest.raises(ValueError, match="read-only"):
        sample.indices[0] = 4
    for count in (-1, (1 << 32) + 1):
        with pytest.raises(ValueError, match="n_records must be in"):
            poisson_sample(count, FULL, rand=SEED)
    for kind in (True, 5.0, "5"):
        with pytest.raises(TypeError, match="n_records must be an int, not"):
            poisson_sample(kind, FULL, rand=SEED)  # type: ignore[arg-type]


@settings(max_examples=150, deadline=None)
@given(
    arrays(np.float64, (4, 7), elements=st.floats(allow_nan=True, allow_infinity=True)),
    st.integers(0, 3),
    st.integers(4096, 1 << 24),
    st.integers(1, 10**12),
)
def test_one_record_moves_the_sum_by_at_most_the_clip(
    gradients: npt.NDArray[np.float64], record: int, units: int, norm: int
) -> None:
    mechanism = replace(FULL, clip_units=units, clip_norm_micro=norm, noise_multiplier_milli=1000)
    with_it = exact_sum(gradients, mechanism)
    without = exact_sum(np.delete(gradients, record, axis=0), mechanism)
    assert squared_norm(with_it - without) <= units**2


def test_truncation_keeps_the_bound_where_rounding_breaks_it() -> None:
    rng = np.random.default_rng(1)
    gradients = rng.normal(size=(300, 650))
    clipped = gradients / np.linalg.norm(gradients, axis=1, keepdims=True) * FULL.clip_units
    rounded = np.rint(clipped).astype(np.int64)
    broken = sum(squared_norm(row) > FULL.clip_units**2 for row in rounded)
    assert broken > 50  # clip, then round: the usual mistake
    for row in gradients:
        assert squared_norm(exact_sum(row[np.newaxis])) <= FULL.clip_units**2


@pytest.mark.parametrize(
    ("row", "expected"),
    [([3000, 2800], None), ([3, 4], [3, 4]), ([4096, 1], [4095, 0]), ([-4097, 0], [-4096, 0])],
)
def test_rows_that_are_too_long_are_shortened(row: list[int], expected: list[int] | None) -> None:
    result = _enforce_norm(np.array(row), 4096)
    assert squared_norm(result) <= 4096**2
    assert (np.abs(np.array(row) - result) <= 8).all()
    assert expected is None or result.tolist() == expected


@pytest.mark.parametrize("dim", [650, 20_000])
def test_the_bound_is_enforced_whatever_the_arithmetic_did(dim: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(3).normal(size=(100, dim))
    monkeypatch.setattr("protocols.dp.clipping.np.trunc", np.rint)  # as if floating point had been a last bit too large
    one_by_one = [exact_sum(row[np.newaxis]) for row in rows]
    assert all(squared_norm(row) <= FULL.clip_units**2 for row in one_by_one)
    assert (exact_sum(rows) == sum(one_by_one)).all()


def test_values_are_scaled_clipped_and_truncated_toward_zero() -> None:
    half = replace(FULL, clip_norm_micro=500_000)
    assert exact_sum(np.array([[0.25, -0.1]]), half).tolist() == [2048, -819]  # 0.1 / 0.5 * 4096 = 819.2
    assert exact_sum(np.array([[3.0, -4.0]])).tolist() == [2457, -3276]
    assert exact_sum(np.array([[3e200, -4e200], [3e-320, 0.0]])).tolist() == [2457, -3276]
    single = np.array([[0.25, 0.5]], dtype=np.float32)
    assert exact_sum(single).tolist() == [1024, 2048]


def test_a_record_that_is_not_finite_counts_as_zero() -> None:
    good = np.array([[0.5, 0.0], [0.0, 0.25]])
    for bad in (math.nan, math.inf, -math.inf):
        assert exact_sum(np.vstack([good, [bad, 1.0]])).tolist() == exact_sum(good).tolist()


def test_inputs_are_not_changed() -> None:
    gradients = np.array([[3.0, math.nan], [3.0, 4.0]])
    before = gradients.copy()
    exact_sum(gradients)
    assert np.array_equal(gradients, before, equal_nan=True)


@pytest.mark.parametrize("dim", [7, 651, 8192, 8193, 30_001])
@pytest.mark.parametrize("single", [False, True])
def test_a_record_is_computed_by_itself(dim: int, single: bool) -> None:
    # Else one record more or less could move the integers of the others, and the sum by more than the clip.
    wide = np.random.default_rng(2).normal(size=(9, dim)) * np.geomspace(1e-4, 10, 9)[:, np.newaxis]
    wide[4, 0] = np.nan
    gradients: Rows = wide.astype(np.float32) if single else wide
    alone = [exact_sum(row[np.newaxis]) for row in gradients]
    assert (exact_sum(gradients) == sum(alone)).all()
    assert (exact_sum(gradients[3:]) == sum(alone[3:])).all()
    turned: Rows = gradients[::-1].copy()
    assert (exact_sum(turned) == sum(alone)).all()
    by_column: Rows = gradients.copy(order="F")
    assert (exact_sum(by_column) == sum(alone)).all()


def test_large_batches_are_summed_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    gradients = np.random.default_rng(2).normal(size=(37, 11))
    whole = exact_sum(gradients)
    monkeypatch.setattr("protocols.dp.clipping._EXACT_ROWS", 5)
    assert (exact_sum(gradients) == whole).all()


def test_sums_are_exact_where_floats_would_round() -> None:
    mechanism = replace(FULL, clip_units=1 << 24, noise_multiplier_milli=1000)
    gradients = np.tile(np.array([[1.0, 0.0], [0.0, -1.0]]), (3000, 1))
    assert exact_sum(gradients, mechanism).tolist() == [3000 << 24, -(3000 << 24)]


def test_the_noise_is_really_added_with_the_right_variance() -> None:
    dim = 100_000
    mechanism = replace(FULL, noise_multiplier_milli=2500)
    gradients = np.zeros((3, dim))
    gradients[:, 0] = 1.0
    noise = DiscreteGaussian(mechanism.noise_variance_units).sample(dim, SEED)
    released, record = privatize(gradients, poisson_sample(3, mechanism, rand=SEED), mechanism, noise)
    assert released.values.dtype == np.int64
    pure = released.values - exact_sum(gradients, mechanism)
    assert stats.kstest(pure / (2.5 * 4096), "norm").pvalue > 1e-4
    assert abs(pure.var() / (2.5 * 4096) ** 2 - 1) < 5 * math.sqrt(2 / dim)
    assert record == MechanismRecord(1, 1_000_000, 2500, 4096, dim)
    with pytest.raises(ValueError, match="read-only"):
        released.values[0] = 0


def test_an_empty_batch_releases_noise_alone() -> None:
    law = DiscreteGaussian(FULL.noise_variance_units)
    sample = poisson_sample(0, FULL, rand=SEED)
    released, record = privatize(np.zeros((0, 9)), sample, FULL, law.sample(9, SEED))
    assert (released.values == law.sample(9, SEED).take()).all()
    assert record.steps == 1


def test_gradient_units() -> None:
    total = GradientSum(np.array([4096, -2048]), clip_units=4096, clip_norm_micro=500_000)
    assert total.to_gradient(10).tolist() == [0.05, -0.025]
    with pytest.raises(ValueError, match="expected_batch"):
        total.to_gradient(0)
    with pytest.raises(TypeError, match="expected_batch"):
        total.to_gradient(2.5)  # type: ignore[arg-type]


def test_privatize_refuses_what_does_not_belong_together() -> None:
    law = DiscreteGaussian(FULL.noise_variance_units)
    sample, noise, gradients = poisson_sample(4, FULL, rand=SEED), law.sample(6, SEED), np.zeros((4, 6))
    with pytest.raises(TypeError, match="shuffled"):
        privatize(gradients, np.arange(4), FULL, noise)  # type: ignore[arg-type]
    for shape in ((3, 6), (5, 6), (24,)):
        with pytest.raises(ValueError, match="one row"):
            privatize(np.zeros(shape), sample, FULL, noise)
    with pytest.raises(TypeError, match="float"):
        privatize(gradients.astype(np.int64), sample, FULL, noise)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="another rate"):
        privatize(gradients, sample, replace(FULL, sampling_rate_ppm=500_000), noise)
    with pytest.raises(ValueError, match="another dimension"):
        privatize(gradients, sample, FULL, law.sample(7, SEED))
    with pytest.raises(ValueError, match="another variance"):
        privatize(gradients, sample, FULL, DiscreteGaussian(4095**2).sample(6, SEED))
    with pytest.raises(ValueError, match="another is not accounted"):
        privatize(gradients, sample, FULL, Skellam(FULL.noise_variance_units).sample(6, SEED))
    with pytest.raises(ValueError, match="protects no release"):
        privatize(gradients, sample, replace(FULL, shares=2), noise)
    with pytest.raises(ValueError, match="one row"):
        privatize(np.zeros((4, 0)), sample, FULL, noise)
    privatize(gradients, sample, FULL, noise)  # nothing was used up by the refusals
    with pytest.raises(StateError, match="sample was released"):
        privatize(gradients, sample, FULL, law.sample(6, SEED))
    with pytest.raises(StateError, match="noise was used"):
        privatize(gradients, poisson_sample(4, FULL, rand=SEED), FULL, noise)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("clip_units", 4095),
        ("clip_units", (1 << 24) + 1),
        ("clip_norm_micro", 0),
        ("noise_multiplier_milli", 99),
        ("noise_multiplier_milli", 10_000_001),
        ("sampling_rate_ppm", 0),
        ("sampling_rate_ppm", 1_000_001),
        ("shares", 0),
        ("shares", 1025),
        ("sentinels", -1),
        ("sentinels", (1 << 16) + 1),
    ],
)
def test_mechanism_ranges(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=field):
        replace(FULL, **{field: value})
    with pytest.raises(TypeError, match=field):
        replace(FULL, **{field: value / 1})


def test_mechanism_properties() -> None:
    mechanism = replace(FULL, noise_multiplier_milli=1234, sampling_rate_ppm=50_000, clip_norm_micro=1_500_000)
    assert mechanism.noise_variance_units == Fraction(1234 * 4096, 1000) ** 2
    assert replace(mechanism, shares=7).share_variance_units == Fraction(1234 * 4096, 1000) ** 2 / 7
    assert (mechanism.noise_multiplier, mechanism.sampling_rate, mechanism.clip_norm) == (1.234, 0.05, 1.5)
    with pytest.raises(ValueError, match="fewer clip_units"):
        replace(FULL, clip_units=1 << 24, noise_multiplier_milli=5000)
    # 409.6 units are more than 1024 shares of 8 units, so no permitted mechanism is refused for its shares...
    assert replace(FULL, noise_multiplier_milli=100, shares=1024).share_variance_units > 64
    # ... unless the bounds are changed: the check stands by itself.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("protocols.dp.mechanism.MIN_SHARE_VARIANCE_UNITS", 164)
        with pytest.raises(ValueError, match="narrower than 8"):
            replace(FULL, noise_multiplier_milli=100, shares=1024)


def test_records_merge_only_when_equal() -> None:
    record = MechanismRecord(3, 50_000, 1234, 4096, 650)
    assert record.merge(replace(record, steps=4)) == replace(record, steps=7)
    assert record.event() == PrivacyEvent(1234, 50_000, 3)
    for other in (
        {"dim": 651},
        {"shares": 2},
        {"clip_units": 8192},
        {"noise_multiplier_milli": 1235},
        {"sampling_rate_ppm": 50_001},
    ):
        with pytest.raises(ValueError, match="merged"):
            record.merge(replace(record, **other))
    for field, value in (("steps", 0), ("dim", 0), ("clip_units", 1), ("sampling_rate_ppm", 0), ("shares", 0)):
        with pytest.raises(ValueError, match=field):
            replace(record, **{field: value})
