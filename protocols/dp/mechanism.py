"""The public numbers of a release: what a plan fixes before it, and what a ledger records after it.

Spec: dp §1 (v1).
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from .events import MAX_NOISE_MULTIPLIER_MILLI, MAX_STEPS, MIN_CLIP_UNITS, MIN_NOISE_MULTIPLIER_MILLI, PrivacyEvent
from .integers import check_int
from .noise import MAX_DIM, MAX_STD_UNITS

__all__ = [
    "MAX_CLIP_UNITS",
    "MAX_SENTINELS",
    "MAX_SHARES",
    "MIN_SHARE_VARIANCE_UNITS",
    "PPM",
    "Mechanism",
    "MechanismRecord",
]

PPM: Final = 1_000_000
MAX_CLIP_UNITS: Final = 1 << 24
MAX_CLIP_NORM_MICRO: Final = 10**12
MAX_SHARES: Final = 1024
MAX_SENTINELS: Final = 1 << 16

MIN_SHARE_VARIANCE_UNITS: Final = 64
"""Shares at least 8 units wide add up to a discrete Gaussian, to a distance below 2^-890 (spec §3.3)."""


@dataclass(frozen=True, slots=True)
class Mechanism:
    """The public parameters of a Poisson-sampled discrete Gaussian release. All integers, so that a plan is canonical.

    Units: `clip_units` is the L2 bound of one record (or one client's update) in grid units; `clip_norm_micro` the
    same bound in gradient units, times 10^6; `noise_multiplier_milli` is 1000 times noise standard deviation / clip
    bound; `sampling_rate_ppm` is the probability of a record to be in a step, times 10^6 (10^6 = every record,
    always). `shares`: how many honest parties' noise makes up the noise of the release; each adds
    `share_variance_units`. `sentinels`: coordinates at the end of every vector that are zero before the noise.
    Raises:
        TypeError, ValueError: a field is not an int or out of range, or a share is narrower than 8 units.
    """

    clip_units: int
    clip_norm_micro: int
    noise_multiplier_milli: int
    sampling_rate_ppm: int
    shares: int = 1
    sentinels: int = 0

    def __post_init__(self) -> None:
        check_int("clip_units", self.clip_units, MIN_CLIP_UNITS, MAX_CLIP_UNITS)
        check_int("clip_norm_micro", self.clip_norm_micro, 1, MAX_CLIP_NORM_MICRO)
        milli = self.noise_multiplier_milli
        check_int("noise_multiplier_milli", milli, MIN_NOISE_MULTIPLIER_MILLI, MAX_NOISE_MULTIPLIER_MILLI)
        check_int("sampling_rate_ppm", self.sampling_rate_ppm, 1, PPM)
        check_int("shares", self.shares, 1, MAX_SHARES)
        check_int("sentinels", self.sentinels, 0, MAX_SENTINELS)
        if self.noise_variance_units > MAX_STD_UNITS**2:
            raise ValueError(f"noise of more than {MAX_STD_UNITS} grid units: use fewer clip_units")
        if self.share_variance_units < MIN_SHARE_VARIANCE_UNITS:
            raise ValueError(
                f"{self.shares} shares of this noise would be narrower than 8 grid units: use more clip_units"
            )

    @property
    def noise_multiplier(self) -> float:
        return self.noise_multiplier_milli / 1000

    @property
    def noise_variance_units(self) -> Fraction:
        """Variance of the noise of one coordinate of the release, in grid units squared, exact."""
        return Fraction((self.noise_multiplier_milli * self.clip_units) ** 2, 10**6)

    @property
    def share_variance_units(self) -> Fraction:
        """Variance of what one party adds to one coordinate, in grid units squared, exact."""
        return self.noise_variance_units / self.shares

    @property
    def sampling_rate(self) -> float:
        return self.sampling_rate_ppm / PPM

    @property
    def clip_norm(self) -> float:
        return self.clip_norm_micro / 1_000_000


@dataclass(frozen=True, slots=True)
class MechanismRecord:
    """What one release, or several equal ones, did: the numbers that accounting needs, all public.

    `dim`: coordinates of the vector, sentinels included. `shares`: as in `Mechanism`; where it is not 1, the numbers
    hold for a sum in which so many honest parties took part, and for nothing that shows less.
    """

    steps: int
    sampling_rate_ppm: int
    noise_multiplier_milli: int
    clip_units: int
    dim: int
    shares: int = 1

    def __post_init__(self) -> None:
        check_int("steps", self.steps, 1, MAX_STEPS)
        check_int("sampling_rate_ppm", self.sampling_rate_ppm, 1, PPM)
        milli = self.noise_multiplier_milli
        check_int("noise_multiplier_milli", milli, MIN_NOISE_MULTIPLIER_MILLI, MAX_NOISE_MULTIPLIER_MILLI)
        check_int("clip_units", self.clip_units, MIN_CLIP_UNITS, MAX_CLIP_UNITS)
        check_int("dim", self.dim, 1, MAX_DIM)
        check_int("shares", self.shares, 1, MAX_SHARES)

    @classmethod
    def of(cls, mechanism: Mechanism, dim: int) -> "MechanismRecord":
        """The record of one release of `dim` coordinates."""
        return cls(
            1,
            mechanism.sampling_rate_ppm,
            mechanism.noise_multiplier_milli,
            mechanism.clip_units,
            dim,
            mechanism.shares,
        )

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
