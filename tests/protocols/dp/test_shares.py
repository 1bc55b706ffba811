"""What a client adds to a sum: exact sensitivity, a clamp before the noise, nothing to be released alone."""

import copy
import math
import pickle
from dataclasses import replace

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
    NoisyShare,
    PrivacyEvent,
    Skellam,
    poisson_sample,
    privatize,
    privatize_share,
    privatize_update,
)
from protocols.errors import StateError

SEED = bytes(range(32))
FIVE = Mechanism(4096, 1_000_000, 1000, 1_000_000, shares=5, sentinels=3)
Rows = npt.NDArray[np.float64]


def quiet(dim: int, mechanism: Mechanism = FIVE) -> Noise:
    """Noise for such a vector, put to zero."""
    return Noise(np.zeros(dim + mechanism.sentinels, dtype=np.int64), mechanism.share_variance_units)


def integers(gradients: Rows, limit: int, mechanism: Mechanism = FIVE) -> npt.NDArray[np.int64]:
    """A client's clamped sum without noise."""
    sample = poisson_sample(len(gradients), mechanism, rand=SEED)
    share, _ = privatize_share(gradients, sample, mechanism, quiet(gradients.shape[1], mechanism), limit=limit)
    return share.take()


def squared_norm(vector: npt.NDArray[np.int64]) -> int:
    return sum(int(v) ** 2 for v in vector)


ADVERSARIAL = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, 1.0, -1.0, 1e300, -1e300, 5e-324, 0.5])
)


@settings(max_examples=150, deadline=None)
@given(
    arrays(np.float64, (5, 6), elements=ADVERSARIAL),
    st.integers(0, 4),
    st.integers(4096, 1 << 24),
    st.integers(1, 1 << 26),
    st.integers(1, 10**12),
)
def test_one_record_moves_the_clamped_sum_by_at_most_the_clip(
    gradients: Rows, record: int, units: int, limit: int, norm: int
) -> None:
    mechanism = replace(FIVE, clip_units=units, clip_norm_micro=norm)
    with_it, without = (integers(rows, limit, mechanism) for rows in (gradients, np.delete(gradients, record, axis=0)))
    assert squared_norm(with_it - without) <= units**2
    assert (np.abs(with_it) <= limit).all()


def test_the_clamp_comes_before_the_noise() -> None:
    gradients = np.ones((40, 2)) / math.sqrt(2)
    sample = poisson_sample(40, FIVE, rand=SEED)
    noise = np.array([7, -9_000_000, 11, 12, 13], dtype=np.int64)
    share, _ = privatize_share(gradients, sample, FIVE, Noise(noise, FIVE.share_variance_units), limit=10_000)
    # Forty records of 2,896 units are clamped to 10,000; the noise is not, nor is anything else.
    assert share.take().tolist() == [10_007, 10_000 - 9_000_000, 11, 12, 13]


def test_nothing_is_clamped_below_the_limit() -> None:
    gradients = np.random.default_rng(1).normal(size=(30, 50))
    assert (integers(gradients, 1 << 52) == integers(gradients, 30 * 4096)).all()
    full = replace(FIVE, shares=1, sentinels=0)
    released, _ = privatize(gradients, poisson_sample(30, full, rand=SEED), full, quiet(50, full))
    assert (integers(gradients, 1 << 52)[:50] == released.values).all()


def test_sentinels_are_noise_alone() -> None:
    mechanism = replace(FIVE, sentinels=4000)
    law = DiscreteGaussian(mechanism.share_variance_units)
    gradients = np.random.default_rng(2).normal(size=(20, 100))
    share, record = privatize_share(
        gradients, poisson_sample(20, mechanism, rand=SEED), mechanism, law.sample(4100, SEED), limit=1 << 30
    )
    values = share.take()
    assert (values[100:] == law.sample(4100, SEED).take()[100:]).all()
    assert values[100:].var() == pytest.approx(float(mechanism.share_variance_units), rel=0.12)
    assert record == MechanismRecord(1, 1_000_000, 1000, 4096, 4100, 5)
    assert record.event() == PrivacyEvent(1000, 1_000_000, 1)


def test_the_shares_of_the_clients_make_the_noise_of_the_sum() -> None:
    dim, law = 20_000, DiscreteGaussian(FIVE.share_variance_units)
    nothing = np.zeros((0, dim))
    total = np.zeros(dim + 3, dtype=np.int64)
    for client in range(5):
        noise = law.sample(dim + 3, client.to_bytes(32, "big"))
        share, _ = privatize_share(nothing, poisson_sample(0, FIVE, rand=SEED), FIVE, noise, limit=1)
        total += share.take()
    assert stats.kstest(total / 4096, "norm").pvalue > 1e-4
    assert abs(total.var() / 4096**2 - 1) < 5 * math.sqrt(2 / dim)


