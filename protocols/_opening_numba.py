"""The opening of a sum, compiled: Chinese remainders, rounding, the bounds and the digits, eight coefficients at once.

With y_j = x_j (Q/q_j)^-1 mod q_j, the centred value is v = sum of y_j (Q/q_j) - rint(sum of y_j/q_j) Q. One constant is
added, so that what is read is never negative: half of 2^shift, and half of 2^width in each digit's place. Then the bits
below `shift` are the noise plus a half, and each field above is a digit plus a half. Integers are 32-bit limbs in
64-bit words.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numba import float64, int64, types, uint64

from ._ntt_numba import from_words, product, residue, to_words
from ._numba_vectors import (
    LANES,
    any_bit,
    as_words,
    constant,
    kernel,
    load,
    shifted_down,
    shifted_left,
    shifted_right,
    splat,
    splat_word,
    store,
    where_negative,
)
from .arrays import Float64Array, Int64Array, UInt64Array

__all__ = ["UNDECIDED", "open_digits"]

_LIMB: Final = 32
_HALF: Final = 24  # a residue is two halves of 24 bits
_EDGE: Final = 2.0**-30  # closer to one half the rounded sum of fractions is not trusted
_ROUND: Final = 6755399441055744.0
UNDECIDED: Final = 2


def _limbs(value: int, count: int) -> UInt64Array:
    """The low `count` limbs of an integer, negative ones modulo 2^(32 count)."""
    return np.array([value >> (_LIMB * i) & 0xFFFFFFFF for i in range(count)], dtype=np.uint64)


@dataclass(frozen=True, slots=True, eq=False)
class _Opening:
    """The constants of one kind of opening, as limbs."""

    hat_inverse: Float64Array  # [K]
    hats: UInt64Array  # [limbs, 2, K]: Q/q_j, and 2^24 times it
    modulus: UInt64Array  # [limbs]
    added: UInt64Array  # [limbs]
    lowest: UInt64Array  # [noise limbs]: the least and the greatest allowed noise plus a half
    highest: UInt64Array


@lru_cache(maxsize=16)
def _opening(primes: tuple[int, ...], shift: int, noise_bound: int, width: int, count: int) -> _Opening:
    modulus, top = math.prod(primes), shift + width * count
    limbs = max(modulus.bit_length() + _HALF + 6, top) // _LIMB + 2
    hats = [modulus // q for q in primes]
    half = 1 << (shift - 1)
    added = half + sum(1 << (shift + width * d + width - 1) for d in range(count))
    noise_limbs = (shift + _LIMB - 1) // _LIMB
    return _Opening(
        np.array([pow(h, -1, q) for h, q in zip(hats, primes, strict=True)], dtype=np.float64),
        np.stack([np.stack([_limbs(h << s, limbs) for h in hats], axis=1) for s in (0, _HALF)], axis=1),
        _limbs(modulus, limbs),
        _limbs(added, limbs),
        _limbs(max(half - noise_bound, 0), noise_limbs),
        _limbs(min(half + noise_bound, 2 * half - 1), noise_limbs),
    )


_DOUBLES: Final = types.Array(float64, 1, "C", readonly=True)
_WORDS: Final = types.Array(uint64, 1, "C", readonly=True)
_ROWS: Final = types.Array(uint64, 2, "C", readonly=True)
_CUBE: Final = types.Array(uint64, 3, "C", readonly=True)


@kernel(
    _ROWS, int64[:, ::1], int64[::1], int64, int64, _DOUBLES, _DOUBLES, _DOUBLES, _CUBE, _WORDS, _WORDS, _WORDS, _WORDS,
    uint64[::1], uint64[::1],
)  # fmt: skip
def _open(
    x: UInt64Array,
    out: Int64Array,
    verdict: Int64Array,
    shift: int,
    width: int,
    moduli: Float64Array,
    inverses: Float64Array,
    hat_inverse: Float64Array,
    hats: UInt64Array,
    modulus: UInt64Array,
    added: UInt64Array,
    lowest: UInt64Array,
    highest: UInt64Array,
    halves: UInt64Array,
    number: UInt64Array,
) -> None:
    """Verdict 0: `out` holds the digits; 1: a bound is exceeded; 2: too close to half the modulus to say here."""
    k, n = x.shape
    count, limbs, noise_limbs = out.shape[0], len(modulus), len(lowest)
    one = splat_word(np.uint64(1))
    limb_bits, mask = splat_word(np.uint64(_LIMB)), constant(0xFFFFFFFF)
    bad, unsure = constant(0), constant(0)
    top, top_limb = shift + width * count, (shift + width * count) // _LIMB
    for i in range(0, n, LANES):
        fractions = splat(0.0)
        for j in range(k):
            y = residue(
                product(from_words(load(x, j * n + i)), splat(hat_inverse[j]), splat(moduli[j]), splat(inverses[j])),
                splat(moduli[j]),
            )
            fractions = fractions + y * splat(inverses[j])
            y_words = to_words(y)
            store(halves, 2 * j * LANES, y_words & constant(0xFFFFFF))
            store(halves, (2 * j + 1) * LANES, shifted_right(y_words, splat_word(np.uint64(_HALF))))
        whole = (fractions + splat(_ROUND)) - splat(_ROUND)
        rest = fractions - whole
        distance = splat(0.5 - _EDGE) - where_negative(rest, splat(0.0) - rest, rest)
        unsure = unsure | as_words(distance)  # the sign bit counts
        times_modulus = to_words(whole)
        carry = constant(0)
        for limb in range(limbs):
            total = carry + splat_word(added[limb])
            for j in range(k):
                total = total + load(halves, 2 * j * LANES) * (splat_word(hats[limb, 0, j]) & mask)
                total = total + load(halves, (2 * j + 1) * LANES) * (splat_word(hats[limb, 1, j]) & mask)
            total = total - times_modulus * (splat_word(modulus[limb]) & mask)
            store(number, limb * LANES, total & mask)
            carry = shifted_down(total, limb_bits)
        bad = bad | carry
        if top % _LIMB:
            bad = bad | shifted_right(load(number, top_limb * LANES), splat_word(np.uint64(top % _LIMB)))
        else:
            bad = bad | load(number, top_limb * LANES)
        for limb in range(top_limb + 1, limbs):
            bad = bad | load(number, limb * LANES)
        under, over = constant(0), constant(0)
        for limb in range(noise_limbs):
            part = load(number, limb * LANES)
            if limb == noise_limbs - 1 and shift % _LIMB:
                part = part & splat_word((np.uint64(1) << np.uint64(shift % _LIMB)) - np.uint64(1))
            under = shifted_down(part - splat_word(lowest[limb]) + under, limb_bits)
            over = shifted_down(splat_word(highest[limb]) - part + over, limb_bits)
        bad = bad | under | over
        field, half = (
            splat_word((np.uint64(1) << np.uint64(width)) - np.uint64(1)),
            np.uint64(1) << np.uint64(width - 1),
        )
        for d in range(count):
            position = shift + width * d
            at, right = (position // _LIMB) * LANES, np.uint64(position % _LIMB)
            low = load(number, at) | shifted_left(load(number, at + LANES), limb_bits)
            high = shifted_left(load(number, at + 2 * LANES), splat_word(np.uint64(63) - right))
            digit = (shifted_right(low, splat_word(right)) | shifted_left(high, one)) & field
            bad = bad | shifted_right(digit - one, splat_word(np.uint64(63)))  # a field of zero is below every digit
            store(out, d * n + i, digit - splat_word(half))
    verdict[0] = 2 if any_bit(shifted_right(unsure, splat_word(np.uint64(63)))) else (1 if any_bit(bad) else 0)


def open_digits(
    x: UInt64Array,
    primes: tuple[int, ...],
    moduli: Float64Array,
    inverses: Float64Array,
    *,
    shift: int,
    noise_bound: int,
    width: int,
    count: int,
) -> Int64Array | int:
    """As `Ring.open_digits`: the digits, 1 where a bound is exceeded, `UNDECIDED` where the reference must decide."""
    made = _opening(primes, shift, noise_bound, width, count)
    out, verdict = np.empty((count, x.shape[1]), dtype=np.int64), np.zeros(1, dtype=np.int64)
    halves = np.zeros(2 * len(primes) * LANES, dtype=np.uint64)
    number = np.zeros((len(made.modulus) + 3) * LANES, dtype=np.uint64)
    _open(
        x, out, verdict, shift, width, moduli, inverses,
        made.hat_inverse, made.hats, made.modulus, made.added, made.lowest, made.highest, halves, number,
    )  # fmt: skip
    return out if verdict[0] == 0 else int(verdict[0])
