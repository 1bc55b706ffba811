"""Arithmetic in R_q = Z_q[X]/(X^N + 1), prime by prime, exact: in numpy, and compiled where numba is installed.

Spec: tckks §2 (v1). A polynomial is `uint64[K, N]`: row j holds its residues modulo the j-th prime. It stands either
in coefficient form or in NTT form; the NTT is SEAL's (negacyclic, smallest primitive 2N-th root of unity,
bit-reversed output), so that residues can be exchanged with SEAL without a change.

A product x*y mod q uses the float64 quotient: h = floor(x*y/q) is off by at most one while q < 2^50, and
x*y - h*q is exact modulo 2^64, so one correction on either side gives the residue.

The numpy here is the reference. The compiled engine (`_ring_numba`, the extra `fast`) gives the same residues sooner.
"""

from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from .arrays import Float64Array, Int64Array, UInt64Array

if TYPE_CHECKING:
    from ._ring_numba import Kernels

__all__ = ["MAX_PRIME_BITS", "Engine", "Ring", "engine", "is_prime", "ring"]

Engine = Literal["numba", "numpy"]
MAX_PRIME_BITS: Final = 48
_WITNESSES: Final = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
_RUN: Final = 128  # shortest contiguous run the butterflies work on
_MAX_COMPILED_DEGREE: Final = 1 << 15  # 15 layers are what the compiled engine's bound allows
_TRIAL_DEGREE: Final = 4096
_TRIAL_PRIMES: Final = (281474976694273, 16760833)  # the largest of 48 and of 24 bits


