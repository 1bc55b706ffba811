"""Joint decryption: partial answers of a quorum, combined into exact integers.

Spec: tckks §5 (v1). The answer of a piece is c1 times the piece, plus smudging noise, divided by the dropped primes,
which hold nothing but noise. The noise is PRF(piece's noise key, key, epoch, purpose, profile, active set, c1), where
the active set is empty in a replicated sharing: every holder of a piece draws the same, so an answer is idempotent, and
who is active only decides who sends what. A member's answer is the sum over its pieces. In Shamir's sharing a member's
share is multiplied by its Lagrange factor first, and a share of zero is added that hides everything about the answers
but their sum.

These functions compute; they do not decide. Whether a ciphertext may be answered at all (once, bound to a certified
request, recomputed, in one active set) is the member's rule and stands in `secure_bfl.member`.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from ..arrays import UInt64Array, frozen
from ..digits import DigitBlocks, DigitLayout
from ..errors import BadShareError, DecodeError
from ..ring import Ring, ring
from ..sampling import Keystream
from ..suites import Suite
from . import wire
from .encrypt import EncryptedVector
from .keys import JointKey, MemberKey, PieceKey
from .noise import NoiseBudget, OpeningProfile
from .shamir import lagrange
from .sharing import ShamirSharing
from .subshare import expand

__all__ = ["Opening", "PartialDecryption", "Purpose", "combine", "partial_decrypt", "piece_answer"]

_OPENING: Final = struct.Struct("<32sIBBB")  # key digest, epoch, purpose, smudging bits, dropped primes


class Purpose(IntEnum):
    """Why a ciphertext is opened. Part of the noise's PRF input, so that no answer serves two purposes.

    Each has a bounded output: digits (UPDATE, TEST), or reals of a stated error (SLOTS). 3 and 4 are kept for one-time
    keys and sketches, whose outputs are bounded integers too.
    """

    UPDATE = 1
    TEST = 2
    SLOTS = 5


@dataclass(frozen=True, slots=True)
class Opening:
    """All that an answer depends on beside the ciphertext and the piece.

    `active` is empty in a replicated sharing, where answers do not depend on who else answers. In Shamir's it is the
    active set, which fixes the Lagrange factors.
    """

    key_digest: bytes
    epoch: int
    purpose: Purpose
    profile: OpeningProfile
    active: tuple[int, ...] = ()

    @classmethod
    def of(cls, key: MemberKey, purpose: Purpose, active: Sequence[int], profile: OpeningProfile) -> "Opening":
        """What a member's answers to one request depend on."""
        bound = tuple(sorted(active)) if isinstance(key.sharing, ShamirSharing) else ()
        return cls(key.joint.digest, key.epoch, purpose, profile, bound)

    def noise_seed(self, piece: PieceKey, c1: memoryview) -> bytes:
        """The 32-byte key of one block's smudging noise; `c1` is the block's second polynomial as it travels."""
        return self.noise_seed_of(piece, hashlib.sha256(c1).digest())

    def noise_seed_of(self, piece: PieceKey, c1_digest: bytes) -> bytes:
        """The same from SHA-256 of c1, for a caller who asks for many pieces."""
        return hashlib.shake_256(piece.noise_key + b"secure-bfl/smudging/v1" + self._stated + c1_digest).digest(32)

    def mask_seed(self, piece: PieceKey, other: int, c1_digest: bytes) -> bytes:
        """The 32-byte key of the mask that one block's answers of two pieces have in common."""
        key = piece.pair_key(other)
        return hashlib.shake_256(key + b"secure-bfl/zero-mask/v1" + self._stated + c1_digest).digest(32)

    @property
    def _stated(self) -> bytes:
        profile = self.profile
        fixed = _OPENING.pack(self.key_digest, self.epoch, self.purpose, profile.smudging_bits, profile.dropped)
        return fixed + bytes([len(self.active), *self.active])


