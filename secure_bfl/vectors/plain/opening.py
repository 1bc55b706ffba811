"""Encryption, answers and their opening. Spec: tckks §4 and §5 (v1)."""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from .arithmetic import (
    ExpectedFailure,
    Json,
    Rows,
    back,
    compose,
    divide,
    flat,
    interpolation,
    labelled,
    ntt,
    plus,
    residues,
    sha,
    shake,
    times,
    transform,
)
from .key import Budget, Ceremony, Suite, coins, trits
from .keystream import expand, keystream, words
from .wire import HEADER_BYTES, message

__all__ = [
    "Answer",
    "Digits",
    "Encryption",
    "lagrange",
    "open_sum",
    "payload",
    "trial_ciphertext",
    "trial_digits",
    "trial_stream",
]

UPDATE, TEST = 1, 2
Planes = list[list[int]]


@dataclass(frozen=True)
class Digits:
    """How digits stand in coefficients, under one budget."""

    budget: Budget
    width: int

    @property
    def count(self) -> int:
        """Digits in a coefficient."""
        return self.budget.plaintext_bits // self.width

    @property
    def largest(self) -> int:
        """The largest magnitude of a digit."""
        return (1 << (self.width - 1)) - 1

    def message(self, planes: Planes) -> list[int]:
        """Delta times the message of each coefficient."""
        scale = self.budget.suite.divisor << self.budget.shift
        columns = zip(*planes, strict=True)
        return [scale * sum(c << (self.width * d) for d, c in enumerate(column)) for column in columns]

    def opened(self, value: int) -> list[int] | None:
        """The digits of one coefficient of an opened sum, if all bounds hold."""
        shift = self.budget.shift
        rest = (value + (1 << (shift - 1))) >> shift
        if abs(value - (rest << shift)) > self.budget.bound(self.budget.answers):
            return None
        digits = []
        for _ in range(self.count):
            digits.append((rest + self.largest + 1) % (1 << self.width) - self.largest - 1)
            rest = (rest - digits[-1]) >> self.width
        return None if rest or any(abs(d) > self.largest for d in digits) else digits


class Encryption:
    """The canonical encryption of one block, with all that happens on the way."""

    def __init__(self, key: Ceremony, rand: bytes, block: int) -> None:
        self.key, self.n = key, key.suite.n
        self.seed = shake(labelled(b"secure-bfl/encrypt/v2" + key.digest, (block, 4)) + rand, 32)
        first = self.n + self.n // 8 + 256
        self.stream = keystream(self.seed, b"encrypt", first + 16 * self.n)
        self.u = trits(self.stream[:first], self.n)
        self.e0 = coins(self.stream[first : first + 8 * self.n])
        self.e1 = coins(self.stream[first + 8 * self.n :])

    @cached_property
    def before_division(self) -> list[Rows]:
        """(b u + e0, a u + e1), coefficients, over the data primes and the special one."""
        primes, masks = self.key.suite.keys, transform(self.u, self.key.suite.keys)
        return [
            plus(back(times(part, masks, primes), primes), residues(error, primes), primes=primes)
            for part, error in ((self.key.b, self.e0), (self.key.a, self.e1))
        ]

    @cached_property
    def zero(self) -> list[Rows]:
        """The encryption of zero, NTT form, over the data primes."""
        keys, data = self.key.suite.keys, self.key.suite.data
        divided = [divide(rows, keys, 1) for rows in self.before_division]
        return [[ntt(row, q) for row, q in zip(rows, data, strict=True)] for rows in divided]

    def of(self, digits: Digits, planes: Planes) -> list[Rows]:
        """The ciphertext of a block of digits."""
        data = self.key.suite.data
        return [plus(self.zero[0], transform(digits.message(planes), data), primes=data), self.zero[1]]


BINDING = bytes(32)  # the tests of the vectors are bound to nothing


def trial_stream(part: bytes, key: Ceremony, epoch: int, trial: int, size: int) -> bytes:
    """What a test of the dry run is made of."""
    return shake(labelled(b"secure-bfl/dry-run/v1/" + part + key.digest + BINDING, (epoch, 4), (trial, 1)), size)


def trial_digits(key: Ceremony, digits: Digits, epoch: int, trial: int) -> Planes:
    """The message of a test."""
    n, count = key.suite.n, digits.count
    drawn = words(trial_stream(b"message", key, epoch, trial, 8 * n * count))
    line = [w % (2 * digits.largest + 1) - digits.largest for w in drawn]
    return [line[d * n : (d + 1) * n] for d in range(count)]


