"""Key generation without a dealer that anybody must trust.

Spec: tckks §3 (v1). Each ternary addend of the secret is drawn by one member as a 32-byte seed, from which everything
about it follows. In a replicated sharing an addend is a piece, and its holders, who get the seed, check the whole
statement by deriving it again: the piece is ternary, its error is bounded, and the public part is exactly
b = -(a*s + e). In Shamir's sharing (`shamir`) only the dealer has the seed; holders get points, and a degree test. The
steps, as messages:

1. every dealer commits to the public part of each of its addends (nobody can choose b after seeing others'), and to its
   seed, or to the table of its shares' digests;
2. every dealer publishes the public parts, and sends each piece's seed, or each share, sealed, to its holder;
3. Shamir only: every dealer answers the degree test's challenge;
4. every holder checks; what it finds wrong is a complaint that anybody can judge, and names the dealer;
5. everybody sums the public parts and pins the digest of the joint key;
6. dry run (`dryrun`).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NoReturn

import numpy as np

from ..arrays import Int64Array, UInt64Array
from ..errors import DecodeError, KeyGenerationError
from ..ring import ring
from ..suites import Suite
from . import wire
from .keys import JointKey, PieceKey, public_part_bytes
from .sharing import ShamirSharing, Sharing

__all__ = [
    "SEED_BYTES",
    "Ceremony",
    "PieceSeed",
    "centred_binomial",
    "check_piece",
    "commitment",
    "deal",
    "derive_piece",
    "join",
    "seed_commitment",
    "ternary",
]

SEED_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Ceremony:
    """One key generation: suite, sharing, and the ledger position that makes its randomness its own."""

    suite: Suite
    sharing: Sharing
    position: bytes

    def __post_init__(self) -> None:
        if len(self.position) != 32:
            raise ValueError("the position is the 32-byte hash of the federation's genesis entry")

    @property
    def identity(self) -> bytes:
        """The 32-byte name of this ceremony, in every message of it."""
        label = f"secure-bfl/ceremony/v1/{self.suite.name}/{self.sharing.tag}/"
        return hashlib.sha256(label.encode() + self.position).digest()

    def common_polynomial(self) -> UInt64Array:
        """The polynomial `a` that all public parts share, uint64[K+1, N], NTT form: nobody chose it."""
        return _common_polynomial(self.identity, self.suite.ring_degree, self.suite.key_primes)


@lru_cache(maxsize=4)
def _common_polynomial(identity: bytes, degree: int, primes: tuple[int, ...]) -> UInt64Array:
    polynomial = wire.hash_to_polynomial(b"secure-bfl/common-polynomial/v1" + identity, degree, primes)
    polynomial.setflags(write=False)
    return polynomial


class PieceSeed:
    """The 32 bytes a piece is derived from. Known to its holders only."""

    __slots__ = ("_seed", "piece")

    def __init__(self, piece: int, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a piece seed is {SEED_BYTES} bytes")
        self.piece = piece
        self._seed = bytes(seed)

    def reveal(self) -> bytes:
        """The seed itself: for sealing to a holder, for the keystore, or to answer a complaint."""
        return self._seed

    def __repr__(self) -> str:
        return f"PieceSeed(piece={self.piece}, <secret>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a piece seed cannot be pickled or copied")


def _expand(ceremony: Ceremony, seed: PieceSeed, part: bytes, size: int) -> bytes:
    label = b"secure-bfl/piece/v1/" + part + ceremony.identity + seed.piece.to_bytes(2, "little")
    return hashlib.shake_256(label + seed.reveal()).digest(size)


def ternary(stream: bytes, degree: int) -> Int64Array:
    """Uniform on {-1, 0, 1}: bytes below 255, modulo 3."""
    draws = np.frombuffer(stream, dtype=np.uint8)
    accepted = draws[draws < 255][:degree]
    if len(accepted) < degree:
        raise KeyGenerationError("the piece's stream ran out; draw another seed")
    trits: Int64Array = (accepted % 3).astype(np.int64) - 1
    return trits


def centred_binomial(stream: bytes) -> Int64Array:
    """Centred binomial with 21 + 21 coins, variance 10.5: SEAL's error law."""
    words = np.frombuffer(stream, dtype="<u8")
    mask = np.uint64((1 << 21) - 1)
    heads: Int64Array = np.bitwise_count(words & mask).astype(np.int64)
    tails: Int64Array = np.bitwise_count((words >> np.uint64(21)) & mask).astype(np.int64)
    return heads - tails