@dataclass(frozen=True, slots=True, eq=False)
class PartialDecryption:
    """One member's smudged answer to one request. Public.

    Shapes: residues uint64[blocks, K', N], coefficient form, over the primes that are not dropped.
    """

    suite: Suite
    key_digest: bytes
    residues: UInt64Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "residues", frozen(self.residues, np.uint64, (None, None, self.suite.ring_degree)))
        if not 1 <= self.residues.shape[1] <= len(self.suite.data_primes):
            raise ValueError(f"an answer has 1 to {len(self.suite.data_primes)} rows, not {self.residues.shape[1]}")

    def encode(self) -> bytes:
        """The one encoding. Spec: wire §4 (v1). The sender is named by the signed entry that carries the digest."""
        primes = self.suite.data_primes[: self.residues.shape[1]]
        return wire.encode(wire.WireKind.PARTIAL_DECRYPTION, self.residues, primes, context=self.key_digest)

    @classmethod
    def decode(
        cls, data: bytes, key: JointKey, *, sender: str, blocks: int, profile: OpeningProfile | None = None
    ) -> "PartialDecryption":
        """Read a peer's bytes.

        Raises:
            BadShareError: not the one encoding of an answer under `key`; `culprits` names the sender.
        """
        suite = key.suite
        try:
            residues = wire.decode(
                wire.WireKind.PARTIAL_DECRYPTION,
                data,
                _kept(suite, profile or OpeningProfile.exact(suite)),
                polynomials=blocks,
                degree=suite.ring_degree,
                context=key.digest,
            )
        except DecodeError as exc:
            raise BadShareError(f"{sender}: {exc}", culprits=(sender,)) from exc
        return cls(suite, key.digest, residues)

    @staticmethod
    def encoded_size(suite: Suite, blocks: int) -> int:
        """The exact length of the encoding of an answer that ends in integers."""
        return wire.encoded_size(blocks, suite.ring_degree, suite.answer_primes)


def _kept(suite: Suite, profile: OpeningProfile) -> tuple[int, ...]:
    return suite.data_primes[: len(suite.data_primes) - profile.dropped]


