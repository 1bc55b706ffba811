"""The noise of an answer: its law, and what it depends on."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from protocols.ring import ring
from protocols.sampling import Keystream
from protocols.suites import suite
from protocols.tckks import EncryptedVector, Opening, OpeningProfile, PieceKey, Purpose, piece_answer
from protocols.tckks.wire import HEADER_BYTES
from tests.protocols.tckks.committee import SUITE, Committee, committee, rand

BOUND = 1 << SUITE.smudging_bits
WHOLE = OpeningProfile(SUITE.smudging_bits, 0)
DIGEST = committee().joint.digest
OTHERS = [
    Opening(DIGEST, 1, Purpose.UPDATE, WHOLE),  # another epoch
    Opening(DIGEST, 0, Purpose.UPDATE, OpeningProfile(SUITE.smudging_bits - 1, 0)),
]


def noise(
    team: Committee, piece: PieceKey, vector: EncryptedVector, purpose: Purpose = Purpose.UPDATE
) -> list[list[int]]:
    """answer - c1 * piece, block by block, as integers: the noise itself, as nothing is dropped here."""
    opening = Opening(vector.key_digest, 0, purpose, OpeningProfile(SUITE.smudging_bits, 0))
    return noise_of(team, piece, vector, opening)


def noise_of(team: Committee, piece: PieceKey, vector: EncryptedVector, opening: Opening) -> list[list[int]]:
    answer = piece_answer(piece, vector, opening)
    result = []
    for ciphertext, part in zip(vector.residues, answer, strict=True):
        product = team.data.inverse_ntt(team.data.multiply(ciphertext[1], piece.secret_ntt))
        result.append(team.data.compose(team.data.subtract(part, product)).tolist())
    return result


def test_an_answer_is_the_smudged_product_divided_and_rounded(vector: EncryptedVector) -> None:
    """Python's integers: the product and the noise, divided by one dropped prime after the other."""
    team, piece, opening = committee(), committee().pieces[0], committee().opening()
    body = vector.encode()[HEADER_BYTES:]
    c1 = memoryview(body)[len(body) // 8 : len(body) // 4]  # the second of eight polynomials
    stream = Keystream(opening.noise_seed(piece, c1), purpose=b"smudging").read(10 * 8192)
    product = team.data.inverse_ntt(team.data.multiply(vector.residues[0, 1], piece.secret_ntt))
    given = team.kept.compose(piece_answer(piece, vector, opening)[0]).tolist()
    for i, (value, answer) in enumerate(zip(team.data.compose(product).tolist(), given, strict=True)):
        smudged = value + (int.from_bytes(stream[10 * i : 10 * i + 10], "little") & (2 * BOUND - 1)) - BOUND
        for q in reversed(SUITE.data_primes[-SUITE.dropped :]):
            smudged = (smudged + q // 2) // q
        assert (smudged - answer) % SUITE.answer_modulus == 0


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
    opening = Opening(blank.key_digest, 0, Purpose.UPDATE, OpeningProfile(large.smudging_bits, 0))
    values = ring(large.ring_degree, large.data_primes).compose(piece_answer(piece, blank, opening)[0])
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
    other_key = EncryptedVector(SUITE, rand("other"), vector.residues)
    changed = vector.residues.copy()
    changed[0, 1, 0, 0] ^= 1
    assert distinct(
        *base,  # four blocks with four c1
        noise(team, key, vector, Purpose.TEST)[0],
        noise(team, other_noise_key, vector)[0],
        noise(team, key, other_key)[0],
        *(noise_of(team, key, vector, opening)[0] for opening in OTHERS),
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


def test_noise_and_masks_differ_for_everything_that_is_stated() -> None:
    """Key, epoch, purpose, profile, active set, ciphertext, piece, and what the seed is for."""
    piece = PieceKey(0, committee().pieces[0].secret_ntt, rand("noise"), pairs={1: rand("pair"), 2: rand("other pair")})
    base = Opening(DIGEST, 0, Purpose.UPDATE, WHOLE, (1, 2, 3))
    openings = [
        base,
        replace(base, key_digest=rand("another key")),
        replace(base, epoch=1),
        replace(base, purpose=Purpose.SLOTS),
        replace(base, profile=OpeningProfile(SUITE.smudging_bits - 1, 0)),
        replace(base, profile=OpeningProfile(SUITE.smudging_bits, 1)),
        replace(base, active=(1, 2)),
        replace(base, active=()),
    ]
    seeds = [o.noise_seed_of(piece, rand(c1)) for o in openings for c1 in ("c1", "another c1")]
    seeds += [o.mask_seed(piece, other, rand(c1)) for o in openings for other in (1, 2) for c1 in ("c1", "another c1")]
    assert len(set(seeds)) == len(seeds) == 48
    assert base.noise_seed(piece, memoryview(b"c1")) == base.noise_seed_of(piece, hashlib.sha256(b"c1").digest())
    with pytest.raises(ValueError, match="a piece makes no pair with itself"):
        PieceKey(0, piece.secret_ntt, rand("noise"), pairs={0: bytes(32)})
    with pytest.raises(ValueError, match="32 bytes"):
        PieceKey(0, piece.secret_ntt, rand("noise"), pairs={1: bytes(31)})
