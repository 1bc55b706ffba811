"""Encryption and answers, each in one compiled call: what is computed in between stays near the processor.

The numbers are those of `protocols.tckks.encrypt` and `Ring.answer`, which say what they mean; the same residues come
out. Scratch memory that held randomness, messages or noise is overwritten by whoever owns it.
"""

from typing import Any, Final

import numpy as np
from numba import float64, int64, types, uint8, uint64

from ._ntt_numba import PADDING, RUN, centred, from_words, product, residue, run, times, to_words, write_residue
from ._numba_vectors import (
    LANES,
    address,
    as_doubles,
    constant,
    inlined,
    kernel,
    load,
    ones,
    shifted_left,
    shifted_right,
    splat,
    splat_word,
    store,
    where_negative,
)
from ._ring_numba import CUBE, DOUBLES, FIXED, TABLE, split_fields
from ._wire_numba import write_row
from .arrays import Float64Array, Int64Array, UInt8Array, UInt64Array

__all__ = ["answer_rows", "encrypt_rows", "scratch_doubles"]

_ROWS: Final = types.Array(uint64, 2, "C", readonly=True)
_BYTES: Final = types.Array(uint8, 1, "C", readonly=True)
_WIDTHS: Final = types.Array(int64, 1, "C", readonly=True)
_DIGITS: Final = types.Array(int64, 2, "C", readonly=True)


