"""Parameters, noise and key generation. Spec: tckks §1, §3 and §6 (v1)."""

import math
import struct
from dataclasses import dataclass
from functools import cache, cached_property

from .arithmetic import Json, Rows, is_prime, labelled, pack_words, plus, sha, shake, times, transform
from .committee import Sharing
from .wire import message, uniform

__all__ = ["EXAMPLE", "SUITES", "TABLE", "Budget", "Ceremony", "Suite", "coins", "preset", "trits"]

TABLE = {8192: 218, 16384: 438, 32768: 881}  # HomomorphicEncryption.org 2018, table 1: ternary, classical, 128 bits
KEPT = {8192: (48, 48, 32), 16384: (48,) * 6 + (40,), 32768: (48,) * 16}
DROPPED = {8192: (48, 24), 16384: (48, 40), 32768: (48, 40)}
SMUDGING_BITS = {8192: 75, 16384: 90, 32768: 90}


@dataclass(frozen=True)
class Suite:
    """Ring degree, data primes (the last two are dropped by answers), special prime, smudging bound."""

    name: str
    n: int
    data: tuple[int, ...]
    special: int
    bits: int

    @property
    def keys(self) -> tuple[int, ...]:
        """The primes of the public key."""
        return (*self.data, self.special)

    @property
    def kept(self) -> tuple[int, ...]:
        """The primes of an answer."""
        return self.data[:-2]

    @property
    def divisor(self) -> int:
        """P, the product of the dropped primes."""
        return self.data[-2] * self.data[-1]


@cache
def preset(degree: int) -> Suite:
    """The largest primes of each length that are 1 modulo 2N, none twice."""
    found: list[int] = []
    for bits in (*KEPT[degree], *DROPPED[degree], 17):
        start = (1 << bits) - 2 * degree + 1
        found.append(next(c for c in range(start, 0, -2 * degree) if c not in found and is_prime(c)))
    return Suite(f"tckks-{degree}-v1", degree, tuple(found[:-1]), found[-1], SMUDGING_BITS[degree])


SUITES = tuple(TABLE)
EXAMPLE = Suite("tckks-256-example", 256, preset(8192).data, preset(8192).special, 75)


def trits(stream: bytes, n: int) -> list[int]:
    """Uniform on {-1, 0, 1}."""
    return [b % 3 - 1 for b in stream if b < 255][:n]


def coins(stream: bytes) -> list[int]:
    """Centred binomial with 21 + 21 coins."""
    low = (1 << 21) - 1
    drawn = struct.unpack(f"<{len(stream) // 8}Q", stream)
    return [(w & low).bit_count() - (w >> 21 & low).bit_count() for w in drawn]


@dataclass(frozen=True)
class Budget:
    """The bounds on noise of one key: m addends, r noises in an opening, C clients."""

    suite: Suite
    addends: int
    answers: int
    clients: int

    @property
    def error_std(self) -> float:
        """Of a fresh ciphertext."""
        spread = self.suite.n * self.addends
        return math.sqrt((1 + 2 * spread / 3) / 12 + 10.5 * (1 + 4 * spread / 3) / self.suite.special**2)

    @property
    def error_bound(self) -> int:
        """Of a fresh ciphertext."""
        spread = self.suite.n * self.addends
        return (1 + spread) // 2 + 1 + 21 * (2 * spread + 1) // self.suite.special + 1

    @property
    def test_error_std(self) -> float:
        """Of the dry run's ciphertext."""
        return math.sqrt(10.5 * (1 + 4 * self.suite.n * self.addends / 3))

    @property
    def test_error_bound(self) -> int:
        """Of the dry run's ciphertext."""
        return 21 * (2 * self.suite.n * self.addends + 1)

    def bound(self, answers: int) -> int:
        """Noise in an opening after the division by P, with so many answers."""
        whole = (answers << self.suite.bits) + max(self.clients * self.error_bound, self.test_error_bound)
        return -(-whole // self.suite.divisor) + (answers + 1) // 2 + 1

    @property
    def shift(self) -> int:
        """The smallest s with 2 * bound < 2^s."""
        return next(s for s in range(300) if 1 << s > 2 * self.bound(self.answers))

    @property
    def plaintext_bits(self) -> int:
        """Bits of Q' above the scale."""
        return math.prod(self.suite.kept).bit_length() - 1 - self.shift

    def admits(self, answers: int) -> bool:
        """Whether so many answers keep within the bound of an opening."""
        return answers <= self.answers

    def bits_left(self, coefficients: int, tests: int) -> int:
        """Statistical bits of smudging."""
        each = self.clients * self.error_std
        shift = coefficients * each + tests * self.suite.n * max(0.0, self.test_error_std - each)
        return math.floor(self.suite.bits + 1 - math.log2(shift))


class Ceremony:
    """A key generation, with every secret of every dealer."""

    def __init__(self, suite: Suite, sharing: Sharing, position: bytes, rands: dict[int, bytes]) -> None:
        self.suite, self.sharing, self.position, self.rands = suite, sharing, position, rands
        label = f"secure-bfl/ceremony/v1/{suite.name}/{sharing.tag}/{sharing.members}/{sharing.threshold}/".encode()
        self.identity = sha(label + position)
        self.a = uniform(b"secure-bfl/common-polynomial/v1" + self.identity, suite.n, suite.keys)
        self.seeds: dict[int, bytes] = {}
        for member, rand in rands.items():
            mine = [p for p in range(sharing.addends) if sharing.dealer(p) == member]
            stream = shake(labelled(b"secure-bfl/deal/v1" + self.identity, (member, 2)) + rand, 32 * len(mine))
            self.seeds |= {p: stream[32 * i : 32 * i + 32] for i, p in enumerate(mine)}

    def derive(self, addend: int, seed: bytes) -> Json:
        """Everything that follows from a seed."""

        def drawn(part: bytes, size: int) -> bytes:
            return shake(labelled(b"secure-bfl/piece/v1/" + part + self.identity, (addend, 2)) + seed, size)

        n, primes = self.suite.n, self.suite.keys
        ternary, error = trits(drawn(b"ternary", n + n // 8 + 256), n), coins(drawn(b"error", 8 * n))
        secret = transform(ternary, primes)
        noisy = plus(times(self.a, secret, primes), transform(error, primes), primes=primes)
        b = [[-c % q for c in row] for row, q in zip(noisy, primes, strict=True)]
        return {
            "ternary": ternary,
            "error": error,
            "secret": secret[:-1],
            "noise_key": drawn(b"noise-key", 32),
            "b": b,
            "part": message(1, [b], primes, self.identity),
            "seed_commitment": sha(labelled(b"secure-bfl/piece-seed/v1" + self.identity, (addend, 2)) + seed),
        }

    @cached_property
    def addends(self) -> list[Json]:
        """What follows from every dealer's seed."""
        return [self.derive(addend, self.seeds[addend]) for addend in sorted(self.seeds)]

    @cached_property
    def b(self) -> Rows:
        """The joint public part."""
        return plus(*(addend["b"] for addend in self.addends), primes=self.suite.keys)

    @cached_property
    def digest(self) -> bytes:
        """The digest of the joint key."""
        where = f"{self.suite.name}/{self.sharing.tag}/{self.sharing.members}/{self.sharing.threshold}/"
        return sha(f"secure-bfl/joint-key/v1/{where}".encode() + pack_words([self.b, self.a]))
