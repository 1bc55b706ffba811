"""Blocks of signed digits: the plain type in which packing and encryption meet.

Spec: packing §2 (v1). A polynomial coefficient carries k signed digits of `width` bits: sum of digit_d * 2^(width*d).
The last of them may be a checksum of the others (packing §4).
"""

from dataclasses import dataclass

import numpy as np

from .arrays import Int64Array, exceeds, frozen

__all__ = ["DigitBlocks", "DigitLayout"]


@dataclass(frozen=True, slots=True)
class DigitLayout:
    """How many digits of which width stand in one block of `coefficients` coefficients.

    `checksum` is the modulus of the checksum digit, or 0 if there is none; it is one of the `per_coefficient` digits.
    """

    width: int
    per_coefficient: int
    coefficients: int
    checksum: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.width <= 48:
            raise ValueError(f"a digit is 2 to 48 bits wide, not {self.width}")
        if self.per_coefficient < 1 or self.coefficients < 1:
            raise ValueError("a block holds at least one coefficient of at least one digit")
        if self.checksum:
            if self.per_coefficient < 2:
                raise ValueError("a checksum digit needs another digit to check")
            if not 3 <= self.checksum < 1 << self.width or self.checksum % 2 == 0:
                raise ValueError(f"a checksum's modulus is odd and at most {self.width} bits, not {self.checksum}")

    @property
    def value_digits(self) -> int:
        """How many digits of a coefficient carry values."""
        return self.per_coefficient - (1 if self.checksum else 0)

    @property
    def values_per_block(self) -> int:
        """How many values one ciphertext carries."""
        return self.value_digits * self.coefficients

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
        if exceeds(self.digits, self.layout.largest):
            raise ValueError(f"a digit does not fit {self.layout.width} bits")

    def __repr__(self) -> str:
        return f"DigitBlocks({self.layout}, blocks={len(self.digits)})"
