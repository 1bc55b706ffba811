"""What one party adds to a sum that only many can open: its integers, and its share of the noise.

Spec: dp §2, §3.3 (v1).
"""

from typing import Final, NoReturn

import numpy as np

from ..arrays import Int64Array
from ..errors import StateError
from .clipping import Rows, clipped_sum
from .integers import check_int
from .mechanism import PPM, Mechanism, MechanismRecord
from .noise import Noise
from .release import PoissonSample, check_noise, check_step

__all__ = ["MAX_LIMIT", "NoisyShare", "privatize_share", "privatize_update"]

MAX_LIMIT: Final = 1 << 52
"""Largest clamp of a coordinate: what is added to it then stays far below 2^63."""


class NoisyShare:
    """One party's integers with a share of the noise. Secret: alone it protects far less than the sum it goes into.

    It is no `GradientSum`: nothing but a sum over `shares` honest parties may be opened. Usable once, for encryption.

    Shapes: int64[dim], sentinels included.
    """

    __slots__ = ("_values", "dim")

    def __init__(self, values: Int64Array) -> None:
        if values.ndim != 1 or values.dtype != np.int64:
            raise ValueError("a share must be an int64 vector")
        self._values: Int64Array | None = values.copy()
        self.dim: Final = int(values.size)

    def __repr__(self) -> str:
        return f"NoisyShare(dim={self.dim}, <secret>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a NoisyShare is secret and single-use: it cannot be pickled or copied")

    def take(self) -> Int64Array:
        """Hand out the values, once. Shapes: int64[dim].

        Raises:
            StateError: they were taken before.
        """
        if self._values is None:
            raise StateError("this share was used already: a party adds one vector to a sum")
        values, self._values = self._values, None
        return values


def privatize_share(
    gradients: Rows, sample: PoissonSample, mechanism: Mechanism, noise: Noise, *, limit: int
) -> tuple[NoisyShare, MechanismRecord]:
    """Clip each record, truncate it to integers, sum, clamp the sum to [-limit, limit], and add the share of the noise.

    Run by: a client, on its own records; the result is encrypted and never leaves otherwise. The clamp comes before
    the noise: it is part of the query, and a projection on a box is 1-Lipschitz. (A clamp of one party's noisy values
    would bend the law of its share, and is not post-processing of the sum.)

    Shapes: gradients [sample.size, dim], float32 or float64. Units: `limit` in grid units.
    Guarantees: adding or removing one record moves the clamped sum by at most `clip_units` in L2, exactly. A sum of
        the results of `mechanism.shares` honest parties has discrete Gaussian noise of `noise_variance_units`.
    Raises:
        TypeError: the sample is not a `PoissonSample`, or the gradients are not floats.
        ValueError: shapes, sampling rate, limit or noise do not belong together.
        StateError: the sample or the noise was used before.
    """
    check_int("limit", limit, 1, MAX_LIMIT)
    dim = check_step(gradients, sample, mechanism)
    check_noise(noise, dim, mechanism)
    record = MechanismRecord.of(mechanism, noise.dim)
    sample._claim()
    values = noise.take()
    values[:dim] += np.clip(clipped_sum(gradients, mechanism), -limit, limit)
    return NoisyShare(values), record


def privatize_update(update: Rows, mechanism: Mechanism, noise: Noise) -> tuple[NoisyShare, MechanismRecord]:
    """Clip a client's whole update, truncate it to integers, and add the share of the noise.

    Run by: a client. The unit of privacy is the client; adjacency: its update is replaced by zero (Kairouz et al.,
    "Practical and private (deep) learning without sampling or shuffling", 2021). The update counts as zero if it is
    not finite.

    Shapes: update float64[dim] or float32[dim].
    Guarantees: the integers have L2 norm at most `clip_units`, exactly.
    Raises:
        TypeError: the update is not floats.
        ValueError: the mechanism samples (a ledger shows who took part), or shape or noise do not belong together.
        StateError: the noise was used before.
    """
    if update.dtype not in (np.float32, np.float64):
        raise TypeError("an update must be float32 or float64")
    if update.ndim != 1 or update.size < 1:
        raise ValueError("an update must be a vector")
    if mechanism.sampling_rate_ppm != PPM:
        raise ValueError("who takes part is public: clients are not sampled, so the sampling rate must be 10^6")
    dim = int(update.size)
    check_noise(noise, dim, mechanism)
    record = MechanismRecord.of(mechanism, noise.dim)
    values = noise.take()
    values[:dim] += clipped_sum(update[np.newaxis], mechanism)
    return NoisyShare(values), record
