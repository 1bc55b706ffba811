"""Discrete Gaussian noise on the integers, by table inversion, with a proven distance from the ideal law.

Spec: dp §3 (v1).
"""

from bisect import bisect_right
from decimal import Decimal, localcontext
from fractions import Fraction
from math import isqrt
from typing import Final, NoReturn

import numpy as np
import numpy.typing as npt

from ..errors import StateError
from ..sampling import Keystream

__all__ = ["MAX_DIM", "MAX_DISTANCE", "MAX_STD_UNITS", "DiscreteGaussian", "Noise"]

MAX_STD_UNITS: Final = 1 << 26
"""Largest standard deviation, in grid units."""

MAX_DIM: Final = 1 << 24
"""Most coordinates in one release."""

MAX_DISTANCE: Final = 2.0**-230
"""No sampler of this module is further than this, in total variation, from the ideal law of one coordinate."""

_TAIL: Final = 19  # tables end at 19 standard deviations: less than 2^-260 of the mass lies beyond
_HIGH_BITS: Final = 63  # compared for every draw
_LOW_BITS: Final = 192  # compared only where the high bits are equal, once in more than 2^44 draws
_BITS: Final = _HIGH_BITS + _LOW_BITS
_GUARD_BITS: Final = 384  # fixed-point precision while a table is computed
_SINGLE_TABLE_STD: Final = 1 << 10
_SMOOTH: Final = 4  # width of the fine part in steps of the coarse part; error below 2^-450 (spec §3.2)


