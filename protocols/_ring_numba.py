"""The operations of `ring`, compiled with numba: the same residues come out.

Residues of a batch lie prime by prime; a prime's tables are used for all polynomials before the next prime's.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numba import float64, int64, types, uint8, uint64

from ._ntt_numba import (
    FROM_WORDS,
    PADDING,
    PREFIX,
    RUN,
    TO_WORDS,
    centred,
    forward,
    from_words,
    inverse,
    product,
    residue,
    run,
    times,
    to_words,
)
from ._numba_vectors import (
    LANES,
    address,
    constant,
    kernel,
    load,
    load_word,
    part,
    shifted_down,
    splat,
    splat_word,
    store,
    where_negative,
)
from ._opening_numba import open_digits
from .arrays import Float64Array, Int64Array, UInt8Array, UInt64Array

__all__ = ["FIXED", "Kernels", "centred_integer", "plain", "split_fields"]

DOUBLES: Final = types.Array(float64, 1, "C", readonly=True)
TABLE: Final = types.Array(float64, 2, "C", readonly=True)
CUBE: Final = types.Array(float64, 3, "C", readonly=True)
BLOCKS: Final = types.Array(uint64, 3, "C", readonly=True)

FIXED: Final = 4  # factors of each prime before those of the divisions


@kernel(int64, BLOCKS, uint64[:, :, ::1], float64[::1], TABLE, TABLE)
def _transform(
    function: int,
    x: UInt64Array,
    out: UInt64Array,
    scratch: Float64Array,
    tables: Float64Array,
    factors: Float64Array,
) -> None:
    """Residues to residues: `function` is the address of `forward` or `inverse`."""
    batch, k, n = x.shape
    for j in range(k):
        table, factor = address(tables, j * tables.shape[1]), address(factors, 2 * j)
        for b in range(batch):
            at = (b * k + j) * n
            place = address(x, at), address(out, at), address(scratch, 0)
            run(function, (*place, table, factor, n // RUN, FROM_WORDS | TO_WORDS))


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


@kernel(BLOCKS, uint64[:, :, ::1], int64, float64[::1], CUBE, DOUBLES, DOUBLES)
def _rescale(
    x: UInt64Array,
    out: UInt64Array,
    drop: int,
    digits: Float64Array,
    constants: Float64Array,
    moduli: Float64Array,
    inverses: Float64Array,
) -> None:
    """The dropped primes first: `digits` holds what is subtracted before each division. `constants`: see `Kernels`."""
    blocks, k, n = x.shape
    for b in range(blocks):
        for i in range(0, n, LANES):
            for step in range(k):
                j = k - 1 - step
                q = splat(moduli[j])
                y = from_words(load(x, (b * k + j) * n + i))
                if step > 0 and drop > 0:
                    w, w_by_q = splat(constants[j, FIXED, 0]), splat(constants[j, FIXED, 1])
                    y = times(y - load(digits, 0), w, w_by_q, q)
                for before in range(1, step if step < drop else drop):
                    w, w_by_q = splat(constants[j, FIXED + before, 0]), splat(constants[j, FIXED + before, 1])
                    y = y - times(load(digits, before * LANES), w, w_by_q, q)
                y = residue(centred(y, q, splat(inverses[j])), q)
                if step < drop:
                    above = splat((moduli[j] - 1.0) / 2.0) - y
                    store(digits, step * LANES, where_negative(above, y - q, y))
                else:
                    store(out, (b * (k - drop) + j) * n + i, to_words(y))


@part
def split_fields(stream: Any, bits: int, out: Any, low: int, high: int, n: int) -> None:
    """Fields of ceil(bits/8) bytes as two doubles: the low 48 bits, and those above. Reads 8 bytes past the last."""
    width = (bits + 7) // 8
    low_mask = np.uint64((1 << (bits if bits < 48 else 48)) - 1)
    high_mask = np.uint64((1 << (bits - 48 if bits > 48 else 0)) - 1)
    for i in range(n):
        out[low + i] = np.float64(np.int64(load_word(stream, i * width) & low_mask))
        out[high + i] = np.float64(np.int64(load_word(stream, i * width + 6) & high_mask))


@kernel(types.Array(uint8, 1, "C", readonly=True), int64, uint64[:, ::1], float64[::1], DOUBLES, DOUBLES, CUBE)
def _small_uniform(
    stream: UInt8Array,
    bits: int,
    out: UInt64Array,
    fields: Float64Array,
    moduli: Float64Array,
    inverses: Float64Array,
    constants: Float64Array,
) -> None:
    """`constants`: see `Kernels`, for no dropped prime."""
    k, n = out.shape
    split_fields(stream, bits, fields, 0, n, n)
    for j in range(k):
        q, inverse_q, less = splat(moduli[j]), splat(inverses[j]), splat(constants[j, 3, 0])
        w, w_by_q = splat(constants[j, 1, 0]), splat(constants[j, 1, 1])
        for i in range(0, n, LANES):
            y = times(load(fields, n + i), w, w_by_q, q) + load(fields, i) - less
            store(out, j * n + i, to_words(residue(centred(y, q, inverse_q), q)))


@kernel(BLOCKS, BLOCKS, uint64[:, ::1], uint64[::1], DOUBLES, DOUBLES)
def _fingerprint(
    x: UInt64Array,
    weights: UInt64Array,
    out: UInt64Array,
    lanes: UInt64Array,
    moduli: Float64Array,
    inverses: Float64Array,
) -> None:
    blocks, k, n = x.shape
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
            rest = np.uint64(0)
            for lane in range(LANES):
                rest += lanes[lane]
            out[r, j] = rest % np.uint64(moduli[j])


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
        self.factors = self.with_quotients(self.signed(degree_inverse))
        self._spare: list[Float64Array] = []
        self._made: dict[tuple[int, int], Float64Array] = {}

    def signed(self, residues: UInt64Array) -> Float64Array:
        """Centred representatives, as doubles: uint64[K, ...] -> float64[K, ...]."""
        q, values = self.q[:, None], residues.astype(np.float64)
        return np.where(values > q / 2, values - q, values)

    def with_quotients(self, factors: Float64Array) -> Float64Array:
        """w and w/q for one factor a prime: float64[K, 1] -> float64[K, 2]."""
        return np.hstack([factors, factors / self.q[:, None]])

    def _tables(self, twiddles: UInt64Array) -> Float64Array:
        """A row for each prime: q and 1/q; heads, for the layers between rows, and their w/q; tails, for those inside.

        Tails lie as they are read: [eight rows, layer and group, w or w/q, row of the eight].
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
        lying = pairs.transpose(0, 3, 1, 2, 4).reshape(k, -1)
        prefix = np.zeros((k, PREFIX))
        prefix[:, 0], prefix[:, 1] = self.q, self.inverse_q
        return np.hstack([prefix, heads, heads / self.q[:, None], lying])

    def _batch(self, x: UInt64Array) -> UInt64Array:
        k, n = self.shape
        return plain(x).reshape(math.prod(x.shape[:-2]), k, n)

    @property
    def shape(self) -> tuple[int, int]:
        """(K, N)."""
        return len(self.primes), (self.forward.shape[1] - PREFIX) // 2

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
            _transform(forward.address, batch, out, scratch, self.forward, self.factors)
        return out.reshape(x.shape)

    def inverse_ntt(self, x: UInt64Array) -> UInt64Array:
        """As `Ring.inverse_ntt`."""
        batch = self._batch(x)
        out = np.empty(batch.shape, dtype=np.uint64)
        with self.scratch(self._transform_doubles()) as scratch:
            _transform(inverse.address, batch, out, scratch, self.backward, self.factors)
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
        with self.scratch(LANES * max(drop, 1)) as digits:
            _rescale(batch, out, drop, digits, self._constants(1, drop), self.q, self.inverse_q)
        return out.reshape(*x.shape[:-2], k - drop, n)

    def small_uniform(self, stream: bytes, bits: int) -> UInt64Array:
        """As `Ring.small_uniform`."""
        out = np.empty(self.shape, dtype=np.uint64)
        padded = np.frombuffer(stream + bytes(8 + LANES), np.uint8)
        with self.scratch(2 * self.shape[1]) as fields:
            _small_uniform(padded, bits, out, fields, self.q, self.inverse_q, self._constants(bits, 0))
        return out

    def fingerprint(self, x: UInt64Array, weights: UInt64Array) -> UInt64Array:
        """As `Ring.fingerprint`."""
        out = np.empty((len(weights), len(self.q)), dtype=np.uint64)
        _fingerprint(plain(x), plain(weights), out, np.empty(LANES, dtype=np.uint64), self.q, self.inverse_q)
        return out

    def answer(
        self, x: UInt64Array, secret: UInt64Array, stream: bytes, bits: int, drop: int, out: UInt64Array
    ) -> None:
        """As `Ring.answer`."""
        from ._fused_numba import answer_rows, scratch_doubles

        n = self.shape[1]
        with self.scratch(scratch_doubles(n, drop)) as scratch:
            answer_rows(
                plain(x), plain(secret), np.frombuffer(stream + bytes(8 + LANES), np.uint8), bits, drop, out, scratch,
                self._constants(bits, drop), self.q, self.inverse_q, inverse.address, self.backward,
            )  # fmt: skip

    def _constants(self, bits: int, drop: int) -> Float64Array:
        """What noise and divisions need, for each prime: [K, FIXED + drop, 2], w and w/q, centred.

        A row's value is divided by the dropped primes behind it: P stands for their product. 1/N, for the transform;
        2^48 and 1, for the noise; 2^(bits-1), subtracted; then what was subtracted before each division: all over P.
        """
        made = self._made.get((bits, drop))
        if made is None:
            k, n = self.shape
            rows = np.zeros((k, FIXED + max(drop, 1)))
            for j, q in enumerate(self.primes):
                steps = min(drop, k - 1 - j)
                by = [pow(math.prod(self.primes[k - steps : k - i]), -1, q) for i in range(steps)]
                over = by[0] if by else 1
                values = [pow(n, -1, q) * over, over << 48, over, over << (bits - 1), *by]
                rows[j, : len(values)] = [centred_integer(value, q) for value in values]
            made = np.stack([rows, rows / self.q[:, None]], axis=2)
            self._made[bits, drop] = made
        return made

    def open_digits(self, x: UInt64Array, *, shift: int, noise_bound: int, width: int, count: int) -> Int64Array | int:
        """As `Ring.open_digits`; 1 where a bound is exceeded, 2 where the reference must decide."""
        return open_digits(
            plain(x), self.primes, self.q, self.inverse_q,
            shift=shift, noise_bound=noise_bound, width=width, count=count,
        )  # fmt: skip


def centred_integer(value: int, q: int) -> int:
    """The representative of `value` modulo q in (-q/2, q/2)."""
    value %= q
    return value - q if value > q // 2 else value


def plain(x: UInt64Array) -> UInt64Array:
    """The same values, contiguous and aligned, as the kernels want them."""
    return np.require(x, np.uint64, ["C", "A"])
