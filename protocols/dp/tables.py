"""Inversion of a table: integers with a law that is symmetric about zero, from 64 bits of a keystream each.

Spec: dp §3.1 (v1).
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

import numpy as np

from ..arrays import Int64Array, UInt64Array
from ..sampling import Keystream

__all__ = ["BITS", "SymmetricTable"]

_HIGH_BITS: Final = 63  # compared for every draw
_LOW_BITS: Final = 192  # compared only where the high bits are equal, once in more than 2^44 draws
_GUIDE_BITS: Final = 16  # the first bits of a draw say where in the table to look
_CHUNK: Final = 1 << 14  # draws looked up at a time, so that they stay in a near cache

BITS: Final = _HIGH_BITS + _LOW_BITS
"""Precision of the thresholds."""


class SymmetricTable:
    """The law of |z| as 255-bit cumulative thresholds; the sign is one more bit.

    `thresholds[k]` is floor(P(|z| <= k) * 2^255), increasing. |z| is the number of thresholds <= U for a uniform
    255-bit U, so it is at most their number, `cut`. A draw whose high bits are in a bucket with at most one threshold
    (nearly all) takes two look-ups; the others are searched for.
    """

    __slots__ = ("_crowded", "_first", "_high", "_thresholds", "cut")

    def __init__(self, thresholds: Sequence[int]) -> None:
        self.cut: Final = len(thresholds)
        self._thresholds = thresholds
        # One more, above every draw, so that the last look-up needs no special case.
        self._high = np.array([*(t >> _LOW_BITS for t in thresholds), 1 << _HIGH_BITS], dtype=np.uint64)
        edges = np.arange((1 << _GUIDE_BITS) + 1, dtype=np.uint64) << np.uint64(_HIGH_BITS - _GUIDE_BITS)
        first = np.searchsorted(self._high, edges, side="left")
        self._first = first[:-1].astype(np.int64)  # thresholds before the bucket
        self._crowded = np.diff(first) > 1

    def draw(self, n: int, stream: Keystream) -> Int64Array:
        """`n` independent values. Shapes: int64[n]."""
        words = stream.uint64(n)
        values = np.empty(n, dtype=np.int64)
        for start in range(0, n, _CHUNK):
            values[start : start + _CHUNK] = self._look_up(words[start : start + _CHUNK], stream)
        return values

    def _look_up(self, words: UInt64Array, stream: Keystream) -> Int64Array:
        uniform = words & np.uint64((1 << _HIGH_BITS) - 1)
        bucket = (uniform >> np.uint64(_HIGH_BITS - _GUIDE_BITS)).view(np.int64)
        magnitude = self._first[bucket]
        threshold = self._high[magnitude]
        magnitude += uniform >= threshold
        unsure = np.flatnonzero(self._crowded[bucket] | (uniform == threshold))
        if unsure.size:
            magnitude[unsure] = self._search(uniform[unsure], stream)
        negative = (words >> np.uint64(_HIGH_BITS)).view(np.int64)
        result: Int64Array = (magnitude ^ -negative) + negative
        return result

    def _search(self, uniform: UInt64Array, stream: Keystream) -> Int64Array:
        magnitude: Int64Array = np.searchsorted(self._high, uniform, side="right").astype(np.int64)
        for i in np.flatnonzero((magnitude > 0) & (self._high[magnitude - 1] == uniform)):
            low = int.from_bytes(stream.read(_LOW_BITS // 8), "little")  # the high bits alone do not decide
            magnitude[i] = bisect_right(self._thresholds, (int(uniform[i]) << _LOW_BITS) | low)
        return magnitude