def piece_answer(
    piece: PieceKey, total: EncryptedVector, opening: Opening, *, factor: UInt64Array | None = None
) -> UInt64Array:
    """The smudged answer of one piece. Run by: a holder of the piece.

    `factor` uint64[K, 1] multiplies the piece: a Lagrange factor, applied before the noise, never after.

    Shapes: result uint64[blocks, K', N], coefficient form.

    Raises:
        ValueError: the opening has an active set, and the piece lacks the key of a pair in it.
    """
    suite, profile = total.suite, opening.profile
    data = ring(suite.ring_degree, suite.data_primes)
    secret = piece.secret_ntt if factor is None else data.multiply(piece.secret_ntt, factor)
    bits = profile.smudging_bits + 1
    kept = len(suite.data_primes) - profile.dropped
    answers = np.empty((total.blocks, kept, suite.ring_degree), dtype=np.uint64)
    for out, ciphertext, c1_digest in zip(answers, total.residues, total.second_digests(), strict=True):
        seed = opening.noise_seed_of(piece, c1_digest)
        stream = Keystream(seed, purpose=b"smudging").read((bits + 7) // 8 * suite.ring_degree)
        if opening.active:
            masked = data.add(data.multiply(ciphertext[1], secret), _zero_share(data, piece, opening, c1_digest))
            smudged = data.add(data.inverse_ntt(masked), data.small_uniform(stream, bits))
            out[...] = data.rescale(smudged, profile.dropped)
        else:
            data.answer(ciphertext[1], secret, stream, bits=bits, drop=profile.dropped, out=out)
    return answers


def _zero_share(data: Ring, piece: PieceKey, opening: Opening, c1_digest: bytes) -> UInt64Array:
    """This piece's share of zero, uint64[K, N], NTT form: uniform, but the active pieces' shares sum to zero.

    Without it a single answer of Shamir's sharing is a multiple of c1 * secret by a fraction a/b that t-1 members can
    compute, plus what they know: near a multiple of Q/b, and which one tells the ciphertext's error modulo b.

    Source: Cramer, Damgård and Ishai, TCC 2005, §4 (pseudorandom sharing of zero), between pairs.
    """
    total = np.zeros((len(data.primes), data.degree), dtype=np.uint64)
    for other in (member - 1 for member in opening.active):
        if other != piece.piece:
            mask = expand(opening.mask_seed(piece, other, c1_digest), data.degree, data.primes, purpose=b"zero-mask")
            total = data.add(total, mask) if piece.piece < other else data.subtract(total, mask)
    return total


def partial_decrypt(
    key: MemberKey,
    total: EncryptedVector,
    active: Sequence[int],
    *,
    purpose: Purpose = Purpose.UPDATE,
    profile: OpeningProfile | None = None,
) -> PartialDecryption:
    """A member's answer: the sum of the answers of the pieces assigned to it. Run by: an active member.

    Raises:
        ValueError: the vector is under another key, or this member is not active.
        QuorumError: the active members do not cover the key.
    """
    if total.key_digest != key.joint.digest:
        raise ValueError("the vector is under another key")
    assigned = key.sharing.assignment(active)
    if key.member not in assigned:
        raise ValueError(f"member {key.member} is not among the active members")
    suite = total.suite
    profile = profile or OpeningProfile.exact(suite)
    opening = Opening.of(key, purpose, active, profile)
    factor = lagrange(active, suite.data_primes)[key.member] if isinstance(key.sharing, ShamirSharing) else None
    kept = ring(suite.ring_degree, _kept(suite, profile))
    answer: UInt64Array | None = None
    for number in assigned[key.member]:
        mine = piece_answer(key.piece(number), total, opening, factor=factor)
        answer = mine if answer is None else kept.add(answer, mine)
    if answer is None:
        answer = np.zeros((len(total.residues), len(kept.primes), suite.ring_degree), dtype=np.uint64)
    return PartialDecryption(suite, total.key_digest, answer)


def _check_combinable(
    total: EncryptedVector, answers: Mapping[str, PartialDecryption], budget: NoiseBudget, layout: DigitLayout
) -> None:
    """Raises ValueError for arguments that do not belong together: nobody is to blame for that but the caller."""
    suite = total.suite
    if not answers:
        raise ValueError("there is no answer to combine; collect those of a quorum first")
    if budget.suite != suite:
        raise ValueError(
            f"the noise budget is for suite {budget.suite.name}, the vector is under {suite.name}; take the key's own"
        )
    if layout.coefficients != suite.ring_degree or layout.width * layout.per_coefficient > budget.plaintext_bits:
        raise ValueError("the digit layout does not fit the noise budget; take the one the clients packed with")
    for sender, answer in answers.items():
        if answer.key_digest != total.key_digest or answer.suite != suite:
            raise ValueError(
                f"the answer of {sender} is under another key or suite than the vector; decode it with its key"
            )
        if answer.residues.shape[:2] != (total.blocks, len(suite.answer_primes)):
            raise ValueError(
                f"the answer of {sender} has {answer.residues.shape[0]} blocks of {answer.residues.shape[1]} rows, and "
                f"opening this vector into integers takes {total.blocks} of {len(suite.answer_primes)}; decode it with "
                "the vector's number of blocks and no other profile"
            )


def combine(
    total: EncryptedVector,
    answers: Mapping[str, PartialDecryption],
    budget: NoiseBudget,
    layout: DigitLayout,
) -> DigitBlocks:
    """Combine answers that together cover every piece into the exact integer sums. Run by: anyone.

    `answers` maps each sender's name to what it sent.

    Shapes: result int64[blocks, k, N]. Units: grid units.
    Guarantees: exact if every answer is honest and every ciphertext was honestly made; a wrong answer leaves noise or
    a message outside its bound and raises, except with probability below 2^-1000 for a random one.

    Raises:
        ValueError: there is no answer; or an answer, the budget or the layout does not belong to this vector.
        BadShareError: some coefficient's noise or message exceeds its bound, so at least one answer is wrong or
            missing, or a ciphertext is wrong; `culprits` lists the senders of answers.
    """
    _check_combinable(total, answers, budget, layout)
    suite = total.suite
    data, kept = ring(suite.ring_degree, suite.data_primes), ring(suite.ring_degree, suite.answer_primes)
    digits = np.empty((len(total.residues), layout.per_coefficient, layout.coefficients), dtype=np.int64)
    for block, ciphertext in enumerate(total.residues):
        opened = data.rescale(data.inverse_ntt(ciphertext[0]), suite.dropped)
        for answer in answers.values():
            opened = kept.add(opened, answer.residues[block])
        found = kept.open_digits(
            opened,
            shift=budget.scale_shift,
            noise_bound=budget.noise_bound,
            width=layout.width,
            count=layout.per_coefficient,
        )
        if found is None:
            raise BadShareError(
                f"block {block} does not open: its noise or message is out of bounds, so an answer of "
                f"{', '.join(answers)} is wrong or missing, or a ciphertext was not honestly made",
                culprits=tuple(answers),
            )
        digits[block] = found
    digits.setflags(write=False)
    return DigitBlocks(layout, digits)
