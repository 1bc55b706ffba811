"""Integers, polynomials and digests: what every other module here computes with.

Spec: tckks §1 and §2 (v1). A polynomial is a list of rows, one for each prime; a row is a list of residues.
"""

import hashlib
import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import repeat
from typing import Any

__all__ = [
    "ExpectedFailure",
    "Json",
    "MismatchError",
    "Rows",
    "back",
    "bytes_of",
    "caught",
    "compose",
    "divide",
    "flat",
    "interpolation",
    "inverse_ntt",
    "is_prime",
    "labelled",
    "ntt",
    "pack_words",
    "plus",
    "residues",
    "reversed_bits",
    "root_of",
    "sha",
    "shake",
    "summary",
    "times",
    "transform",
    "width_of",
]

Rows = list[list[int]]
Json = dict[str, Any]


class ExpectedFailure(Exception):  # noqa: N818 - it is what the vectors expect
    """An operation failed as the specification says; `name` is the error's class."""

    def __init__(self, name: str, *culprits: str) -> None:
        super().__init__(name)
        self.name, self.culprits = name, list(culprits)


class MismatchError(Exception):
    """A vector and the specification disagree."""


def caught(operation: Any) -> Json:
    """Run what must fail: the class of its error, and whom it names."""
    try:
        operation()
    except ExpectedFailure as failure:
        return {"error": failure.name, "culprits": failure.culprits}
    raise MismatchError("an operation that must fail did not")


def sha(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


def shake(data: bytes, size: int) -> bytes:
    """SHAKE-256."""
    return hashlib.shake_256(data).digest(size)


def bytes_of(label: str, size: int = 32) -> bytes:
    """The vectors' only source of randomness."""
    return shake(b"secure-bfl/vectors/v2/" + label.encode(), size)


def labelled(label: bytes, *numbers: tuple[int, int]) -> bytes:
    """A label with numbers behind it: (number, bytes), little endian."""
    return label + b"".join(number.to_bytes(size, "little") for number, size in numbers)


def flat(array: Any) -> Iterator[int]:
    """The integers of a nested list, in order."""
    if isinstance(array, int):
        yield array
    else:
        for part in array:
            yield from flat(part)


def pack_words(array: Any, *, signed: bool = False) -> bytes:
    """64-bit little-endian words, in order."""
    values = list(flat(array))
    return struct.pack(f"<{len(values)}{'q' if signed else 'Q'}", *values)


def summary(array: Any, *, signed: bool = False) -> Json:
    """A large array in short: its shape, the SHA-256 of its words, and its ends."""
    shape, inner = [], array
    while not isinstance(inner, int):
        shape.append(len(inner))
        inner = inner[0]
    values = list(flat(array))
    digest = sha(pack_words(values, signed=signed)).hex()
    return {"shape": shape, "sha256": digest, "first": values[:8], "last": values[-8:]}


@cache
def is_prime(n: int) -> bool:
    """Miller-Rabin with the first 13 primes, enough below 3.3e24."""
    small = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)
    if n < 2 or any(n % p == 0 for p in small):
        return n in small
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in small:
        x = pow(base, odd, n)
        if x not in (1, n - 1) and all(pow(x, 1 << i, n) != n - 1 for i in range(1, twos)):
            return False
    return True


def width_of(q: int) -> int:
    """Bytes that hold a residue of q."""
    return (q.bit_length() + 7) // 8


def reversed_bits(i: int, n: int) -> int:
    """The bits of i, which is below the power of two n, in reverse."""
    return int(f"{i:0{n.bit_length() - 1}b}"[::-1], 2)