def scratch_doubles(degree: int, rows: int) -> int:
    """How much scratch memory one call needs beside its rows."""
    return (7 + rows) * degree + RUN * (degree // RUN + PADDING)


@inlined
def _signed(x: Any) -> Any:
    """Signed words below 2^51 in magnitude -> doubles."""
    return as_doubles((x + constant(0x0008000000000000)) | constant(0x4330000000000000)) - splat(6755399441055744.0)


@inlined
def _sample(stream: Any, scratch: Any, u: int, e0: int, e1: int, n: int) -> int:
    """Ternary u and centred binomial e0, e1; the number of ternary coefficients found."""
    draws, found = n + n // 8 + 256, 0
    for i in range(draws):
        if found < n:
            octet = stream[i]
            scratch[u + found] = np.float64(np.int64(octet % np.uint8(3))) - 1.0
            found += 1 if octet < 255 else 0
    for i in range(0, n, LANES):
        for part in range(2):
            coins = load(stream, draws + 8 * (part * n + i))
            heads = ones(coins & constant(0x1FFFFF))
            tails = ones(shifted_right(coins, constant(21)) & constant(0x1FFFFF))
            store(scratch, (e0 if part == 0 else e1) + i, from_words(heads) - from_words(tails))
    return found


@kernel(
    _BYTES, _DIGITS, int64, int64, uint8[::1], int64, _WIDTHS, float64[::1], int64[::1],
    CUBE, CUBE, CUBE, DOUBLES, DOUBLES, DOUBLES, DOUBLES, int64, TABLE, int64, TABLE, TABLE,
)  # fmt: skip
def encrypt_rows(
    stream: UInt8Array,
    digits: Int64Array,
    width: int,
    joined: int,
    out: UInt8Array,
    out_at: int,
    widths: Int64Array,
    scratch: Float64Array,
    verdict: Int64Array,
    key: Float64Array,
    weights: Float64Array,
    weights_by_q: Float64Array,
    special_inverse: Float64Array,
    special_inverse_by_q: Float64Array,
    moduli: Float64Array,
    inverses: Float64Array,
    forward: int,
    tables: Float64Array,
    inverse: int,
    back_tables: Float64Array,
    one: Float64Array,
) -> None:
    """One block's ciphertext, in the bytes of the wire.

    The last of the K+1 primes is the special one. `key` [2, K+1, N] is (b, a) divided by the special prime, centred,
    but in its own row, which is as it is, multiplied by 1/N. `weights` [1, kept primes, groups] multiply groups of
    `joined` digits. `forward` and `inverse` are addresses; `one` [K+1, 2] is 1 and 1/q. Verdict: the number of ternary
    coefficients that the stream yielded.
    """
    rows, n, size = key.shape[1], key.shape[2], tables.shape[1]
    k, runs, planes, groups, kept = rows - 1, n // RUN, digits.shape[0], weights.shape[2], weights.shape[1]
    u, e0, e1, u_ntt, row, payload_ntt, own = 0, n, 2 * n, 3 * n, 4 * n, 5 * n, address(scratch, 6 * n)
    payload = 7 * n + RUN * (runs + PADDING)
    verdict[0] = _sample(stream, scratch, u, e0, e1, n)
    p, inverse_p = splat(moduli[k]), splat(inverses[k])
    unit, table, back = address(one, 2 * k), address(tables, k * size), address(back_tables, k * size)
    run(forward, (address(scratch, u), address(scratch, u_ntt), own, table, unit, runs, 0))
    for part in range(2):
        error, column = e0 + part * n, (part * rows + k) * n
        for i in range(0, n, LANES):
            store(scratch, row + i, product(load(scratch, u_ntt + i), load(key, column + i), p, inverse_p))
        run(inverse, (address(scratch, row), address(scratch, row), own, back, unit, runs, 0))
        for i in range(0, n, LANES):
            e = load(scratch, error + i)
            store(scratch, error + i, e - centred(load(scratch, row + i) + e, p, inverse_p))
    for i in range(0, n, LANES):
        for group in range(groups):
            first = group * joined
            value = load(digits, first * n + i)
            for d in range(1, joined if joined < planes - first else planes - first):
                value = value + shifted_left(load(digits, (first + d) * n + i), splat_word(np.uint64(width * d)))
            store(scratch, row + group * LANES, _signed(value))
        e = load(scratch, e0 + i)
        for j in range(k):
            q = splat(moduli[j])
            y = times(e, splat(special_inverse[j]), splat(special_inverse_by_q[j]), q)
            if j < kept:
                for group in range(groups):
                    w, w_by_q = splat(weights[0, j, group]), splat(weights_by_q[0, j, group])
                    y = y + times(load(scratch, row + group * LANES), w, w_by_q, q)
            store(scratch, payload + j * n + i, centred(y, q, splat(inverses[j])))
    at, half = out_at, 0
    for j in range(k):
        half += n * widths[j]
    for j in range(k):
        q, inverse_q, table = splat(moduli[j]), splat(inverses[j]), address(tables, j * size)
        run(forward, (address(scratch, u), address(scratch, u_ntt), own, table, unit, runs, 0))
        for part in range(2):
            source = payload + j * n
            if part == 1:
                source = row
                w, w_by_q = splat(special_inverse[j]), splat(special_inverse_by_q[j])
                for i in range(0, n, LANES):
                    store(scratch, row + i, times(load(scratch, e1 + i), w, w_by_q, q))
            run(forward, (address(scratch, source), address(scratch, payload_ntt), own, table, unit, runs, 0))
            column = (part * rows + j) * n
            for i in range(0, n, LANES):
                z = product(load(scratch, u_ntt + i), load(key, column + i), q, inverse_q)
                write_residue(
                    address(scratch, row + i), centred(z + load(scratch, payload_ntt + i), q, inverse_q), q
                )  # fmt: skip
            write_row(address(scratch, row), address(out, at + part * half), widths[j], n)
        at += n * widths[j]


@kernel(
    _ROWS, _ROWS, _BYTES, int64, int64, uint64[:, ::1], float64[::1], CUBE, DOUBLES, DOUBLES, int64, TABLE
)  # fmt: skip
def answer_rows(
    x: UInt64Array,
    secret: UInt64Array,
    stream: UInt8Array,
    bits: int,
    drop: int,
    out: UInt64Array,
    scratch: Float64Array,
    constants: Float64Array,
    moduli: Float64Array,
    inverses: Float64Array,
    inverse: int,
    tables: Float64Array,
) -> None:
    """`Ring.answer` of one ciphertext part and one piece: the dropped primes first, whose values the others need.

    `constants` [K, FIXED + drop, 2]: see `Kernels`. `inverse` is an address.
    """
    k, n = x.shape
    runs, many = n // RUN, constants.shape[1]
    low, high, row, own = 0, n, 2 * n, address(scratch, 3 * n)
    digits = 4 * n + RUN * (runs + PADDING)
    split_fields(stream, bits, scratch, low, high, n)
    for step in range(k):
        j = k - 1 - step
        steps, known = step if step < drop else drop, 2 * j * many
        q, inverse_q = splat(moduli[j]), splat(inverses[j])
        for i in range(0, n, LANES):
            z = product(from_words(load(x, j * n + i)), from_words(load(secret, j * n + i)), q, inverse_q)
            store(scratch, row + i, z)
        place = address(scratch, row), address(scratch, row), own
        run(inverse, (*place, address(tables, j * tables.shape[1]), address(constants, known), runs, 0))
        w1, w1_by_q = splat(constants[j, 1, 0]), splat(constants[j, 1, 1])
        w2, w2_by_q, less = splat(constants[j, 2, 0]), splat(constants[j, 2, 1]), splat(constants[j, 3, 0])
        for i in range(0, n, LANES):
            near = load(scratch, low + i)
            if steps > 0:
                near = near - load(scratch, digits + i)
            y = load(scratch, row + i) + times(load(scratch, high + i), w1, w1_by_q, q) - less
            y = y + times(near, w2, w2_by_q, q)
            for before in range(1, steps):
                w, w_by_q = splat(constants[j, FIXED + before, 0]), splat(constants[j, FIXED + before, 1])
                y = y - times(load(scratch, digits + before * n + i), w, w_by_q, q)
            y = residue(centred(y, q, inverse_q), q)
            if step < drop:
                above = splat((moduli[j] - 1.0) / 2.0) - y
                store(scratch, digits + step * n + i, where_negative(above, y - q, y))
            else:
                store(out, j * n + i, to_words(y))
