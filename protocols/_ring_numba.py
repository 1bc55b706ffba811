"""The only importer of `numba`: the transforms and the product of `ring`, compiled; the same residues come out.

Inside a kernel a residue is a signed double, an exact integer below 2^53. For a fixed w with |w| <= q/2, a fused
multiply-add splits x*w = high + low exactly, and with b = rint(x * (w/q)) the difference r = (high - b*q) + low is
exact too, congruent to x*w, and |r| < q as long as |x| < 15q and q < 2^48. So the forward transform corrects nothing
in its at most 15 layers, and the inverse reduces its sums only. The compiler may not reorder any of this: `fastmath`
stays off. Loops run over contiguous values, as in `ring`, for only such loops are vectorised.

Source: van der Hoeven, Lecerf and Quintin, "Modular SIMD arithmetic in Mathemagix" (2016), on floating-point moduli.
"""

import math
from collections.abc import Callable
from typing import Any, Final, TypeVar

import numpy as np
from numba import float64, njit, types, uint64, void
from numba.extending import intrinsic

from .arrays import Float64Array, UInt64Array

__all__ = ["Kernels"]

_RUN: Final = 128  # length of a contiguous run, as in `ring`
_PADDING: Final = 8  # doubles after each transposed row, so that rows do not fall on the same cache lines

_Function = TypeVar("_Function", bound=Callable[..., Any])
_OPTIONS: Final = {"nogil": True, "error_model": "numpy"}


def _kernel(*arguments: Any) -> Callable[[_Function], _Function]:
    """Compile for these arguments, into the cache beside this file (or the user's), or without one if none can be."""

    def compile_(function: _Function) -> _Function:
        try:
            kernel: _Function = njit(void(*arguments), cache=True, **_OPTIONS)(function)
        except (RuntimeError, OSError):  # no folder to cache in, or it is full
            kernel = njit(void(*arguments), **_OPTIONS)(function)
        return kernel

    return compile_


def _inlined(function: _Function) -> _Function:
    part: _Function = njit(**_OPTIONS)(function)
    return part


