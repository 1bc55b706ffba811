"""Interpolation, and the founding of a key in Shamir's sharing."""

from collections.abc import Sequence
from functools import cache
from itertools import combinations

import numpy as np
import pytest

from protocols.arrays import UInt64Array
from protocols.tckks.dealing import Dealing, join_piece
from protocols.tckks.degree import DegreeProof, PublishedDealing, check_subshare, degree_challenge
from protocols.tckks.founding import founding_dealing, founding_terms
from protocols.tckks.keygen import Ceremony, PieceSeed, deal, derive_piece
from protocols.tckks.keys import PieceKey
from protocols.tckks.shamir import interpolation, lagrange
from protocols.tckks.sharing import ReplicatedSharing, ShamirSharing
from tests.protocols.tckks.dealt import POSITION, PRIMES, SMALL, data_ring, element, opened, seed, total


def value_at(coefficients: Sequence[int], x: int, q: int) -> int:
    return sum(c * pow(x, k, q) for k, c in enumerate(coefficients)) % q


@pytest.mark.parametrize("points", [(1, 2), (2, 5, 3), (1, 4, 6, 8), (32, 31, 1), (7,), tuple(range(1, 33))])
def test_factors_open_every_polynomial_of_lower_degree_at_zero(points: tuple[int, ...]) -> None:
    factors = lagrange(points, PRIMES)
    assert tuple(factors) == points
    for row, q in enumerate(PRIMES):
        coefficients = [int.from_bytes(seed("c", k), "little") % q for k in range(len(points))]
        assert all(factors[x].shape == (len(PRIMES), 1) for x in points)
        parts = (int(factors[x][row, 0]) * value_at(coefficients, x, q) for x in points)
        assert sum(parts) % q == coefficients[0]


def test_interpolation_at_another_point_and_at_its_own() -> None:
    coefficients = (3, 1, 4)
    for at in (0, 5, 32):
        factors = interpolation((0, 2, 7), at, PRIMES)
        for row, q in enumerate(PRIMES):
            parts = (int(factors[x][row, 0]) * value_at(coefficients, x, q) for x in factors)
            assert sum(parts) % q == value_at(coefficients, at, q)
    own = interpolation((0, 2, 7), 2, PRIMES)
    assert [int(own[x].max()) for x in (0, 2, 7)] == [0, 1, 0]


def test_one_share_more_than_the_degree_is_needed() -> None:
    factors = lagrange((1, 2), PRIMES)
    coefficients = (3, 1, 4)
    q = PRIMES[0]
    assert sum(int(factors[x][0, 0]) * value_at(coefficients, x, q) for x in (1, 2)) % q != 3


def test_a_factor_after_the_noise_would_drown_the_message() -> None:
    data = data_ring()
    noise = data.reduce(np.arange(-128, 128, dtype=np.int64))
    factors = lagrange((1, 2, 4), PRIMES)
    late = total(data.multiply(noise, factor) for factor in factors.values())
    early = total(noise for _ in factors)
    assert max(abs(int(v)) for v in data.compose(early)) <= 3 * 128
    assert any(
        max(abs(int(v)) for v in data.compose(data.multiply(noise, f))) > data.modulus >> 8 for f in factors.values()
    )
    assert not np.array_equal(late, early)


@pytest.mark.parametrize("active", [(), (1, 1), (1, 2, 1)])
def test_no_members_or_one_twice(active: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="distinct"):
        lagrange(active, PRIMES)


@pytest.mark.parametrize("active", [(0, 1), (1, 33), (-1, 2)])
def test_the_point_of_a_member_is_its_number(active: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="from 1 to 32"):
        lagrange(active, PRIMES)


@pytest.mark.parametrize(("points", "at"), [((0, 33), 1), ((0, -1), 1), ((0, 1), 33), ((0, 1), -1)])
def test_interpolation_stays_among_the_points(points: tuple[int, ...], at: int) -> None:
    with pytest.raises(ValueError, match="between 0 and 32"):
        interpolation(points, at, PRIMES)


SHARING = ShamirSharing(5, 3)


@cache
def ceremony() -> Ceremony:
    return Ceremony(SMALL, SHARING, POSITION)


@cache
def seeds() -> dict[int, PieceSeed]:
    return {s.piece: s for member in range(1, 6) for s in deal(ceremony(), member, rand=seed("founding", member))}


