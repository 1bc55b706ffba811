"""The sampler follows the discrete Gaussian, to the distance it states; noise is used once."""

import copy
import hashlib
import math
import pickle
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import opendp.prelude as opendp
import pytest
from scipy import stats

from protocols.dp import DiscreteGaussian, Noise
from protocols.dp.noise import MAX_DISTANCE, MAX_STD_UNITS, _cumulative, _distance, _table
from protocols.errors import StateError
from protocols.sampling import Keystream

SEED = bytes(range(32))


def draw(std: int | Fraction, n: int, seed: bytes = SEED) -> npt.NDArray[np.int64]:
    return DiscreteGaussian(Fraction(std) ** 2).sample(n, seed).take()


def pmf(std: float, reach: int) -> npt.NDArray[np.float64]:
    z = np.arange(-reach, reach + 1)
    weights = np.exp(-(z**2) / (2 * std**2))
    return np.asarray(weights / weights.sum())


@pytest.mark.parametrize("std", [1, Fraction(7, 2), 30])
def test_every_value_has_its_probability(std: int | Fraction) -> None:
    n, reach = 200_000, math.ceil(3 * std)
    values = draw(std, n)
    expected = pmf(float(std), 40 * reach)[39 * reach : 41 * reach + 1] * n
    observed = np.bincount(values[abs(values) <= reach] + reach, minlength=2 * reach + 1)
    rest = n - expected.sum()
    statistic = ((observed - expected) ** 2 / expected).sum() + (n - observed.sum() - rest) ** 2 / rest
    assert stats.chi2.sf(statistic, 2 * reach + 1) > 1e-4


@pytest.mark.parametrize("std", [1023, 1024, 4096, Fraction(12_345_678, 1000), 1 << 22])
def test_wide_laws(std: int | Fraction) -> None:
    n = 200_000
    values = draw(std, n)
    # Against the continuous law: at these widths one unit is far below what the test can see.
    assert stats.kstest(values / float(std), "norm").pvalue > 1e-4
    assert abs(values.mean()) < 5 * float(std) / math.sqrt(n)
    assert abs(values.var() / float(std) ** 2 - 1) < 5 * math.sqrt(2 / n)
    assert abs(stats.kurtosis(values)) < 5 * math.sqrt(24 / n)


def test_no_value_is_skipped_where_two_tables_are_combined() -> None:
    # Residues modulo the step of the coarse table are uniform: the fine table fills the gaps.
    values = draw(1024, 160_000)
    counts = np.bincount(values % 16, minlength=16)
    assert stats.chisquare(counts).pvalue > 1e-4


def test_agrees_with_opendp() -> None:
    opendp.enable_features("contrib")
    space = opendp.vector_domain(opendp.atom_domain(T=int)), opendp.l2_distance(T=float)
    theirs = opendp.m.make_gaussian(*space, scale=25.0)([0] * 3000)
    # Two samples, one of them drawn afresh on each run: so unlikely a p-value never comes by chance.
    assert stats.ks_2samp(theirs, draw(25, 100_000)).pvalue > 1e-9


@pytest.mark.parametrize("variance", [Fraction(1), Fraction(9, 4), Fraction(10_000, 7)])
def test_thresholds_agree_with_an_independent_computation(variance: Fraction) -> None:
    cut = 19 * (math.isqrt(int(variance)) + 1)
    with localcontext() as ctx:
        ctx.prec = 120
        v = Decimal(variance.numerator) / Decimal(variance.denominator)
        weights = [(-Decimal(k * k) / (2 * v)).exp() * (1 if k == 0 else 2) for k in range(2 * cut)]
        total, running, error = sum(weights), Decimal(0), Decimal(0)
        for weight, threshold in zip(weights, _cumulative(variance, cut), strict=False):
            running += weight
            error += abs(running / total - Decimal(threshold) / Decimal(2) ** 255)
        error += 1 - running / total  # what lies beyond the table
    # Total variation is at most the sum of the errors of the distribution function.
    assert float(error) <= _distance(_table(variance))