def _fma_instruction(_: Any, x: Any, y: Any, z: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return float64(x, y, z), generate


_fma: Any = intrinsic(_fma_instruction)  # x*y + z, rounded once


@_inlined
def _times(x: float, w: float, w_by_q: float, q: float) -> Any:
    """x*w - b*q for the b that brings it near zero."""
    high = x * w
    low = _fma(x, w, -high)
    return _fma(-np.rint(x * w_by_q), q, high) + low


@_inlined
def _centred(x: float, q: float, inverse_q: float) -> Any:
    """The representative of x in about [-q/2, q/2]."""
    return _fma(-np.rint(x * inverse_q), q, x)


@_inlined
def _residue(x: float, q: float) -> Any:
    """x in (-q, q) -> the residue in [0, q)."""
    return np.uint64(np.int64(x + q if x < 0.0 else x))


_DOUBLES: Final = types.Array(float64, 1, "C", readonly=True)
_TABLE: Final = types.Array(float64, 2, "C", readonly=True)
_TAILS: Final = types.Array(float64, 3, "C", readonly=True)
_RESIDUES: Final = types.Array(uint64, 2, "C", readonly=True)
_BLOCKS: Final = types.Array(uint64, 3, "C", readonly=True)


@_kernel(_RESIDUES, uint64[:, ::1], _DOUBLES, _DOUBLES, _TABLE, _TABLE, _TAILS, _TAILS)
def _forward(
    x: UInt64Array,
    out: UInt64Array,
    moduli: Float64Array,
    inverses: Float64Array,
    heads: Float64Array,
    heads_by_q: Float64Array,
    tails: Float64Array,
    tails_by_q: Float64Array,
) -> None:
    """Cooley and Tukey's butterflies, prime by prime."""
    n, runs = x.shape[1], heads.shape[1]
    a = np.empty(n)
    t = np.empty((_RUN, runs + _PADDING))
    for j in range(len(moduli)):
        q, inverse_q = moduli[j], inverses[j]
        for i in range(n):
            a[i] = np.float64(np.int64(x[j, i]))
        m, half = 1, n // 2
        while m < runs:
            for g in range(m):
                w, w_by_q = heads[j, m + g], heads_by_q[j, m + g]
                low, high = a[2 * g * half : (2 * g + 1) * half], a[(2 * g + 1) * half : (2 * g + 2) * half]
                for i in range(half):
                    v = _times(high[i], w, w_by_q, q)
                    high[i] = low[i] - v
                    low[i] = low[i] + v
            m, half = 2 * m, half // 2
        for r in range(runs):
            for c in range(_RUN):
                t[c, r] = a[r * _RUN + c]
        inside, half = 1, _RUN // 2
        while inside < _RUN:
            for g in range(inside):
                ws, ws_by_q = tails[j, inside - 1 + g], tails_by_q[j, inside - 1 + g]
                for c in range(2 * g * half, (2 * g + 1) * half):
                    low, high = t[c, :runs], t[c + half, :runs]
                    for i in range(runs):
                        v = _times(high[i], ws[i], ws_by_q[i], q)
                        high[i] = low[i] - v
                        low[i] = low[i] + v
            inside, half = 2 * inside, half // 2
        for r in range(runs):
            for c in range(_RUN):
                out[j, r * _RUN + c] = _residue(_centred(t[c, r], q, inverse_q), q)


@_kernel(_RESIDUES, uint64[:, ::1], _DOUBLES, _DOUBLES, _TABLE, _TABLE, _TAILS, _TAILS, _DOUBLES)
def _inverse(
    x: UInt64Array,
    out: UInt64Array,
    moduli: Float64Array,
    inverses: Float64Array,
    heads: Float64Array,
    heads_by_q: Float64Array,
    tails: Float64Array,
    tails_by_q: Float64Array,
    degree_inverse: Float64Array,
) -> None:
    """Gentleman and Sande's butterflies, prime by prime, then the division by N."""
    n, runs = x.shape[1], heads.shape[1]
    a = np.empty(n)
    t = np.empty((_RUN, runs + _PADDING))
    for j in range(len(moduli)):
        q, inverse_q = moduli[j], inverses[j]
        for r in range(runs):
            for c in range(_RUN):
                t[c, r] = np.float64(np.int64(x[j, r * _RUN + c]))
        inside, half = _RUN // 2, 1
        while inside >= 1:
            for g in range(inside):
                ws, ws_by_q = tails[j, inside - 1 + g], tails_by_q[j, inside - 1 + g]
                for c in range(2 * g * half, (2 * g + 1) * half):
                    low, high = t[c, :runs], t[c + half, :runs]
                    for i in range(runs):
                        difference = low[i] - high[i]
                        low[i] = _centred(low[i] + high[i], q, inverse_q)
                        high[i] = _times(difference, ws[i], ws_by_q[i], q)
            inside, half = inside // 2, 2 * half
        for r in range(runs):
            for c in range(_RUN):
                a[r * _RUN + c] = t[c, r]
        m, half = runs // 2, _RUN
        while m >= 1:
            for g in range(m):
                w, w_by_q = heads[j, m + g], heads_by_q[j, m + g]
                low, high = a[2 * g * half : (2 * g + 1) * half], a[(2 * g + 1) * half : (2 * g + 2) * half]
                for i in range(half):
                    difference = low[i] - high[i]
                    low[i] = _centred(low[i] + high[i], q, inverse_q)
                    high[i] = _times(difference, w, w_by_q, q)
            m, half = m // 2, 2 * half
        w = degree_inverse[j]
        for i in range(n):
            out[j, i] = _residue(_times(a[i], w, w * inverse_q, q), q)


@_kernel(_BLOCKS, _BLOCKS, uint64[:, :, ::1], _DOUBLES, _DOUBLES)
def _products(x: UInt64Array, y: UInt64Array, out: UInt64Array, moduli: Float64Array, inverses: Float64Array) -> None:
    """x*y of two residues: both below 2^48, so the split is exact here too."""
    for block in range(x.shape[0]):
        for j in range(x.shape[1]):
            q, inverse_q = moduli[j], inverses[j]
            left, right, result = x[block, j], y[block, j], out[block, j]
            for i in range(x.shape[2]):
                a, b = np.float64(np.int64(left[i])), np.float64(np.int64(right[i]))
                high = a * b
                low = _fma(a, b, -high)
                result[i] = _residue(_fma(-np.rint(high * inverse_q), q, high) + low, q)


class Kernels:
    """The compiled kernels with the tables of one ring. Pure: calls from many threads do not meet."""

    def __init__(
        self, primes: tuple[int, ...], forward: UInt64Array, backward: UInt64Array, degree_inverse: UInt64Array
    ) -> None:
        """`forward` and `backward`: twiddles uint64[K, N] in the bit-reversed order of `ring`."""
        self._q = np.array(primes, dtype=np.float64)
        self._inverse_q = 1.0 / self._q
        self._forward, self._backward = self._tables(forward), self._tables(backward)
        self._degree_inverse = self._signed(degree_inverse)[:, 0].copy()

    def _signed(self, residues: UInt64Array) -> Float64Array:
        q, values = self._q[:, None], residues.astype(np.float64)
        return np.where(values > q / 2, values - q, values)

    def _tables(self, twiddles: UInt64Array) -> tuple[Float64Array, Float64Array, Float64Array, Float64Array]:
        """Heads, for the layers between runs, and tails, [K, row, run], for those inside; each with its w/q."""
        signed, (k, n) = self._signed(twiddles), twiddles.shape
        runs = n // _RUN
        tails = np.empty((k, _RUN - 1, runs))
        inside = 1
        while inside < _RUN:
            layer = signed[:, runs * inside : 2 * runs * inside].reshape(k, runs, inside)
            tails[:, inside - 1 : 2 * inside - 1] = layer.transpose(0, 2, 1)
            inside *= 2
        heads = signed[:, :runs].copy()
        return heads, heads / self._q[:, None], tails, tails / self._q[:, None, None]

    def ntt(self, x: UInt64Array) -> UInt64Array:
        """As `Ring.ntt`."""
        out = np.empty(x.shape, dtype=np.uint64)
        _forward(_plain(x), out, self._q, self._inverse_q, *self._forward)
        return out

    def inverse_ntt(self, x: UInt64Array) -> UInt64Array:
        """As `Ring.inverse_ntt`."""
        out = np.empty(x.shape, dtype=np.uint64)
        _inverse(_plain(x), out, self._q, self._inverse_q, *self._backward, self._degree_inverse)
        return out

    def multiply(self, x: UInt64Array, y: UInt64Array) -> UInt64Array:
        """As `Ring.multiply`."""
        shape = np.broadcast_shapes(x.shape, y.shape, (len(self._q), 1))
        out = np.empty((math.prod(shape[:-2]), *shape[-2:]), dtype=np.uint64)
        left, right = (_plain(np.broadcast_to(z, shape)).reshape(out.shape) for z in (x, y))
        _products(left, right, out, self._q, self._inverse_q)
        return out.reshape(shape)


def _plain(x: UInt64Array) -> UInt64Array:
    """The same values, contiguous and aligned, as the kernels want them."""
    return np.require(x, np.uint64, ["C", "A"])
