"""The dry run of a new key: one test ciphertext that the joint key alone determines.

Spec: tckks §3.4 (v1). Message and randomness are derived from the key's digest, so the ciphertext hides nothing,
anybody can make it again bit for bit (SEAL is not involved), and no member can be tricked into answering another one.
Every holder of a piece answers for that piece; holders must agree byte for byte, and all pieces together must open the
test. Since an answer does not depend on who else is active, this proves every quorum at once.
"""

import hashlib
from collections.abc import Mapping

import numpy as np

from ..arrays import UInt64Array
from ..digits import DigitBlocks, DigitLayout
from ..errors import BadShareError
from ..ring import ring
from .decrypt import PartialDecryption, Purpose, combine, piece_answer
from .encrypt import EncryptedVector, message_residues
from .keygen import centred_binomial, ternary
from .keys import JointKey, PieceKey
from .noise import NoiseBudget

__all__ = ["answer_test", "check_test", "test_ciphertext", "test_digits"]


def test_digits(key: JointKey, layout: DigitLayout) -> DigitBlocks:
    """The test message: one block of digits over the whole range."""
    count = layout.values_per_block
    stream = hashlib.shake_256(b"secure-bfl/dry-run/message/v1" + key.digest).digest(8 * count)
    span = np.uint64(2 * layout.largest + 1)
    values = (np.frombuffer(stream, dtype="<u8") % span).astype(np.int64) - layout.largest
    return DigitBlocks(layout, values.reshape(1, layout.per_coefficient, layout.coefficients))


def test_ciphertext(key: JointKey, budget: NoiseBudget, layout: DigitLayout) -> EncryptedVector:
    """(b*u + e0 + scale*m, a*u + e1) over the data primes, with u, e0, e1 derived from the key's digest."""
    suite, degree = key.suite, key.suite.ring_degree
    data, rows = ring(degree, suite.data_primes), len(suite.data_primes)
    label = b"secure-bfl/dry-run/randomness/v1"
    u = ternary(hashlib.shake_256(label + b"u" + key.digest).digest(degree + degree // 8 + 256), degree)
    e0, e1 = (
        centred_binomial(hashlib.shake_256(label + part + key.digest).digest(8 * degree)) for part in (b"0", b"1")
    )
    u_ntt = data.ntt(data.reduce(u))
    message = message_residues(data, test_digits(key, layout), budget.scale_bits, 0)
    payload = data.ntt(data.add(message, data.reduce(e0)))
    c0 = data.add(data.multiply(key.b[:rows], u_ntt), payload)
    c1 = data.add(data.multiply(key.a[:rows], u_ntt), data.ntt(data.reduce(e1)))
    return EncryptedVector(suite, key.digest, np.stack([c0, c1])[None])


def answer_test(piece: PieceKey, test: EncryptedVector) -> bytes:
    """One piece's answer on the wire: the same bytes from every holder. Run by: a holder, which made `test` itself."""
    return PartialDecryption(test.suite, test.key_digest, piece_answer(piece, test, purpose=Purpose.TEST)).encode()


def check_test(key: JointKey, budget: NoiseBudget, layout: DigitLayout, answers: Mapping[int, bytes]) -> None:
    """Open the test with one answer for every piece. Run by: anyone.

    Raises:
        BadShareError: an answer is missing or malformed, or the test does not open to its message.
    """
    residues: dict[str, UInt64Array] = {}
    for piece in range(key.sharing.pieces):
        if piece not in answers:
            raise BadShareError(f"no answer for piece {piece}")
        residues[f"piece-{piece}"] = PartialDecryption.decode(
            answers[piece], key, sender=f"piece-{piece}", blocks=1
        ).residues
    opened = combine(test_ciphertext(key, budget, layout), residues, budget, layout)
    if not np.array_equal(opened.digits, test_digits(key, layout).digits):
        raise BadShareError("the dry run opens to another message than the test's")