def is_prime(n: int) -> bool:
    """Miller-Rabin with the first twelve primes as bases: deterministic below 3.3e24 (Sorenson and Webster 2015)."""
    if n < 2:
        return False
    for p in _WITNESSES:
        if n % p == 0:
            return n == p
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd //= 2
        twos += 1
    for base in _WITNESSES:
        x = pow(base, odd, n)
        if x in (1, n - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True


def _smallest_root(n: int, q: int) -> int:
    """The smallest primitive 2n-th root of unity modulo q (SEAL's choice)."""
    candidate = next(x for x in (pow(g, (q - 1) // (2 * n), q) for g in range(2, q)) if pow(x, n, q) == q - 1)
    square, best, current = candidate * candidate % q, candidate, candidate
    for _ in range(n - 1):  # the primitive 2n-th roots are the odd powers of any one of them
        current = current * square % q
        best = min(best, current)
    return best


def _bit_reversed(n: int) -> Int64Array:
    bits = n.bit_length() - 1
    index = np.arange(n, dtype=np.int64)
    out = np.zeros(n, dtype=np.int64)
    for b in range(bits):
        out |= ((index >> b) & 1) << (bits - 1 - b)
    return out


class Ring:
    """R_q for q = the product of `primes`. Build it with `ring(degree, primes)`, which caches the tables.

    Shapes: every polynomial is uint64[K, N], K = len(primes), N = degree. Leading axes (blocks) are allowed in
    `add`, `subtract` and `multiply`, which broadcast. Every residue is below its prime. `compute` forces an engine.
    """

    def __init__(self, degree: int, primes: tuple[int, ...], *, compute: Engine | None = None) -> None:
        if degree < 2 * _RUN or degree & (degree - 1):
            raise ValueError(f"the degree must be a power of two of at least {2 * _RUN}, not {degree}")
        if len(set(primes)) != len(primes) or not primes:
            raise ValueError("primes must be distinct and at least one")
        for q in primes:
            if q.bit_length() > MAX_PRIME_BITS or q % (2 * degree) != 1 or not is_prime(q):
                raise ValueError(f"{q} is not a prime of at most {MAX_PRIME_BITS} bits with q = 1 mod {2 * degree}")
        self.degree, self.primes, self._compute = degree, primes, compute
        self.modulus = int(np.prod([int(q) for q in primes], dtype=object))
        self._q = np.array(primes, dtype=np.uint64)[:, None]
        self._inverse_q = 1.0 / self._q.astype(np.float64)
        reverse = _bit_reversed(degree)
        forward = np.empty((len(primes), degree), dtype=np.uint64)
        backward = np.empty_like(forward)
        for j, q in enumerate(primes):
            root = _smallest_root(degree, q)
            for table, base in ((forward, root), (backward, pow(root, -1, q))):
                powers = np.empty(degree, dtype=object)
                powers[0] = 1
                for i in range(1, degree):
                    powers[i] = powers[i - 1] * base % q
                table[j, reverse] = powers.astype(np.uint64)
        self._forward, self._backward = forward, backward
        self._degree_inverse = self.constant(pow(degree, -1, self.modulus))
        hats = [self.modulus // q for q in primes]
        self._hats = np.array(hats, dtype=object)[:, None]
        self._hat_inverse = np.array([pow(h, -1, q) for h, q in zip(hats, primes, strict=True)], np.uint64)[:, None]

    @cached_property
    def _kernels(self) -> "Kernels | None":
        """The compiled engine for this ring; None where numpy computes."""
        if self.degree > _MAX_COMPILED_DEGREE or (self._compute or engine()) == "numpy":
            return None
        return self._compiled()

    def _compiled(self) -> "Kernels":
        from ._ring_numba import Kernels  # numba takes half a second to load, and its first compilation a few

        return Kernels(self.primes, self._forward, self._backward, self._degree_inverse)

    def constant(self, value: int) -> UInt64Array:
        """The residues of one integer, as uint64[K, 1]."""
        return np.array([value % q for q in self.primes], dtype=np.uint64)[:, None]

    def reduce(self, small: Int64Array) -> UInt64Array:
        """Residues of signed 64-bit coefficients: int64[..., N] -> uint64[..., K, N]."""
        signed = small[..., None, :] % self._q.astype(np.int64)
        return signed.astype(np.uint64)

    def add(self, x: UInt64Array, y: UInt64Array) -> UInt64Array:
        """x + y, residue by residue."""
        total = x + y
        np.minimum(total, total - self._q, out=total)
        return total

    def subtract(self, x: UInt64Array, y: UInt64Array) -> UInt64Array:
        """x - y, residue by residue."""
        difference = x - y
        np.minimum(difference, difference + self._q, out=difference)
        return difference

    def multiply(self, x: UInt64Array, y: UInt64Array) -> UInt64Array:
        """x * y, residue by residue: the ring product when both are in NTT form."""
        if self._kernels is not None:
            return self._kernels.multiply(x, y)
        return self._multiply(x, y, self._q, self._inverse_q)

    @staticmethod
    def _multiply(x: UInt64Array, y: UInt64Array, q: UInt64Array, inverse_q: Float64Array) -> UInt64Array:
        quotient = (x.astype(np.float64) * y.astype(np.float64) * inverse_q).astype(np.int64).view(np.uint64)
        r: UInt64Array = x * y - quotient * q
        np.minimum(r, r + q, out=r)
        np.minimum(r, r - q, out=r)
        return r

    def ntt(self, x: UInt64Array) -> UInt64Array:
        """Coefficient form -> NTT form, uint64[K, N] (Cooley-Tukey; Longa and Naehrig 2016, algorithm 1)."""
        n, k, runs = self.degree, len(self.primes), self.degree // _RUN
        if self._kernels is not None:
            return self._kernels.ntt(x.reshape(k, n))
        a: UInt64Array = x.reshape(k, 1, n).copy()
        m = 1
        while m < runs:  # butterflies between contiguous runs of at least _RUN values
            a = a.reshape(k, m, 2, n // (2 * m))
            self._cooley_tukey(a[:, :, 0], a[:, :, 1], self._forward[:, m : 2 * m, None])
            m *= 2
        t = np.ascontiguousarray(a.reshape(k, runs, _RUN).transpose(0, 2, 1))  # the rest along the other axis
        inside = 1
        while inside < _RUN:
            twiddles = self._forward[:, m : 2 * m].reshape(k, runs, inside).transpose(0, 2, 1)
            b = t.reshape(k, inside, 2, _RUN // (2 * inside), runs)
            self._cooley_tukey(b[:, :, 0], b[:, :, 1], twiddles[:, :, None, :])
            m, inside = 2 * m, 2 * inside
        return np.ascontiguousarray(t.transpose(0, 2, 1)).reshape(k, n)

    def inverse_ntt(self, x: UInt64Array) -> UInt64Array:
        """NTT form -> coefficient form, uint64[K, N] (Gentleman-Sande; algorithm 2 of the same paper)."""
        n, k, runs = self.degree, len(self.primes), self.degree // _RUN
        if self._kernels is not None:
            return self._kernels.inverse_ntt(x.reshape(k, n))
        t = np.ascontiguousarray(x.reshape(k, runs, _RUN).transpose(0, 2, 1))
        m, inside = n // 2, _RUN // 2
        while inside >= 1:
            twiddles = self._backward[:, m : 2 * m].reshape(k, runs, inside).transpose(0, 2, 1)
            b = t.reshape(k, inside, 2, _RUN // (2 * inside), runs)
            self._gentleman_sande(b[:, :, 0], b[:, :, 1], twiddles[:, :, None, :])
            m, inside = m // 2, inside // 2
        a: UInt64Array = np.ascontiguousarray(t.transpose(0, 2, 1)).reshape(k, 1, n)
        while m >= 1:
            a = a.reshape(k, m, 2, n // (2 * m))
            self._gentleman_sande(a[:, :, 0], a[:, :, 1], self._backward[:, m : 2 * m, None])
            m //= 2
        return self.multiply(a.reshape(k, n), self._degree_inverse)

    def _shaped(self, like: UInt64Array) -> tuple[UInt64Array, Float64Array]:
        shape = (len(self.primes),) + (1,) * (like.ndim - 1)
        return self._q.reshape(shape), self._inverse_q.reshape(shape)

    def _cooley_tukey(self, low: UInt64Array, high: UInt64Array, twiddle: UInt64Array) -> None:
        q, inverse_q = self._shaped(low)
        v = self._multiply(high, twiddle, q, inverse_q)
        difference = low - v
        np.minimum(difference, difference + q, out=high)
        total = low + v
        np.minimum(total, total - q, out=low)

    def _gentleman_sande(self, low: UInt64Array, high: UInt64Array, twiddle: UInt64Array) -> None:
        q, inverse_q = self._shaped(low)
        difference = low - high
        difference = np.minimum(difference, difference + q)
        total = low + high
        np.minimum(total, total - q, out=low)
        high[...] = self._multiply(difference, twiddle, q, inverse_q)

    def compose(self, x: UInt64Array) -> NDArray[np.object_]:
        """Coefficient form -> the integers in [-Q/2, Q/2) (Chinese remainder theorem), object[N]."""
        y = self.multiply(x, self._hat_inverse).astype(object)
        total = (y * self._hats).sum(axis=0) % self.modulus
        centred: NDArray[np.object_] = np.where(total >= (self.modulus + 1) // 2, total - self.modulus, total)
        return centred


@lru_cache(maxsize=8)
def ring(degree: int, primes: tuple[int, ...]) -> Ring:
    """The ring with its tables, computed once a process."""
    return Ring(degree, primes)


@lru_cache(maxsize=1)
def engine() -> Engine:
    """What computes transforms and products here: "numba" where it is installed and agrees with numpy, else "numpy".

    They are compared once a process, at first use, on the widest and the narrowest prime and on extreme residues.
    """
    trial = Ring(_TRIAL_DEGREE, _TRIAL_PRIMES, compute="numpy")
    x = trial.subtract(trial.constant(0), trial.reduce(np.arange(_TRIAL_DEGREE, dtype=np.int64) ** 3))
    try:
        compiled = trial._compiled()
    except (ImportError, OSError):
        return "numpy"
    pairs = (
        (trial.ntt(x), compiled.ntt(x)),
        (trial.inverse_ntt(x), compiled.inverse_ntt(x)),
        (trial.multiply(x, x), compiled.multiply(x, x)),
    )
    return "numba" if all(np.array_equal(*pair) for pair in pairs) else "numpy"
