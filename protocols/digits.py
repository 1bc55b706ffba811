"""Blocks of signed digits: the plain type in which packing and encryption meet.

Spec: packing §2 (v1). A polynomial coefficient carries k signed digits of `width` bits: sum of digit_d * 2^(width*d).
"""

from dataclasses import dataclass

import numpy as np

from .arrays import Int64Array, frozen

__all__ = ["DigitBlocks", "DigitLayout"]


@dataclass(frozen=True, slots=True)
class DigitLayout:
    """How many digits of which width stand in one block of `coefficients` coefficients."""

    width: int
    per_coefficient: int
    coefficients: int

    def __post_init__(self) -> None:
        if not 2 <= self.width <= 48:
            raise ValueError(f"a digit is 2 to 48 bits wide, not {self.width}")
        if self.per_coefficient < 1 or self.coefficients < 1:
            raise ValueError("a block holds at least one coefficient of at least one digit")

    @property
    def values_per_block(self) -> int:
        """How many values one ciphertext carries."""
        return self.per_coefficient * self.coefficients

    @property
    def largest(self) -> int:
        """The largest magnitude of a digit, sums included."""
        return (1 << (self.width - 1)) - 1

    def blocks(self, values: int) -> int:
        """How many blocks carry this many values."""
        return -(-values // self.values_per_block)


@dataclass(frozen=True, slots=True, eq=False)
class DigitBlocks:
    """Digits ready for encryption, or sums of them after decryption.

    Shapes: digits int64[blocks, per_coefficient, coefficients]. Units: grid units.
    """

    layout: DigitLayout
    digits: Int64Array

    def __post_init__(self) -> None:
        shape = (None, self.layout.per_coefficient, self.layout.coefficients)
        object.__setattr__(self, "digits", frozen(self.digits, np.int64, shape))
        if (self.digits > self.layout.largest).any() or (self.digits < -self.layout.largest).any():
            raise ValueError(f"a digit does not fit {self.layout.width} bits")

    def __repr__(self) -> str:
        return f"DigitBlocks({self.layout}, blocks={len(self.digits)})"
