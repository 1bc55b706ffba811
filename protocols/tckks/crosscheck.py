"""Finding a wrong answer: fingerprints of every piece's answer, compared among its holders.

Spec: tckks §5.4 (v1). In a replicated sharing each piece is held by n-t+1 members, whose answers are the same bytes.
Once all asked members have committed to their answers, the ledger fixes a challenge, which expands to weights; a
fingerprint is the weighted sum of an answer's residues, prime by prime. It is linear, so the fingerprint of a member's
answer is the sum of those of its pieces. Every member publishes the fingerprint of each piece it holds:

- an answer that is not the sum of what its own sender says about its pieces convicts the sender;
- two holders that differ about a piece cannot both be honest.

A wrong answer passes a challenge that came after it with probability 1/q + 2^-39 at most a repetition, q the prime of
a wrong row: 2^-95 in all three for the shortest prime that is kept, of 32 bits.
Source: Freivalds, "Probabilistic machines can use less running time", IFIP 1977, for checking by a random linear form.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from ..arrays import UInt64Array
from ..errors import BadShareError, DecodeError
from ..ring import ring
from ..suites import Suite
from .decrypt import PartialDecryption
from .weights import uniform_weights

__all__ = ["check_answer", "challenge_weights", "fingerprint", "fingerprint_bytes"]

_REPETITIONS: Final = 3


def challenge_weights(challenge: bytes, blocks: int, degree: int) -> UInt64Array:
    """Uniform weights below 2^39, uint64[3, blocks, N], from 32 bytes that nobody knew when the answers were made.

    Raises:
        ValueError: the challenge is not 32 bytes.
    """
    return uniform_weights(challenge, (_REPETITIONS, blocks, degree), purpose=b"fingerprint")


def fingerprint_bytes(suite: Suite) -> int:
    """The exact length of a fingerprint."""
    return 8 * _REPETITIONS * len(suite.answer_primes)


def fingerprint(suite: Suite, answer: UInt64Array, weights: UInt64Array) -> bytes:
    """The fingerprint of an answer uint64[blocks, K', N]: uint64[3, K'], 8 bytes a residue. Run by: anyone."""
    kept = ring(suite.ring_degree, suite.answer_primes)
    return kept.fingerprint(answer, weights).astype("<u8").tobytes()


def _decoded(suite: Suite, data: bytes) -> UInt64Array:
    if len(data) != fingerprint_bytes(suite):
        raise DecodeError(f"a fingerprint has {fingerprint_bytes(suite)} bytes, not {len(data)}")
    values = np.frombuffer(data, dtype="<u8").astype(np.uint64).reshape(_REPETITIONS, -1, 1)
    if (values >= np.array(suite.answer_primes, dtype=np.uint64)[:, None]).any():
        raise DecodeError("a fingerprint's residue is not below its prime")
    return values


def check_answer(
    sender: str,
    answer: PartialDecryption,
    weights: UInt64Array,
    assigned: Sequence[int],
    stated: Mapping[int, bytes],
) -> None:
    """Hold a member's answer against what it states about its pieces. Run by: anyone.

    `stated` are the sender's own fingerprints by piece, `assigned` the pieces it answered for.

    Raises:
        BadShareError: they differ, or a fingerprint is malformed: `culprits` names the sender, and an honest one can
            never be named.
    """
    suite = answer.suite
    kept = ring(suite.ring_degree, suite.answer_primes)
    total = np.zeros((_REPETITIONS, len(suite.answer_primes), 1), dtype=np.uint64)
    try:
        for piece in assigned:
            total = kept.add(total, _decoded(suite, stated[piece]))
    except (DecodeError, KeyError) as exc:
        message = f"{sender}: no fingerprint of every piece it answered for: {exc}"
        raise BadShareError(message, culprits=(sender,)) from exc
    if total.astype("<u8").tobytes() != fingerprint(suite, answer.residues, weights):
        raise BadShareError(
            f"{sender}: its answer is not the sum of what it states about its pieces", culprits=(sender,)
        )
