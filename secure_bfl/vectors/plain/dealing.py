"""Dealing a secret to a committee, the degree test, handovers. Spec: tckks §3.6 to §3.8 (v1)."""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from .arithmetic import ExpectedFailure, Rows, interpolation, labelled, pack_words, plus, sha, shake, width_of
from .committee import Shamir, Sharing
from .key import Suite
from .keystream import expand, keystream, words
from .wire import pack_rows

__all__ = [
    "Claims",
    "Dealing",
    "Handover",
    "Piece",
    "Terms",
    "check_subshare",
    "convicted",
    "degree_challenge",
    "fold",
    "fold_weights",
    "join_piece",
    "unpack",
]

REPETITIONS = 4
SEED, VALUE, PROOF = 1, 2, 3


@dataclass(frozen=True)
class Terms:
    """What everybody knows about a dealing before it begins."""

    label: bytes
    suite: Suite
    sharing: Sharing
    addend: int
    dealers: tuple[str, ...]

    @property
    def tested(self) -> bool:
        """Whether there is a degree test."""
        return isinstance(self.sharing, Shamir)

    @property
    def free(self) -> int:
        """How many values are drawn."""
        return self.sharing.threshold - 1 if self.tested else self.sharing.pieces - 1

    @property
    def pairs(self) -> int:
        """With how many other pieces a piece has a key in common."""
        return self.sharing.pieces - 1 if self.tested else 0

    @property
    def start(self) -> int:
        """Where the seed, or the masks and the value, begin in a sub-share."""
        return 76 + 32 * self.pairs

    def factors(self, piece: int) -> list[list[int]]:
        """A piece as factors of the element and of the free values, for each prime."""
        if self.tested:
            return [interpolation(range(self.free + 1), piece + 1, q) for q in self.suite.data]
        row = [1] + [-1] * self.free if piece == self.free else [int(i == piece + 1) for i in range(self.free + 1)]
        return [[f % q for f in row] for q in self.suite.data]

    def combined(self, piece: int, parts: Sequence[Rows]) -> Rows:
        """The piece's rows, from those of the element and of the free values."""
        return [
            [sum(f * part[i][c] for f, part in zip(factors, parts, strict=True)) % q for c in range(len(parts[0][i]))]
            for i, (factors, q) in enumerate(zip(self.factors(piece), self.suite.data, strict=True))
        ]

    def header(self, form: int, piece: int, context: bytes) -> bytes:
        """The header of a message of a dealing."""
        log_degree = self.suite.n.bit_length() - 1
        return struct.pack(
            "<4sBBBBHH32s", b"SBFD", 1, form, log_degree, len(self.suite.data), self.addend, piece, context
        )


