"""Statistics that test a claimed mechanism against what it released. Pure functions of public numbers.

A small p-value speaks against the claim. A large one proves nothing: no experiment shows that a mechanism is private.
Source of the one-run audit: Steinke, Nasr, Jagielski, "Privacy auditing with one (1) training run", NeurIPS 2023.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, betainc, gammainc, gammaincc, ndtr

from ._evidence import ONE_RUN_LEVEL, STRUCTURAL_LEVEL, STRUCTURAL_SEPARATOR, TEST_LEVEL, AuditResult
from ._one_run import MAX_CANARIES, OneRun, at_least, one_run_lower_bound, one_run_p_value

__all__ = [
    "MAX_CANARIES",
    "ONE_RUN_LEVEL",
    "STRUCTURAL_LEVEL",
    "STRUCTURAL_SEPARATOR",
    "TEST_LEVEL",
    "AuditResult",
    "NoiseReading",
    "OneRun",
    "SentinelReading",
    "SentinelRound",
    "correlation_p_value",
    "noise_z_test",
    "one_run_lower_bound",
    "one_run_p_value",
    "sampling_p_value",
    "sentinel_reading",
]

_LEAST_VARIANCE: Final = 5.0


@dataclass(frozen=True, slots=True)
class SentinelRound:
    """What one opened sum shows of its noise: coordinates that nobody writes to.

    Units: `energy` is the sum of their squares, in units^2; `variance` what the plan says of one coordinate, units^2.

    Raises:
        TypeError, ValueError: no coordinates, a negative energy, or a variance that is not finite and positive.
    """

    count: int
    energy: int
    variance: float

    def __post_init__(self) -> None:
        if type(self.count) is not int or type(self.energy) is not int:
            raise TypeError("count and energy are ints")
        if self.count < 1 or self.energy < 0 or not (math.isfinite(self.variance) and self.variance > 0):
            raise ValueError("sentinels have a count of at least 1, an energy of at least 0 and a positive variance")


@dataclass(frozen=True, slots=True)
class SentinelReading:
    """The noise that was there, over the noise that was planned. `p_too_small` is the one that speaks for privacy.

    Units: `ratio` is of variances: 0.5 is half the noise variance that was planned.
    """

    ratio: float
    p_too_small: float
    p_too_large: float
    coordinates: int


def sentinel_reading(rounds: Sequence[SentinelRound]) -> SentinelReading:
    """Read the noise of any number of rounds together: sum of energy / variance against chi-squared. Run by: anyone.

    Each coordinate of a sum of discrete Gaussians of eight units or more is Gaussian for this purpose. With 256
    coordinates, half the variance has p = 2e-12 in a single round.

    Raises:
        ValueError: there is no round.
    """
    if not rounds:
        raise ValueError("no round has sentinels to read")
    coordinates = sum(part.count for part in rounds)
    total = math.fsum(part.energy / part.variance for part in rounds)
    small, large = _chi_square_tails(total, coordinates)
    return SentinelReading(total / coordinates, small, large, coordinates)


@dataclass(frozen=True, slots=True)
class NoiseReading:
    """How the canaries' scores lie against the law that the claimed mechanism gives them.

    `noise_ratio`: variance of the excluded canaries' scores over the claimed one; `signal_ratio`: mean of the included
    ones' over the claimed one. The p-values are of too little noise, too much noise, and of another mean (two-sided).
    """

    noise_ratio: float
    signal_ratio: float
    p_too_small: float
    p_too_large: float
    p_signal: float

    @property
    def p_value(self) -> float:
        """Of the whole test, two-sided in the noise and in the mean (Bonferroni over the two)."""
        return min(1.0, 2 * min(2 * min(self.p_too_small, self.p_too_large), self.p_signal))


def noise_z_test(
    scores: npt.NDArray[np.float64],
    included: npt.NDArray[np.bool_],
    *,
    shift: float,
    variance: float,
    sampling_variance: float = 0.0,
) -> NoiseReading:
    """Test the total of all canaries' scores against the claimed mechanism.

    An excluded canary's score is noise alone: Gaussian with `variance`. An included one's has mean `shift` and
    `sampling_variance` more, from the steps that its coins chose. Excluded ones give the level of the noise
    (chi-squared), included ones the mean (Gaussian approximation): together they see half the noise, a full batch
    where a sample was claimed, and records that count more than the clip bound.

    Shapes: scores float64[n], included bool[n]. Units: those of the scores.

    Raises:
        ValueError: shapes differ, one side has no canary, a score is not finite, or a variance is not positive.
    """
    if scores.ndim != 1 or scores.shape != included.shape or not np.isfinite(scores).all():
        raise ValueError("scores and included are vectors of one length, and every score is finite")
    present, absent = scores[included], scores[~included]
    if not (len(present) and len(absent)):
        raise ValueError("canaries must be on both sides: included and excluded")
    if not (math.isfinite(variance) and variance > 0 and math.isfinite(shift) and shift > 0 and sampling_variance >= 0):
        raise ValueError("shift and variance must be finite and positive, and the sampling variance not negative")
    energy = float(np.square(absent / math.sqrt(variance)).sum())
    small, large = _chi_square_tails(energy, len(absent))
    mean = float(present.mean())
    z = (mean - shift) / math.sqrt((variance + sampling_variance) / len(present))
    return NoiseReading(energy / len(absent), mean / shift, small, large, 2 * float(ndtr(-abs(z))))


def correlation_p_value(vectors: npt.NDArray[np.int64]) -> float:
    """The chance that independent noise vectors are as alike as the two most alike of these.

    The squared cosine of two independent Gaussian vectors of k coordinates is Beta(1/2, (k - 1)/2), exactly; the result
    counts every pair (Bonferroni). A vector of zeros is no noise at all, and gives 0. Sees noise that two steps, or two
    clients, share.

    Shapes: vectors int64[n, k], n and k at least 2.

    Raises:
        ValueError: another shape.
    """
    if vectors.ndim != 2 or min(vectors.shape) < 2:
        raise ValueError("at least two vectors of at least two coordinates are compared")
    count, width = int(vectors.shape[0]), int(vectors.shape[1])
    wide = vectors.astype(np.float64)
    lengths = np.sqrt(np.square(wide).sum(axis=1))
    if not lengths.all():
        return 0.0
    wide /= lengths[:, np.newaxis]
    largest = 0.0
    for start in range(0, count, 256):
        products = np.abs(wide[start : start + 256] @ wide.T)
        rows = np.arange(len(products))
        products[rows, start + rows] = 0.0
        largest = max(largest, float(products.max()))
    rest = max(0.0, 1.0 - largest**2)
    alike: float = 0.0 if rest < 1e-12 else float(betainc((width - 1) / 2, 0.5, rest))
    return min(1.0, alike * (count * (count - 1) // 2))


def sampling_p_value(sizes: npt.NDArray[np.int64], records: npt.NDArray[np.int64], sampling_rate_ppm: int) -> float:
    """The chance that Poisson sampling gives samples as far off in total, or as equal in size, as these.

    The total is binomial (exact, two-sided). Batches of a fixed size, as shuffling makes them, have the right total and
    vary too little: the squared deviations, over their variance, are compared with chi-squared (lower tail), of samples
    whose size has a variance of at least 5, where that errs on the safe side. Bonferroni over the two. At a rate of
    10^6 every record must be in every sample: 1 or 0.

    Shapes: sizes int64[n] found in the samples, records int64[n] to choose from.

    Raises:
        ValueError: shapes, or a size above its number of records.
    """
    if sizes.ndim != 1 or sizes.shape != records.shape or (sizes < 0).any() or (sizes > records).any():
        raise ValueError("sizes and records are vectors of one length, with 0 <= size <= records")
    if not 1 <= sampling_rate_ppm <= 1_000_000:
        raise ValueError("sampling_rate_ppm must be in [1, 10^6]")
    rate = sampling_rate_ppm / 1_000_000
    if rate == 1:
        return 1.0 if np.array_equal(sizes, records) else 0.0
    total, trials = int(sizes.sum()), int(records.sum())
    if not trials:
        return 1.0
    of_total = 2 * min(float(bdtr(total, trials, rate)), at_least(total, trials, rate))
    varied = records * rate * (1 - rate) >= _LEAST_VARIANCE
    drawn = records[varied] * rate
    spread = float((np.square(sizes[varied] - drawn) / (drawn * (1 - rate))).sum())
    of_spread = _chi_square_tails(spread, len(drawn))[0] if len(drawn) else 1.0
    return min(1.0, 2 * min(of_total, of_spread))


def _chi_square_tails(total: float, degrees: int) -> tuple[float, float]:
    return float(gammainc(degrees / 2, total / 2)), float(gammaincc(degrees / 2, total / 2))