def founded() -> tuple[dict[int, Dealing], dict[int, PieceKey]]:
    """A whole founding, with every message on the wire."""
    terms = founding_terms(ceremony())
    dealings = {addend: founding_dealing(ceremony(), s)[0] for addend, s in seeds().items()}
    published = {a: PublishedDealing(terms[a], d.digests, terms[a].dealers) for a, d in dealings.items()}
    challenge = degree_challenge(tuple(published.values()), POSITION)
    proofs = {
        a: DegreeProof.decode(d.degree_proof(challenge), published[a], challenge, prover=terms[a].dealers[0])
        for a, d in dealings.items()
    }
    pieces = {}
    for piece in range(SHARING.pieces):
        subshares = {
            a: check_subshare(published[a], piece, d.share(piece).encode(), sender=terms[a].dealers[0], proof=proofs[a])
            for a, d in dealings.items()
        }
        pieces[piece] = join_piece(terms, piece, subshares)
    return dealings, pieces


def test_the_first_t_members_deal_one_addend_each() -> None:
    terms = founding_terms(ceremony())
    assert [(t.addend, t.dealers) for t in terms] == [(0, ("member-1",)), (1, ("member-2",)), (2, ("member-3",))]
    assert all(t.label == ceremony().identity and t.sharing == SHARING and t.suite == SMALL for t in terms)
    assert sorted(seeds()) == [0, 1, 2]


def test_every_quorum_holds_the_sum_of_the_ternary_addends() -> None:
    _, pieces = founded()
    addends = [derive_piece(ceremony(), s)[0].secret_ntt for s in seeds().values()]
    secret, values = total(addends), [pieces[p].secret_ntt for p in range(SHARING.pieces)]
    for quorum in combinations(range(1, 6), 3):
        assert np.array_equal(opened(SHARING, values, quorum), secret)
    coefficients = data_ring().compose(data_ring().inverse_ntt(secret))
    assert {abs(int(c)) for c in coefficients} <= set(range(4))
    assert len({key.noise_key for key in pieces.values()}) == 5


def test_the_public_part_is_that_of_the_addend() -> None:
    for s in seeds().values():
        assert founding_dealing(ceremony(), s)[1] == derive_piece(ceremony(), s)[1]


def test_a_founding_dealing_follows_from_its_seed_and_its_ceremony() -> None:
    digests = founding_dealing(ceremony(), seeds()[1])[0].digests
    assert founding_dealing(ceremony(), PieceSeed(1, seeds()[1].reveal()))[0].digests == digests
    other = Ceremony(SMALL, SHARING, seed("another position"))
    assert not set(founding_dealing(other, seeds()[1])[0].digests) & set(digests)
    assert not set(founding_dealing(ceremony(), PieceSeed(2, seeds()[1].reveal()))[0].digests) & set(digests)


def test_a_replicated_sharing_has_nothing_to_deal_at_its_founding() -> None:
    replicated = Ceremony(SMALL, ReplicatedSharing(5, 3), POSITION)
    with pytest.raises(ValueError, match="only Shamir's sharing"):
        founding_terms(replicated)
    with pytest.raises(ValueError, match="only Shamir's sharing"):
        founding_dealing(replicated, PieceSeed(0, bytes(32)))


def test_a_founding_has_t_addends() -> None:
    with pytest.raises(IndexError, match="no addend 3"):
        founding_dealing(ceremony(), PieceSeed(3, bytes(32)))


def test_two_members_together_are_left_with_every_secret_possible() -> None:
    # A polynomial through their two points and through any element at zero exists: theirs, shifted by one that is
    # zero at their points.
    _, pieces = founded()
    shift: UInt64Array = element("another secret")
    data, values = data_ring(), [pieces[p].secret_ntt for p in range(5)]
    for coalition in combinations(range(1, 6), 2):
        other = [
            data.add(values[j - 1], data.multiply(shift, interpolation((0, *coalition), j, PRIMES)[0]))
            for j in range(1, 6)
        ]
        assert all(np.array_equal(other[j - 1], values[j - 1]) for j in coalition)
        secrets = [opened(SHARING, other, quorum) for quorum in combinations(range(1, 6), 3)]
        assert all(np.array_equal(s, data.add(opened(SHARING, values), shift)) for s in secrets)
