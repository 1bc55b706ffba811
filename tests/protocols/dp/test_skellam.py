"""The Skellam sampler follows its law, to the distance it states; its Renyi bound is above the exact divergence."""

import hashlib
import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import opendp.prelude as opendp
import pytest
from scipy import special, stats

from protocols.dp import MAX_EPSILON, Skellam, accounting, skellam, skellam_epsilon_rdp
from protocols.dp.noise import MAX_DISTANCE, MAX_STD_UNITS
from protocols.sampling import Keystream

SEED = bytes(range(32))


def draw(variance: int | Fraction, n: int, seed: bytes = SEED) -> npt.NDArray[np.int64]:
    return Skellam(variance).sample(n, seed).take()


@pytest.mark.parametrize("variance", [1, Fraction(7, 2), 64, 900])
def test_every_value_has_its_probability(variance: int | Fraction) -> None:
    n, reach = 200_000, math.ceil(3 * math.sqrt(variance))
    values = draw(variance, n)
    z = np.arange(-reach, reach + 1)
    expected = special.ive(np.abs(z), float(variance)) * n
    observed = np.bincount(values[abs(values) <= reach] + reach, minlength=2 * reach + 1)
    rest = n - expected.sum()
    statistic = ((observed - expected) ** 2 / expected).sum() + (n - observed.sum() - rest) ** 2 / rest
    assert stats.chi2.sf(statistic, 2 * reach + 1) > 1e-4


@pytest.mark.parametrize("variance", [10**6, (1 << 22) - 1, 1 << 22, Fraction(10**10, 3), 10**12])
def test_wide_laws(variance: int | Fraction) -> None:
    n, std = 200_000, math.sqrt(variance)
    values = draw(variance, n)
    assert stats.kstest(values / std, "norm").pvalue > 1e-4
    assert abs(values.mean()) < 5 * std / math.sqrt(n)
    assert abs(values.var() / float(variance) - 1) < 5 * math.sqrt(2 / n)
    assert abs(stats.kurtosis(values)) < 5 * math.sqrt(24 / n)


def test_is_a_difference_of_poisson_variables() -> None:
    rng = np.random.default_rng(4)
    theirs = rng.poisson(18.0, 100_000) - rng.poisson(18.0, 100_000)
    assert stats.ks_2samp(theirs, draw(36, 100_000)).pvalue > 1e-4


def test_is_not_the_discrete_gaussian() -> None:
    # At variance 4 the two laws differ enough to be told apart; OpenDP's sampler is the other one.
    opendp.enable_features("contrib")
    space = opendp.vector_domain(opendp.atom_domain(T=int)), opendp.l2_distance(T=float)
    theirs = np.array(opendp.m.make_gaussian(*space, scale=2.0)([0] * 4000))
    ours = draw(4, 200_000)
    far = 6
    assert (np.abs(ours) >= far).mean() == pytest.approx(2 * special.ive(np.arange(far, 60), 4.0).sum(), rel=0.1)
    assert stats.kurtosis(ours) == pytest.approx(0.25, abs=0.05)
    assert abs(theirs.var() / ours.var() - 1) < 0.2


def test_shares_add_up_exactly() -> None:
    one = special.ive(np.abs(np.arange(-80, 81)), 3.5)
    assert np.abs(np.convolve(one, one)[80:-80] - special.ive(np.abs(np.arange(-80, 81)), 7.0)).max() < 1e-15
    total = sum(draw(Fraction(1, 1), 60_000, i.to_bytes(32, "big")) for i in range(9))
    assert isinstance(total, np.ndarray)
    expected = special.ive(np.abs(np.arange(-9, 10)), 9.0) * 60_000
    observed = np.bincount(total[abs(total) <= 9] + 9, minlength=19)
    assert stats.chi2.sf(((observed - expected) ** 2 / expected).sum(), 18) > 1e-4


@pytest.mark.parametrize("variance", [Fraction(1), Fraction(9, 4), Fraction(10_000, 7)])
def test_thresholds_agree_with_an_independent_computation(variance: Fraction) -> None:
    # The power series of the Bessel functions, all of whose terms are positive.
    thresholds = skellam._cumulative(variance)
    with localcontext() as ctx:
        ctx.prec = 120
        half = Decimal(variance.numerator) / Decimal(variance.denominator) / 2
        running, error = Decimal(0), Decimal(0)
        start = (-2 * half).exp()
        for k, threshold in enumerate(thresholds):
            if k:
                start *= half / k
            term, bessel, m = start, start, 1
            while term > bessel * Decimal(10) ** -110:
                term *= half * half / (m * (m + k))
                bessel += term
                m += 1
            running += bessel * (1 if k == 0 else 2)
            error += abs(running - Decimal(threshold) / Decimal(2) ** 255)
        error += 1 - running
    assert float(error) <= Skellam(variance).distance