class _Table:
    """The law of |z| for one discrete Gaussian as 255-bit cumulative thresholds.

    `thresholds[k]` is floor(P(|z| <= k) * 2^255), for k below `cut`; |z| is the number of thresholds <= U
    for a uniform 255-bit U. The sign is one more bit.
    """

    __slots__ = ("_high", "_thresholds", "cut")

    def __init__(self, variance: Fraction) -> None:
        self.cut = _TAIL * (isqrt(variance.numerator // variance.denominator) + 1)
        self._thresholds = _cumulative(variance, self.cut)
        self._high = np.array([t >> _LOW_BITS for t in self._thresholds], dtype=np.uint64)

    @property
    def distance(self) -> float:
        """Total variation: thresholds floored by less than 2^-255 each (doubled for the arithmetic), plus the tail."""
        return self.cut * 2.0 ** (1 - _BITS) + 2.0**-256

    def draw(self, n: int, stream: Keystream) -> npt.NDArray[np.int64]:
        words = stream.uint64(n)
        uniform = words & np.uint64((1 << _HIGH_BITS) - 1)
        magnitude = np.searchsorted(self._high, uniform, side="right")
        tied = np.flatnonzero((magnitude > 0) & (self._high[magnitude - 1] == uniform))
        for i in tied:  # the high bits alone do not decide: draw the low ones
            low = int.from_bytes(stream.read(_LOW_BITS // 8), "little")
            magnitude[i] = bisect_right(self._thresholds, (int(uniform[i]) << _LOW_BITS) | low)
        negative = (words >> np.uint64(_HIGH_BITS)).astype(bool)
        return np.where(negative, -magnitude, magnitude).astype(np.int64)


def _cumulative(variance: Fraction, cut: int) -> list[int]:
    """P(|z| <= k) for k = 0 .. cut-1, times 2^255, floored; P(z) is proportional to exp(-z^2 / 2 variance)."""
    with localcontext() as ctx:
        ctx.prec = 150
        inverse = Decimal(variance.denominator) / Decimal(variance.numerator)
        one = Decimal(1 << _GUARD_BITS)
        ratio = int((-inverse / 2).exp() * one)  # weight(k+1) / weight(k), at k = 0
        decay = int((-inverse).exp() * one)
    weight = 1 << _GUARD_BITS
    total = weight
    sums = [total]
    for _ in range(cut):
        weight = weight * ratio >> _GUARD_BITS
        ratio = ratio * decay >> _GUARD_BITS
        total += 2 * weight
        sums.append(total)
    return [(s << _BITS) // total for s in sums[:-1]]


class DiscreteGaussian:
    """The law P(z) proportional to exp(-z^2 / (2 std^2)) on the integers.

    Run by: each client, before it looks at a gradient. The standard deviation is public.

    Below 2^10 units one table is inverted. Above, z = x + m*y with discrete Gaussians x (std 4m) and y, whose
    variances add up; the sum differs from the ideal law by less than 2^-450 (the convolution argument of
    Peikert, "An efficient and parallel Gaussian sampler for lattices", 2010, Theorem 3.1, on the integers).

    Units: `std_units` and `tail_cut` in grid units. No |z| exceeds `tail_cut`.
    Guarantees: `distance`, at most `MAX_DISTANCE`, bounds the total variation from the ideal law per coordinate.
    Raises:
        TypeError: the standard deviation is neither an int nor a Fraction.
        ValueError: it is not in [1, 2^26].
    """

    __slots__ = ("_coarse", "_fine", "_step", "distance", "std_units", "tail_cut")

    def __init__(self, std_units: int | Fraction) -> None:
        if isinstance(std_units, bool) or not isinstance(std_units, int | Fraction):
            raise TypeError("std_units must be an int or a Fraction: a float would not be the same everywhere")
        std = Fraction(std_units)
        if not 1 <= std <= MAX_STD_UNITS:
            raise ValueError(f"std_units must be in [1, {MAX_STD_UNITS}], got {float(std):g}")
        self.std_units: Final = std
        self._coarse: _Table | None = None
        self._step = 0
        if std < _SINGLE_TABLE_STD:
            self._fine = _Table(std**2)
            self.tail_cut = self._fine.cut
            self.distance = self._fine.distance
            return
        self._step = 1 << ((isqrt(int(std)).bit_length() - 1) - 1)
        fine_variance = Fraction((_SMOOTH * self._step) ** 2)
        self._fine = _Table(fine_variance)
        self._coarse = _Table((std**2 - fine_variance) / self._step**2)
        self.tail_cut = self._fine.cut + self._step * self._coarse.cut
        self.distance = self._fine.distance + self._coarse.distance + 2.0**-450

    def __repr__(self) -> str:
        return f"DiscreteGaussian(std_units={self.std_units})"

    def sample(self, n: int, rand: bytes) -> "Noise":
        """Draw `n` independent values. `rand`: 32 fresh bytes from the operating system, used for nothing else.

        Raises:
            ValueError: `n` is not in [1, 2^24], or `rand` has a wrong length.
        """
        if not 1 <= n <= MAX_DIM:
            raise ValueError(f"n must be in [1, {MAX_DIM}], got {n}")
        stream = Keystream(rand, purpose=b"dp-noise")
        values = self._fine.draw(n, stream)
        if self._coarse is not None:
            values += self._step * self._coarse.draw(n, stream)
        return Noise(values, self.std_units)


class Noise:
    """Noise for one release. Secret, and usable once: the same noise on two sums would reveal their difference.

    Shapes: values int64[dim]. Units: grid units.
    """

    __slots__ = ("_values", "dim", "std_units")

    def __init__(self, values: npt.NDArray[np.int64], std_units: Fraction) -> None:
        if values.ndim != 1 or values.dtype != np.int64:
            raise ValueError("noise must be an int64 vector")
        self._values: npt.NDArray[np.int64] | None = values.copy()
        self.dim: Final = int(values.size)
        self.std_units: Final = std_units

    def __repr__(self) -> str:
        return f"Noise(dim={self.dim}, std_units={self.std_units}, <secret>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("Noise is secret and single-use: it cannot be pickled or copied")

    def take(self) -> npt.NDArray[np.int64]:
        """Hand out the values, once.

        Raises:
            StateError: they were taken before.
        """
        if self._values is None:
            raise StateError("this noise was used already: draw fresh noise for every release")
        values, self._values = self._values, None
        return values
