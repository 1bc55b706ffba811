"""Residues on the wire, compiled: whole bytes of a prime's width, eight residues at a time; checks, then sums."""

from typing import Any, Final

import numpy as np
from numba import int64, types, uint8, uint64

from ._numba_vectors import (
    LANES,
    constant,
    inlined,
    kernel,
    load,
    pack3,
    pack4,
    pack5,
    pack6,
    shifted_right,
    splat_word,
    store,
    unpack3,
    unpack4,
    unpack5,
    unpack6,
)
from .arrays import Int64Array, UInt8Array, UInt64Array

__all__ = ["WIDTHS", "accumulate", "check", "read", "write", "write_eight"]

WIDTHS: Final = (3, 4, 5, 6)
_BYTES: Final = types.Array(uint8, 1, "C", readonly=True)
_WORDS: Final = types.Array(uint64, 1, "C", readonly=True)
_WIDTHS: Final = types.Array(int64, 1, "C", readonly=True)
_BLOCKS: Final = types.Array(uint64, 3, "C", readonly=True)


@inlined
def write_eight(out: Any, at: int, width: int, value: Any) -> None:
    """The low bytes of eight words."""
    if width == 6:
        pack6(out, at, value)
    elif width == 5:
        pack5(out, at, value)
    elif width == 4:
        pack4(out, at, value)
    else:
        pack3(out, at, value)


@inlined
def _read_eight(data: Any, at: int, width: int) -> Any:
    if width == 6:
        return unpack6(data, at)
    if width == 5:
        return unpack5(data, at)
    if width == 4:
        return unpack4(data, at)
    return unpack3(data, at)


@kernel(_BYTES, int64, int64, _WORDS, _WIDTHS, int64, int64, int64[::1])
def check(
    data: UInt8Array,
    at: int,
    count: int,
    primes: UInt64Array,
    widths: Int64Array,
    n: int,
    parity: int,
    verdict: Int64Array,
) -> None:
    """Verdict 1: a row of a polynomial of this parity is zero; 2 + j: a residue is not below prime j; else 0."""
    lanes = np.zeros(LANES, dtype=np.uint64)
    verdict[0] = 0
    for polynomial in range(count):
        for j in range(len(primes)):
            width, most = widths[j], splat_word(primes[j] - np.uint64(1))
            above, any_bit = constant(0), constant(0)
            for i in range(0, n, LANES):
                x = _read_eight(data, at + i * width, width)
                above = above | (most - x)
                any_bit = any_bit | x
            at += n * width
            store(lanes, 0, shifted_right(above, splat_word(np.uint64(63))))
            if lanes.any():
                verdict[0] = 2 + j
                return
            store(lanes, 0, any_bit)
            if polynomial % 2 == parity and not lanes.any():
                verdict[0] = 1


@kernel(_BYTES, int64, uint64[:, :, ::1], _WIDTHS)
def read(data: UInt8Array, at: int, out: UInt64Array, widths: Int64Array) -> None:
    """Residues uint64[P, K, N] of bytes that were checked."""
    count, k, n = out.shape
    for polynomial in range(count):
        for j in range(k):
            width, row = widths[j], (polynomial * k + j) * n
            for i in range(0, n, LANES):
                store(out, row + i, _read_eight(data, at + i * width, width))
            at += n * width


@kernel(_BYTES, int64, uint64[:, :, ::1], _WIDTHS)
def accumulate(data: UInt8Array, at: int, total: UInt64Array, widths: Int64Array) -> None:
    """Add residues of bytes that were checked, without reduction."""
    count, k, n = total.shape
    for polynomial in range(count):
        for j in range(k):
            width, row = widths[j], (polynomial * k + j) * n
            for i in range(0, n, LANES):
                store(total, row + i, load(total, row + i) + _read_eight(data, at + i * width, width))
            at += n * width


@kernel(_BLOCKS, uint8[::1], int64, _WIDTHS)
def write(x: UInt64Array, out: UInt8Array, at: int, widths: Int64Array) -> None:
    """Residues uint64[P, K, N] as bytes."""
    count, k, n = x.shape
    for polynomial in range(count):
        for j in range(k):
            width, row = widths[j], (polynomial * k + j) * n
            for i in range(0, n, LANES):
                write_eight(out, at + i * width, width, load(x, row + i))
            at += n * width
