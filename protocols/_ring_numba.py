"""The operations of `ring`, compiled with numba: the same residues come out.

Residues of a batch lie prime by prime; a prime's tables are used for all polynomials before the next prime's.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numba import float64, int64, types, uint8, uint64

from ._ntt_numba import PADDING, RUN, centred, forward, from_words, inverse, product, residue, times, to_words
from ._numba_vectors import (
    LANES,
    constant,
    inlined,
    kernel,
    load,
    load_word,
    shifted_down,
    splat,
    splat_word,
    store,
    where_negative,
)
from ._opening_numba import open_digits
from .arrays import Float64Array, Int64Array, UInt8Array, UInt64Array

__all__ = ["Kernels", "centred_integer", "plain", "rescaling"]

DOUBLES: Final = types.Array(float64, 1, "C", readonly=True)
TABLE: Final = types.Array(float64, 2, "C", readonly=True)
TAILS: Final = types.Array(float64, 3, "C", readonly=True)
BLOCKS: Final = types.Array(uint64, 3, "C", readonly=True)


@kernel(BLOCKS, uint64[:, :, ::1], float64[::1], DOUBLES, DOUBLES, TABLE, TABLE, TAILS)
def _forward(
    x: UInt64Array,
    out: UInt64Array,
    scratch: Float64Array,
    moduli: Float64Array,
    inverses: Float64Array,
    heads: Float64Array,
    heads_by_q: Float64Array,
    tails: Float64Array,
) -> None:
    """Coefficient form to NTT form."""
    batch, k, n = x.shape
    a, t = scratch[:n], scratch[n : n + RUN * (n // RUN + PADDING)]
    for j in range(k):
        for b in range(batch):
            at = (b * k + j) * n
            forward(
                x, at, out, at, a, t, j, n // RUN, moduli, inverses, heads, heads_by_q, tails
            )  # fmt: skip


@kernel(BLOCKS, uint64[:, :, ::1], float64[::1], DOUBLES, DOUBLES, TABLE, TABLE, TAILS, DOUBLES)
def _inverse(
    x: UInt64Array,
    out: UInt64Array,
    scratch: Float64Array,
    moduli: Float64Array,
    inverses: Float64Array,
    heads: Float64Array,
    heads_by_q: Float64Array,
    tails: Float64Array,
    degree_inverse: Float64Array,
) -> None:
    """NTT form to coefficient form."""
    batch, k, n = x.shape
    a, t = scratch[:n], scratch[n : n + RUN * (n // RUN + PADDING)]
    for j in range(k):
        w = degree_inverse[j]
        for b in range(batch):
            at = (b * k + j) * n
            inverse(
                x, at, out, at, a, t, j, n // RUN, moduli, inverses, heads, heads_by_q, tails,
                w, w * inverses[j],
            )  # fmt: skip


@kernel(BLOCKS, BLOCKS, uint64[:, :, ::1], DOUBLES, DOUBLES)
def _products(x: UInt64Array, y: UInt64Array, out: UInt64Array, moduli: Float64Array, inverses: Float64Array) -> None:
    """x*y of two residues: both below 2^48, so the split is exact here too. One operand may stand for all blocks."""
    blocks, k, n = out.shape
    for b in range(blocks):
        for j in range(k):
            q, inverse_q = splat(moduli[j]), splat(inverses[j])
            left, right = ((b % x.shape[0]) * k + j) * n, ((b % y.shape[0]) * k + j) * n
            for i in range(0, n, LANES):
                z = product(from_words(load(x, left + i)), from_words(load(y, right + i)), q, inverse_q)
                store(out, (b * k + j) * n + i, to_words(residue(z, q)))


@kernel(BLOCKS, BLOCKS, uint64[:, :, ::1], DOUBLES, int64)
def _sums(x: UInt64Array, y: UInt64Array, out: UInt64Array, moduli: Float64Array, sign: int) -> None:
    """x + y for a positive sign, x - y otherwise. One operand may stand for all blocks."""
    blocks, k, n = out.shape
    for b in range(blocks):
        for j in range(k):
            q = splat_word(np.uint64(moduli[j]))
            left, right = ((b % x.shape[0]) * k + j) * n, ((b % y.shape[0]) * k + j) * n
            for i in range(0, n, LANES):
                z = load(x, left + i) - (q - load(y, right + i) if sign > 0 else load(y, right + i))
                store(out, (b * k + j) * n + i, z + (q & shifted_down(z, constant(63))))


@inlined
def rescaled(
    x: Any, x_at: int, n: int, i: int, prime: int, drop: int, k: int, digits: Any, moduli: Any, inverses: Any,
    factors: Any, factors_by_q: Any,
) -> Any:  # fmt: skip
    """Eight coefficients modulo one prime after the division by the primes behind it, at most `drop`; in [0, q).

    `digits` holds what was subtracted before each division; `factors` [prime, step] the products of the inverses.
    """
    q, inverse_q = splat(moduli[prime]), splat(inverses[prime])
    y = from_words(load(x, x_at + prime * n + i))
    steps = min(drop, k - 1 - prime)
    if steps > 0:
        y = times(y - load(digits, 0), splat(factors[prime, 0]), splat(factors_by_q[prime, 0]), q)
    for step in range(1, steps):
        y = y - times(load(digits, step * LANES), splat(factors[prime, step]), splat(factors_by_q[prime, step]), q)
    return residue(centred(y, q, inverse_q), q)


@inlined
def rescale_row(
    x: Any, x_at: int, out: Any, out_at: int, n: int, drop: int, k: int, digits: Any, moduli: Any, inverses: Any,
    factors: Any, factors_by_q: Any,
) -> None:  # fmt: skip
    """One polynomial of `k` rows of residues, divided by its last `drop` primes."""
    for i in range(0, n, LANES):
        for step in range(drop):
            p = k - 1 - step
            y = rescaled(x, x_at, n, i, p, drop, k, digits, moduli, inverses, factors, factors_by_q)
            above = splat((moduli[p] - 1.0) / 2.0) - y
            store(digits, step * LANES, where_negative(above, y - splat(moduli[p]), y))
        for j in range(k - drop):
            y = rescaled(x, x_at, n, i, j, drop, k, digits, moduli, inverses, factors, factors_by_q)
            store(out, out_at + j * n + i, to_words(y))


@kernel(BLOCKS, uint64[:, :, ::1], int64, DOUBLES, DOUBLES, TABLE, TABLE)
def _rescale(
    x: UInt64Array,
    out: UInt64Array,
    drop: int,
    moduli: Float64Array,
    inverses: Float64Array,
    factors: Float64Array,
    factors_by_q: Float64Array,
) -> None:
    blocks, k, n = x.shape
    digits = np.zeros(LANES * (drop + 1))
    for b in range(blocks):
        rescale_row(
            x, b * k * n, out, b * (k - drop) * n, n, drop, k, digits, moduli, inverses, factors, factors_by_q
        )  # fmt: skip
    digits[:] = 0.0


@inlined
def split_fields(stream: Any, bits: int, low: Any, high: Any, n: int) -> None:
    """Fields of ceil(bits/8) bytes as two doubles: the low 48 bits, and those above. Reads 8 bytes past the last."""
    width = (bits + 7) // 8
    low_mask = np.uint64((1 << min(bits, 48)) - 1)
    high_mask = np.uint64((1 << max(bits - 48, 0)) - 1)
    for i in range(n):
        low[i] = np.float64(np.int64(load_word(stream, i * width) & low_mask))
        high[i] = np.float64(np.int64(load_word(stream, i * width + 6) & high_mask))


@kernel(types.Array(uint8, 1, "C", readonly=True), int64, uint64[:, ::1], DOUBLES, DOUBLES, TABLE)
def _small_uniform(
    stream: UInt8Array,
    bits: int,
    out: UInt64Array,
    moduli: Float64Array,
    inverses: Float64Array,
    constants: Float64Array,
) -> None:
    """`constants` [prime]: 2^48, the same by q, and 2^(bits - 1), as centred residues."""
    k, n = out.shape
    low, high = np.empty(n), np.empty(n)
    split_fields(stream, bits, low, high, n)
    for j in range(k):
        q, inverse_q = splat(moduli[j]), splat(inverses[j])
        for i in range(0, n, LANES):
            y = times(load(high, i), splat(constants[j, 0]), splat(constants[j, 1]), q)
            store(
                out, j * n + i, to_words(residue(centred(y + load(low, i) - splat(constants[j, 2]), q, inverse_q), q))
            )
    low[:] = 0.0
    high[:] = 0.0


@kernel(BLOCKS, BLOCKS, uint64[:, ::1], DOUBLES, DOUBLES)
def _fingerprint(
    x: UInt64Array, weights: UInt64Array, out: UInt64Array, moduli: Float64Array, inverses: Float64Array
) -> None:
    blocks, k, n = x.shape
    lanes = np.empty(LANES, dtype=np.uint64)
    for r in range(weights.shape[0]):
        for j in range(k):
            q, inverse_q = splat(moduli[j]), splat(inverses[j])
            total = splat(0.0)
            for b in range(blocks):
                at, weight = (b * k + j) * n, (r * blocks + b) * n
                for i in range(0, n, LANES):
                    z = product(from_words(load(x, at + i)), from_words(load(weights, weight + i)), q, inverse_q)
                    total = centred(total + z, q, inverse_q)
            store(lanes, 0, to_words(residue(total, q)))
            out[r, j] = lanes.sum() % np.uint64(moduli[j])


class Kernels:
    """The compiled kernels with the tables of one ring. Pure: calls from many threads do not meet."""

    def __init__(
        self, primes: tuple[int, ...], forward: UInt64Array, backward: UInt64Array, degree_inverse: UInt64Array
    ) -> None:
        """`forward` and `backward`: twiddles uint64[K, N] in the bit-reversed order of `ring`."""
        self.primes = primes
        self.q = np.array(primes, dtype=np.float64)
        self.inverse_q = 1.0 / self.q
        self.forward, self.backward = self._tables(forward), self._tables(backward)
        self.degree_inverse = self.signed(degree_inverse)[:, 0].copy()
        self._spare: list[Float64Array] = []

    def signed(self, residues: UInt64Array) -> Float64Array:
        """Centred representatives, as doubles: uint64[K, ...] -> float64[K, ...]."""
        q, values = self.q[:, None], residues.astype(np.float64)
        return np.where(values > q / 2, values - q, values)

    def _tables(self, twiddles: UInt64Array) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Heads [K, row], for the layers between rows, their w/q, and tails for those inside.

        Tails lie as they are read: [K, eight rows, layer and group, w or w/q, row of the eight].
        """
        signed, (k, n) = self.signed(twiddles), twiddles.shape
        runs = n // RUN
        tails = np.empty((k, RUN - 1, runs))
        inside = 1
        while inside < RUN:
            layer = signed[:, runs * inside : 2 * runs * inside].reshape(k, runs, inside)
            tails[:, inside - 1 : 2 * inside - 1] = layer.transpose(0, 2, 1)
            inside *= 2
        heads = signed[:, :runs].copy()
        pairs = np.stack([tails, tails / self.q[:, None, None]], axis=2).reshape(k, RUN - 1, 2, runs // LANES, LANES)
        lying = np.ascontiguousarray(pairs.transpose(0, 3, 1, 2, 4)).reshape(k, runs // LANES, -1)
        return heads, heads / self.q[:, None], lying

    def _batch(self, x: UInt64Array) -> UInt64Array:
        k, n = self.shape
        return plain(x).reshape(math.prod(x.shape[:-2]), k, n)

    @property
    def shape(self) -> tuple[int, int]:
        """(K, N)."""
        k, runs = self.forward[0].shape
        return k, runs * RUN

    @contextmanager
    def scratch(self, doubles: int) -> Iterator[Float64Array]:
        """Memory that is used again, each time by one thread, and overwritten after each use: it may hold secrets."""
        try:
            memory = self._spare.pop()
        except IndexError:
            memory = np.empty(0)
        if len(memory) < doubles:
            memory = np.empty(doubles)
        try:
            yield memory
        finally:
            memory[:doubles] = 0.0
            self._spare.append(memory)

    def _transform_doubles(self) -> int:
        n = self.shape[1]
        return n + RUN * (n // RUN + PADDING)

    def ntt(self, x: UInt64Array) -> UInt64Array:
        """As `Ring.ntt`."""
        batch = self._batch(x)
        out = np.empty(batch.shape, dtype=np.uint64)
        with self.scratch(self._transform_doubles()) as scratch:
            _forward(batch, out, scratch, self.q, self.inverse_q, *self.forward)
        return out.reshape(x.shape)

    def inverse_ntt(self, x: UInt64Array) -> UInt64Array:
        """As `Ring.inverse_ntt`."""
        batch = self._batch(x)
        out = np.empty(batch.shape, dtype=np.uint64)
        with self.scratch(self._transform_doubles()) as scratch:
            _inverse(batch, out, scratch, self.q, self.inverse_q, *self.backward, self.degree_inverse)
        return out.reshape(x.shape)

    def _pairwise(
        self, x: UInt64Array, y: UInt64Array
    ) -> tuple[UInt64Array, UInt64Array, UInt64Array, tuple[int, ...]]:
        shape = np.broadcast_shapes(x.shape, y.shape, (len(self.q), 1))
        out = np.empty((math.prod(shape[:-2]), *shape[-2:]), dtype=np.uint64)
        return self._operand(x, shape), self._operand(y, shape), out, shape

    def multiply(self, x: UInt64Array, y: UInt64Array) -> UInt64Array:
        """As `Ring.multiply`, for rows of a multiple of eight."""
        left, right, out, shape = self._pairwise(x, y)
        _products(left, right, out, self.q, self.inverse_q)
        return out.reshape(shape)

    def add(self, x: UInt64Array, y: UInt64Array) -> UInt64Array:
        """As `Ring.add`, for rows of a multiple of eight."""
        left, right, out, shape = self._pairwise(x, y)
        _sums(left, right, out, self.q, 1)
        return out.reshape(shape)

    def subtract(self, x: UInt64Array, y: UInt64Array) -> UInt64Array:
        """As `Ring.subtract`, for rows of a multiple of eight."""
        left, right, out, shape = self._pairwise(x, y)
        _sums(left, right, out, self.q, -1)
        return out.reshape(shape)

    @staticmethod
    def _operand(z: UInt64Array, shape: tuple[int, ...]) -> UInt64Array:
        target = shape[-2:] if math.prod(z.shape[:-2]) == 1 else shape
        return plain(np.broadcast_to(z.reshape(z.shape[-2:]) if len(target) == 2 else z, target)).reshape(
            -1, *shape[-2:]
        )

    def rescale(self, x: UInt64Array, drop: int) -> UInt64Array:
        """As `Ring.rescale`."""
        batch, (k, n) = self._batch(x), x.shape[-2:]
        out = np.empty((len(batch), k - drop, n), dtype=np.uint64)
        _rescale(batch, out, drop, self.q, self.inverse_q, *rescaling(self.primes, drop))
        return out.reshape(*x.shape[:-2], k - drop, n)

    def shift_constants(self, bits: int) -> Float64Array:
        """For fields of 48 + 48 bits: 2^48, the same by q, and 2^(bits-1), centred, [K, 3]."""
        rows = [
            [centred_integer(1 << 48, q), centred_integer(1 << 48, q) / q, centred_integer(1 << (bits - 1), q)]
            for q in self.primes
        ]
        return np.array(rows, dtype=np.float64)

    def small_uniform(self, stream: bytes, bits: int) -> UInt64Array:
        """As `Ring.small_uniform`."""
        out = np.empty(self.shape, dtype=np.uint64)
        padded = np.frombuffer(stream + bytes(8 + LANES), np.uint8)
        _small_uniform(padded, bits, out, self.q, self.inverse_q, self.shift_constants(bits))
        return out

    def fingerprint(self, x: UInt64Array, weights: UInt64Array) -> UInt64Array:
        """As `Ring.fingerprint`."""
        out = np.empty((len(weights), len(self.q)), dtype=np.uint64)
        _fingerprint(plain(x), plain(weights), out, self.q, self.inverse_q)
        return out

    def answer(self, x: UInt64Array, secret: UInt64Array, stream: bytes, bits: int, drop: int) -> UInt64Array:
        """As `Ring.answer`."""
        from ._fused_numba import answer_rows, scratch_doubles

        k, n = self.shape
        out, padded = np.empty((k - drop, n), dtype=np.uint64), np.frombuffer(stream + bytes(8 + LANES), np.uint8)
        own = scratch_doubles(n, 0)
        with self.scratch(own + k * n) as scratch:
            smudged = scratch[own : own + k * n].view(np.uint64).reshape(k, n)
            answer_rows(
                plain(x), plain(secret), padded, bits, drop, out, scratch, smudged, self.shift_constants(bits),
                self.q, self.inverse_q, *self.backward, self.degree_inverse, *rescaling(self.primes, drop),
            )  # fmt: skip
        return out

    def open_digits(self, x: UInt64Array, *, shift: int, noise_bound: int, width: int, count: int) -> Int64Array | int:
        """As `Ring.open_digits`; 1 where a bound is exceeded, 2 where the reference must decide."""
        return open_digits(
            plain(x), self.primes, self.q, self.inverse_q,
            shift=shift, noise_bound=noise_bound, width=width, count=count,
        )  # fmt: skip


@lru_cache(maxsize=16)
def rescaling(primes: tuple[int, ...], drop: int) -> tuple[Float64Array, Float64Array]:
    """For `rescaled`: [K, max(drop, 1)] products of inverses of dropped primes, centred, and the same by q."""
    k = len(primes)
    factors = np.zeros((k, max(drop, 1)))
    for j, q in enumerate(primes):
        steps = min(drop, k - 1 - j)
        for first in range(steps):
            factors[j, first] = centred_integer(math.prod(pow(p, -1, q) for p in primes[k - steps : k - first]), q)
    return factors, factors / np.array(primes, dtype=np.float64)[:, None]


def centred_integer(value: int, q: int) -> int:
    """The representative of `value` modulo q in (-q/2, q/2)."""
    value %= q
    return value - q if value > q // 2 else value


def plain(x: UInt64Array) -> UInt64Array:
    """The same values, contiguous and aligned, as the kernels want them."""
    return np.require(x, np.uint64, ["C", "A"])
