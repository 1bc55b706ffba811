"""Answers in Shamir's sharing: they open, and one tells nothing that the others do not take back.

The attacks succeed against a member that answers without its share of zero, and fail against ours.
"""

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import combinations
from math import lcm

import numpy as np
import pytest
from numpy.typing import NDArray

from protocols.arrays import UInt64Array
from protocols.digits import DigitBlocks, DigitLayout
from protocols.errors import BadShareError
from protocols.ring import Ring, ring
from protocols.sampling import Keystream
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
    PieceKey,
    Purpose,
    ShamirSharing,
    aggregate,
    deal,
    derive_piece,
    founding_dealing,
    founding_terms,
    join,
    join_piece,
    lagrange,
    partial_decrypt,
    piece_answer,
)
from tests.protocols.tckks.committee import combined

SUITE: Suite = suite(8192)
SHARING = ShamirSharing(9, 5)
CLIENTS = 4
ACTIVE = (1, 2, 3, 6, 9)
COALITION = (4, 5, 7, 8)  # t - 1 members, none of them active
DATA: Ring = ring(SUITE.ring_degree, SUITE.data_primes)
KEPT: Ring = ring(SUITE.ring_degree, SUITE.answer_primes)
Answers = dict[str, UInt64Array]


def rand(*words: object) -> bytes:
    return hashlib.sha256(repr(words).encode()).digest()


@dataclass(frozen=True)
class Committee:
    joint: JointKey
    keys: dict[int, MemberKey]
    secret: UInt64Array
    budget: NoiseBudget
    layout: DigitLayout


@cache
def committee() -> Committee:
    ceremony = Ceremony(SUITE, SHARING, rand("position"))
    secret = np.zeros((len(SUITE.data_primes), SUITE.ring_degree), dtype=np.uint64)
    dealings, parts = [], {}
    for member in range(1, SHARING.threshold + 1):
        (seed,) = deal(ceremony, member, rand=rand("deal", member))
        dealing, parts[seed.piece] = founding_dealing(ceremony, seed)
        secret = DATA.add(secret, derive_piece(ceremony, seed)[0].secret_ntt)
        dealings.append(dealing)
    joint, terms = join(ceremony, parts), founding_terms(ceremony)
    keys = {}
    for member in range(1, SHARING.members + 1):
        shares = {dealing.terms.addend: dealing.share(member - 1) for dealing in dealings}
        keys[member] = MemberKey(member, joint, {member - 1: join_piece(terms, member - 1, shares)}, sharing=SHARING)
    budget = NoiseBudget.of(SUITE, SHARING, CLIENTS)
    return Committee(joint, keys, secret, budget, budget.layout(20))


@cache
def opened_round() -> tuple[EncryptedVector, DigitBlocks]:
    team = committee()
    encryptor = Encryptor(team.joint, team.budget, team.layout)
    shape = (1, team.layout.per_coefficient, SUITE.ring_degree)
    digits = [np.random.default_rng(i).integers(-1000, 1001, shape) for i in range(CLIENTS)]
    total = aggregate(
        (encryptor.encrypt(DigitBlocks(team.layout, d), rand=rand(i)) for i, d in enumerate(digits)), most=CLIENTS
    )
    return total, DigitBlocks(team.layout, np.sum(digits, axis=0))


def honest(active: tuple[int, ...]) -> Answers:
    total, _ = opened_round()
    return {f"member-{m}": partial_decrypt(committee().keys[m], total, active).residues for m in active}


def without_shares_of_zero(active: tuple[int, ...]) -> Answers:
    """What a naive member sends: its share times the Lagrange factor, smudged, divided."""
    total, _ = opened_round()
    factors, answers, profile = lagrange(active, SUITE.data_primes), {}, OpeningProfile.exact(SUITE)
    for m in active:
        piece = committee().keys[m].piece(m - 1)
        opening = Opening(committee().joint.digest, 0, Purpose.UPDATE, profile)
        seed = opening.noise_seed_of(piece, rand("c1", active))
        stream = Keystream(seed, purpose=b"smudging").read(10 * SUITE.ring_degree)
        product = DATA.multiply(total.residues[0, 1], DATA.multiply(piece.secret_ntt, factors[m]))
        smudged = DATA.add(DATA.inverse_ntt(product), DATA.small_uniform(stream, SUITE.smudging_bits + 1))
        answers[f"member-{m}"] = DATA.rescale(smudged, SUITE.dropped)[None]
    return answers


@pytest.mark.parametrize("active", [ACTIVE, (1, 2, 3, 4, 5), (5, 6, 7, 8, 9)])
def test_every_quorum_opens_the_exact_sums(active: tuple[int, ...]) -> None:
    total, expected = opened_round()
    opened = combined(total, honest(active), committee().budget, committee().layout)
    assert np.array_equal(opened.digits, expected.digits)


def test_answers_of_two_active_sets_do_not_open_together() -> None:
    total, _ = opened_round()
    mixed = {**honest(ACTIVE), "member-9": honest((1, 2, 3, 4, 9))["member-9"]}
    with pytest.raises(BadShareError, match="block 0 does not open"):
        combined(total, mixed, committee().budget, committee().layout)


def test_an_answer_needs_the_keys_of_its_pairs() -> None:
    total, _ = opened_round()
    piece = committee().keys[1].piece(0)
    bare = PieceKey(0, piece.secret_ntt, piece.noise_key, pairs={1: bytes(32)})
    opening = Opening.of(committee().keys[1], Purpose.UPDATE, ACTIVE, OpeningProfile.exact(SUITE))
    with pytest.raises(ValueError, match="piece 0 has no key in common with piece 2"):
        piece_answer(bare, total, opening)


