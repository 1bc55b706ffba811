"""One private step: sample records, clip each one, put it on the grid, add integer noise, and account for it.

Unit of privacy: one record. Adjacency: add or remove one record. Spec: dp §2 (v1).
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, NoReturn

import numpy as np
import numpy.typing as npt

from ..errors import StateError
from ..sampling import Keystream
from .events import MAX_NOISE_MULTIPLIER_MILLI, MAX_STEPS, MIN_CLIP_UNITS, MIN_NOISE_MULTIPLIER_MILLI, PrivacyEvent
from .noise import MAX_DIM, MAX_STD_UNITS, Noise

__all__ = ["GradientSum", "Mechanism", "MechanismRecord", "PoissonSample", "poisson_sample", "privatize"]

PPM: Final = 1_000_000
MAX_CLIP_UNITS: Final = 1 << 24
MAX_CLIP_NORM_MICRO: Final = 10**12
_CHUNK_VALUES: Final = 1 << 20  # gradient values clipped at a time: 8 MiB of float64
_SAMPLER: Final = object()


def _check_int(name: str, value: int, low: int, high: int) -> None:
    if type(value) is not int:
        raise TypeError(f"{name} must be an int")
    if not low <= value <= high:
        raise ValueError(f"{name} must be in [{low}, {high}], got {value}")


@dataclass(frozen=True, slots=True)
class Mechanism:
    """The public parameters of a Poisson-sampled discrete Gaussian release. All integers, so that a plan is canonical.

    Units: `clip_units` is the L2 bound of one record in grid units; `clip_norm_micro` the same bound in
    gradient units, times 10^6; `noise_multiplier_milli` is 1000 times noise standard deviation / clip bound;
    `sampling_rate_ppm` is the probability of a record to be in a step, times 10^6 (10^6 = every record, always).
    Raises:
        TypeError, ValueError: a field is not an int or out of range.
    """

    clip_units: int
    clip_norm_micro: int
    noise_multiplier_milli: int
    sampling_rate_ppm: int

    def __post_init__(self) -> None:
        _check_int("clip_units", self.clip_units, MIN_CLIP_UNITS, MAX_CLIP_UNITS)
        _check_int("clip_norm_micro", self.clip_norm_micro, 1, MAX_CLIP_NORM_MICRO)
        milli = self.noise_multiplier_milli
        _check_int("noise_multiplier_milli", milli, MIN_NOISE_MULTIPLIER_MILLI, MAX_NOISE_MULTIPLIER_MILLI)
        _check_int("sampling_rate_ppm", self.sampling_rate_ppm, 1, PPM)
        if self.noise_std_units > MAX_STD_UNITS:
            raise ValueError(f"noise of more than {MAX_STD_UNITS} grid units: use fewer clip_units")

    @property
    def noise_multiplier(self) -> float:
        return self.noise_multiplier_milli / 1000

    @property
    def noise_std_units(self) -> Fraction:
        """Standard deviation of the noise of one coordinate, in grid units, exact."""
        return Fraction(self.noise_multiplier_milli * self.clip_units, 1000)

    @property
    def sampling_rate(self) -> float:
        return self.sampling_rate_ppm / PPM

    @property
    def clip_norm(self) -> float:
        return self.clip_norm_micro / 1_000_000


class PoissonSample:
    """The records of one step, chosen by `poisson_sample`; nothing else can make one. Secret, usable for one release.

    Who is in the sample must stay hidden: the smaller privacy cost of a sampled step rests on it.

    Shapes: indices int64[size], increasing, read-only.
    """

    __slots__ = ("_used", "indices", "n_records", "sampling_rate_ppm")

    def __init__(self, indices: npt.NDArray[np.int64], n_records: int, rate_ppm: int, *, origin: object) -> None:
        if origin is not _SAMPLER:
            raise TypeError("a PoissonSample is made by poisson_sample() only: other batches cannot be accounted")
        indices.setflags(write=False)
        self.indices: Final = indices
        self.n_records: Final = n_records
        self.sampling_rate_ppm: Final = rate_ppm
        self._used = False

    def __repr__(self) -> str:
        return "PoissonSample(<secret>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a PoissonSample is secret and single-use: it cannot be pickled or copied")

    @property
    def size(self) -> int:
        """Number of records in the step. Secret: it depends on how many records there are."""
        return int(self.indices.size)

    def _claim(self) -> None:
        if self._used:
            raise StateError("this sample was released already: draw a fresh one for every step")
        self._used = True


def poisson_sample(n_records: int, mechanism: Mechanism, *, rand: bytes) -> PoissonSample:
    """Take each record with the mechanism's probability, exactly and independently.

    Run by: a client, on its own records, once for every step. `rand`: 32 fresh secret bytes.

    Raises:
        ValueError: `n_records` is negative, or `rand` has a wrong length.
    """
    if n_records < 0:
        raise ValueError("n_records must not be negative")
    draws = Keystream(rand, purpose=b"dp-poisson").below(n_records, PPM)
    chosen = np.flatnonzero(draws < np.uint64(mechanism.sampling_rate_ppm)).astype(np.int64)
    return PoissonSample(chosen, n_records, mechanism.sampling_rate_ppm, origin=_SAMPLER)


@dataclass(frozen=True, slots=True, eq=False)
class GradientSum:
    """A released sum: clipped gradients plus noise. Everything computed from it is post-processing.

    Shapes: values int64[dim], read-only. Units: `clip_units` of them are `clip_norm_micro` / 10^6 in gradient units.
    """

    values: npt.NDArray[np.int64]
    clip_units: int
    clip_norm_micro: int

    def to_gradient(self, expected_batch: int) -> npt.NDArray[np.float64]:
        """The noisy mean gradient, divided by a public batch size (never by the real one, which is secret).

        Raises:
            TypeError, ValueError: `expected_batch` is not a positive int.
        """
        _check_int("expected_batch", expected_batch, 1, 1 << 53)
        unit = self.clip_norm_micro / 1_000_000 / self.clip_units
        return self.values.astype(np.float64) * (unit / expected_batch)


@dataclass(frozen=True, slots=True)
class MechanismRecord:
    """What one release, or several equal ones, did: the numbers that accounting needs, all public."""

    steps: int
    sampling_rate_ppm: int
    noise_multiplier_milli: int
    clip_units: int
    dim: int

    def __post_init__(self) -> None:
        _check_int("steps", self.steps, 1, MAX_STEPS)
        _check_int("sampling_rate_ppm", self.sampling_rate_ppm, 1, PPM)
        milli = self.noise_multiplier_milli
        _check_int("noise_multiplier_milli", milli, MIN_NOISE_MULTIPLIER_MILLI, MAX_NOISE_MULTIPLIER_MILLI)
        _check_int("clip_units", self.clip_units, MIN_CLIP_UNITS, MAX_CLIP_UNITS)
        _check_int("dim", self.dim, 1, MAX_DIM)

    def merge(self, other: "MechanismRecord") -> "MechanismRecord":
        """One record for both: the steps add up.

        Raises:
            ValueError: anything but the number of steps differs.
        """
        if replace(other, steps=self.steps) != self:
            raise ValueError("only records of the same mechanism and dimension can be merged")
        return replace(self, steps=self.steps + other.steps)

    def event(self) -> PrivacyEvent:
        """The same, as the accountants take it."""
        return PrivacyEvent(self.noise_multiplier_milli, self.sampling_rate_ppm, self.steps)


def privatize(
    gradients: npt.NDArray[np.float32] | npt.NDArray[np.float64],
    sample: PoissonSample,
    mechanism: Mechanism,
    noise: Noise,
) -> tuple[GradientSum, MechanismRecord]:
    """Clip each record, truncate it toward zero to integers, sum, and add the noise, in one step.

    Run by: a client. `noise` must have been drawn before the gradients were computed, so that the time its
    drawing takes can say nothing about them.

    Shapes: gradients [sample.size, dim], float32 or float64, rows in the order of `sample.indices`.
    Guarantees: adding or removing one record moves the integer sum by at most `clip_units` in L2, exactly.
        A record whose gradient is not finite counts as zero. (To raise would tell the outside something about
        that one record; dropping it is a function of the record alone, so the bound holds.)
    Raises:
        TypeError: the sample is not a `PoissonSample`, or the gradients are not floats.
        ValueError: shapes, sampling rate or noise do not belong together.
        StateError: the sample or the noise was used before.
    """
    if not isinstance(sample, PoissonSample):
        raise TypeError("a PoissonSample is required: a shuffled or hand-picked batch cannot be accounted")
    if gradients.dtype not in (np.float32, np.float64):
        raise TypeError("gradients must be float32 or float64")
    if gradients.ndim != 2 or gradients.shape[0] != sample.size:
        raise ValueError("gradients must have one row for each record of the sample")
    dim = int(gradients.shape[1])
    if sample.sampling_rate_ppm != mechanism.sampling_rate_ppm:
        raise ValueError("the sample was drawn at another rate than the mechanism's")
    if noise.dim != dim or noise.std_units != mechanism.noise_std_units:
        raise ValueError("the noise was drawn for another dimension or another standard deviation")
    record = MechanismRecord(
        1, mechanism.sampling_rate_ppm, mechanism.noise_multiplier_milli, mechanism.clip_units, dim
    )
    sample._claim()
    total = noise.take()
    rows = max(1, _CHUNK_VALUES // dim)
    for start in range(0, sample.size, rows):
        total += _clip_to_grid(gradients[start : start + rows], mechanism).sum(axis=0, dtype=np.int64)
    total.setflags(write=False)
    return GradientSum(total, mechanism.clip_units, mechanism.clip_norm_micro), record


def _clip_to_grid(
    gradients: npt.NDArray[np.float32] | npt.NDArray[np.float64], mechanism: Mechanism
) -> npt.NDArray[np.int64]:
    """Each row scaled to L2 norm at most the clip bound, in grid units, truncated toward zero."""
    wide = gradients.astype(np.float64)
    wide[~np.isfinite(wide).all(axis=1)] = 0.0
    # Divide by the largest entry first: then neither very large nor very small rows overflow or vanish.
    largest = np.abs(wide).max(axis=1, keepdims=True)
    wide /= np.where(largest > 0, largest, 1.0)
    norm = np.sqrt(np.square(wide).sum(axis=1, keepdims=True))
    with np.errstate(over="ignore"):  # an infinite product is clipped by the minimum
        unclipped = largest / mechanism.clip_norm * mechanism.clip_units
    wide *= np.minimum(unclipped, mechanism.clip_units / np.where(norm > 0, norm, 1.0))
    return _enforce_norm(np.trunc(wide).astype(np.int64), mechanism.clip_units)


def _enforce_norm(rows: npt.NDArray[np.int64], clip_units: int) -> npt.NDArray[np.int64]:
    """Shrink every row until its integer L2 norm is at most `clip_units`.

    Truncation leaves almost nothing to do; this makes the bound exact where floating point was a last bit too large.
    """
    while (over := np.square(rows).sum(axis=1) > clip_units**2).any():
        rows = np.where(over[:, np.newaxis], rows - np.sign(rows), rows)
    return rows
