"""From gradients to integers: each record clipped and truncated by itself, then summed exactly.

Spec: dp §2 (v1).
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..arrays import Float64Array, Int64Array
from .mechanism import Mechanism

__all__ = ["Rows", "clipped_sum"]

Rows = npt.NDArray[np.float32] | npt.NDArray[np.float64]

_BLOCK: Final = 1 << 13  # values computed at a time: they stay in the nearest caches
_EXACT_ROWS: Final = 1 << 28  # rows whose integer sum is exact in doubles: 2^28 * 2^24 < 2^53
_LEAST: Final = 1e-280
_MOST: Final = 1e280  # between these, no overflow and no underflow has touched a squared norm


def clipped_sum(rows: Rows, mechanism: Mechanism) -> Int64Array:
    """The sum over records of trunc(g * min(1, C / |g|) * U / C), each of integer L2 norm at most U.

    A record that is not finite counts as zero. A record is computed by itself: neither its place nor its companions
    change a bit of it.

    Shapes: rows [records, dim], float32 or float64; result int64[dim].
    """
    dim = rows.shape[1]
    height = max(1, _BLOCK // dim)
    scratch = np.empty(height * min(dim, _BLOCK))
    result = np.zeros(dim, dtype=np.int64)
    # Doubles throughout: integers below 2^53 are exact in them, in whatever order they are added.
    for first in range(0, len(rows), _EXACT_ROWS):
        some, total = rows[first : first + _EXACT_ROWS], np.zeros(dim)
        for start in range(0, len(some), height):
            _add(some[start : start + height], mechanism, scratch, total)
        result += total.astype(np.int64)
    return result


def _add(rows: Rows, mechanism: Mechanism, scratch: Float64Array, total: Float64Array) -> None:
    """Add the integers of these rows to `total`; `scratch` has room for one block of them."""
    squares = np.zeros(len(rows))
    with np.errstate(over="ignore", invalid="ignore"):  # such rows are computed again, with care
        for block, part in _blocks(rows, scratch):
            np.copyto(part, rows[:, block])
            squares += _squares(part)
    plain = (squares > _LEAST) & (squares < _MOST)
    if not plain.all():
        for row in rows[~plain]:
            total += _with_care(row, mechanism)
        rows, squares = rows[plain], squares[plain]
    bound = mechanism.clip_units
    factors = np.minimum(bound / mechanism.clip_norm, bound / np.sqrt(squares))
    integers = np.zeros(len(rows))
    for block, part in _blocks(rows, scratch):
        np.multiply(rows[:, block], factors[:, np.newaxis], out=part)
        np.trunc(part, out=part)
        integers += _squares(part)
        total[block] += part[0] if len(part) == 1 else part.sum(axis=0)
    for i in np.flatnonzero(integers > float(bound) ** 2):  # floating point was a last bit too large
        added = np.trunc(rows[i].astype(np.float64) * factors[i])
        total += _enforce_norm(added.astype(np.int64), bound) - added


def _blocks(rows: Rows, scratch: Float64Array) -> Iterator[tuple[slice, Float64Array]]:
    """Columns that fit into `scratch`, each with the part of it that takes them."""
    count, dim = rows.shape
    for start in range(0, dim, _BLOCK):
        stop = min(start + _BLOCK, dim)
        yield slice(start, stop), scratch[: count * (stop - start)].reshape(count, stop - start)


def _squares(part: Float64Array) -> Float64Array:
    """The squared L2 norm of each row. Exact where the entries are integers and the result is below 2^53."""
    if len(part) == 1:
        return np.array([np.dot(part[0], part[0])])
    squares: Float64Array = np.square(part).sum(axis=1)
    return squares


def _with_care(row: npt.NDArray[Any], mechanism: Mechanism) -> Int64Array:
    """The integers of one record whose norm overflows, underflows, or does not exist."""
    wide = row.astype(np.float64)
    largest = float(np.abs(wide).max())
    if not (np.isfinite(wide).all() and largest > 0):
        return np.zeros(len(row), dtype=np.int64)
    wide /= largest
    norm = float(np.sqrt(np.square(wide).sum()))
    with np.errstate(over="ignore"):  # an infinite product is clipped by the minimum
        unclipped = np.float64(largest) / mechanism.clip_norm * mechanism.clip_units
    wide *= min(float(unclipped), mechanism.clip_units / norm)
    return _enforce_norm(np.trunc(wide).astype(np.int64), mechanism.clip_units)


def _enforce_norm(row: Int64Array, clip_units: int) -> Int64Array:
    """Move every entry that is not zero one unit toward zero until the integer L2 norm is at most `clip_units`.

    Truncation leaves almost nothing to do; this makes the bound exact where floating point was a last bit too large.
    """
    while int(np.square(row).sum()) > clip_units**2:
        row = row - np.sign(row)
    return row