def test_the_same_question_gets_the_same_bytes_and_another_active_set_other_ones() -> None:
    first, again = (honest(ACTIVE)["member-1"] for _ in range(2))
    assert np.array_equal(first, again)
    other = honest((1, 2, 3, 4, 5))["member-1"]
    assert (first != other).mean() > 0.999


def interpolated(points: tuple[int, ...], at: int) -> dict[int, Fraction]:
    factors = {}
    for i in points:
        factors[i] = Fraction(1)
        for k in points:
            if k != i:
                factors[i] *= Fraction(at - k, i - k)
    return factors


def residues(value: Fraction) -> UInt64Array:
    return np.array([value.numerator * pow(value.denominator, -1, q) % q for q in SUITE.data_primes], np.uint64)[
        :, None
    ]


def spread(values: NDArray[np.object_]) -> UInt64Array:
    return np.array([[int(v) % q for v in values] for q in SUITE.data_primes], dtype=np.uint64)


def error_from_fractions(answers: Answers) -> NDArray[np.object_] | None:
    """What t-1 inactive members make of one opened sum: the ciphertext's error, if the answers let them.

    An active share is an affine function of the secret s by the coalition's own shares, so its answer is
    (a/b)(c1 s) + known + noise with a fraction a/b; with c1 s = Delta M - c0 + e the answer shows (a/b) e + noise
    modulo Q, which is near a multiple of Q/b, and that multiple tells e modulo b.
    """
    total, opened = opened_round()
    layout = committee().layout
    planes = [opened.digits[0, d].astype(object) << (layout.width * d) for d in range(layout.per_coefficient)]
    message = sum(planes[1:], planes[0]) * committee().budget.scale
    base = DATA.subtract(spread(message), DATA.inverse_ntt(total.residues[0, 0]))  # c1 s - e
    found: list[tuple[int, list[int]]] = []
    for j in ACTIVE:
        factor, shares = interpolated(ACTIVE, 0)[j], interpolated((0, *COALITION), j)
        known = np.zeros_like(base)
        for i in COALITION:
            own = committee().keys[i].piece(i - 1).secret_ntt
            known = DATA.add(
                known, DATA.multiply(DATA.multiply(own, residues(factor * shares[i])), total.residues[0, 1])
            )
        gamma = factor * shares[0]
        if gamma.denominator == 1:
            continue
        known = DATA.add(DATA.inverse_ntt(known), DATA.multiply(base, residues(gamma)))
        seen = KEPT.compose(KEPT.subtract(answers[f"member-{j}"][0], DATA.rescale(known, SUITE.dropped)))
        modulus, b = SUITE.answer_modulus, gamma.denominator
        near = [(2 * int(v) * b + modulus) // (2 * modulus) % b for v in seen]
        inverse = pow(gamma.numerator, -1, b)
        found.append((b, [-k * SUITE.data_modulus * inverse % b for k in near]))
    period = lcm(*(b for b, _ in found))
    assert period > 10_000  # far more than the error has
    looks_like = {tuple(x % b for b, _ in found): x for x in range(-1000, 1001)}
    errors = [looks_like.get(tuple(seen)) for seen in zip(*(e for _, e in found), strict=True)]
    return None if None in errors else np.array(errors, dtype=object)


def test_without_shares_of_zero_one_opened_sum_gives_an_inactive_coalition_the_whole_key() -> None:
    total, opened = opened_round()
    team, answers = committee(), without_shares_of_zero(ACTIVE)
    assert np.array_equal(combined(total, answers, team.budget, team.layout).digits, opened.digits)  # it looks right
    error = error_from_fractions(answers)
    assert error is not None
    layout = team.layout
    planes = [opened.digits[0, d].astype(object) << (layout.width * d) for d in range(layout.per_coefficient)]
    product = spread(sum(planes[1:], planes[0]) * team.budget.scale + error)
    c1_times_s = DATA.subtract(DATA.ntt(product), total.residues[0, 0])
    inverses = [
        [pow(int(v), -1, q) for v in row] for row, q in zip(total.residues[0, 1], SUITE.data_primes, strict=True)
    ]
    assert np.array_equal(DATA.multiply(c1_times_s, np.array(inverses, dtype=np.uint64)), team.secret)


def test_with_shares_of_zero_the_same_coalition_learns_nothing_from_single_answers() -> None:
    answers = honest(ACTIVE)
    assert error_from_fractions(answers) is None
    for name, answer in answers.items():  # each answer by itself, and all but one together, are uniform
        rest = [a for n, a in answers.items() if n != name]
        for values in (answer, KEPT.add(KEPT.add(rest[0], rest[1]), KEPT.add(rest[2], rest[3]))):
            tops = [int(v) * 64 // SUITE.answer_modulus % 64 for v in KEPT.compose(values[0])]
            counts = np.bincount(tops, minlength=64)
            chi_square = ((counts - 128) ** 2 / 128).sum()
            assert 25 < chi_square < 120  # 63 degrees of freedom: outside with probability below 1e-5


def test_the_shares_of_zero_sum_to_zero_in_every_active_set() -> None:
    """Active sets that overlap in all but one member: their sums differ by smudging alone."""
    sums = []
    for active in list(combinations(range(1, 7), 5))[:3]:
        answers = list(honest(active).values())
        value = answers[0]
        for answer in answers[1:]:
            value = KEPT.add(value, answer)
        sums.append(KEPT.compose(value[0]))
    for a, b in combinations(sums, 2):
        difference = np.abs(a - b).astype(object)
        assert max(min(int(d), SUITE.answer_modulus - int(d)) for d in difference) <= 2 * committee().budget.noise_bound
