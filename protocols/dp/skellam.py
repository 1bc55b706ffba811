"""Skellam noise: the difference of two Poisson variables. Shares of it add up exactly, whatever their widths.

Source: Agarwal, Kairouz, Liu, "The Skellam mechanism for differentially private federated learning", 2021.
Spec: dp §7 (v1).
"""

import math
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt

from ..arrays import Int64Array
from ..sampling import Keystream
from .accounting import check_delta, total_distance, with_distance
from .events import MAX_STEPS
from .integers import check_int
from .mechanism import MAX_CLIP_UNITS
from .noise import MAX_DIM, MAX_STD_UNITS, DiscreteGaussian, Noise, exact_variance
from .tables import BITS, SymmetricTable

__all__ = ["Skellam", "skellam_epsilon_rdp"]

_GUARD_BITS: Final = 384
_ONE: Final = 1 << _GUARD_BITS
_SINGLE_TABLE_VARIANCE: Final = 1 << 22
_LOG_TAIL: Final = 185.0  # natural logarithm of what may lie beyond a table, negated: 2^-266
_LOG_START: Final = 460.0  # the same for the place where the recurrence starts
_EXTRA_VARIANCE: Final = 40  # the proposals are so much wider: then they dominate within 20 standard deviations
_REACH: Final = 20
_HIGH_BITS: Final = 63
_ORDERS: Final = (*range(2, 257), 384, 512, 768, 1024, 2048, 4096)


