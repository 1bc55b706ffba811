"""What is charged to a privacy budget: equal steps of a Poisson-sampled Gaussian mechanism.

Spec: dp §5.1 (v1).
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from .integers import check_int

__all__ = [
    "MAX_NOISE_MULTIPLIER_MILLI",
    "MAX_STEPS",
    "MIN_CLIP_UNITS",
    "MIN_NOISE_MULTIPLIER_MILLI",
    "SMOOTHING_STD_UNITS",
    "PrivacyEvent",
    "merged",
    "totals",
]

MIN_CLIP_UNITS: Final = 1 << 12
MIN_NOISE_MULTIPLIER_MILLI: Final = 100
MAX_NOISE_MULTIPLIER_MILLI: Final = 10_000_000
MAX_STEPS: Final = 1 << 24

SMOOTHING_STD_UNITS: Final = 8
"""Part of the discrete noise that is charged as rounding: error below 2^-1800 (spec §4)."""


@dataclass(frozen=True, slots=True)
class PrivacyEvent:
    """`steps` releases of one mechanism. Public: this is what a ledger stores and anyone can recompute from.

    Units: thousandths of the clip bound, millionths of probability, steps.
    Raises:
        TypeError, ValueError: a field is not an int or out of range.
    """

    noise_multiplier_milli: int
    sampling_rate_ppm: int
    steps: int

    def __post_init__(self) -> None:
        milli = self.noise_multiplier_milli
        check_int("noise_multiplier_milli", milli, MIN_NOISE_MULTIPLIER_MILLI, MAX_NOISE_MULTIPLIER_MILLI)
        check_int("sampling_rate_ppm", self.sampling_rate_ppm, 1, 1_000_000)
        check_int("steps", self.steps, 1, MAX_STEPS)

    @property
    def sampling_rate(self) -> float:
        return self.sampling_rate_ppm / 1_000_000

    @property
    def accounted_noise_multiplier(self) -> float:
        """The continuous Gaussian that the discrete one is a rounding of: sqrt(sigma^2 - (8 / 2^12)^2).

        2^12 is the coarsest grid allowed, so the value holds for every grid.
        """
        sigma = self.noise_multiplier_milli / 1000
        return math.sqrt(sigma**2 - (SMOOTHING_STD_UNITS / MIN_CLIP_UNITS) ** 2)

    def with_shares(self, present: int, shares: int) -> "PrivacyEvent":
        """What the same steps would cost with the noise of `present` of `shares` equal shares: sigma rounded down.

        Raises:
            TypeError, ValueError: a number is not a positive int, or so little noise is left that nothing is protected.
        """
        if type(present) is not int or type(shares) is not int:
            raise TypeError("numbers of shares must be ints")
        if present < 1 or shares < 1:
            raise ValueError("numbers of shares must be positive")
        milli = math.isqrt(self.noise_multiplier_milli**2 * min(present, shares) // shares)
        if milli < MIN_NOISE_MULTIPLIER_MILLI:
            raise ValueError(f"{present} of {shares} shares of this noise protect nothing")
        return PrivacyEvent(milli, self.sampling_rate_ppm, self.steps)


def totals(events: Iterable[PrivacyEvent]) -> Counter[PrivacyEvent]:
    """Steps of each distinct mechanism, by its event of one step; in order of noise, then sampling rate."""
    found: Counter[PrivacyEvent] = Counter()
    for event in events:
        found[replace(event, steps=1)] += event.steps
    in_order = sorted(found, key=lambda one: (one.noise_multiplier_milli, one.sampling_rate_ppm))
    return Counter({one: found[one] for one in in_order})


def merged(events: Iterable[PrivacyEvent]) -> tuple[PrivacyEvent, ...]:
    """The same spending with one event for each mechanism, in order of noise, then sampling rate.

    Raises:
        ValueError: one mechanism has more than 2^24 steps: no event holds so many.
    """
    return tuple(replace(one, steps=steps) for one, steps in totals(events).items())
