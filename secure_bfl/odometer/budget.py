"""The budget of one data set, spending merged by mechanism, and the checks of every field in the chain."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final, Self

from protocols.dp import MAX_EPSILON, MIN_DELTA, PrivacyEvent

__all__ = ["Budget", "Record", "check_bytes", "check_int", "check_text", "merged"]

_DIGEST_BYTES: Final = 32
_MAX_TEXT: Final = 256
_MAX_INT: Final = (1 << 63) - 1

Record = dict[str, Any]
"""A line's fields, for JSON."""


def merged(events: Iterable[PrivacyEvent]) -> tuple[PrivacyEvent, ...]:
    """The same spending with one event for each mechanism, in order of noise, then rate."""
    totals: Counter[PrivacyEvent] = Counter()
    for event in events:
        totals[replace(event, steps=1)] += event.steps
    found = [replace(event, steps=steps) for event, steps in totals.items()]
    return tuple(sorted(found, key=lambda event: (event.noise_multiplier_milli, event.sampling_rate_ppm)))


def check_int(name: str, value: object, low: int, high: int = _MAX_INT) -> None:
    """TypeError or ValueError unless it is an int in [low, high]."""
    if type(value) is not int:
        raise TypeError(f"{name} must be an int")
    if not low <= value <= high:
        raise ValueError(f"{name} must be in [{low}, {high}], got {value}")


def check_bytes(name: str, value: object, size: int = _DIGEST_BYTES) -> None:
    """TypeError or ValueError unless it is so many bytes."""
    if type(value) is not bytes:
        raise TypeError(f"{name} must be bytes")
    if len(value) != size:
        raise ValueError(f"{name} must have {size} bytes, not {len(value)}")


def check_text(name: str, value: object) -> None:
    """TypeError or ValueError unless it is short printable ASCII."""
    if type(value) is not str:
        raise TypeError(f"{name} must be a str")
    if not (1 <= len(value) <= _MAX_TEXT and value.isascii() and value.isprintable()):
        raise ValueError(f"{name} must be 1 to {_MAX_TEXT} printable ASCII characters")


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that may ever be spent on one data set, for one unit.

    Units: millionths of epsilon, 10^-12 of delta.
    Raises:
        TypeError, ValueError: a field is not an int, epsilon is not above 0 and at most 100, or delta is not at least
            1e-10 and below 1.
    """

    epsilon_micro: int
    delta_e12: int

    def __post_init__(self) -> None:
        check_int("epsilon_micro", self.epsilon_micro, 1, round(MAX_EPSILON) * 10**6)
        check_int("delta_e12", self.delta_e12, round(MIN_DELTA * 10**12), 10**12 - 1)

    @classmethod
    def of(cls, epsilon: float, delta: float) -> Self:
        """The budget of these numbers as they are written in decimal, rounded down.

        Raises:
            ValueError: one is not finite, or out of range.
        """
        if not (math.isfinite(epsilon) and math.isfinite(delta)):
            raise ValueError("a budget's epsilon and delta must be finite numbers")
        return cls(math.floor(Fraction(str(epsilon)) * 10**6), math.floor(Fraction(str(delta)) * 10**12))

    @property
    def epsilon(self) -> float:
        """The budget's epsilon."""
        return self.epsilon_micro / 10**6

    @property
    def delta(self) -> float:
        """The budget's delta."""
        return self.delta_e12 / 10**12

    def __str__(self) -> str:
        return f"epsilon {self.epsilon:g} at delta {self.delta:g}"

    def to_record(self) -> Record:
        """The fields, for JSON."""
        return {"delta_e12": self.delta_e12, "epsilon_micro": self.epsilon_micro}