class Skellam:
    """The law of X - Y for independent Poisson X and Y of mean variance/2: P(z) = exp(-v) I_|z|(v) on the integers.

    Run by: each client, before it looks at a gradient. The variance is public. Sums of Skellam values are Skellam
    values, exactly: shares need no minimal width.

    Below 2^22 units squared one table is inverted, its entries from the recurrence of Bessel functions in 384-bit
    integers. Above, discrete Gaussian values of variance v + 40 are accepted with probability P(z) / (c P'(z)), which
    is above 1 - (41 z^2 + |z|) / 2v^2: nearly always that alone decides, else the ratio is computed to 2^-300.

    Units: `variance_units` in grid units squared, `tail_cut` in grid units. No |z| exceeds `tail_cut`.
    Guarantees: `distance`, at most 2^-232, bounds the total variation from the ideal law per coordinate.
    Raises:
        TypeError: the variance is neither an int nor a Fraction.
        ValueError: it is not in [1, 2^52 - 40].
    """

    __slots__ = ("_proposal", "_table", "distance", "tail_cut", "variance_units")

    def __init__(self, variance_units: int | Fraction) -> None:
        variance = exact_variance(variance_units)
        if variance > MAX_STD_UNITS**2 - _EXTRA_VARIANCE:
            raise ValueError(f"variance_units must be at most {MAX_STD_UNITS}^2 - {_EXTRA_VARIANCE}")
        self.variance_units: Final = variance
        self._table: SymmetricTable | None = None
        if variance < _SINGLE_TABLE_VARIANCE:
            self._table = SymmetricTable(_cumulative(variance))
            self.tail_cut = self._table.cut
            self.distance = self.tail_cut * 2.0 ** (1 - BITS) + 2.0**-256
        else:
            self._proposal = DiscreteGaussian(variance + _EXTRA_VARIANCE)
            self.tail_cut = _REACH * math.isqrt(int(variance))
            self.distance = 2 * self._proposal.distance + 2.0**-250

    def __repr__(self) -> str:
        return f"Skellam(variance_units={self.variance_units})"

    def sample(self, n: int, rand: bytes) -> Noise:
        """Draw `n` independent values. `rand`: 32 fresh bytes from the operating system, used for nothing else.

        Raises:
            TypeError: `n` is not an int, or `rand` is not bytes.
            ValueError: `n` is not in [1, 2^24], or `rand` has a wrong length.
        """
        check_int("n", n, 1, MAX_DIM)
        stream = Keystream(rand, purpose=b"dp-skellam")
        if self._table is not None:
            return Noise(self._table.draw(n, stream), self.variance_units, "skellam")
        values, proposed = np.zeros(n, dtype=np.int64), np.arange(n)
        while proposed.size:
            values[proposed] = self._proposal.draw(proposed.size, stream)
            proposed = proposed[~self._accepts(values[proposed], stream)]
        return Noise(values, self.variance_units, "skellam")

    def _accepts(self, values: Int64Array, stream: Keystream) -> npt.NDArray[np.bool_]:
        uniform = stream.uint64(values.size) >> np.uint64(1)
        magnitude = np.abs(values).astype(np.float64)
        doubt = (41 * magnitude**2 + magnitude) / (2 * float(self.variance_units) ** 2) + 2.0**-40  # rounding, too
        accepted = uniform < ((1 - doubt) * 2.0**_HIGH_BITS).clip(min=0.0).astype(np.uint64)
        for i in np.flatnonzero(~accepted):
            low = int.from_bytes(stream.read((BITS - _HIGH_BITS) // 8), "little")
            accepted[i] = (int(uniform[i]) << (BITS - _HIGH_BITS)) | low < self._acceptance(abs(int(values[i])))
        accepted &= magnitude <= self.tail_cut
        return accepted

    def _acceptance(self, z: int) -> int:
        """P(z) / P(0) over the same of the proposal, times 2^255."""
        ratio = _ONE
        for factor in _bessel_ratios(self.variance_units, z):
            ratio = ratio * factor >> _GUARD_BITS
        return ratio * _exp(Fraction(z * z) / (2 * (self.variance_units + _EXTRA_VARIANCE))) >> (2 * _GUARD_BITS - BITS)


def _log_tail(variance: float, k: float) -> float:
    """Chernoff: P(z >= k) <= exp(-this)."""
    # k asinh(k/v) - (sqrt(k^2 + v^2) - v), with the difference written so that nothing cancels.
    return k * math.asinh(k / variance) - k * k / (math.hypot(k, variance) + variance)


def _place(variance: float, log_tail: float) -> int:
    """The least k, nearly, beyond which less than exp(-log_tail) of the mass lies."""
    low, high = 0, 64
    while _log_tail(variance, high) < log_tail:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _log_tail(variance, middle) >= log_tail else (middle, high)
    return high


def _bessel_ratios(variance: Fraction, count: int) -> list[int]:
    """I_(j+1)(v) / I_j(v) for j = 0 .. count-1, times 2^384, by the recurrence downwards from far in the tail.

    1 / r_(j-1) = 2j / v + r_j. An error at the start is multiplied by r_j^2 in each step, so below exp(-500) of it
    arrives.
    """
    v = float(variance)
    start = _place(v, _log_tail(v, count) + _LOG_START - _LOG_TAIL)
    ratio, ratios = 0, [0] * count
    for j in range(start, 0, -1):
        ratio = (_ONE << _GUARD_BITS) // (2 * j * variance.denominator * _ONE // variance.numerator + ratio)
        if j <= count:
            ratios[j - 1] = ratio
    return ratios


def _cumulative(variance: Fraction) -> list[int]:
    """P(|z| <= k) for k = 0, 1, .. as far as it matters, times 2^255, floored."""
    cut = _place(float(variance), _LOG_TAIL)
    weight = total = _ONE
    sums = [total]
    for ratio in _bessel_ratios(variance, cut):
        weight = weight * ratio >> _GUARD_BITS
        total += 2 * weight
        sums.append(total)
    return [(s << BITS) // total for s in sums[:-1]]


def _exp(x: Fraction) -> int:
    """exp(x) * 2^384 for 0 <= x."""
    doublings = max(0, math.ceil(x)).bit_length()
    small = (x.numerator << (_GUARD_BITS + 64)) // (x.denominator << doublings)
    one = _ONE << 64
    total = term = one
    k = 1
    while term:
        term = term * small // (k * one)
        total += term
        k += 1
    for _ in range(doublings):
        total = total * total >> (_GUARD_BITS + 64)
    return total >> 64


def skellam_epsilon_rdp(
    *, clip_units: int, dim: int, variance_units: int | Fraction, steps: int, delta: float
) -> float:
    """Epsilon at `delta` of `steps` full-batch sums with Skellam noise, by Renyi accounting.

    Run by: anyone. A record's integers have L2 norm at most `clip_units` = U, so L1 norm at most min(U^2, sqrt(dim) U).
    The sampler's distance is charged as in `epsilon_rdp`, up to 1,024 shares of it; `inf` above `MAX_EPSILON`.
    Source: Agarwal, Kairouz, Liu 2021, Theorem 3.5; conversion of Canonne, Kamath, Steinke 2020, Proposition 12.
    Raises:
        TypeError, ValueError: an argument is out of range.
    """
    check_int("clip_units", clip_units, 1, MAX_CLIP_UNITS)
    check_int("dim", dim, 1, MAX_DIM)
    check_int("steps", steps, 1, MAX_STEPS)
    variance = float(exact_variance(variance_units))
    two = float(clip_units) ** 2
    one = min(two, math.sqrt(dim) * clip_units)

    def ideal(left: float) -> float:
        best = math.inf
        for order in _ORDERS:
            more = min(((2 * order - 1) * two + 6 * one) / (4 * variance**2), 3 * one / (2 * variance))
            renyi = steps * (order * two / (2 * variance) + more)
            best = min(best, renyi + math.log1p(-1 / order) - math.log(left * order) / (order - 1))
        return max(0.0, best)

    return with_distance(ideal, check_delta(delta), total_distance(dim, steps))
