"""The noise of an answer: its law, and what it depends on."""

import numpy as np
import pytest

from protocols.ring import ring
from protocols.suites import suite
from protocols.tckks import EncryptedVector, PieceKey, Purpose, piece_answer
from tests.protocols.tckks.committee import SUITE, Committee, committee, rand

BOUND = 1 << SUITE.smudging_bits


def noise(
    team: Committee, piece: PieceKey, vector: EncryptedVector, purpose: Purpose = Purpose.UPDATE
) -> list[list[int]]:
    """answer - c1 * piece, block by block, as integers."""
    answer = piece_answer(piece, vector, purpose=purpose)
    result = []
    for ciphertext, part in zip(vector.residues, answer, strict=True):
        product = team.data.inverse_ntt(team.data.multiply(ciphertext[1], piece.secret_ntt))
        result.append(team.data.compose(team.data.subtract(part, product)).tolist())
    return result


@pytest.fixture(scope="module")
def vector() -> EncryptedVector:
    team = committee()
    return team.encrypt(team.digits(1, blocks=4), "noise")


def test_the_law_is_uniform(vector: EncryptedVector) -> None:
    values = [v for block in noise(committee(), committee().pieces[0], vector) for v in block]
    count = len(values)
    assert -BOUND <= min(values) < max(values) < BOUND
    assert min(values) < -0.999 * BOUND
    assert max(values) > 0.999 * BOUND
    assert abs(sum(values) / count) < 5 * BOUND / (3 * count) ** 0.5
    for low in (0, 32, 48, SUITE.smudging_bits + 1 - 5):  # bits at the bottom, on both sides of the limb, at the top
        counts = np.bincount([((v + BOUND) >> low) & 31 for v in values], minlength=32)
        chi_square = ((counts - count / 32) ** 2 / (count / 32)).sum()
        assert 8 < chi_square < 68, low  # 31 degrees of freedom: outside with probability below 2e-4


def test_the_law_at_the_larger_suite() -> None:
    large = suite(16384)
    bound = 1 << large.smudging_bits
    zeros = np.zeros((len(large.data_primes), large.ring_degree), dtype=np.uint64)
    piece = PieceKey(0, zeros, rand("noise key"))
    blank = EncryptedVector(large, rand("digest"), np.stack([zeros, zeros])[None])
    values = ring(large.ring_degree, large.data_primes).compose(piece_answer(piece, blank, purpose=Purpose.UPDATE)[0])
    assert -bound <= values.min() < -0.999 * bound
    assert 0.999 * bound < values.max() < bound
    assert abs(int(values.sum())) / large.ring_degree < 5 * bound / (3 * large.ring_degree) ** 0.5


def distinct(*blocks: list[int]) -> bool:
    """Whether no two of these noises have a coefficient in common."""
    return all(sum(x == y for x, y in zip(a, b, strict=True)) == 0 for i, a in enumerate(blocks) for b in blocks[:i])


def test_it_depends_on_everything_it_must(vector: EncryptedVector) -> None:
    team = committee()
    key = team.pieces[0]
    base = noise(team, key, vector)
    other_noise_key = PieceKey(0, key.secret_ntt, rand("other"))
    other_epoch = EncryptedVector(SUITE, rand("other"), vector.residues)
    changed = vector.residues.copy()
    changed[0, 1, 0, 0] ^= 1
    assert distinct(
        *base,  # four blocks with four c1
        noise(team, key, vector, Purpose.TEST)[0],
        noise(team, other_noise_key, vector)[0],
        noise(team, key, other_epoch)[0],
        noise(team, key, EncryptedVector(SUITE, team.joint.digest, changed))[0],
        noise(team, team.pieces[1], vector)[0],
    )


def test_it_depends_on_nothing_else(vector: EncryptedVector) -> None:
    team = committee()
    key = team.pieces[0]
    base = noise(team, key, vector)
    assert noise(team, key, vector) == base
    changed = vector.residues.copy()
    changed[:, 0] = 0  # c0 does not reach the answer at all
    assert noise(team, key, EncryptedVector(SUITE, team.joint.digest, changed)) == base
    same = PieceKey(0, key.secret_ntt.copy(), key.noise_key)
    assert noise(team, same, vector) == base