def test_a_share_is_no_release() -> None:
    share, _ = privatize_share(np.zeros((1, 2)), poisson_sample(1, FIVE, rand=SEED), FIVE, quiet(2), limit=1)
    assert not isinstance(share, GradientSum)
    assert not hasattr(share, "values")
    assert not hasattr(share, "to_gradient")
    assert repr(share) == "NoisyShare(dim=5, <secret>)"
    for action in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="secret"):
            action(share)
    assert share.take().tolist() == [0] * 5
    with pytest.raises(StateError, match="used already"):
        share.take()
    for wrong in (np.zeros((2, 2), dtype=np.int64), np.zeros(2)):
        with pytest.raises(ValueError, match="int64 vector"):
            NoisyShare(wrong)  # type: ignore[arg-type]


def test_what_does_not_belong_together_is_refused() -> None:
    gradients, law = np.zeros((4, 6)), DiscreteGaussian(FIVE.share_variance_units)
    sample, noise = poisson_sample(4, FIVE, rand=SEED), law.sample(9, SEED)
    for limit in (0, -1, (1 << 52) + 1):
        with pytest.raises(ValueError, match="limit"):
            privatize_share(gradients, sample, FIVE, noise, limit=limit)
    with pytest.raises(TypeError, match="limit"):
        privatize_share(gradients, sample, FIVE, noise, limit=1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="shuffled"):
        privatize_share(gradients, np.arange(4), FIVE, noise, limit=1)  # type: ignore[arg-type]
    for dim in (6, 8, 10):
        with pytest.raises(ValueError, match="another dimension"):
            privatize_share(gradients, sample, FIVE, law.sample(dim, SEED), limit=1)
    whole = DiscreteGaussian(FIVE.noise_variance_units)
    with pytest.raises(ValueError, match="another variance"):
        privatize_share(gradients, sample, FIVE, whole.sample(9, SEED), limit=1)
    with pytest.raises(ValueError, match="another is not accounted"):
        privatize_share(gradients, sample, FIVE, Skellam(FIVE.share_variance_units).sample(9, SEED), limit=1)
    privatize_share(gradients, sample, FIVE, noise, limit=1)  # nothing was used up by the refusals
    with pytest.raises(StateError, match="sample was released"):
        privatize_share(gradients, sample, FIVE, law.sample(9, SEED), limit=1)
    with pytest.raises(StateError, match="noise was used"):
        privatize_share(gradients, poisson_sample(4, FIVE, rand=SEED), FIVE, noise, limit=1)


@settings(max_examples=100, deadline=None)
@given(arrays(np.float64, 7, elements=ADVERSARIAL), st.integers(4096, 1 << 24), st.integers(1, 10**12))
def test_an_update_is_clipped_as_a_whole(update: Rows, units: int, norm: int) -> None:
    mechanism = replace(FIVE, clip_units=units, clip_norm_micro=norm)
    share, record = privatize_update(update, mechanism, quiet(7, mechanism))
    values = share.take()
    assert squared_norm(values) <= units**2
    assert values[7:].tolist() == [0, 0, 0]
    assert record == MechanismRecord(1, 1_000_000, 1000, units, 10, 5)


def test_an_update_that_is_not_finite_counts_as_zero() -> None:
    for bad in (math.nan, math.inf, -math.inf):
        share, _ = privatize_update(np.array([bad, 0.25]), FIVE, quiet(2))
        assert share.take().tolist() == [0] * 5
    share, _ = privatize_update(np.array([-0.25, 0.5]), FIVE, quiet(2))
    assert share.take().tolist() == [-1024, 2048, 0, 0, 0]


def test_updates_that_are_refused() -> None:
    law = DiscreteGaussian(FIVE.share_variance_units)
    noise = law.sample(9, SEED)
    with pytest.raises(TypeError, match="float"):
        privatize_update(np.zeros(6, dtype=np.int64), FIVE, noise)  # type: ignore[arg-type]
    for shape in ((6, 1), (0,)):
        with pytest.raises(ValueError, match="a vector"):
            privatize_update(np.zeros(shape), FIVE, noise)
    with pytest.raises(ValueError, match="not sampled"):
        privatize_update(np.zeros(6), replace(FIVE, sampling_rate_ppm=500_000), noise)
    with pytest.raises(ValueError, match="another dimension"):
        privatize_update(np.zeros(5), FIVE, noise)
    privatize_update(np.zeros(6), FIVE, noise)
    with pytest.raises(StateError, match="noise was used"):
        privatize_update(np.zeros(6), FIVE, noise)
