"""One private step: sample records, clip each one, put it on the grid, add integer noise, and account for it.

Unit of privacy: one record. Adjacency: add or remove one record. Spec: dp §2 (v1).
"""

from dataclasses import dataclass
from typing import Final, NoReturn

import numpy as np

from ..arrays import Float64Array, Int64Array
from ..errors import StateError
from ..sampling import Keystream
from .clipping import Rows, clipped_sum
from .integers import check_int
from .mechanism import PPM, Mechanism, MechanismRecord
from .noise import Noise

__all__ = ["GradientSum", "PoissonSample", "poisson_sample", "privatize"]

_SAMPLER: Final = object()
_MAX_RECORDS: Final = 1 << 32


class PoissonSample:
    """The records of one step, chosen by `poisson_sample`; nothing else can make one. Secret, usable for one release.

    Who is in the sample must stay hidden: the smaller privacy cost of a sampled step rests on it.

    Shapes: indices int64[size], increasing, read-only.
    """

    __slots__ = ("_used", "indices", "n_records", "sampling_rate_ppm")

    def __init__(self, indices: Int64Array, n_records: int, rate_ppm: int, *, origin: object) -> None:
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
        TypeError: `n_records` is not an int, or `rand` is not bytes.
        ValueError: `n_records` is not in [0, 2^32], or `rand` has a wrong length.
    """
    check_int("n_records", n_records, 0, _MAX_RECORDS)
    draws = Keystream(rand, purpose=b"dp-poisson").below(n_records, PPM)
    chosen = np.flatnonzero(draws < np.uint64(mechanism.sampling_rate_ppm)).astype(np.int64)
    return PoissonSample(chosen, n_records, mechanism.sampling_rate_ppm, origin=_SAMPLER)


@dataclass(frozen=True, slots=True, eq=False)
class GradientSum:
    """A released sum: clipped gradients plus all of the noise. Everything computed from it is post-processing.

    Shapes: values int64[dim], read-only. Units: `clip_units` of them are `clip_norm_micro` / 10^6 in gradient units.
    """

    values: Int64Array
    clip_units: int
    clip_norm_micro: int

    def to_gradient(self, expected_batch: int) -> Float64Array:
        """The noisy mean gradient, divided by a public batch size (never by the real one, which is secret).

        Raises:
            TypeError, ValueError: `expected_batch` is not a positive int.
        """
        check_int("expected_batch", expected_batch, 1, 1 << 53)
        unit = self.clip_norm_micro / 1_000_000 / self.clip_units
        return self.values.astype(np.float64) * (unit / expected_batch)


def privatize(
    gradients: Rows, sample: PoissonSample, mechanism: Mechanism, noise: Noise
) -> tuple[GradientSum, MechanismRecord]:
    """Clip each record, truncate it toward zero to integers, sum, and add the noise, in one step.

    Run by: a client. `noise` must have been drawn before the gradients were computed, so that the time its
    drawing takes can say nothing about them.

    Shapes: gradients [sample.size, dim], float32 or float64, rows in the order of `sample.indices`; the result has
        `mechanism.sentinels` more coordinates, which are noise alone.
    Guarantees: adding or removing one record moves the integer sum by at most `clip_units` in L2, exactly.
        A record whose gradient is not finite counts as zero. (To raise would tell the outside something about
        that one record; dropping it is a function of the record alone, so the bound holds.)
    Raises:
        TypeError: the sample is not a `PoissonSample`, or the gradients are not floats.
        ValueError: shapes, sampling rate or noise do not belong together, or the mechanism's noise is in shares.
        StateError: the sample or the noise was used before.
    """
    if mechanism.shares != 1:
        raise ValueError("one share of the noise protects no release: use privatize_share, and open sums only")
    dim = check_step(gradients, sample, mechanism)
    check_noise(noise, dim, mechanism)
    record = MechanismRecord.of(mechanism, noise.dim)
    sample._claim()
    total = noise.take()
    total[:dim] += clipped_sum(gradients, mechanism)
    total.setflags(write=False)
    return GradientSum(total, mechanism.clip_units, mechanism.clip_norm_micro), record


def check_step(gradients: Rows, sample: PoissonSample, mechanism: Mechanism) -> int:
    """The number of coordinates of these gradients, if they, the sample and the mechanism belong together.

    Raises:
        TypeError, ValueError: they do not.
    """
    if not isinstance(sample, PoissonSample):
        raise TypeError("a PoissonSample is required: a shuffled or hand-picked batch cannot be accounted")
    if gradients.dtype not in (np.float32, np.float64):
        raise TypeError("gradients must be float32 or float64")
    if gradients.ndim != 2 or gradients.shape[0] != sample.size or gradients.shape[1] < 1:
        raise ValueError("gradients must have one row for each record of the sample")
    if sample.sampling_rate_ppm != mechanism.sampling_rate_ppm:
        raise ValueError("the sample was drawn at another rate than the mechanism's")
    return int(gradients.shape[1])


def check_noise(noise: Noise, dim: int, mechanism: Mechanism) -> None:
    """Refuse noise that was not drawn for one party's vector of `dim` coordinates and the sentinels.

    Raises:
        ValueError: another dimension, law or variance.
    """
    if noise.law != "discrete-gaussian":
        raise ValueError("the noise of a release follows the discrete Gaussian law: another is not accounted here")
    if noise.dim != dim + mechanism.sentinels or noise.variance_units != mechanism.share_variance_units:
        raise ValueError("the noise was drawn for another dimension or another variance")
