"""Joint decryption: partial answers of a quorum, combined into exact integers.

Spec: tckks §5 (v1). A member answers c1 times its assigned pieces plus each piece's smudging noise. The noise is
PRF(piece's noise key, key digest, purpose, c1): every holder of a piece draws the same noise for the same ciphertext,
so an answer is idempotent, and who is active only decides who sends what.

These functions compute; they do not decide. Whether a ciphertext may be answered at all (once, bound to a certified
request, recomputed) is the member's rule and stands in `secure_bfl.member`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..arrays import Int64Array, UInt64Array, frozen
from ..digits import DigitBlocks, DigitLayout
from ..errors import BadShareError, DecodeError
from ..ring import Ring, ring
from ..suites import Suite
from . import wire
from .encrypt import EncryptedVector
from .keys import JointKey, MemberKey, PieceKey
from .noise import NoiseBudget

__all__ = ["PartialDecryption", "Purpose", "combine", "partial_decrypt", "piece_answer"]

_LIMB_BITS: Final = 48


class Purpose(IntEnum):
    """Why a ciphertext is opened; part of the noise's PRF input and of every request."""

    UPDATE = 1
    TEST = 2


@dataclass(frozen=True, slots=True, eq=False)
class PartialDecryption:
    """One member's smudged answer to one request. Public.

    Shapes: residues uint64[blocks, K, N], coefficient form.
    """

    suite: Suite
    key_digest: bytes
    residues: UInt64Array

    def __post_init__(self) -> None:
        shape = (None, len(self.suite.data_primes), self.suite.ring_degree)
        object.__setattr__(self, "residues", frozen(self.residues, np.uint64, shape))

    def encode(self) -> bytes:
        """The one encoding. Spec: wire §4 (v1). The sender is named by the signed entry that carries the digest."""
        return wire.encode(
            wire.WireKind.PARTIAL_DECRYPTION, self.residues, self.suite.data_primes, context=self.key_digest
        )

    @classmethod
    def decode(cls, data: bytes, key: JointKey, *, sender: str, blocks: int) -> "PartialDecryption":
        """Read a peer's bytes.

        Raises:
            BadShareError: not the one encoding of an answer under `key`; `culprits` names the sender.
        """
        suite = key.suite
        try:
            residues = wire.decode(
                wire.WireKind.PARTIAL_DECRYPTION,
                data,
                suite.data_primes,
                polynomials=blocks,
                degree=suite.ring_degree,
                context=key.digest,
            )
        except DecodeError as exc:
            raise BadShareError(f"{sender}: {exc}", culprits=(sender,)) from exc
        return cls(suite, key.digest, residues)


def _smudging(data: Ring, suite: Suite, piece: PieceKey, key_digest: bytes, purpose: Purpose, c1: bytes) -> UInt64Array:
    """Uniform on [-2^b, 2^b) per coefficient, as residues uint64[K, N]; the same for every holder of the piece."""
    bits = suite.smudging_bits + 1
    width = (bits + 7) // 8
    label = b"secure-bfl/smudging/v1" + key_digest + bytes([purpose]) + c1
    stream = hashlib.shake_256(piece.noise_key + label).digest(width * suite.ring_degree)
    wide = np.zeros((suite.ring_degree, 16), dtype=np.uint8)
    wide[:, :width] = np.frombuffer(stream, np.uint8).reshape(suite.ring_degree, width)
    words = wide.view("<u8").astype(np.uint64)  # [N, 2]: bits 0..63 and 64..127
    limb = np.uint64((1 << _LIMB_BITS) - 1)
    low = words[:, 0] & limb
    high = (words[:, 0] >> np.uint64(_LIMB_BITS)) | (words[:, 1] << np.uint64(64 - _LIMB_BITS))
    high &= np.uint64((1 << (bits - _LIMB_BITS)) - 1)
    total = data.add(_residues(data, low), data.multiply(_residues(data, high), data.constant(1 << _LIMB_BITS)))
    return data.subtract(total, data.constant(1 << suite.smudging_bits))


def _residues(data: Ring, values: UInt64Array) -> UInt64Array:
    reduced: Int64Array = values.astype(np.int64)  # below 2^48, so the sign never matters
    return data.reduce(reduced)