@cache
def root_of(n: int, q: int) -> int:
    """The smallest primitive 2n-th root of unity modulo q."""
    one = next(x for x in (pow(g, (q - 1) // (2 * n), q) for g in range(2, q)) if pow(x, n, q) == q - 1)
    square, current, best = one * one % q, one, one
    for _ in range(n):
        current = current * square % q
        best = min(best, current)
    return best


@cache
def _powers(n: int, q: int, inverse: bool) -> list[int]:
    base = pow(root_of(n, q), -1 if inverse else 1, q)
    straight = [1]
    for _ in range(n - 1):
        straight.append(straight[-1] * base % q)
    return [straight[reversed_bits(i, n)] for i in range(n)]


def _groups(n: int, m: int) -> Iterator[tuple[slice, slice, slice]]:
    """The butterflies of a stage of m twiddles, in as few slices as there can be: (low, high, twiddles)."""
    t = n // (2 * m)
    if m <= t:
        for i in range(m):
            yield slice(2 * i * t, 2 * i * t + t), slice(2 * i * t + t, 2 * i * t + 2 * t), slice(m + i, m + i + 1)
    else:
        for j in range(t):
            yield slice(j, n, 2 * t), slice(j + t, n, 2 * t), slice(m, 2 * m)


def _repeated(factors: list[int], count: int) -> Iterable[int]:
    return factors if len(factors) == count else repeat(factors[0], count)


def ntt(row: Sequence[int], q: int) -> list[int]:
    """Value i is the polynomial at root^(2 rev(i) + 1)."""
    n, a, m = len(row), list(row), 1
    table = _powers(n, q, inverse=False)
    while m < n:
        for below, above, twiddles in _groups(n, m):
            low, high = a[below], a[above]
            high = [y * w % q for y, w in zip(high, _repeated(table[twiddles], len(high)), strict=True)]
            a[below] = [(x + y) % q for x, y in zip(low, high, strict=True)]
            a[above] = [(x - y) % q for x, y in zip(low, high, strict=True)]
        m *= 2
    return a


def inverse_ntt(row: Sequence[int], q: int) -> list[int]:
    """The inverse of `ntt`."""
    n, a, m = len(row), list(row), len(row) // 2
    table = _powers(n, q, inverse=True)
    while m:
        for below, above, twiddles in _groups(n, m):
            low, high = a[below], a[above]
            factors = _repeated(table[twiddles], len(high))
            a[below] = [(x + y) % q for x, y in zip(low, high, strict=True)]
            a[above] = [(x - y) * w % q for x, y, w in zip(low, high, factors, strict=True)]
        m //= 2
    scale = pow(n, -1, q)
    return [x * scale % q for x in a]


def residues(values: Sequence[int], primes: Sequence[int]) -> Rows:
    """Integers modulo each prime."""
    return [[v % q for v in values] for q in primes]


def transform(values: Sequence[int], primes: Sequence[int]) -> Rows:
    """A polynomial of integers in NTT form."""
    return [ntt(row, q) for row, q in zip(residues(values, primes), primes, strict=True)]


def back(x: Rows, primes: Sequence[int]) -> Rows:
    """NTT form to coefficients; primes without a row are left out."""
    return [inverse_ntt(row, q) for row, q in zip(x, primes, strict=False)]


def times(x: Rows, y: Rows, primes: Sequence[int]) -> Rows:
    """Products, value by value."""
    return [[a * b % q for a, b in zip(r, s, strict=True)] for r, s, q in zip(x, y, primes, strict=False)]


def plus(*terms: Rows, primes: Sequence[int]) -> Rows:
    """Sums, value by value."""
    return [[sum(c) % q for c in zip(*rows, strict=True)] for q, *rows in zip(primes, *terms, strict=False)]


def divide(x: Rows, primes: Sequence[int], drop: int) -> Rows:
    """Coefficients divided by the last `drop` primes, the last first: (x - r) / p, r the centred residue modulo p."""
    for last in range(len(primes) - 1, len(primes) - 1 - drop, -1):
        p = primes[last]
        centred = [r - p if r > p // 2 else r for r in x[last]]
        x = [_scaled(row, centred, pow(p, -1, q), q) for row, q in zip(x[:last], primes, strict=False)]
    return x


def _scaled(row: list[int], centred: list[int], inverse: int, q: int) -> list[int]:
    return [(value - r) * inverse % q for value, r in zip(row, centred, strict=True)]


def compose(x: Rows, primes: Sequence[int]) -> list[int]:
    """The integers in [-Q/2, Q/2) with these residues."""
    modulus = math.prod(primes)
    weights = [modulus // q * pow(modulus // q, -1, q) for q in primes]
    totals = (sum(c * w for c, w in zip(column, weights, strict=True)) % modulus for column in zip(*x, strict=True))
    return [t - modulus if t > modulus // 2 else t for t in totals]


def interpolation(points: Sequence[int], at: int, q: int) -> list[int]:
    """The factors, modulo q, with which the values of a polynomial at the points sum to its value at `at`."""
    factors = []
    for point in points:
        others = [other for other in points if other != point]
        above = math.prod(at - other for other in others)
        factors.append(above * pow(math.prod(point - other for other in others), -1, q) % q)
    return factors
