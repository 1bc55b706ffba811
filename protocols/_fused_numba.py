"""Encryption and answers, each in one compiled call: what is computed in between stays near the processor.

The numbers are those of `protocols.tckks.encrypt` and `Ring.answer`, which say what they mean; the same residues come
out. Scratch memory that held randomness, messages or noise is overwritten by whoever owns it.
"""

from typing import Any, Final

import numpy as np
from numba import float64, int64, types, uint8, uint64

from ._ntt_numba import PADDING, RUN, centred, forward, from_words, inverse, product, residue, times, to_words
from ._numba_vectors import (
    LANES,
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
)
from ._ring_numba import DOUBLES, TABLE, TAILS, rescale_row, split_fields
from ._wire_numba import write_eight
from .arrays import Float64Array, Int64Array, UInt8Array, UInt64Array

__all__ = ["answer_rows", "encrypt_rows", "scratch_doubles"]

_ROWS: Final = types.Array(uint64, 2, "C", readonly=True)
_BYTES: Final = types.Array(uint8, 1, "C", readonly=True)
_WIDTHS: Final = types.Array(int64, 1, "C", readonly=True)
_DIGITS: Final = types.Array(int64, 2, "C", readonly=True)
_CUBE: Final = types.Array(float64, 3, "C", readonly=True)


