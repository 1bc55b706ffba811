"""Committees with a real key at N = 8192, made once from fixed seeds."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from protocols.arrays import UInt64Array
from protocols.digits import DigitBlocks, DigitLayout
from protocols.ring import Ring, ring
from protocols.suites import Suite, suite
from protocols.tckks import (
    Ceremony,
    EncryptedVector,
    Encryptor,
    JointKey,
    MemberKey,
    NoiseBudget,
    Opening,
    OpeningProfile,
    PartialDecryption,
    PieceKey,
    PieceSeed,
    Purpose,
    ReplicatedSharing,
    check_piece,
    combine,
    deal,
    derive_piece,
    join,
    partial_decrypt,
)

CLIENTS = 10
WIDTH = 20
SUITE: Suite = suite(8192)


def rand(*words: object) -> bytes:
    """32 bytes that only look random: the tests are repeatable."""
    return hashlib.sha256(repr(words).encode()).digest()


@dataclass(frozen=True)
class Committee:
    """Everything that a whole committee knows; only a test may have it in one place."""

    ceremony: Ceremony
    seeds: Mapping[int, PieceSeed]
    parts: Mapping[int, bytes]
    pieces: Mapping[int, PieceKey]
    joint: JointKey
    keys: Mapping[int, MemberKey]
    budget: NoiseBudget
    layout: DigitLayout
    encryptor: Encryptor

    @property
    def sharing(self) -> ReplicatedSharing:
        assert isinstance(self.joint.founding, ReplicatedSharing)
        return self.joint.founding

    @property
    def data(self) -> Ring:
        return ring(SUITE.ring_degree, SUITE.data_primes)

    @property
    def kept(self) -> Ring:
        """The ring of answers."""
        return ring(SUITE.ring_degree, SUITE.answer_primes)

    def opening(self, purpose: Purpose = Purpose.UPDATE) -> Opening:
        """What every answer of this committee to one request depends on."""
        return Opening(self.joint.digest, 0, purpose, OpeningProfile.exact(SUITE))

    def secret(self) -> UInt64Array:
        """The sum of all pieces, NTT form: what nobody may ever have."""
        total = np.zeros((len(SUITE.data_primes), SUITE.ring_degree), dtype=np.uint64)
        for piece in self.pieces.values():
            total = self.data.add(total, piece.secret_ntt)
        return total

    def digits(self, seed: int, *, blocks: int = 1, largest: int | None = None) -> DigitBlocks:
        """Random digits up to `largest`, by default the share of one of `CLIENTS` clients."""
        edge = self.layout.largest // CLIENTS if largest is None else largest
        shape = (blocks, self.layout.per_coefficient, self.layout.coefficients)
        return DigitBlocks(self.layout, np.random.default_rng(seed).integers(-edge, edge + 1, shape, dtype=np.int64))

    def encrypt(self, digits: DigitBlocks, *words: object) -> EncryptedVector:
        return self.encryptor.encrypt(digits, rand=rand("encrypt", *words))

    def answers(self, total: EncryptedVector, active: tuple[int, ...]) -> dict[str, UInt64Array]:
        return {f"member-{m}": partial_decrypt(self.keys[m], total, active).residues for m in active}


def combined(
    total: EncryptedVector, residues: Mapping[str, UInt64Array], budget: NoiseBudget, layout: DigitLayout
) -> DigitBlocks:
    """`combine`, of residues that a test may have changed."""
    answers = {name: PartialDecryption(total.suite, total.key_digest, one) for name, one in residues.items()}
    return combine(total, answers, budget, layout)


@cache
def committee(members: int = 5, threshold: int = 3) -> Committee:
    """A whole key generation, played honestly."""
    sharing = ReplicatedSharing(members, threshold)
    ceremony = Ceremony(SUITE, sharing, rand("position"))
    seeds = {
        seed.piece: seed for m in range(1, members + 1) for seed in deal(ceremony, m, rand=rand("deal", members, m))
    }
    parts = {piece: derive_piece(ceremony, seed)[1] for piece, seed in seeds.items()}
    pieces = {piece: check_piece(ceremony, seed, parts[piece]) for piece, seed in seeds.items()}
    joint = join(ceremony, parts)
    keys = {
        m: MemberKey(m, joint, {p: pieces[p] for p in sharing.held_by(m)}, sharing=sharing)
        for m in range(1, members + 1)
    }
    budget = NoiseBudget.of(SUITE, sharing, CLIENTS)
    layout = budget.layout(WIDTH)
    return Committee(ceremony, seeds, parts, pieces, joint, keys, budget, layout, Encryptor(joint, budget, layout))
