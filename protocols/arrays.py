"""Arrays that cannot change under their owner's hands."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Float64Array", "Int64Array", "UInt8Array", "UInt64Array", "exceeds", "frozen"]

_NEAR = 1 << 15  # elements whose second reading comes from a near cache

Int64Array = NDArray[np.int64]
UInt8Array = NDArray[np.uint8]
UInt64Array = NDArray[np.uint64]
Float64Array = NDArray[np.float64]


def frozen(array: NDArray[Any], dtype: Any, shape: tuple[int | None, ...]) -> NDArray[Any]:
    """`array`, read-only, with exactly this dtype and shape (`None` = any length along that axis).

    It is a copy, unless `array` is already read-only, contiguous and the owner of its memory: then it is given away.

    Raises:
        TypeError: the dtype differs (nothing is converted silently).
        ValueError: the shape differs.
    """
    if array.dtype != np.dtype(dtype):
        raise TypeError(f"expected dtype {np.dtype(dtype)}, got {array.dtype}")
    if array.ndim != len(shape) or any(want not in (None, got) for want, got in zip(shape, array.shape, strict=True)):
        raise ValueError(f"expected shape {shape}, got {array.shape}")
    if array.flags.owndata and array.flags.c_contiguous and not array.flags.writeable:
        return array
    copy = np.array(array, order="C", copy=True)
    copy.setflags(write=False)
    return copy


def exceeds(array: Int64Array, largest: int) -> bool:
    """Whether any element of a contiguous array has a magnitude above `largest`."""
    flat = array.reshape(-1)
    for first in range(0, len(flat), _NEAR):
        part = flat[first : first + _NEAR]
        if int(part.max()) > largest or int(part.min()) < -largest:
            return True
    return False