def piece_answer(piece: PieceKey, total: EncryptedVector, *, purpose: Purpose) -> UInt64Array:
    """The smudged answer of one piece. Run by: a holder of the piece.

    Shapes: result uint64[blocks, K, N], coefficient form.
    """
    data = ring(total.suite.ring_degree, total.suite.data_primes)
    answers = []
    for ciphertext in total.residues:
        c1 = hashlib.sha256(ciphertext[1].astype("<u8").tobytes()).digest()
        product = data.inverse_ntt(data.multiply(ciphertext[1], piece.secret_ntt))
        answers.append(data.add(product, _smudging(data, total.suite, piece, total.key_digest, purpose, c1)))
    return np.stack(answers)


def partial_decrypt(
    key: MemberKey, total: EncryptedVector, active: Sequence[int], *, purpose: Purpose = Purpose.UPDATE
) -> PartialDecryption:
    """A member's answer: the sum of the answers of the pieces assigned to it. Run by: an active member.

    Raises:
        ValueError: the vector is under another key, or this member is not active.
        QuorumError: the active members do not cover the key.
    """
    if total.key_digest != key.joint.digest:
        raise ValueError("the vector is under another key")
    assigned = key.joint.sharing.assignment(active)
    if key.member not in assigned:
        raise ValueError(f"member {key.member} is not among the active members")
    data = ring(total.suite.ring_degree, total.suite.data_primes)
    answer = np.zeros((len(total.residues), len(total.suite.data_primes), total.suite.ring_degree), dtype=np.uint64)
    for piece in assigned[key.member]:
        answer = data.add(answer, piece_answer(key.piece(piece), total, purpose=purpose))
    return PartialDecryption(total.suite, total.key_digest, answer)


def combine(
    total: EncryptedVector,
    answers: Mapping[str, UInt64Array],
    budget: NoiseBudget,
    layout: DigitLayout,
) -> DigitBlocks:
    """Combine answers that together cover every piece into the exact integer sums. Run by: anyone.

    `answers` maps each sender's name to its residues uint64[blocks, K, N].

    Shapes: result int64[blocks, k, N]. Units: grid units.
    Guarantees: exact if every answer is honest and every ciphertext was honestly made; a wrong answer leaves noise or
    a message outside its bound and raises, except with probability below 2^-1000 for a random one.

    Raises:
        BadShareError: some coefficient's noise or message exceeds its bound, so at least one answer or ciphertext is
            wrong; `culprits` lists the senders among whom it is.
    """
    suite = total.suite
    data = ring(suite.ring_degree, suite.data_primes)
    half_message = 1 << (layout.width * layout.per_coefficient - 1)
    scale, bound = 1 << budget.scale_bits, budget.noise_bound
    blocks = []
    for index, ciphertext in enumerate(total.residues):
        opened = data.inverse_ntt(ciphertext[0])
        for answer in answers.values():
            opened = data.add(opened, answer[index])
        value = data.compose(opened)
        message = (value + scale // 2) >> budget.scale_bits
        noise = np.abs(value - (message << budget.scale_bits))
        if (noise > bound).any() or (np.abs(message) >= half_message).any():
            raise _unopened(index, answers)
        digits = _digits(message, layout)
        if (np.abs(digits) > layout.largest).any():
            raise _unopened(index, answers)
        blocks.append(digits)
    return DigitBlocks(layout, np.stack(blocks))


def _unopened(block: int, answers: Mapping[str, UInt64Array]) -> BadShareError:
    return BadShareError(
        f"block {block} does not open: its noise or message is out of bounds, so an answer of "
        f"{', '.join(answers)} is wrong or a ciphertext was not honestly made",
        culprits=tuple(answers),
    )


def _digits(message: NDArray[np.object_], layout: DigitLayout) -> Int64Array:
    """Split signed integers into signed digits, int64[k, N]."""
    width, count = layout.width, layout.per_coefficient
    offset = sum(1 << (width * d + width - 1) for d in range(count))  # lifts every digit to [0, 2^width)
    size = (width * count + 7) // 8
    raw = b"".join(int(m + offset).to_bytes(size + 8, "little") for m in message)
    table = np.frombuffer(raw, np.uint8).reshape(len(message), size + 8)
    digits = np.empty((count, len(message)), dtype=np.int64)
    for d in range(count):
        at, shift = divmod(width * d, 8)
        word = np.ascontiguousarray(table[:, at : at + 8]).view("<u8")[:, 0]
        field = (word >> np.uint64(shift)) & np.uint64((1 << width) - 1)
        digits[d] = field.astype(np.int64) - (1 << (width - 1))
    return digits