class Dealing:
    """One element, dealt: everything follows from the element and a seed."""

    def __init__(self, terms: Terms, secret: Rows, seed: bytes) -> None:
        self.terms, self.secret, self.seed = terms, secret, seed
        where = bytes([terms.tested, terms.sharing.members, terms.sharing.threshold])
        label = labelled(b"secure-bfl/dealing/v1" + terms.label, (terms.addend, 2)) + where
        self.root = shake(label + sha(pack_words(secret)) + seed, 32)

    def derive(self, part: bytes, index: int = 0) -> bytes:
        """32 bytes for one use."""
        return shake(labelled(b"secure-bfl/dealing/" + part, (index, 2)) + self.root, 32)

    @cached_property
    def generators(self) -> list[Rows]:
        """The element and the free values."""
        n, primes = self.terms.suite.n, self.terms.suite.data
        return [self.secret, *(expand(self.derive(b"value", i), n, primes) for i in range(self.terms.free))]

    @cached_property
    def mask_generators(self) -> list[Rows]:
        """The mask polynomials at zero and at the free points."""
        primes = self.terms.suite.data
        free = (self.derive(b"value", i) for i in range(self.terms.free))
        at_zero = expand(self.derive(b"mask-at-zero"), REPETITIONS, primes)
        return [at_zero, *(expand(seed, REPETITIONS, primes, b"degree-mask") for seed in free)]

    def value(self, piece: int) -> Rows:
        """The value of a piece."""
        return self.terms.combined(piece, self.generators)

    def masks(self, piece: int) -> Rows:
        """The masks of a piece."""
        return self.terms.combined(piece, self.mask_generators)

    def contribution(self, piece: int) -> bytes:
        """What goes into the noise key of a piece."""
        return self.derive(b"contribution", piece)

    def pairs(self, piece: int) -> dict[int, bytes]:
        """What goes into the keys that a piece has in common with the others."""
        others = [other for other in range(self.terms.pairs + 1) if other != piece]
        return {other: self.derive(b"pair", 32 * min(piece, other) + max(piece, other)) for other in others}

    def share(self, piece: int) -> bytes:
        """An encoded sub-share."""
        terms, primes = self.terms, self.terms.suite.data
        given = self.contribution(piece) + b"".join(self.pairs(piece).values() if terms.tested else ())
        if piece < terms.free:
            return terms.header(SEED, piece, terms.label) + given + self.derive(b"value", piece)
        masks = pack_rows(self.masks(piece), primes) if terms.tested else b""
        value = pack_rows(self.value(piece), primes)
        return terms.header(VALUE, piece, terms.label) + given + masks + value

    @cached_property
    def digests(self) -> list[bytes]:
        """What the dealer publishes first."""
        return [sha(self.share(piece)) for piece in range(self.terms.sharing.pieces)]

    def masked(self, piece: int) -> bytes:
        """A sub-share as it may lie in public."""
        data, key = self.share(piece), self.derive(b"mask-key", piece)
        return bytes(x ^ y for x, y in zip(data, keystream(key, b"mask", len(data)), strict=True))

    def opened(self, challenge: bytes) -> list[Rows]:
        """g + <y, f> at the points 0 to t-1."""
        weights = fold_weights(self.terms, challenge)
        pairs = zip(self.mask_generators, self.generators, strict=True)
        return [plus(g, fold(self.terms, f, weights), primes=self.terms.suite.data) for g, f in pairs]

    def proof(self, challenge: bytes) -> bytes:
        """The answer to the degree test."""
        primes = self.terms.suite.data
        opened = self.opened(challenge)
        rows = [[value for part in opened for value in part[i]] for i in range(len(primes))]
        return self.terms.header(PROOF, 0, challenge) + pack_rows(rows, primes)


def fold_weights(terms: Terms, challenge: bytes) -> list[list[int]]:
    """The weights of the degree test, below 2^39."""
    seed = shake(labelled(b"secure-bfl/degree-weights/v1" + terms.label, (terms.addend, 2)) + challenge, 32)
    n = terms.suite.n
    drawn = [w >> 25 for w in words(keystream(seed, b"degree-test", 8 * REPETITIONS * n))]
    return [drawn[r * n : (r + 1) * n] for r in range(REPETITIONS)]


def fold(terms: Terms, value: Rows, weights: list[list[int]]) -> Rows:
    """Weighted sums of a value's residues, one for each repetition."""
    pairs = zip(value, terms.suite.data, strict=True)
    return [[sum(w * x for w, x in zip(line, row, strict=True)) % q for line in weights] for row, q in pairs]


def degree_challenge(dealings: Sequence[Dealing], position: bytes) -> bytes:
    """From all that was published."""
    hashed = hashlib.sha256(b"secure-bfl/degree-challenge/v1" + position)
    for dealing in sorted(dealings, key=lambda d: d.terms.addend):
        hashed.update(labelled(dealing.terms.label, (dealing.terms.addend, 2)) + b"".join(dealing.digests))
    return hashed.digest()


@dataclass(frozen=True)
class Claims:
    """What a dealer published: digests, and, in Shamir's sharing, what it opened for a challenge."""

    terms: Terms
    digests: tuple[bytes, ...]
    challenge: bytes | None = None
    opened: tuple[Rows, ...] = ()