def trial_ciphertext(key: Ceremony, digits: Digits, epoch: int, trial: int) -> list[Rows]:
    """(b u + e0 + Delta m, a u + e1) over the data primes."""
    n, data = key.suite.n, key.suite.data
    masks = transform(trits(trial_stream(b"u", key, epoch, trial, n + n // 8 + 256), n), data)
    e0, e1 = (coins(trial_stream(part, key, epoch, trial, 8 * n)) for part in (b"e0", b"e1"))
    payload = [m + e for m, e in zip(digits.message(trial_digits(key, digits, epoch, trial)), e0, strict=True)]
    return [
        plus(times(key.b, masks, data), transform(payload, data), primes=data),
        plus(times(key.a, masks, data), transform(e1, data), primes=data),
    ]


def lagrange(active: Sequence[int], primes: Sequence[int]) -> dict[int, list[int]]:
    """For each active member, the factor of its share modulo each prime."""
    columns = [interpolation(active, 0, q) for q in primes]
    return {member: [column[i] for column in columns] for i, member in enumerate(active)}


@dataclass(frozen=True, eq=False)
class Answer:
    """The answer of one piece to one block, with all that happens on the way.

    `c1` is the block's second polynomial; `active` is empty in a replicated sharing.
    """

    suite: Suite
    digest: bytes
    secret: Rows
    noise_key: bytes
    c1: Rows
    epoch: int = 0
    purpose: int = UPDATE
    active: tuple[int, ...] = ()
    factor: tuple[int, ...] = ()
    piece: int = 0
    pairs: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def stated(self) -> bytes:
        """What an answer depends on, beside the piece and c1."""
        fixed = struct.pack("<32sIBBB", self.digest, self.epoch, self.purpose, self.suite.bits, 2)
        return fixed + bytes([len(self.active), *self.active])

    @property
    def noise_label(self) -> bytes:
        """What the noise depends on, beside the noise key and c1."""
        return b"secure-bfl/smudging/v1" + self.stated

    @cached_property
    def c1_digest(self) -> bytes:
        """The digest of c1 as it travels."""
        return sha(message(2, [self.c1], self.suite.data, self.digest)[HEADER_BYTES:])

    @cached_property
    def seed(self) -> bytes:
        """The key of the noise."""
        return shake(self.noise_key + self.noise_label + self.c1_digest, 32)

    @cached_property
    def noise(self) -> list[int]:
        """Uniform on [-2^b, 2^b)."""
        width, bits = (self.suite.bits + 8) // 8, self.suite.bits
        stream, mask = keystream(self.seed, b"smudging", width * self.suite.n), (1 << (bits + 1)) - 1
        fields = (stream[i : i + width] for i in range(0, len(stream), width))
        return [(int.from_bytes(field, "little") & mask) - (1 << bits) for field in fields]

    @cached_property
    def mask_seeds(self) -> dict[int, bytes]:
        """The seeds of the masks in common with the other active pieces."""
        others = [member - 1 for member in self.active if member - 1 != self.piece]
        label = b"secure-bfl/zero-mask/v1" + self.stated + self.c1_digest
        return {other: shake(self.pairs[other] + label, 32) for other in others}

    @cached_property
    def zero_share(self) -> Rows:
        """This piece's share of zero, NTT form: all active pieces' shares sum to zero."""
        n, data = self.suite.n, self.suite.data
        total = [[0] * n for _ in data]
        for other, seed in self.mask_seeds.items():
            mask = expand(seed, n, data, b"zero-mask")
            signed = mask if self.piece < other else [[-x for x in row] for row in mask]
            total = plus(total, signed, primes=data)
        return total

    @cached_property
    def product(self) -> Rows:
        """c1 times the piece, plus the share of zero if there is an active set; coefficients."""
        data, secret = self.suite.data, self.secret
        if self.factor:
            secret = [[x * f % q for x in row] for row, f, q in zip(secret, self.factor, data, strict=True)]
        return back(plus(times(self.c1, secret, data), self.zero_share, primes=data), data)

    @cached_property
    def smudged(self) -> Rows:
        """With its noise."""
        return plus(self.product, residues(self.noise, self.suite.data), primes=self.suite.data)

    @cached_property
    def residues(self) -> Rows:
        """The answer: divided by the dropped primes."""
        return divide(self.smudged, self.suite.data, 2)


def payload(suite: Suite, c0: Rows) -> Rows:
    """The part of an opening that anybody knows: c0 in coefficients, divided by the dropped primes."""
    return divide(back(c0, suite.data), suite.data, 2)


def open_sum(suite: Suite, digits: Digits, known: Rows, answers: dict[str, Rows]) -> Json:
    """What the answers open with the `payload`: the values before rounding, and the digits."""
    total = plus(known, *answers.values(), primes=suite.kept)
    values = compose(total, suite.kept)
    columns = [digits.opened(value) for value in values]
    if None in columns:
        raise ExpectedFailure("BadShareError", *answers)
    line = list(flat(columns))
    return {"values": values, "digits": [line[d :: digits.count] for d in range(digits.count)]}
