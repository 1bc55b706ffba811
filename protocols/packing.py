"""Many grid integers in each polynomial coefficient.

Spec: packing §3 (v1). Value i goes to block i // (k*N), digit plane (i mod k*N) // N, coefficient i mod N. The digit
width leaves room for the sum of every client's value, so that sums never carry into a neighbour.
"""

import numpy as np

from .arrays import Int64Array
from .digits import DigitBlocks, DigitLayout
from .errors import CapacityError, DecodeError
from .grid import Grid, GridVector

__all__ = ["digit_width", "pack", "unpack"]


def digit_width(grid: Grid, clients: int) -> int:
    """Bits a digit needs so that the sum of `clients` values fits: |sum| <= clients * largest < 2^(width-1)."""
    if clients < 1:
        raise ValueError("at least one client contributes")
    return (clients * grid.largest).bit_length() + 1


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
    blocks = layout.blocks(len(vector.values))
    digits = np.zeros(blocks * layout.values_per_block, dtype=np.int64)
    digits[: len(vector.values)] = vector.values
    return DigitBlocks(layout, digits.reshape(blocks, layout.per_coefficient, layout.coefficients))


def unpack(total: DigitBlocks, values: int) -> Int64Array:
    """Read the first `values` sums back; the padding must be zero. Run by: anyone.

    Shapes: int64[blocks, k, N] -> int64[values]. Units: grid units.

    Raises:
        DecodeError: the number of blocks is wrong, or padding that nobody may fill is not zero.
    """
    if len(total.digits) != total.layout.blocks(values):
        raise DecodeError(f"{values} values stand in {total.layout.blocks(values)} blocks, not {len(total.digits)}")
    flat = total.digits.reshape(-1)
    if flat[values:].any():
        raise DecodeError("the padding behind the last value is not zero: a client filled digits it must leave empty")
    result = flat[:values].copy()
    result.setflags(write=False)
    return result
