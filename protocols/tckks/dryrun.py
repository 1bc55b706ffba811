"""The dry run of a committee: test ciphertexts that nobody can choose, or know before everything was dealt.

Spec: tckks §3.4 (v1). Message and randomness are derived from the key's digest, the epoch, the trial's number and a
binding: 32 bytes that all commitments of the ceremony determine. So a test hides nothing, anybody can make it again bit
for bit, no member can be tricked into answering another one, and no dealer can fit a wrong piece to it.

In a replicated sharing there is one trial: every holder of a piece answers for that piece; holders must agree byte for
byte, and all pieces together must open the test. Since an answer does not depend on who else is active, this proves
every quorum at once. In Shamir's sharing every trial has an active set of its own, as no ciphertext may be answered in
two; the sets contain every member, and with the degree test passed, one set that opens proves all.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..digits import DigitBlocks, DigitLayout
from ..errors import BadShareError
from ..ring import ring
from .decrypt import Opening, PartialDecryption, Purpose, combine, piece_answer
from .encrypt import EncryptedVector, message_residues
from .keygen import centred_binomial, ternary
from .keys import JointKey, MemberKey
from .noise import NoiseBudget, OpeningProfile
from .shamir import lagrange
from .sharing import ShamirSharing, Sharing

__all__ = ["Trial", "answer_test", "check_test", "trial_ciphertext", "trial_digits", "trials"]

_LABEL: Final = b"secure-bfl/dry-run/v1/"


@dataclass(frozen=True, slots=True)
class Trial:
    """One test of a committee. `active` is empty where answers are given piece by piece, by every holder."""

    number: int
    active: tuple[int, ...]

    def pieces_of(self, sharing: Sharing, member: int) -> tuple[int, ...]:
        """The pieces for which a member answers this test."""
        return sharing.held_by(member) if not self.active or member in self.active else ()


def trials(sharing: Sharing) -> tuple[Trial, ...]:
    """The tests that a committee must pass."""
    if isinstance(sharing, ShamirSharing):
        return tuple(Trial(number, active) for number, active in enumerate(sharing.trial_sets))
    return (Trial(0, ()),)


def _stream(part: bytes, key: JointKey, epoch: int, trial: int, binding: bytes, size: int) -> bytes:
    if len(binding) != 32:
        raise ValueError("the binding of a dry run is 32 bytes")
    which = epoch.to_bytes(4, "little") + trial.to_bytes(1, "little")
    return hashlib.shake_256(_LABEL + part + key.digest + binding + which).digest(size)


def trial_digits(key: JointKey, layout: DigitLayout, *, epoch: int, trial: int, binding: bytes) -> DigitBlocks:
    """The test message: one block of digits over the whole range."""
    stream = _stream(b"message", key, epoch, trial, binding, 8 * layout.per_coefficient * layout.coefficients)
    span = np.uint64(2 * layout.largest + 1)
    values = (np.frombuffer(stream, dtype="<u8") % span).astype(np.int64) - layout.largest
    return DigitBlocks(layout, values.reshape(1, layout.per_coefficient, layout.coefficients))


def trial_ciphertext(
    key: JointKey, budget: NoiseBudget, layout: DigitLayout, *, epoch: int, trial: int, binding: bytes
) -> EncryptedVector:
    """(b*u + e0 + Delta*m, a*u + e1) over the data primes, with u, e0, e1 derived as the message is."""
    suite, degree = key.suite, key.suite.ring_degree
    data, rows = ring(degree, suite.data_primes), len(suite.data_primes)
    u = ternary(_stream(b"u", key, epoch, trial, binding, degree + degree // 8 + 256), degree)
    errors = (_stream(part, key, epoch, trial, binding, 8 * degree) for part in (b"e0", b"e1"))
    e0, e1 = (centred_binomial(stream) for stream in errors)
    u_ntt = data.ntt(data.reduce(u))
    digits = trial_digits(key, layout, epoch=epoch, trial=trial, binding=binding)
    message = message_residues(data, digits, budget.scale, 0)
    payload = data.ntt(data.add(message, data.reduce(e0)))
    c0 = data.add(data.multiply(key.b[:rows], u_ntt), payload)
    c1 = data.add(data.multiply(key.a[:rows], u_ntt), data.ntt(data.reduce(e1)))
    return EncryptedVector(suite, key.digest, np.stack([c0, c1])[None])


def answer_test(key: MemberKey, piece: int, trial: Trial, test: EncryptedVector) -> bytes:
    """A member's answer for one piece, on the wire: the same bytes from every holder. Run by: a holder of the piece,
    which made `test` itself.
    """
    suite = test.suite
    opening = Opening.of(key, Purpose.TEST, trial.active, OpeningProfile.exact(suite))
    factor = lagrange(trial.active, suite.data_primes)[key.member] if trial.active else None
    answer = piece_answer(key.piece(piece), test, opening, factor=factor)
    return PartialDecryption(suite, test.key_digest, answer).encode()


def check_test(
    key: JointKey,
    sharing: Sharing,
    budget: NoiseBudget,
    layout: DigitLayout,
    answers: Mapping[tuple[int, int], bytes],
    *,
    binding: bytes,
    epoch: int = 0,
) -> None:
    """Open every test with one answer for every (trial, piece) that it needs. Run by: anyone.

    Raises:
        BadShareError: an answer is missing or malformed, or a test does not open to its message.
    """
    for trial in trials(sharing):
        pieces = [member - 1 for member in trial.active] or range(sharing.pieces)
        given: dict[str, PartialDecryption] = {}
        for piece in pieces:
            sender = f"piece-{piece}"
            if (trial.number, piece) not in answers:
                raise BadShareError(f"no answer for piece {piece} in trial {trial.number}")
            data = answers[trial.number, piece]
            given[sender] = PartialDecryption.decode(data, key, sender=sender, blocks=1)
        test = trial_ciphertext(key, budget, layout, epoch=epoch, trial=trial.number, binding=binding)
        opened = combine(test, given, budget, layout)
        expected = trial_digits(key, layout, epoch=epoch, trial=trial.number, binding=binding)
        if not np.array_equal(opened.digits, expected.digits):
            raise BadShareError(f"trial {trial.number} of the dry run opens to another message than the test's")
