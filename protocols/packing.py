"""Many grid integers in each polynomial coefficient.

Spec: packing §3 (v1). Value i goes to block i // (k*N), digit plane (i mod k*N) // N, coefficient i mod N, for k digits
that carry values. The digit width leaves room for the sum of every client's value, so that sums never carry into a
neighbour. An optional last digit is the sum of the others modulo a prime: sums keep that relation, and a carry, which
only a client out of range can cause, breaks it.
"""

import numpy as np

from .arrays import Int64Array
from .digits import DigitBlocks, DigitLayout
from .errors import CapacityError, DecodeError
from .grid import Grid, GridVector
from .ring import is_prime

__all__ = ["checksum_modulus", "digit_width", "pack", "unpack"]


def digit_width(grid: Grid, clients: int) -> int:
    """Bits a digit needs so that the sum of `clients` values fits: |sum| <= clients * largest < 2^(width-1)."""
    if clients < 1:
        raise ValueError("at least one client contributes")
    return (clients * grid.largest).bit_length() + 1


def checksum_modulus(grid: Grid, width: int) -> int:
    """The modulus of the checksum digit: the largest prime in a value's range that divides no carry.

    A carry moves 2^width from one digit to one in the next, so it changes the sum of the digits by 1 - 2^width, or,
    into the checksum digit itself, the difference by 1 + 2^width.

    Raises:
        CapacityError: values of so few bits have no such prime.
    """
    for candidate in range(2 * grid.largest + 1, 4, -2):
        if is_prime(candidate) and pow(2, width, candidate) not in (1, candidate - 1):
            return candidate
    raise CapacityError(f"values of {grid.value_bits} bits are too short for a checksum digit")


def _checksums(digits: Int64Array, modulus: int) -> Int64Array:
    """The sum over the planes, centred modulo the modulus: int64[blocks, k, N] -> int64[blocks, N]."""
    half = modulus // 2
    sums: Int64Array = (digits.sum(axis=1) + half) % modulus - half
    return sums


def pack(vector: GridVector, layout: DigitLayout, *, clients: int) -> DigitBlocks:
    """Lay a client's grid values out as digits; the rest of the last block is zero. Run by: a client.

    Shapes: int64[n] -> int64[blocks, k, N].

    Raises:
        CapacityError: the layout's digits cannot hold the sum of this many clients.
    """
    needed = digit_width(vector.grid, clients)
    if needed > layout.width:
        raise CapacityError(
            f"{clients} clients of {vector.grid.value_bits}-bit values need digits of {needed} bits; "
            f"the layout has {layout.width}: fewer clients, fewer value bits, or wider digits"
        )
    blocks, size = layout.blocks(len(vector.values)), layout.values_per_block
    digits = np.empty((blocks, layout.per_coefficient, layout.coefficients), dtype=np.int64)
    for block, planes in enumerate(digits):
        values, target = vector.values[block * size : (block + 1) * size], planes[: layout.value_digits].reshape(-1)
        target[: len(values)] = values
        target[len(values) :] = 0
    if layout.checksum:
        digits[:, -1] = _checksums(digits[:, :-1], layout.checksum)
    digits.setflags(write=False)
    return DigitBlocks(layout, digits)


def unpack(total: DigitBlocks, values: int) -> Int64Array:
    """Read the first `values` sums back; the padding must be zero. Run by: anyone.

    Shapes: int64[blocks, k, N] -> int64[values]. Units: grid units.

    Raises:
        DecodeError: the number of blocks is wrong, a checksum digit is not what the others call for, or padding that
            nobody may fill is not zero. Which client did it cannot be told from a sum.
    """
    if len(total.digits) != total.layout.blocks(values):
        raise DecodeError(f"{values} values stand in {total.layout.blocks(values)} blocks, not {len(total.digits)}")
    layout = total.layout
    if layout.checksum:
        wrong = (_checksums(total.digits[:, :-1], layout.checksum) - total.digits[:, -1]) % layout.checksum
        if wrong.any():
            block = int(np.argmax(wrong.any(axis=1)))
            raise DecodeError(f"block {block}: a checksum digit is wrong: a client's value was out of its range")
    flat = total.digits[:, : layout.value_digits].reshape(-1)
    flat.setflags(write=False)
    if flat[values:].any():
        raise DecodeError("the padding behind the last value is not zero: a client filled digits it must leave empty")
    return flat[:values]
