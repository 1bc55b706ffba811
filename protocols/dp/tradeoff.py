"""Two curves for a report: delta against epsilon, and the best ROC curve an attacker can have.

Spec: dp §5.8 (v1).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from .accounting import delta_pld, epsilon_pld
from .events import PrivacyEvent
from .noise import MAX_DIM

__all__ = ["PrivacyProfile", "RocBound", "profile", "roc_bound"]

_DELTAS: Final = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10)
_INTERVALS: Final = 128


@dataclass(frozen=True, slots=True)
class PrivacyProfile:
    """Points of the curve delta(epsilon), by increasing epsilon. Empty if epsilon exceeds `MAX_EPSILON`."""

    epsilons: tuple[float, ...]
    deltas: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class RocBound:
    """No test for one record's presence has a higher true-positive rate at these false-positive rates."""

    false_positive_rates: tuple[float, ...]
    true_positive_rates: tuple[float, ...]


def profile(events: Iterable[PrivacyEvent], *, dim: int = MAX_DIM) -> PrivacyProfile:
    """The curve delta(epsilon) for a plot: evenly spaced in epsilon, and at delta = 1e-3, 1e-4 .. 1e-10.

    Raises:
        ValueError: `dim` is out of range.
    """
    charges = tuple(events)
    at_delta = [(epsilon_pld(charges, delta, dim=dim), delta) for delta in _DELTAS]
    end = at_delta[-1][0]
    if not math.isfinite(end):
        return PrivacyProfile((), ())
    grid = [end * i / _INTERVALS for i in range(_INTERVALS + 1)]
    evenly = [(epsilon, delta_pld(charges, epsilon, dim=dim)) for epsilon in grid]
    points = sorted({*at_delta, *evenly}, key=lambda point: (point[0], -point[1]))
    return PrivacyProfile(tuple(point[0] for point in points), tuple(point[1] for point in points))


def roc_bound(events: Iterable[PrivacyEvent], false_positive_rates: Iterable[float], *, dim: int = MAX_DIM) -> RocBound:
    """The best ROC curve open to an attacker who sees every release and guesses if one record was there.

    Each point (epsilon, delta) of the profile bounds the trade-off function from below, and so does their
    maximum (Dong, Roth, Su, "Gaussian differential privacy", 2019, section 2.3).
    Raises:
        ValueError: a rate is not in [0, 1], or `dim` is out of range.
    """
    rates = tuple(false_positive_rates)
    if not all(0 <= rate <= 1 for rate in rates):
        raise ValueError("false-positive rates must be in [0, 1]")
    curve = profile(events, dim=dim)
    points = list(zip(curve.epsilons, curve.deltas, strict=True))
    return RocBound(rates, tuple(1 - _false_negative_bound(points, rate) for rate in rates))


def _false_negative_bound(points: list[tuple[float, float]], rate: float) -> float:
    best = 0.0
    for epsilon, delta in points:
        best = max(best, 1 - delta - math.exp(epsilon) * rate, math.exp(-epsilon) * (1 - delta - rate))
    return min(best, 1 - rate)