def scratch_doubles(degree: int, rows: int) -> int:
    """How much scratch memory one call needs beside its rows."""
    return (7 + rows) * degree + RUN * (degree // RUN + PADDING)


@inlined
def _signed(x: Any) -> Any:
    """Signed words below 2^51 in magnitude -> doubles."""
    return as_doubles((x + constant(0x0008000000000000)) | constant(0x4330000000000000)) - splat(6755399441055744.0)


@inlined
def _sample(stream: Any, u: Any, e0: Any, e1: Any, n: int) -> int:
    """Ternary u and centred binomial e0, e1; the number of ternary coefficients found."""
    draws, found = n + n // 8 + 256, 0
    for i in range(draws):
        if found < n:
            octet = stream[i]
            u[found] = np.float64(np.int64(octet % np.uint8(3))) - 1.0
            found += 1 if octet < 255 else 0
    for i in range(0, n, LANES):
        for part in range(2):
            coins = load(stream, draws + 8 * (part * n + i))
            heads = ones(coins & constant(0x1FFFFF))
            tails = ones(shifted_right(coins, constant(21)) & constant(0x1FFFFF))
            store(e0 if part == 0 else e1, i, from_words(heads) - from_words(tails))
    return found


@kernel(
    _BYTES, _DIGITS, int64, int64, uint8[::1], int64, _WIDTHS, float64[::1], int64[::1],
    _CUBE, _CUBE, _CUBE, DOUBLES, DOUBLES, DOUBLES, DOUBLES,
    TABLE, TABLE, TAILS, TABLE, TABLE, TAILS,
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
    heads: Float64Array,
    heads_by_q: Float64Array,
    tails: Float64Array,
    back_heads: Float64Array,
    back_heads_by_q: Float64Array,
    back_tails: Float64Array,
) -> None:
    """One block's ciphertext, in the bytes of the wire.

    The last of the K+1 primes is the special one. `key` [2, K+1, N] is (b, a) divided by the special prime, centred,
    but in its own row, which is as it is, multiplied by 1/N. `weights` [1, kept primes, groups] multiply groups of
    `joined` digits. Verdict: the number of ternary coefficients that the stream yielded.
    """
    rows, n = key.shape[1], key.shape[2]
    k, runs, planes, groups, kept = rows - 1, n // RUN, digits.shape[0], weights.shape[2], weights.shape[1]
    u, e0, e1 = scratch[:n], scratch[n : 2 * n], scratch[2 * n : 3 * n]
    u_ntt, row, payload_ntt, a = (
        scratch[3 * n : 4 * n],
        scratch[4 * n : 5 * n],
        scratch[5 * n : 6 * n],
        scratch[6 * n : 7 * n],
    )
    t = scratch[7 * n : 7 * n + RUN * (runs + PADDING)]
    payload = scratch[7 * n + RUN * (runs + PADDING) :]
    verdict[0] = _sample(stream, u, e0, e1, n)
    p, inverse_p = splat(moduli[k]), splat(inverses[k])
    forward(u, 0, u_ntt, 0, a, t, k, runs, moduli, inverses, heads, heads_by_q, tails)
    for part in range(2):
        error = e0 if part == 0 else e1
        for i in range(0, n, LANES):
            store(row, i, product(load(u_ntt, i), load(key, (part * rows + k) * n + i), p, inverse_p))
        inverse(
            row, 0, row, 0, a, t, k, runs, moduli, inverses, back_heads, back_heads_by_q, back_tails, 1.0, inverses[k]
        )  # fmt: skip
        for i in range(0, n, LANES):
            e = load(error, i)
            store(error, i, e - centred(load(row, i) + e, p, inverse_p))
    for i in range(0, n, LANES):
        for group in range(groups):
            first = group * joined
            value = load(digits, first * n + i)
            for d in range(1, min(joined, planes - first)):
                value = value + shifted_left(load(digits, (first + d) * n + i), splat_word(np.uint64(width * d)))
            store(row, group * LANES, _signed(value))
        e = load(e0, i)
        for j in range(k):
            q, inverse_q = splat(moduli[j]), splat(inverses[j])
            y = times(e, splat(special_inverse[j]), splat(special_inverse_by_q[j]), q)
            if j < kept:
                for group in range(groups):
                    w, w_by_q = splat(weights[0, j, group]), splat(weights_by_q[0, j, group])
                    y = y + times(load(row, group * LANES), w, w_by_q, q)
            store(payload, j * n + i, centred(y, q, inverse_q))
    at, half = out_at, 0
    for j in range(k):
        half += n * widths[j]
    for j in range(k):
        q, inverse_q, octets = splat(moduli[j]), splat(inverses[j]), widths[j]
        forward(u, 0, u_ntt, 0, a, t, j, runs, moduli, inverses, heads, heads_by_q, tails)
        for part in range(2):
            if part == 0:
                forward(
                    payload, j * n, payload_ntt, 0, a, t, j, runs, moduli, inverses, heads, heads_by_q, tails
                )  # fmt: skip
            else:
                for i in range(0, n, LANES):
                    store(row, i, times(load(e1, i), splat(special_inverse[j]), splat(special_inverse_by_q[j]), q))
                forward(row, 0, payload_ntt, 0, a, t, j, runs, moduli, inverses, heads, heads_by_q, tails)
            for i in range(0, n, LANES):
                y = product(load(u_ntt, i), load(key, (part * rows + j) * n + i), q, inverse_q) + load(payload_ntt, i)
                write_eight(
                    out, at + part * half + i * octets, octets, to_words(residue(centred(y, q, inverse_q), q))
                )  # fmt: skip
        at += n * octets


@kernel(
    _ROWS, _ROWS, _BYTES, int64, int64, uint64[:, ::1], float64[::1], uint64[:, ::1],
    TABLE, DOUBLES, DOUBLES, TABLE, TABLE, TAILS, DOUBLES, TABLE, TABLE,
)  # fmt: skip
def answer_rows(
    x: UInt64Array,
    secret: UInt64Array,
    stream: UInt8Array,
    bits: int,
    drop: int,
    out: UInt64Array,
    scratch: Float64Array,
    smudged: UInt64Array,
    constants: Float64Array,
    moduli: Float64Array,
    inverses: Float64Array,
    heads: Float64Array,
    heads_by_q: Float64Array,
    tails: Float64Array,
    degree_inverse: Float64Array,
    factors: Float64Array,
    factors_by_q: Float64Array,
) -> None:
    """`Ring.answer` of one ciphertext part and one piece."""
    k, n = x.shape
    runs = n // RUN
    low, high, row, a = scratch[:n], scratch[n : 2 * n], scratch[2 * n : 3 * n], scratch[3 * n : 4 * n]
    t = scratch[4 * n : 4 * n + RUN * (runs + PADDING)]
    split_fields(stream, bits, low, high, n)
    for j in range(k):
        q, inverse_q = splat(moduli[j]), splat(inverses[j])
        for i in range(0, n, LANES):
            z = product(from_words(load(x, j * n + i)), from_words(load(secret, j * n + i)), q, inverse_q)
            store(row, i, z)
        w = degree_inverse[j]
        inverse(
            row, 0, row, 0, a, t, j, runs, moduli, inverses, heads, heads_by_q, tails, w, w * inverses[j]
        )  # fmt: skip
        for i in range(0, n, LANES):
            y = times(load(high, i), splat(constants[j, 0]), splat(constants[j, 1]), q) + load(low, i)
            y = centred(y - splat(constants[j, 2]) + load(row, i), q, inverse_q)
            store(smudged, j * n + i, to_words(residue(y, q)))
    rescale_row(smudged, 0, out, 0, n, drop, k, scratch, moduli, inverses, factors, factors_by_q)
