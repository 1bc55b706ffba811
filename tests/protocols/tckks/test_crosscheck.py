"""Fingerprints of answers: linear, and wrong for every wrong answer."""

import numpy as np
import pytest

from protocols.errors import BadShareError
from protocols.tckks import (
    EncryptedVector,
    PartialDecryption,
    challenge_weights,
    check_answer,
    fingerprint,
    fingerprint_bytes,
    partial_decrypt,
    piece_answer,
)
from tests.protocols.tckks.committee import SUITE, Committee, committee, rand

ACTIVE = (1, 3, 5)
Stated = dict[int, bytes]


@pytest.fixture(scope="module")
def total() -> EncryptedVector:
    team = committee()
    return team.encrypt(team.digits(1, blocks=2), "fingerprints")


@pytest.fixture(scope="module")
def answer(total: EncryptedVector) -> PartialDecryption:
    return partial_decrypt(committee().keys[3], total, ACTIVE)


@pytest.fixture(scope="module")
def stated(total: EncryptedVector) -> Stated:
    team = committee()
    weights = challenge_weights(rand("challenge"), 2, SUITE.ring_degree)
    return {
        p: fingerprint(SUITE, piece_answer(team.pieces[p], total, team.opening()), weights)
        for p in team.sharing.held_by(3)
    }


def check(answer: PartialDecryption, stated: Stated, challenge: str = "challenge") -> None:
    weights = challenge_weights(rand(challenge), 2, SUITE.ring_degree)
    check_answer("member-3", answer, weights, committee().sharing.assignment(ACTIVE)[3], stated)


def test_an_honest_answer_passes_whatever_the_challenge(answer: PartialDecryption, stated: Stated) -> None:
    check(answer, stated)
    assert all(len(data) == fingerprint_bytes(SUITE) == 3 * 3 * 8 for data in stated.values())


def test_a_fingerprint_is_the_weighted_sum_of_residues(total: EncryptedVector) -> None:
    team = committee()
    weights = challenge_weights(rand("challenge"), 2, SUITE.ring_degree)
    assert weights.shape == (3, 2, 8192)
    assert int(weights.max()) < 1 << 39
    assert int(weights.max()) > 1 << 38
    residues = piece_answer(team.pieces[4], total, team.opening())
    expected = [
        sum(int(w) * int(x) for w, x in zip(weights[r].reshape(-1), residues[:, j].reshape(-1), strict=True)) % q
        for r in range(3)
        for j, q in enumerate(SUITE.answer_primes)
    ]
    found = fingerprint(SUITE, residues, weights)
    assert [int.from_bytes(found[8 * i : 8 * i + 8], "little") for i in range(9)] == expected


def shifted(team: Committee, answer: PartialDecryption, row: int, at: int, by: int) -> PartialDecryption:
    residues = answer.residues.copy()
    residues[1, row, at] = (int(residues[1, row, at]) + by) % SUITE.answer_primes[row]
    return PartialDecryption(SUITE, answer.key_digest, residues)


@pytest.mark.parametrize("row", [0, 1, 2])
@pytest.mark.parametrize("at", [0, 8191])
def test_one_changed_residue_convicts_the_sender(row: int, at: int, answer: PartialDecryption, stated: Stated) -> None:
    with pytest.raises(BadShareError, match="member-3: its answer is not the sum of what it states") as caught:
        check(shifted(committee(), answer, row, at, 1), stated)
    assert caught.value.culprits == ("member-3",)


def test_an_error_that_opens_to_a_chosen_other_message_convicts_the_sender(
    answer: PartialDecryption, stated: Stated
) -> None:
    """A multiple of the scale passes every bound of the opening; only the fingerprints see it."""
    team = committee()
    wrong = answer
    for row in range(3):
        wrong = shifted(team, wrong, row, 77, 1 << team.budget.scale_shift)
    with pytest.raises(BadShareError):
        check(wrong, stated)


def test_an_error_made_for_one_challenge_does_not_pass_the_next(answer: PartialDecryption, stated: Stated) -> None:
    """Whoever knew the challenge first could hide an error: four residues whose weights cancel in every repetition."""
    team, q = committee(), SUITE.answer_primes[0]
    weights = challenge_weights(rand("challenge"), 2, SUITE.ring_degree)[:, 1, :4].astype(object)
    minors = [np.delete(weights, i, axis=1) for i in range(4)]
    cross = [
        (-1) ** i * sum(m[0, j] * (m[1, j - 2] * m[2, j - 1] - m[1, j - 1] * m[2, j - 2]) for j in range(3))
        for i, m in enumerate(minors)
    ]
    wrong = answer
    for at, by in enumerate(cross):
        wrong = shifted(team, wrong, 0, at, int(by) % q)
    check(wrong, stated)  # known before the answer, the challenge is worthless
    fresh = challenge_weights(rand("next"), 2, SUITE.ring_degree)
    difference = team.kept.subtract(wrong.residues, answer.residues)
    assert fingerprint(SUITE, difference, fresh) != bytes(72)


def test_false_fingerprints_convict_an_honest_answer_s_sender(answer: PartialDecryption, stated: Stated) -> None:
    piece = committee().sharing.assignment(ACTIVE)[3][0]
    data = bytearray(stated[piece])
    data[0] ^= 1
    with pytest.raises(BadShareError, match="is not the sum"):
        check(answer, {**stated, piece: bytes(data)})


@pytest.mark.parametrize("data", [b"", bytes(71), bytes(73), b"\xff" * 72])
def test_malformed_fingerprints_convict_their_sender(data: bytes, answer: PartialDecryption, stated: Stated) -> None:
    piece = committee().sharing.assignment(ACTIVE)[3][0]
    with pytest.raises(BadShareError, match="member-3: no fingerprint of every piece") as caught:
        check(answer, {**stated, piece: data})
    assert caught.value.culprits == ("member-3",)
    with pytest.raises(BadShareError, match="no fingerprint of every piece"):
        check(answer, {p: d for p, d in stated.items() if p != piece})


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_challenge_is_32_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="a challenge is 32 bytes"):
        challenge_weights(bytes(size), 2, SUITE.ring_degree)
