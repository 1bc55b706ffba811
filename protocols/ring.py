"""Arithmetic in R_q = Z_q[X]/(X^N + 1), prime by prime, exact: in numpy, and compiled where numba is installed.

Spec: tckks §2 (v1). A polynomial is `uint64[K, N]`: row j holds its residues modulo the j-th prime. It stands either
in coefficient form or in NTT form; the NTT is SEAL's (negacyclic, smallest primitive 2N-th root of unity,
bit-reversed output), so that residues can be exchanged with SEAL without a change.

A product x*y mod q uses the float64 quotient: h = floor(x*y/q) is off by at most one while q < 2^50, and
x*y - h*q is exact modulo 2^64, so one correction on either side gives the residue.

The numpy here is the reference. The compiled engine (`_ring_numba`, the extra `fast`) gives the same residues sooner.
"""

from functools import cached_property, lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from .arrays import Float64Array, Int64Array, UInt64Array

if TYPE_CHECKING:
    from ._ring_numba import Kernels
    from ._seal import SealTransforms

__all__ = ["MAX_PRIME_BITS", "Engine", "Ring", "engine", "is_prime", "ring"]

Engine = Literal["numba", "seal", "numpy"]
MAX_PRIME_BITS: Final = 48
MAX_UNIFORM_BITS: Final = 96
MAX_DIGIT_BITS: Final = 48
WEIGHT_BITS: Final = 39
_WITNESSES: Final = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
_RUN: Final = 128  # shortest contiguous run the butterflies work on
_MIN_COMPILED_DEGREE: Final = 1 << 10  # eight rows, for eight lanes
_MAX_COMPILED_DEGREE: Final = 1 << 15  # 15 layers are what the compiled engine's bound allows
_SEAL_DEGREES: Final = (1024, 2048, 4096, 8192, 16384, 32768)
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


def _powers(base: int, count: int, q: int) -> UInt64Array:
    """base^0 to base^(count - 1) modulo q < 2^48, count a power of two."""
    powers = np.ones(1, dtype=np.uint64)
    modulus, inverse = np.array(q, dtype=np.uint64), np.array(1.0 / q)
    while len(powers) < count:
        step = np.array(pow(base, len(powers), q), dtype=np.uint64)
        powers = np.concatenate([powers, Ring._multiply(powers, step, modulus, inverse)])
    return powers


