"""The protocol in Python integers, for `verify.py`: the standard library alone, nothing of the project."""

import hashlib
import math
import struct
from collections.abc import Sequence
from functools import cache
from itertools import combinations
from typing import Any, NoReturn

TABLE = {8192: 218, 16384: 438, 32768: 881}  # HomomorphicEncryption.org 2018, table 1: ternary, classical, 128 bits
SMUDGING_BITS = {8192: 75, 16384: 90, 32768: 90}
N = 8192
Rows = list[list[int]]


class ExpectedFailure(Exception):  # noqa: N818 - it is what the vectors expect
    """An operation failed as the specification says; `name` is the error's class."""

    def __init__(self, name: str, *culprits: str) -> None:
        super().__init__(name)
        self.name, self.culprits = name, list(culprits)


def fail(name: str, *culprits: str) -> NoReturn:
    raise ExpectedFailure(name, *culprits)


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def shake(data: bytes, size: int) -> bytes:
    return hashlib.shake_256(data).digest(size)


# tckks §1 and §2: primes, roots, transform.


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


@cache
def primes_of(degree: int) -> tuple[int, ...]:
    """Whole bytes, at most six a prime, none under three; then the special prime of 17 bits."""
    left, sizes = (TABLE[degree] - 17) // 8, []
    while left > 9:
        sizes.append(6)
        left -= 6
    sizes += [left] if left <= 6 else [max(left - 6, (left + 1) // 2)]
    if left > 6:
        sizes.append(left - sizes[-1])
    found: list[int] = []
    for bits in (*(8 * size for size in sizes), 17):
        candidates = (c for c in range((1 << bits) - 2 * degree + 1, 0, -2 * degree) if c not in found)
        found.append(next(c for c in candidates if is_prime(c)))
    return tuple(found)


def width_of(q: int) -> int:
    return (q.bit_length() + 7) // 8


def reversed_bits(i: int, n: int) -> int:
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
def powers(n: int, q: int, *, inverse: bool) -> list[int]:
    """Powers of the root (or its inverse) in bit-reversed order."""
    base = pow(root_of(n, q), -1 if inverse else 1, q)
    straight = [1]
    for _ in range(n - 1):
        straight.append(straight[-1] * base % q)
    return [straight[reversed_bits(i, n)] for i in range(n)]


def ntt(row: Sequence[int], q: int) -> list[int]:
    """Value i is the polynomial at root^(2 rev(i) + 1)."""
    n, a = len(row), list(row)
    table, m, t = powers(n, q, inverse=False), 1, n // 2
    while t:
        for i in range(m):
            w, j = table[m + i], 2 * i * t
            low, high = a[j : j + t], [x * w % q for x in a[j + t : j + 2 * t]]
            a[j : j + 2 * t] = [(x + y) % q for x, y in zip(low, high, strict=True)] + [
                (x - y) % q for x, y in zip(low, high, strict=True)
            ]
        m, t = 2 * m, t // 2
    return a


def inverse_ntt(row: Sequence[int], q: int) -> list[int]:
    n, a = len(row), list(row)
    table, m, t = powers(n, q, inverse=True), n // 2, 1
    while m:
        for i in range(m):
            w, j = table[m + i], 2 * i * t
            low, high = a[j : j + t], a[j + t : j + 2 * t]
            a[j : j + 2 * t] = [(x + y) % q for x, y in zip(low, high, strict=True)] + [
                (x - y) * w % q for x, y in zip(low, high, strict=True)
            ]
        m, t = m // 2, 2 * t
    scale = pow(n, -1, q)
    return [x * scale % q for x in a]


PRIMES = primes_of(N)
DATA = PRIMES[:-1]
MODULUS = math.prod(DATA)


def transform(values: Sequence[int], primes: Sequence[int]) -> Rows:
    return [ntt([v % q for v in values], q) for q in primes]


def times(x: Rows, y: Rows, primes: Sequence[int]) -> Rows:
    return [[a * b % q for a, b in zip(r, s, strict=True)] for r, s, q in zip(x, y, primes, strict=False)]


def plus(*terms: Rows, primes: Sequence[int]) -> Rows:
    return [[sum(c) % q for c in zip(*rows, strict=True)] for q, *rows in zip(primes, *terms, strict=False)]


def back(x: Rows) -> Rows:
    return [inverse_ntt(row, q) for row, q in zip(x, DATA, strict=True)]


def compose(x: Rows) -> list[int]:
    """The integers in [-Q/2, Q/2) with these residues."""
    weights = [MODULUS // q * pow(MODULUS // q, -1, q) for q in DATA]
    totals = (sum(c * w for c, w in zip(column, weights, strict=True)) % MODULUS for column in zip(*x, strict=True))
    return [t - MODULUS if t > MODULUS // 2 else t for t in totals]


def horner(row: Sequence[int], point: int, q: int) -> int:
    total = 0
    for c in reversed(row):
        total = (total * point + c) % q
    return total


# wire §1 and §2.


def uniform(label: bytes, degree: int, primes: Sequence[int]) -> Rows:
    rows = []
    for j, q in enumerate(primes):
        width, mask = width_of(q), (1 << q.bit_length()) - 1
        stream = shake(label + struct.pack("<BQ", j, q), 4 * degree * width)
        draws = (int.from_bytes(stream[i : i + width], "little") & mask for i in range(0, len(stream), width))
        rows.append([d for d in draws if d < q][:degree])
        if len(rows[-1]) < degree:
            fail("DecodeError")
    return rows


def header(kind: int, degree: int, polynomials: int, context: bytes) -> bytes:
    return b"SBFL" + bytes([1, kind, 0, degree.bit_length() - 1]) + struct.pack("<I", polynomials) + context


def message(kind: int, polynomials: Sequence[Rows], primes: Sequence[int], context: bytes) -> bytes:
    body = [header(kind, len(polynomials[0][0]), len(polynomials), context)]
    for rows in polynomials:
        for row, q in zip(rows, primes, strict=True):
            body += [value.to_bytes(width_of(q), "little") for value in row]
    return b"".join(body)


def read(data: bytes, kind: int, primes: Sequence[int], polynomials: int, degree: int, context: bytes) -> list[Rows]:
    if len(data) != 44 + polynomials * degree * sum(map(width_of, primes)):
        fail("DecodeError")
    if data[:44] != header(kind, degree, polynomials, context):
        fail("DecodeError")
    result, at = [], 44
    for _ in range(polynomials):
        rows = []
        for q in primes:
            width = width_of(q)
            rows.append([int.from_bytes(data[at + i * width : at + (i + 1) * width], "little") for i in range(degree)])
            at += degree * width
            if max(rows[-1]) >= q:
                fail("DecodeError")
        result.append(rows)
    return result


# tckks §3: sharing and key generation.


class Sharing:
    """Replicated sharing: one piece for every t-1 members, held by the others."""

    def __init__(self, members: int, threshold: int) -> None:
        self.members, self.threshold = members, threshold
        self.missing = list(combinations(range(1, members + 1), threshold - 1))

    def dealer(self, piece: int) -> int:
        holders = [m for m in range(1, self.members + 1) if m not in self.missing[piece]]
        return holders[piece % len(holders)]

    def assign(self, active: Sequence[int]) -> dict[int, list[int]]:
        if len(active) < self.threshold:
            fail("QuorumError", *(f"member-{m}" for m in range(1, self.members + 1) if m not in active))
        load: dict[int, list[int]] = {m: [] for m in sorted(active)}
        for piece, missing in enumerate(self.missing):
            load[min((m for m in load if m not in missing), key=lambda m: (len(load[m]), m))].append(piece)
        return load


def trits(stream: bytes) -> list[int]:
    return [b % 3 - 1 for b in stream if b < 255][:N]


def coins(stream: bytes) -> list[int]:
    words = struct.unpack(f"<{len(stream) // 8}Q", stream)
    low = (1 << 21) - 1
    return [(w & low).bit_count() - (w >> 21 & low).bit_count() for w in words]


class Key:
    """The key of keygen.json: every piece, and the joint public key."""

    def __init__(self, v: dict[str, Any]) -> None:
        self.sharing = Sharing(v["members"], v["threshold"])
        label = f"secure-bfl/ceremony/v1/tckks-{N}-v1/{v['members']}/{v['threshold']}/".encode()
        self.identity = sha(label + bytes.fromhex(v["position"]))
        self.a = uniform(b"secure-bfl/common-polynomial/v1" + self.identity, N, PRIMES)
        self.seeds = self._deal(v["dealers"])
        derived = [self.derive(p, self.seeds[p]) for p in range(len(self.seeds))]
        self.secrets = [d["secret_ntt"][:-1] for d in derived]
        self.noise_keys = [d["noise_key"] for d in derived]
        self.pieces = derived
        self.b = plus(*(d["b"] for d in derived), primes=PRIMES)
        label = f"secure-bfl/joint-key/v1/tckks-{N}-v1/{v['members']}/{v['threshold']}/".encode()
        words = [value for row in (*self.b, *self.a) for value in row]
        self.digest = sha(label + struct.pack(f"<{len(words)}Q", *words))

    def _deal(self, dealers: list[dict[str, Any]]) -> dict[int, bytes]:
        seeds: dict[int, bytes] = {}
        for dealer in dealers:
            mine = [p for p in range(len(self.sharing.missing)) if self.sharing.dealer(p) == dealer["member"]]
            label = b"secure-bfl/deal/v1" + self.identity + dealer["member"].to_bytes(2, "little")
            stream = shake(label + bytes.fromhex(dealer["rand"]), 32 * len(mine))
            seeds |= {p: stream[32 * i : 32 * i + 32] for i, p in enumerate(mine)}
        return seeds

    def derive(self, piece: int, seed: bytes) -> dict[str, Any]:
        def expand(part: bytes, size: int) -> bytes:
            return shake(b"secure-bfl/piece/v1/" + part + self.identity + piece.to_bytes(2, "little") + seed, size)

        ternary, error = trits(expand(b"ternary", N + N // 8 + 256)), coins(expand(b"error", 8 * N))
        secret = transform(ternary, PRIMES)
        noise = plus(times(self.a, secret, PRIMES), transform(error, PRIMES), primes=PRIMES)
        b = [[-c % q for c in row] for row, q in zip(noise, PRIMES, strict=True)]
        part = message(1, [b], PRIMES, self.identity)
        return {
            "ternary": ternary,
            "error": error,
            "secret_ntt": secret,
            "noise_key": expand(b"noise-key", 32),
            "b": b,
            "part": part,
        }


# tckks §6: noise.


def budget(degree: int, m: int, clients: int) -> dict[str, Any]:
    *data, p = primes_of(degree)
    spread, smudging = degree * m, SMUDGING_BITS[degree]
    encryption = 10.5 * (1 + 4 * spread / 3)
    error_bound = (1 + spread) // 2 + 1 + 21 * (2 * spread + 1) // p + 1
    noise_bound = (m << smudging) + max(clients * error_bound, 21 * (2 * spread + 1))
    scale_bits = next(b for b in range(300) if 1 << b > 2 * noise_bound)
    return {
        "error_std": math.sqrt((1 + 2 * spread / 3) / 12 + encryption / p**2),
        "test_error_std": math.sqrt(encryption),
        "error_bound": error_bound,
        "test_error_bound": 21 * (2 * spread + 1),
        "noise_bound": str(noise_bound),
        "scale_bits": scale_bits,
        "plaintext_bits": math.prod(data).bit_length() - 1 - scale_bits,
    }


def smudging_bits_left(degree: int, m: int, clients: int, coefficients: int) -> int:
    made = budget(degree, m, clients)
    each = clients * made["error_std"]
    shift = coefficients * each + degree * max(0.0, made["test_error_std"] - each)
    return math.floor(SMUDGING_BITS[degree] + 1 - math.log2(shift))