def check_subshare(claims: Claims, piece: int, data: bytes, sender: str) -> None:
    """A holder's checks: the digest, the length and the header, and the degree test."""
    terms, primes = claims.terms, claims.terms.suite.data
    if sha(data) != claims.digests[piece]:
        raise ExpectedFailure("KeyGenerationError", sender)
    form, columns = (SEED, ()) if piece < terms.free else (VALUE, (REPETITIONS if terms.tested else 0, terms.suite.n))
    size = terms.start + 32 if form == SEED else terms.start + sum(columns) * sum(map(width_of, primes))
    if len(data) != size or data[:44] != terms.header(form, piece, terms.label):
        raise ExpectedFailure("KeyGenerationError", *terms.dealers)
    if claims.challenge is None:
        return
    if form == SEED:
        seed = data[terms.start :]
        masks, value = expand(seed, REPETITIONS, primes, b"degree-mask"), expand(seed, terms.suite.n, primes)
    else:
        cut = terms.start + REPETITIONS * sum(map(width_of, primes))
        masks, value = unpack(data[terms.start : cut], REPETITIONS, primes), unpack(data[cut:], terms.suite.n, primes)
    folds = plus(masks, fold(terms, value, fold_weights(terms, claims.challenge)), primes=primes)
    if folds != terms.combined(piece, claims.opened):
        raise ExpectedFailure("KeyGenerationError", *terms.dealers)


def convicted(claims: Claims, piece: int, data: bytes) -> list[str]:
    """Whom an opened sub-share proves guilty."""
    if sha(data) != claims.digests[piece]:
        return []
    try:
        check_subshare(claims, piece, data, "")
    except ExpectedFailure as failure:
        return failure.culprits
    return []


def unpack(data: bytes, columns: int, primes: Sequence[int]) -> Rows:
    """Residues in the whole bytes of their primes."""
    rows, at = [], 0
    for q in primes:
        width = width_of(q)
        rows.append([int.from_bytes(data[at + i * width :][:width], "little") for i in range(columns)])
        at += columns * width
    return rows


@dataclass(frozen=True, eq=False)
class Piece:
    """A piece of the key: its value, its noise key, and the keys it has in common with others."""

    value: Rows
    noise_key: bytes
    pairs: dict[int, bytes]


def _pair_key(dealings: Sequence[Dealing], piece: int, other: int) -> bytes:
    label = b"secure-bfl/dealing/pair-key/v1" + dealings[0].terms.label + bytes(sorted((piece, other)))
    return shake(label + b"".join(dealing.pairs(piece)[other] for dealing in dealings), 32)


def join_piece(dealings: Sequence[Dealing], piece: int) -> Piece:
    """A new piece."""
    first = dealings[0].terms
    value = plus(*(dealing.value(piece) for dealing in dealings), primes=first.suite.data)
    label = labelled(b"secure-bfl/dealing/noise-key/v1" + first.label, (piece, 2))
    noise_key = shake(label + b"".join(dealing.contribution(piece) for dealing in dealings), 32)
    others = [other for other in range(first.pairs + 1) if other != piece] if first.tested else []
    return Piece(value, noise_key, {other: _pair_key(dealings, piece, other) for other in others})


@dataclass(frozen=True)
class Handover:
    """From which sharing to which, of which key."""

    suite: Suite
    old: Sharing
    new: Sharing
    key_digest: bytes
    epoch: int
    position: bytes
    active: tuple[int, ...] = ()

    @property
    def identity(self) -> bytes:
        """The name of the handover."""
        old, new = (f"{s.tag}/{s.members}/{s.threshold}" for s in (self.old, self.new))
        active = ",".join(map(str, self.active))
        label = f"secure-bfl/handover/v1/{self.suite.name}/{old}/{new}/{self.epoch}/{active}/"
        return sha(label.encode() + self.key_digest + self.position)

    def deal(self, piece: int, secret: Rows, noise_key: bytes) -> Dealing:
        """An old piece, dealt to the new sharing."""
        holders = self.old.holders(piece)
        first = holders[piece % len(holders)]
        dealers = tuple(f"member-{m}" for m in (first, *(m for m in holders if m != first)))
        if self.active:
            factors = [interpolation(self.active, 0, q)[self.active.index(piece + 1)] for q in self.suite.data]
            secret = [[x * f % q for x in row] for row, f, q in zip(secret, factors, self.suite.data, strict=True)]
        seed = shake(labelled(b"secure-bfl/handover-seed/v1" + self.identity, (piece, 2)) + noise_key, 32)
        return Dealing(Terms(self.identity, self.suite, self.new, piece, dealers), secret, seed)
