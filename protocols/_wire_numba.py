"""Residues on the wire, compiled: whole bytes of a prime's width, eight residues at a time; checks, then sums."""

from typing import Any, Final

import numpy as np
from numba import int64, types, uint8, uint64

from ._numba_vectors import (
    LANES,
    address,
    any_bit,
    constant,
    inlined,
    kernel,
    load,
    pack3,
    pack4,
    pack5,
    pack6,
    part,
    shifted_right,
    splat_word,
    store,
    unpack3,
    unpack4,
    unpack5,
    unpack6,
)
from .arrays import Int64Array, UInt8Array, UInt64Array

__all__ = ["WIDTHS", "accumulate", "check", "write", "write_row"]

WIDTHS: Final = (3, 4, 5, 6)
_BYTES: Final = types.Array(uint8, 1, "C", readonly=True)
_WORDS: Final = types.Array(uint64, 1, "C", readonly=True)
_WIDTHS: Final = types.Array(int64, 1, "C", readonly=True)
_BLOCKS: Final = types.Array(uint64, 3, "C", readonly=True)


@part
def write_row(row: int, out: int, width: int, n: int) -> None:
    """The low bytes of `n` words, from address to address."""
    if width == 6:
        for i in range(0, n, LANES):
            pack6(out + 6 * i, row + 8 * i)
    elif width == 5:
        for i in range(0, n, LANES):
            pack5(out + 5 * i, row + 8 * i)
    elif width == 4:
        for i in range(0, n, LANES):
            pack4(out + 4 * i, row + 8 * i)
    else:
        for i in range(0, n, LANES):
            pack3(out + 3 * i, row + 8 * i)


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
    verdict[0] = 0
    for polynomial in range(count):
        for j in range(len(primes)):
            width, most = widths[j], splat_word(primes[j] - np.uint64(1))
            above, together = constant(0), constant(0)
            for i in range(0, n, LANES):
                x = _read_eight(data, at + i * width, width)
                above = above | (most - x)
                together = together | x
            at += n * width
            if any_bit(shifted_right(above, splat_word(np.uint64(63)))):
                verdict[0] = 2 + j
                return
            if polynomial % 2 == parity and not any_bit(together):
                verdict[0] = 1


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
            write_row(address(x, row), address(out, at), width, n)
            at += n * width