@pytest.mark.parametrize("variance", [1, 64, 10**6, 1 << 22, 10**9, MAX_STD_UNITS**2 - 40])
def test_the_stated_distance_holds_everywhere(variance: int) -> None:
    law = Skellam(variance)
    assert 0 < law.distance <= 2.0**-232
    assert 1024 * law.distance < MAX_DISTANCE
    assert law.tail_cut >= 19 * math.isqrt(variance)


def test_the_quick_decision_is_never_wrong() -> None:
    law, variance = Skellam(1 << 22), float(1 << 22)
    for z in (0, 1, 100, 2048, 10_000, 20 * 2048):
        exact = law._acceptance(z)
        bound = 1 - (41 * z * z + z) / (2 * variance**2)
        assert bound * 2**255 <= exact * (1 + 2.0**-50)
        assert exact <= 1 << 255  # the proposals dominate
        ratio = math.log(special.ive(z, variance) / special.ive(0, variance)) if z < 10_000 else None
        if ratio is not None:
            assert exact / 2**255 == pytest.approx(math.exp(ratio + z * z / (2 * (variance + 40))), rel=1e-12)


class Scripted(Keystream):
    """A keystream that says what the test tells it."""

    __slots__ = ("low", "words")

    def __init__(self, words: list[int], low: int) -> None:
        super().__init__(SEED)
        self.words, self.low = words, low

    def uint64(self, n: int) -> npt.NDArray[np.uint64]:
        return np.array(self.words[:n], dtype=np.uint64)

    def read(self, n: int) -> bytes:
        return self.low.to_bytes(n, "little")


@pytest.mark.parametrize("z", [0, 3000, -20_000])
def test_close_decisions_are_made_exactly(z: int) -> None:
    law = Skellam(1 << 22)
    exact = law._acceptance(abs(z))
    last = min(exact, (1 << 255) - 1)
    high, low = last >> 192, last & ((1 << 192) - 1)
    values = np.array([z])
    assert law._accepts(values, Scripted([high << 1], low)).tolist() == [last < exact]
    assert law._accepts(values, Scripted([high << 1], low - 1)).tolist() == [True]
    assert law._accepts(np.array([law.tail_cut + 1]), Scripted([0], 0)).tolist() == [False]


def test_what_is_rejected_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    law = Skellam(1 << 22)
    before = law.sample(5000, SEED).take()
    # If a third of the proposals were refused at random, the law would be the same, and the stream another.
    accepts = Skellam._accepts
    monkeypatch.setattr(
        Skellam,
        "_accepts",
        lambda self, values, stream: accepts(self, values, stream) & (stream.uint64(len(values)) % 3 > 0),
    )
    after = law.sample(5000, SEED).take()
    assert 0.5 < (before == after).mean() < 0.8
    assert stats.kstest(after / 2048, "norm").pvalue > 1e-4


def test_repeatable_and_labelled() -> None:
    digests = {v: hashlib.sha256(draw(v, 1000).astype("<i8").tobytes()).hexdigest()[:16] for v in (1, 10**4, 10**8)}
    assert digests == {1: "e2bb8aedc57c4593", 10**4: "7b48ca50a77524a5", 10**8: "d4c0a2e64f2e0ff8"}
    noise = Skellam(9).sample(4, SEED)
    assert noise.law == "skellam"
    assert (noise.dim, noise.variance_units) == (4, Fraction(9))
    assert repr(noise) == "Noise(dim=4, variance_units=9, law=skellam, <secret>)"
    assert repr(Skellam(9)) == "Skellam(variance_units=9)"


