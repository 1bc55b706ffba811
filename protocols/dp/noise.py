"""Discrete Gaussian noise on the integers, with a proven distance from the ideal law.

Spec: dp §3 (v1).
"""

from decimal import Decimal, localcontext
from fractions import Fraction
from math import isqrt
from typing import Final, Literal, NoReturn

import numpy as np

from ..arrays import Int64Array
from ..errors import StateError
from ..sampling import Keystream
from .integers import check_int
from .tables import BITS, SymmetricTable

__all__ = ["MAX_DIM", "MAX_DISTANCE", "MAX_STD_UNITS", "DiscreteGaussian", "Law", "Noise"]

MAX_STD_UNITS: Final = 1 << 26
"""Largest standard deviation, in grid units."""

MAX_DIM: Final = 1 << 24
"""Most coordinates in one release."""

MAX_DISTANCE: Final = 2.0**-220
"""Total variation, per coordinate, between the ideal law and what is released: up to 1,024 shares of it (spec §3.3)."""

Law = Literal["discrete-gaussian", "skellam"]

_TAIL: Final = 19  # tables end at 19 standard deviations: less than 2^-260 of the mass lies beyond
_GUARD_BITS: Final = 384  # fixed-point precision while a table is computed
_SINGLE_TABLE_VARIANCE: Final = 1 << 20
_SMOOTH: Final = 4  # width of the fine part in steps of the coarse part; error below 2^-450 (spec §3.2)


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
    return [(s << BITS) // total for s in sums[:-1]]


def _table(variance: Fraction) -> SymmetricTable:
    return SymmetricTable(_cumulative(variance, _TAIL * (isqrt(variance.numerator // variance.denominator) + 1)))


def _distance(table: SymmetricTable) -> float:
    """Total variation: thresholds floored by less than 2^-255 each (doubled for the arithmetic), plus the tail."""
    return table.cut * 2.0 ** (1 - BITS) + 2.0**-256


class DiscreteGaussian:
    """The law P(z) proportional to exp(-z^2 / (2 variance)) on the integers.

    Run by: each client, before it looks at a gradient. The variance is public.

    Below 2^20 units squared one table is inverted. Above, z = x + m*y with discrete Gaussians x (std 4m) and y, whose
    variances add up; the sum differs from the ideal law by less than 2^-450 (the convolution argument of
    Peikert, "An efficient and parallel Gaussian sampler for lattices", 2010, Theorem 3.1, on the integers).

    Units: `variance_units` in grid units squared, `tail_cut` in grid units. No |z| exceeds `tail_cut`.
    Guarantees: `distance`, at most 2^-234, bounds the total variation from the ideal law per coordinate.
    Raises:
        TypeError: the variance is neither an int nor a Fraction.
        ValueError: it is not in [1, 2^52].
    """

    __slots__ = ("_coarse", "_fine", "_step", "distance", "tail_cut", "variance_units")

    def __init__(self, variance_units: int | Fraction) -> None:
        variance = exact_variance(variance_units)
        self.variance_units: Final = variance
        self._coarse: SymmetricTable | None = None
        self._step = 0
        if variance < _SINGLE_TABLE_VARIANCE:
            self._fine = _table(variance)
            self.tail_cut = self._fine.cut
            self.distance = _distance(self._fine)
            return
        self._step = 1 << ((isqrt(isqrt(int(variance))).bit_length() - 1) - 1)
        fine_variance = Fraction((_SMOOTH * self._step) ** 2)
        self._fine = _table(fine_variance)
        self._coarse = _table((variance - fine_variance) / self._step**2)
        self.tail_cut = self._fine.cut + self._step * self._coarse.cut
        self.distance = _distance(self._fine) + _distance(self._coarse) + 2.0**-450

    def __repr__(self) -> str:
        return f"DiscreteGaussian(variance_units={self.variance_units})"

    def sample(self, n: int, rand: bytes) -> "Noise":
        """Draw `n` independent values. `rand`: 32 fresh bytes from the operating system, used for nothing else.

        Raises:
            TypeError: `n` is not an int, or `rand` is not bytes.
            ValueError: `n` is not in [1, 2^24], or `rand` has a wrong length.
        """
        check_int("n", n, 1, MAX_DIM)
        return Noise(self.draw(n, Keystream(rand, purpose=b"dp-noise")), self.variance_units)

    def draw(self, n: int, stream: Keystream) -> Int64Array:
        """The next `n` independent values of a keystream. Shapes: int64[n]. Secret; `sample` makes noise of them."""
        values = self._fine.draw(n, stream)
        if self._coarse is not None:
            values += self._step * self._coarse.draw(n, stream)
        return values


def exact_variance(variance_units: int | Fraction) -> Fraction:
    """A variance that every machine agrees on, and that a sampler can draw.

    Raises:
        TypeError, ValueError: it is not an int or a Fraction in [1, 2^52].
    """
    if isinstance(variance_units, bool) or not isinstance(variance_units, int | Fraction):
        raise TypeError("variance_units must be an int or a Fraction: a float would not be the same everywhere")
    if not 1 <= variance_units <= MAX_STD_UNITS**2:
        raise ValueError(f"variance_units must be in [1, {MAX_STD_UNITS}^2], got {float(variance_units):g}")
    return Fraction(variance_units)


class Noise:
    """Noise for one release. Secret, and usable once: the same noise on two sums would reveal their difference.

    Shapes: values int64[dim]. Units: `variance_units` in grid units squared. `law`: which law they follow.
    """

    __slots__ = ("_values", "dim", "law", "variance_units")

    def __init__(self, values: Int64Array, variance_units: Fraction, law: Law = "discrete-gaussian") -> None:
        if values.ndim != 1 or values.dtype != np.int64:
            raise ValueError("noise must be an int64 vector")
        self._values: Int64Array | None = values.copy()
        self.dim: Final = int(values.size)
        self.variance_units: Final = variance_units
        self.law: Final = law

    def __repr__(self) -> str:
        return f"Noise(dim={self.dim}, variance_units={self.variance_units}, law={self.law}, <secret>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("Noise is secret and single-use: it cannot be pickled or copied")

    def take(self) -> Int64Array:
        """Hand out the values, once.

        Raises:
            StateError: they were taken before.
        """
        if self._values is None:
            raise StateError("this noise was used already: draw fresh noise for every release")
        values, self._values = self._values, None
        return values
