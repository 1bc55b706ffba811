"""The budget of one data set, and the checks of every field in the chain."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final, Self

from protocols.dp import MAX_EPSILON, MIN_DELTA
from protocols.dp.integers import check_int

__all__ = ["UNITS", "Budget", "Record", "check_bytes", "check_text", "check_unit"]

UNITS: Final = ("record", "client")
"""The units of privacy: what a plan protects one of."""

_DIGEST_BYTES: Final = 32
_MAX_TEXT: Final = 256

Record = dict[str, Any]
"""A line's fields, for JSON."""


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


def check_unit(value: object) -> None:
    """TypeError or ValueError unless it is one of `UNITS`: a slip of the pen would begin a second odometer."""
    check_text("unit", value)
    if value not in UNITS:
        raise ValueError(f"unit must be one of {', '.join(UNITS)}, not {value}: it is that of the plan")


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