def derive_piece(ceremony: Ceremony, seed: PieceSeed) -> tuple[PieceKey, bytes]:
    """Everything that follows from a seed: the piece, and its public part on the wire. Run by: its holders."""
    suite, degree = ceremony.suite, ceremony.suite.ring_degree
    full = ring(degree, suite.key_primes)
    secret = ternary(_expand(ceremony, seed, b"ternary", degree + degree // 8 + 256), degree)
    error = centred_binomial(_expand(ceremony, seed, b"error", 8 * degree))
    secret_ntt = full.ntt(full.reduce(secret))
    product = full.multiply(ceremony.common_polynomial(), secret_ntt)
    b = full.subtract(np.zeros_like(product), full.add(product, full.ntt(full.reduce(error))))
    piece = PieceKey(seed.piece, secret_ntt[: len(suite.data_primes)].copy(), _expand(ceremony, seed, b"noise-key", 32))
    return piece, public_part_bytes(suite, b, ceremony.identity)


def commitment(public_part: bytes) -> bytes:
    """What a dealer publishes before anybody sees a public part. Also the part's address in the blob store."""
    return hashlib.sha256(public_part).digest()


def seed_commitment(ceremony: Ceremony, seed: PieceSeed) -> bytes:
    """What binds a dealer to one seed for all holders of a piece, before it sends any."""
    label = b"secure-bfl/piece-seed/v1" + ceremony.identity + seed.piece.to_bytes(2, "little")
    return hashlib.sha256(label + seed.reveal()).digest()


def deal(ceremony: Ceremony, member: int, *, rand: bytes) -> tuple[PieceSeed, ...]:
    """Draw the seeds of the pieces this member deals. Run by: a member, once.

    `rand` is 32 fresh bytes; the seeds are derived from it.
    """
    if len(rand) != SEED_BYTES:
        raise ValueError(f"deal needs {SEED_BYTES} fresh random bytes")
    mine = ceremony.sharing.dealt_by(member)
    label = b"secure-bfl/deal/v1" + ceremony.identity + member.to_bytes(2, "little")
    stream = hashlib.shake_256(label + rand).digest(SEED_BYTES * len(mine))
    return tuple(PieceSeed(p, stream[SEED_BYTES * i : SEED_BYTES * (i + 1)]) for i, p in enumerate(mine))


def check_piece(ceremony: Ceremony, seed: PieceSeed, public_part: bytes) -> PieceKey:
    """Check a received seed against the dealer's public part, in a replicated sharing.

    Run by: a holder, or anyone once a complaint opened it.

    Raises:
        KeyGenerationError: the part does not follow from the seed; `culprits` names the dealer.
        ValueError: the sharing is Shamir's, where no holder gets a seed and an addend is no piece.
    """
    if isinstance(ceremony.sharing, ShamirSharing):
        raise ValueError(
            "in Shamir's sharing holders get sub-shares and no seeds: a dealer makes them with founding_dealing, a "
            "holder checks them with check_subshare and joins them with join_piece"
        )
    piece, derived = derive_piece(ceremony, seed)
    if derived != public_part:
        dealer = f"member-{ceremony.sharing.dealer(seed.piece)}"
        raise KeyGenerationError(
            f"piece {seed.piece}: the public part does not follow from the seed that {dealer} dealt", culprits=(dealer,)
        )
    return piece


def join(ceremony: Ceremony, public_parts: Mapping[int, bytes]) -> JointKey:
    """Sum the public parts into the joint key. Run by: anyone.

    Raises:
        KeyGenerationError: a part is missing or malformed; `culprits` names its dealer.
    """
    suite, sharing = ceremony.suite, ceremony.sharing
    full = ring(suite.ring_degree, suite.key_primes)
    b = np.zeros((len(suite.key_primes), suite.ring_degree), dtype=np.uint64)
    for piece in range(sharing.addends):
        dealer = f"member-{sharing.dealer(piece)}"
        if piece not in public_parts:
            raise KeyGenerationError(f"the public part of piece {piece} is missing", culprits=(dealer,))
        try:
            part = wire.decode(
                wire.WireKind.PUBLIC_PART,
                public_parts[piece],
                suite.key_primes,
                polynomials=1,
                degree=suite.ring_degree,
                context=ceremony.identity,
            )
        except DecodeError as exc:
            raise KeyGenerationError(f"the public part of piece {piece}: {exc}", culprits=(dealer,)) from exc
        b = full.add(b, part[0])
    return JointKey(suite, sharing, b, ceremony.common_polynomial())