def test_refusals() -> None:
    for wrong in (0, Fraction(1, 2), MAX_STD_UNITS**2 - 39):
        with pytest.raises(ValueError, match="variance_units"):
            Skellam(wrong)
    for kind in (1.5, True, "3"):
        with pytest.raises(TypeError, match="variance_units"):
            Skellam(kind)  # type: ignore[arg-type]
    for n in (0, (1 << 24) + 1):
        with pytest.raises(ValueError, match="n must be"):
            Skellam(2).sample(n, SEED)
    with pytest.raises(TypeError, match="n must be an int, not float"):
        Skellam(2).sample(2.5, SEED)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="32 bytes"):
        Skellam(2).sample(1, b"")


@pytest.mark.parametrize(("variance", "shift"), [(4.0, 1), (25.0, 3), (400.0, 12)])
def test_the_renyi_bound_is_above_the_exact_divergence(variance: float, shift: int) -> None:
    z = np.arange(-300, 301)
    p, q = special.ive(np.abs(z), variance), special.ive(np.abs(z - shift), variance)
    both = (p > 0) & (q > 0)
    for order in (2, 3, 5):
        exact = special.logsumexp(order * np.log(p[both]) + (1 - order) * np.log(q[both])) / (order - 1)
        conversion = math.log1p(-1 / order) - math.log(1e-5 * order) / (order - 1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(skellam, "_ORDERS", (order,))
            bound = skellam_epsilon_rdp(clip_units=shift, dim=1, variance_units=int(variance), steps=1, delta=1e-5)
        assert exact <= bound - conversion + 1e-9
        assert bound - conversion <= exact * 1.7


def test_the_renyi_bound_tends_to_the_gaussian() -> None:
    units, sigma, steps, delta = 4096, 4, 5, 1e-5
    gaussian = min(
        steps * a / (2 * sigma**2) + math.log1p(-1 / a) - math.log(delta * a) / (a - 1) for a in range(2, 257)
    )
    values = [
        skellam_epsilon_rdp(clip_units=u, dim=650, variance_units=(u * sigma) ** 2, steps=steps, delta=delta)
        for u in (16, 256, units)
    ]
    assert values[0] > values[1] > values[2] > gaussian
    assert values[2] == pytest.approx(gaussian, rel=1e-4)
    # L1 sensitivity: at most the square of the L2 bound, on integers, whatever the dimension.
    small = [
        skellam_epsilon_rdp(clip_units=2, dim=dim, variance_units=400, steps=1, delta=delta) for dim in (4, 100, 10_000)
    ]
    assert small[0] == small[1] == small[2]
    assert skellam_epsilon_rdp(clip_units=1, dim=1, variance_units=MAX_STD_UNITS**2, steps=1, delta=0.5) == 0.0


def test_what_protects_nothing_is_infinite() -> None:
    def epsilon(steps: int) -> float:
        return skellam_epsilon_rdp(clip_units=4096, dim=10, variance_units=4096**2, steps=steps, delta=1e-5)

    assert 95 < epsilon(85) <= MAX_EPSILON
    assert epsilon(90) == math.inf


def test_the_distance_of_the_sampler_is_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    def epsilon() -> float:
        return skellam_epsilon_rdp(clip_units=4096, dim=1000, variance_units=4096**2, steps=4, delta=1e-5)

    exact = epsilon()
    monkeypatch.setattr(accounting, "MAX_DISTANCE", 1e-15)
    with_distance = epsilon()
    # The charge is that of the unmodified bound at the delta that is left: 4,000 coordinates, at most one more epsilon.
    left = 1e-5 - (1 + math.exp(exact + 1)) * 4000 * 1e-15
    monkeypatch.setattr(accounting, "MAX_DISTANCE", 0.0)
    at_left = skellam_epsilon_rdp(clip_units=4096, dim=1000, variance_units=4096**2, steps=4, delta=left)
    assert with_distance == pytest.approx(at_left, rel=1e-12)
    assert with_distance > exact + 1e-6
    monkeypatch.setattr(accounting, "MAX_DISTANCE", 1e-10)
    assert epsilon() == math.inf


@pytest.mark.parametrize(
    ("field", "value"),
    [("clip_units", 0), ("dim", 0), ("variance_units", 0), ("steps", 0), ("delta", 1e-11), ("delta", math.nan)],
)
def test_arguments_out_of_range(field: str, value: float) -> None:
    arguments = {"clip_units": 4096, "dim": 10, "variance_units": 4096**2, "steps": 1, "delta": 1e-5} | {field: value}
    with pytest.raises(ValueError, match=field):
        skellam_epsilon_rdp(**arguments)  # type: ignore[arg-type]
