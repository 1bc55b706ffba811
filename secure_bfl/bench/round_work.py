"""One round of the cryptography, each step timed, the opened sum compared with the sum in the clear."""

import os
from collections.abc import Sequence

import numpy as np

from protocols import GridVector, unpack
from protocols.arrays import Int64Array, UInt64Array
from protocols.tckks import (
    Adder,
    EncryptedVector,
    Opening,
    OpeningProfile,
    PartialDecryption,
    Purpose,
    challenge_weights,
    check_answer,
    combine,
    fingerprint,
    partial_decrypt,
    piece_answer,
)

from .clocks import CpuClock
from .parties import Parties

__all__ = ["WrongSumError", "run_round"]


class WrongSumError(Exception):
    """The opened sum is not the sum in the clear: a defect of this program, and no figure is worth printing."""


def summed(parties: Parties, uploads: Sequence[bytes], clock: CpuClock) -> EncryptedVector:
    """Every upload parsed with all checks, and added. Run by: the operator, and each member again.

    The sum is encoded too, since its bytes are what members vote on and derive their noise from.
    """
    adder = Adder(parties.key, parties.blocks, most=parties.budget.clients)
    for number, data in enumerate(uploads, start=1):
        with clock("add"):
            adder.add(data, sender=f"client-{number}")
    with clock("total"):
        total = adder.total()
        total.encode()
    return total


def _answers(parties: Parties, total: EncryptedVector, clock: CpuClock) -> dict[str, bytes]:
    answers = {}
    for number in parties.setting.active:
        with clock("answer"):
            answers[f"member-{number}"] = partial_decrypt(
                parties.members[number - 1], total, parties.setting.active
            ).encode()
    return answers


def _opened(parties: Parties, total: EncryptedVector, answers: dict[str, bytes]) -> Int64Array:
    shares = {
        name: PartialDecryption.decode(data, parties.key, sender=name, blocks=parties.blocks)
        for name, data in answers.items()
    }
    return unpack(combine(total, shares, parties.budget, parties.layout), parties.setting.values)


def _fingerprints(parties: Parties, number: int, total: EncryptedVector, weights: UInt64Array) -> dict[int, bytes]:
    key, suite = parties.members[number - 1], parties.setting.suite
    opening = Opening.of(key, Purpose.UPDATE, parties.setting.active, OpeningProfile.exact(suite))
    return {
        piece: fingerprint(suite, piece_answer(key.piece(piece), total, opening), weights)
        for piece in parties.setting.sharing.held_by(number)
    }


def _every_check(
    parties: Parties, uploads: Sequence[bytes], total: EncryptedVector, answers: dict[str, bytes], clock: CpuClock
) -> None:
    """What the members add: each its own sum and the fingerprints of all its pieces, and the judge's comparison."""
    setting, encoded, challenge = parties.setting, total.encode(), os.urandom(32)
    stated = {}
    for number in range(1, setting.members + 1):
        with clock("member_sum"):
            own = summed(parties, uploads, CpuClock())
        if own.encode() != encoded:
            raise WrongSumError("a member's sum differs from the operator's")
        with clock("fingerprints"):
            weights = challenge_weights(challenge, parties.blocks, setting.degree)
            stated[number] = _fingerprints(parties, number, own, weights)
    assigned = setting.sharing.assignment(setting.active)
    with clock("judge"):
        weights = challenge_weights(challenge, parties.blocks, setting.degree)
        for number in setting.active:
            sender = f"member-{number}"
            share = PartialDecryption.decode(answers[sender], parties.key, sender=sender, blocks=parties.blocks)
            check_answer(sender, share, weights, assigned[number], stated[number])


def run_round(parties: Parties, updates: Sequence[GridVector], clock: CpuClock, *, checks: bool = True) -> None:
    """All clients encrypt, one party sums, t members answer, and the sum is opened; then the members' checks.

    Raises:
        WrongSumError: the opened sum is not the sum of the updates.
    """
    uploads = []
    for update in updates:
        with clock("encrypt"):
            uploads.append(parties.upload(update))
    total = summed(parties, uploads, clock)
    answers = _answers(parties, total, clock)
    with clock("open"):
        sums = _opened(parties, total, answers)
    if not np.array_equal(sums, np.sum([update.values for update in updates], axis=0)):
        raise WrongSumError("the opened sum differs from the sum in the clear")
    if checks:
        _every_check(parties, uploads, total, answers, clock)