@pytest.mark.parametrize("std", [1, 100, 1023, 1024, 1 << 14, MAX_STD_UNITS])
def test_the_stated_distance_holds_everywhere(std: int) -> None:
    law = DiscreteGaussian(std**2)
    # Up to 1,024 shares of it, whose sum is within 2^-890 of one discrete Gaussian.
    assert 0 < law.distance <= 2.0**-234
    assert 1024 * (law.distance + 2.0**-900) < MAX_DISTANCE
    assert law.tail_cut >= 19 * std


def test_sums_of_two_discrete_gaussians_are_one() -> None:
    fine, coarse, step = 8.0, 5.0, 2  # the fine part is 4 steps wide, as in the sampler
    a, b = pmf(fine, 400), pmf(coarse, 200)
    spread = np.zeros(step * (len(b) - 1) + 1)
    spread[::step] = b
    combined = np.convolve(a, spread)
    ideal = pmf(math.sqrt(fine**2 + step**2 * coarse**2), 800)
    assert np.abs(combined - ideal).sum() < 1e-13
    too_narrow = np.convolve(pmf(0.5, 400), spread)
    assert np.abs(too_narrow - pmf(math.sqrt(0.25 + step**2 * coarse**2), 800)).sum() > 1e-2


class Scripted(Keystream):
    """A keystream that says what the test tells it."""

    __slots__ = ("low", "words")

    def __init__(self, words: list[int], low: int) -> None:
        super().__init__(SEED)
        self.words, self.low = words, low

    def uint64(self, n: int) -> npt.NDArray[np.uint64]:
        return np.array(self.words, dtype=np.uint64)

    def read(self, n: int) -> bytes:
        return self.low.to_bytes(n, "little")


@pytest.mark.parametrize("k", [0, 1, 5, 11])
def test_the_low_bits_decide_where_the_high_bits_are_equal(k: int) -> None:
    table = _table(Fraction(4))
    threshold = _cumulative(Fraction(4), table.cut)[k]
    high, low = threshold >> 192, threshold & ((1 << 192) - 1)
    assert table.draw(2, Scripted([high, high | (1 << 63)], low)).tolist() == [k + 1, -(k + 1)]
    assert table.draw(2, Scripted([high, high | (1 << 63)], low - 1)).tolist() == [k, -k]


def test_no_value_lies_beyond_the_tail_cut() -> None:
    for variance in (Fraction(1), Fraction(100)):
        table = _table(variance)
        reachable = sum(threshold < 1 << 255 for threshold in _cumulative(variance, table.cut))
        largest = table.draw(1, Scripted([(1 << 63) - 1], (1 << 192) - 1)).tolist()
        assert largest == [reachable]
        assert 18 * math.sqrt(variance) < reachable <= table.cut


def test_repeatable_and_different() -> None:
    law = DiscreteGaussian(4096**2)
    first, again, other = law.sample(100, SEED).take(), law.sample(100, SEED).take(), law.sample(100, bytes(32)).take()
    assert (first == again).all()
    assert (first != other).mean() > 0.95
    assert abs(np.corrcoef(draw(4096, 50_000), draw(4096, 50_000, bytes(32)))[0, 1]) < 5 / math.sqrt(50_000)


def test_noise_is_single_use_and_secret() -> None:
    values = np.array([12345, -54321])
    noise = Noise(values, Fraction(5))
    assert repr(noise) == "Noise(dim=2, variance_units=5, law=discrete-gaussian, <secret>)"
    for action in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="secret"):
            action(noise)
    taken = noise.take()
    assert taken.tolist() == [12345, -54321]
    taken[0] = 0
    assert values[0] == 12345
    with pytest.raises(StateError, match="used already"):
        noise.take()