def _smallest_root(n: int, q: int) -> int:
    """The smallest primitive 2n-th root of unity modulo q (SEAL's choice)."""
    root = next(x for x in (pow(g, (q - 1) // (2 * n), q) for g in range(2, q)) if pow(x, n, q) == q - 1)
    squares = _powers(root * root % q, n, q)  # the primitive 2n-th roots are the odd powers of any one of them
    modulus, inverse = np.array(q, dtype=np.uint64), np.array(1.0 / q)
    return int(Ring._multiply(squares, np.array(root, dtype=np.uint64), modulus, inverse).min())


def _bit_reversed(n: int) -> Int64Array:
    bits = n.bit_length() - 1
    index = np.arange(n, dtype=np.int64)
    out = np.zeros(n, dtype=np.int64)
    for b in range(bits):
        out |= ((index >> b) & 1) << (bits - 1 - b)
    return out


class Ring:
    """R_q for q = the product of `primes`. Build it with `ring(degree, primes)`, which caches the tables.

    Shapes: every polynomial is uint64[K, N], K = len(primes), N = degree. Leading axes (blocks) are allowed;
    `add`, `subtract` and `multiply` broadcast. Every residue is below its prime. `compute` forces an engine.
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
                table[j, reverse] = _powers(base, degree, q)
        self._forward, self._backward = forward, backward
        self._degree_inverse = self.constant(pow(degree, -1, self.modulus))
        hats = [self.modulus // q for q in primes]
        self._hats = np.array(hats, dtype=object)[:, None]
        self._hat_inverse = np.array([pow(h, -1, q) for h, q in zip(hats, primes, strict=True)], np.uint64)[:, None]

    @cached_property
    def _engine(self) -> Engine:
        return self._compute or engine()

    @cached_property
    def _kernels(self) -> "Kernels | None":
        """The compiled engine for this ring; None where another computes."""
        if not _MIN_COMPILED_DEGREE <= self.degree <= _MAX_COMPILED_DEGREE or self._engine != "numba":
            return None
        return self._compiled()

    @cached_property
    def _transforms(self) -> "SealTransforms | None":
        """SEAL's transforms for this ring; None where another computes."""
        return self._sealed() if self.degree in _SEAL_DEGREES and self._engine == "seal" else None

    def _compiled(self) -> "Kernels":
        from ._ring_numba import Kernels  # loads in half a second; compiles once, for a quarter of a minute or more

        for module in ("_fused_numba", "_wire_numba"):  # all kernels compile now, not one by one when somebody waits
            import_module(f"protocols.{module}")
        return Kernels(self.primes, self._forward, self._backward, self._degree_inverse)

    def _sealed(self) -> "SealTransforms":
        from ._seal import SealTransforms

        spare = 1 - 2 * self.degree + (1 << (MAX_PRIME_BITS - 4))
        while spare in self.primes or not is_prime(spare):
            spare -= 2 * self.degree
        return SealTransforms(self.degree, self.primes, spare)

    @property
    def compiled(self) -> "Kernels":
        """The compiled kernels of this ring, for what is fused with it.

        Raises:
            ValueError: another engine computes here.
        """
        if self._kernels is None:
            raise ValueError(f"a ring of degree {self.degree} is not compiled here")
        return self._kernels

    def constant(self, value: int) -> UInt64Array:
        """The residues of one integer, as uint64[K, 1]."""
        return np.array([value % q for q in self.primes], dtype=np.uint64)[:, None]

    def reduce(self, small: Int64Array) -> UInt64Array:
        """Residues of signed 64-bit coefficients: int64[..., N] -> uint64[..., K, N]."""
        q = self._q.astype(np.int64)
        if small.size and -min(self.primes) < int(small.min()) and int(small.max()) < min(self.primes):
            wide = small[..., None, :]
            return (wide + (wide < 0) * q).astype(np.uint64)
        signed = small[..., None, :] % q
        return signed.astype(np.uint64)

    def add(self, x: UInt64Array, y: UInt64Array) -> UInt64Array:
        """x + y, residue by residue."""
        if self._kernels is not None and self.degree in (x.shape[-1], y.shape[-1]):
            return self._kernels.add(x, y)
        total = x + y
        np.minimum(total, total - self._q, out=total)
        return total

    def subtract(self, x: UInt64Array, y: UInt64Array) -> UInt64Array:
        """x - y, residue by residue."""
        if self._kernels is not None and self.degree in (x.shape[-1], y.shape[-1]):
            return self._kernels.subtract(x, y)
        difference = x - y
        np.minimum(difference, difference + self._q, out=difference)
        return difference

    def multiply(self, x: UInt64Array, y: UInt64Array) -> UInt64Array:
        """x * y, residue by residue: the ring product when both are in NTT form.

        One operand may be any integer below 2^48, not only a residue.
        """
        if self._kernels is not None and self.degree in (x.shape[-1], y.shape[-1]):
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
        """Coefficient form -> NTT form, uint64[..., K, N] (Cooley-Tukey; Longa and Naehrig 2016, algorithm 1)."""
        n, k, runs = self.degree, len(self.primes), self.degree // _RUN
        self._check_shape(x)
        if self._kernels is not None:
            return self._kernels.ntt(x)
        if self._transforms is not None:
            return self._transforms.ntt(x)
        if x.ndim > 2:
            return np.stack([self.ntt(part) for part in x]) if len(x) else x.copy()
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
        """NTT form -> coefficient form, uint64[..., K, N] (Gentleman-Sande; algorithm 2 of the same paper)."""
        n, k, runs = self.degree, len(self.primes), self.degree // _RUN
        self._check_shape(x)
        if self._kernels is not None:
            return self._kernels.inverse_ntt(x)
        if self._transforms is not None:
            return self._transforms.inverse_ntt(x)
        if x.ndim > 2:
            return np.stack([self.inverse_ntt(part) for part in x]) if len(x) else x.copy()
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

    def _check_shape(self, x: UInt64Array) -> None:
        if x.shape[-2:] != (len(self.primes), self.degree):
            raise ValueError(f"polynomials here are {(len(self.primes), self.degree)}, not {x.shape[-2:]}")

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

    def rescale(self, x: UInt64Array, drop: int) -> UInt64Array:
        """x divided by the product of the last `drop` primes, rounded, without those primes: the last goes first.

        Coefficient form on both sides. One prime p goes by x -> (x - r) / p with r the representative of x modulo p in
        (-p/2, p/2), so each step is off by at most one half.

        Shapes: uint64[..., K, N] -> uint64[..., K - drop, N].

        Raises:
            ValueError: nothing would be left, or `drop` is negative.
        """
        self._check_drop(drop)
        if self._kernels is not None:
            return self._kernels.rescale(x, drop)
        for last in range(len(self.primes) - 1, len(self.primes) - 1 - drop, -1):
            p, q, inverse_q = self.primes[last], self._q[:last], self._inverse_q[:last]
            centred = x[..., last, :].astype(np.int64)
            centred -= (centred > p // 2) * np.int64(p)
            remainder = (centred[..., None, :] % q.astype(np.int64)).astype(np.uint64)
            difference = x[..., :last, :] - remainder
            np.minimum(difference, difference + q, out=difference)
            inverse = np.array([pow(p, -1, r) for r in self.primes[:last]], dtype=np.uint64)[:, None]
            x = self._multiply(difference, inverse, q, inverse_q)
        return x.copy() if drop == 0 else x

    def small_uniform(self, stream: bytes, bits: int) -> UInt64Array:
        """Coefficients uniform on [-2^(bits-1), 2^(bits-1)) from N fields of ceil(bits/8) little-endian bytes.

        The low `bits` bits of a field count, the others are ignored. Shapes: uint64[K, N], coefficient form.

        Raises:
            ValueError: `bits` is not between 1 and 96, or the stream is not N fields long.
        """
        self._check_uniform(stream, bits)
        if self._kernels is not None:
            return self._kernels.small_uniform(stream, bits)
        width, wide = (bits + 7) // 8, np.zeros((self.degree, 16), dtype=np.uint8)
        wide[:, :width] = np.frombuffer(stream, np.uint8).reshape(self.degree, width)
        words = wide.view("<u4").astype(np.uint64) & self._word_masks(bits)
        total = np.zeros((len(self.primes), self.degree), dtype=np.uint64)
        for word in range(3):
            part = self.reduce(words[:, word].astype(np.int64))
            total = self.add(total, self._multiply(part, self.constant(1 << (32 * word)), self._q, self._inverse_q))
        return self.subtract(total, self.constant(1 << (bits - 1)))

    @staticmethod
    def _word_masks(bits: int) -> UInt64Array:
        """Masks of the low `bits` bits of four 32-bit words."""
        mask = (1 << bits) - 1
        return np.array([mask >> (32 * word) & 0xFFFFFFFF for word in range(4)], dtype=np.uint64)

    def answer(
        self, x: UInt64Array, secret: UInt64Array, stream: bytes, *, bits: int, drop: int, out: UInt64Array
    ) -> None:
        """rescale(inverse_ntt(x * secret) + small_uniform(stream, bits), drop), in one call where it is compiled.

        Shapes: x and secret uint64[K, N], NTT form; `out`, which takes the result, uint64[K - drop, N], coefficient
        form, contiguous.

        Raises:
            ValueError: as `small_uniform` and `rescale`, or a shape is another.
        """
        self._check_uniform(stream, bits)
        self._check_drop(drop)
        self._check_shape(x)
        self._check_shape(secret)
        if out.shape != (len(self.primes) - drop, self.degree) or not out.flags.c_contiguous:
            raise ValueError(f"the answer is {(len(self.primes) - drop, self.degree)} and contiguous, not {out.shape}")
        if self._kernels is not None:
            self._kernels.answer(x, secret, stream, bits, drop, out)
            return
        product = self.inverse_ntt(self.multiply(x, secret))
        out[...] = self.rescale(self.add(product, self.small_uniform(stream, bits)), drop)

    def _check_drop(self, drop: int) -> None:
        if not 0 <= drop < len(self.primes):
            raise ValueError(f"cannot drop {drop} of {len(self.primes)} primes")

    def _check_uniform(self, stream: bytes, bits: int) -> None:
        if not 1 <= bits <= MAX_UNIFORM_BITS:
            raise ValueError(f"uniform coefficients have 1 to {MAX_UNIFORM_BITS} bits, not {bits}")
        if len(stream) != (bits + 7) // 8 * self.degree:
            raise ValueError(f"the stream must be {(bits + 7) // 8 * self.degree} bytes, got {len(stream)}")

    def fingerprint(self, x: UInt64Array, weights: UInt64Array) -> UInt64Array:
        """Sums of weight times residue over blocks and coefficients, modulo each prime.

        Shapes: x uint64[B, K, N], weights uint64[R, B, N], each below 2^39; result uint64[R, K].

        Raises:
            ValueError: the shapes do not belong together, or a weight is too large.
        """
        blocks, n = len(x), self.degree
        if x.shape[1:] != (len(self.primes), n) or weights.shape[1:] != (blocks, n):
            raise ValueError(f"cannot weigh residues {x.shape} with weights {weights.shape}")
        if (weights >= np.uint64(1 << WEIGHT_BITS)).any():
            raise ValueError(f"a weight must be below 2^{WEIGHT_BITS}")
        if self._kernels is not None:
            return self._kernels.fingerprint(x, weights)
        result = np.zeros((len(weights), len(self.primes), 1), dtype=np.uint64)
        for row, planes in enumerate(weights):
            for block, plane in zip(x, planes, strict=True):
                products = self._multiply(block, plane % self._q, self._q, self._inverse_q)
                result[row] = (result[row] + products.sum(axis=1, keepdims=True) % self._q) % self._q
        return result[:, :, 0]

    def open_digits(self, x: UInt64Array, *, shift: int, noise_bound: int, width: int, count: int) -> Int64Array | None:
        """The signed digits of a noisy message v = M * 2^shift + noise; None if a bound is exceeded.

        v is the centred value of a coefficient, M = floor((v + 2^(shift-1)) / 2^shift). The bounds: the noise
        |v - M * 2^shift| <= noise_bound; |M| < 2^(width*count - 1); every digit d of M = sum of d_i * 2^(width*i) has
        |d| <= 2^(width-1) - 1.

        Shapes: uint64[K, N], coefficient form -> int64[count, N].

        Raises:
            ValueError: `shift` or `count` is below 1, or `width` is not between 2 and 48.
        """
        if shift < 1 or count < 1 or not 2 <= width <= MAX_DIGIT_BITS:
            raise ValueError(f"no digits: shift {shift}, width {width}, count {count}")
        if self._kernels is not None:
            opened = self._kernels.open_digits(x, shift=shift, noise_bound=noise_bound, width=width, count=count)
            if not isinstance(opened, int):
                return opened
            if opened == 1:
                return None
        value = self.compose(x)
        message = (value + (1 << (shift - 1))) >> shift
        if (np.abs(value - (message << shift)) > noise_bound).any():
            return None
        if (np.abs(message) >= 1 << (width * count - 1)).any():
            return None
        half, digits = 1 << (width - 1), np.empty((count, self.degree), dtype=np.int64)
        for plane in range(count):  # message = rest * 2^width + digit with the digit in [-half, half)
            rest = (message + half) >> width
            digits[plane] = (message - (rest << width)).astype(np.int64)
            message = rest
        if message.any() or (digits < 1 - half).any():
            return None
        return digits


@lru_cache(maxsize=16)
def ring(degree: int, primes: tuple[int, ...], *, compute: Engine | None = None) -> Ring:
    """The ring with its tables, computed once a process."""
    return Ring(degree, primes, compute=compute)


@lru_cache(maxsize=1)
def engine() -> Engine:
    """What computes here: "numba" where it is installed, else "seal" for the transforms, else "numpy".

    Each is compared with numpy once a process, at first use, on the widest and the narrowest prime and on extreme
    residues, and passed over where it differs.
    """
    trial = Ring(_TRIAL_DEGREE, _TRIAL_PRIMES, compute="numpy")
    x = trial.subtract(trial.constant(0), trial.reduce(np.arange(_TRIAL_DEGREE, dtype=np.int64) ** 3))
    expected = (trial.ntt(x), trial.inverse_ntt(x), trial.multiply(x, x))
    try:
        compiled = trial._compiled()
        found = (compiled.ntt(x), compiled.inverse_ntt(x), compiled.multiply(x, x))
        if all(map(np.array_equal, expected, found)):
            return "numba"
    except (ImportError, OSError):
        pass
    try:
        sealed = trial._sealed()
        if all(map(np.array_equal, expected, (sealed.ntt(x), sealed.inverse_ntt(x)))):
            return "seal"
    except (ImportError, OSError, RuntimeError):
        pass
    return "numpy"