def test_refusals() -> None:
    for wrong in (0, Fraction(1, 2), MAX_STD_UNITS**2 + 1):
        with pytest.raises(ValueError, match="variance_units"):
            DiscreteGaussian(wrong)
    for kind in (1.5, True, "3"):
        with pytest.raises(TypeError, match="variance_units"):
            DiscreteGaussian(kind)  # type: ignore[arg-type]
    for n in (0, -1, (1 << 24) + 1):
        with pytest.raises(ValueError, match="n must be"):
            DiscreteGaussian(2).sample(n, SEED)
    kinds: tuple[Any, ...] = (2.5, True, "3", np.int64(3))
    for other in kinds:
        with pytest.raises(TypeError, match="n must be an int, not"):
            DiscreteGaussian(2).sample(other, SEED)
    with pytest.raises(ValueError, match="32 bytes"):
        DiscreteGaussian(2).sample(1, b"")
    with pytest.raises(TypeError, match="must be bytes"):
        DiscreteGaussian(2).sample(1, "x" * 32)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="int64 vector"):
        Noise(np.zeros((2, 2), dtype=np.int64), Fraction(2))
    with pytest.raises(ValueError, match="int64 vector"):
        Noise(np.zeros(2), Fraction(2))  # type: ignore[arg-type]
    assert repr(DiscreteGaussian(2)) == "DiscreteGaussian(variance_units=2)"


@pytest.mark.parametrize(("variance", "shares"), [(64 * 5, 5), (64 * 40, 40), (Fraction(10**7, 3), 10)])
def test_shares_add_up_to_the_law_of_the_sum(variance: int | Fraction, shares: int) -> None:
    n, std = 60_000, math.sqrt(variance)
    law = DiscreteGaussian(Fraction(variance) / shares)
    total = sum(law.sample(n, i.to_bytes(32, "big")).take() for i in range(shares))
    assert isinstance(total, np.ndarray)
    assert stats.kstest(total + np.random.default_rng(5).uniform(-0.5, 0.5, n), "norm", (0, std)).pvalue > 1e-4
    assert abs(total.var() / float(variance) - 1) < 5 * math.sqrt(2 / n)


def test_narrow_shares_would_not_add_up() -> None:
    # The sum of two, convolved exactly: at 8 units the error is far below doubles, at half a unit it is plain.
    def error(std: float) -> float:
        one, two = pmf(std, math.ceil(40 * std)), pmf(std * math.sqrt(2), 2 * math.ceil(40 * std))
        return float(np.abs(np.convolve(one, one) - two).sum())

    assert error(8.0) < 1e-13
    assert error(0.5) > 1e-3


@pytest.mark.parametrize("variance", [1, 90_000, 1 << 26, 10**10])
def test_the_quick_look_up_is_a_search_of_the_whole_table(variance: int) -> None:
    table = DiscreteGaussian(variance)._fine
    thresholds = np.array([t >> 192 for t in table._thresholds], dtype=np.uint64)
    words = Keystream(SEED).uint64(50_000).copy()
    edges = np.concatenate([thresholds[:300], thresholds[:300] - np.uint64(1), thresholds[-300:]])
    words[: edges.size] = edges  # on a threshold, and just below one
    uniform = words & np.uint64((1 << 63) - 1)
    expected = np.searchsorted(thresholds, uniform, side="right").astype(np.int64)
    tied = np.isin(uniform, thresholds)
    drawn = np.abs(table.draw(words.size, Scripted(words.tolist(), 0)))
    assert (drawn[~tied] == expected[~tied]).all()
    assert tied.sum() > 40


def test_the_stream_is_used_as_ever() -> None:
    # A change of what is read from the stream, or how, would make old runs unrepeatable.
    digests = {
        v: hashlib.sha256(DiscreteGaussian(v).sample(1000, SEED).take().astype("<i8").tobytes()).hexdigest()[:16]
        for v in (1, 10_000, 4096**2, 10**10)
    }
    assert digests == {
        1: "26f5029305fce0a3",
        10_000: "e3dc33f55a4e06bc",
        4096**2: "3fedf2100af3c041",
        10**10: "2ea96debda6ec9e4",
    }
