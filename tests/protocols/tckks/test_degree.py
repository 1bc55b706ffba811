"""The degree test: every way to cheat at a dealing is found, and names who cheated."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from protocols.arrays import UInt64Array
from protocols.errors import KeyGenerationError, StateError
from protocols.tckks.dealing import Dealing
from protocols.tckks.degree import (
    DegreeProof,
    PublishedDealing,
    check_subshare,
    convicted,
    degree_challenge,
    fold,
    fold_weights,
)
from protocols.tckks.sharing import ReplicatedSharing, ShamirSharing, Sharing
from protocols.tckks.subshare import REPETITIONS, SubShare
from tests.protocols.tckks.dealt import (
    COLUMN,
    POSITION,
    PRIMES,
    REPLICATED,
    SHAMIR,
    data_ring,
    dealt,
    element,
    honest,
    opened,
    seed,
)

BOTH = pytest.mark.parametrize("sharing", [REPLICATED, SHAMIR], ids=["replicated", "shamir"])
HEADER = 44


def test_an_honest_dealing_passes_everywhere() -> None:
    for sharing in (REPLICATED, SHAMIR, ShamirSharing(2, 2), ShamirSharing(16, 10), ReplicatedSharing(2, 2)):
        world = dealt(sharing, "passes", addend=3)
        for piece in range(sharing.pieces):
            share = check_subshare(world.published, piece, world.data(piece), sender="member-1", proof=world.proof)
            assert np.array_equal(share.value(), world.dealing.share(piece).value())
            assert convicted(world.published, piece, world.data(piece), proof=world.proof) == ()


class Cheat:
    """A dealing whose digests fit whatever its dealer made up: `change` alters values and masks of bound pieces."""

    def __init__(self, change: Callable[[int, UInt64Array, UInt64Array], None]) -> None:
        world = honest(SHAMIR)
        self.data = [world.data(p) for p in range(6)]
        for piece in range(3, 6):
            share = world.dealing.share(piece)
            value, masks = share.value().copy(), share.masks().copy()
            change(piece, value, masks)
            made_up = SubShare(
                world.terms,
                piece,
                share.contribution,
                value % COLUMN,
                masks % COLUMN,
                pairs=tuple(share.pairs.values()),
            )
            self.data[piece] = made_up.encode()
        digests = tuple(hashlib.sha256(data).digest() for data in self.data)
        self.published = PublishedDealing(world.terms, digests, ("member-1",))
        self.challenge = degree_challenge([self.published], POSITION)
        fresh = Dealing(world.terms, element("honest"), seed("dealing", "honest"))
        self.honest_proof = fresh.degree_proof(self.challenge)

    def proof(self, data: bytes | None = None) -> DegreeProof:
        data = self.honest_proof if data is None else data
        return DegreeProof.decode(data, self.published, self.challenge, prover="member-1")

    def caught_by(self, proof: DegreeProof) -> list[int]:
        """The pieces whose holders find the cheat; what they open convicts the dealer, and nothing else does."""
        caught = [p for p, data in enumerate(self.data) if convicted(self.published, p, data, proof=proof)]
        for piece in caught:
            with pytest.raises(KeyGenerationError, match="not on the polynomials of degree 3") as error:
                check_subshare(self.published, piece, self.data[piece], sender="member-1", proof=proof)
            assert error.value.culprits == convicted(self.published, piece, self.data[piece], proof=proof)
            assert error.value.culprits == ("member-1",)
        for piece in set(range(6)) - set(caught):
            check_subshare(self.published, piece, self.data[piece], sender="member-1", proof=proof)
        return caught


@pytest.mark.parametrize("row", range(len(PRIMES)))
def test_one_residue_off_the_polynomial_is_found_modulo_every_prime(row: int) -> None:
    def change(piece: int, value: UInt64Array, masks: UInt64Array) -> None:
        if piece == 4:
            value[row, 17] += np.uint64(1)

    cheat = Cheat(change)
    assert cheat.caught_by(cheat.proof()) == [4]


@pytest.mark.parametrize("repetition", range(REPETITIONS))
def test_a_mask_off_its_polynomial_is_found(repetition: int) -> None:
    def change(piece: int, value: UInt64Array, masks: UInt64Array) -> None:
        if piece == 5:
            masks[-1, repetition] += np.uint64(1)

    cheat = Cheat(change)
    assert cheat.caught_by(cheat.proof()) == [5]


def test_a_polynomial_of_too_high_a_degree_is_found_whatever_is_opened() -> None:
    # Values of X(X-1)(X-2)(X-3) times one element are added: zero at the free points, so of degree 4 in all.
    extra = element("extra")

    def change(piece: int, value: UInt64Array, masks: UInt64Array) -> None:
        x = piece + 1
        value += data_ring().multiply(extra, data_ring().constant(x * (x - 1) * (x - 2) * (x - 3)))

    cheat = Cheat(change)
    assert cheat.caught_by(cheat.proof()) == [3, 4, 5]
    # Opening another polynomial of degree 3 instead, through any four points that hold, leaves the others out.
    weights = fold_weights(honest(SHAMIR).terms, cheat.challenge)
    shift = fold(honest(SHAMIR).terms, data_ring().multiply(extra, data_ring().constant(24)), weights)
    values = cheat.proof().values.copy()
    values[:, 0] = (values[:, 0] + COLUMN - shift % COLUMN) % COLUMN  # h(0) such that h fits the point 4
    fitted = DegreeProof(cheat.published, cheat.challenge, values, "member-1")
    assert cheat.caught_by(fitted) == [4, 5]


def test_values_of_lower_degree_pass_as_they_are_a_sharing_too() -> None:
    zero = np.zeros_like(element("x"))
    dealing = Dealing(honest(SHAMIR).terms, zero, seed("zero"))
    values = [dealing.share(p).value() for p in range(6)]
    assert not opened(SHAMIR, values).any()


@pytest.mark.parametrize("row", [0, len(PRIMES) - 1])
def test_a_wrong_proof_is_found_by_every_member_and_convicts(row: int) -> None:
    world = honest(SHAMIR)
    assert world.proof is not None
    values = world.proof.values.copy()
    values[row, 0, 2] = (int(values[row, 0, 2]) + 1) % PRIMES[row]
    proof = DegreeProof(world.published, world.challenge, values, "member-1")
    for piece in range(3, 6):  # h(0) counts at the bound points only; the free points are opened themselves
        assert convicted(world.published, piece, world.data(piece), proof=proof) == ("member-1",)
    values = world.proof.values.copy()
    values[row, 2, 2] = (int(values[row, 2, 2]) + 1) % PRIMES[row]
    proof = DegreeProof(world.published, world.challenge, values, "member-1")
    for piece in (1, 3, 4, 5):
        with pytest.raises(KeyGenerationError, match="that member-1 opened") as caught:
            check_subshare(world.published, piece, world.data(piece), sender="member-9", proof=proof)
        assert caught.value.culprits == ("member-1",)


def test_a_wrong_proof_of_one_co_holder_convicts_it_alone() -> None:
    world = dealt(SHAMIR, "honest", dealers=("member-1", "member-2"))
    assert world.proof is not None
    values = world.proof.values.copy()
    values[0, 0, 0] ^= np.uint64(1)
    wrong = DegreeProof(world.published, world.challenge, values, "member-2")
    assert convicted(world.published, 5, world.data(5), proof=wrong) == ("member-2",)
    assert convicted(world.published, 5, world.data(5), proof=world.proof) == ()


def test_the_proof_of_another_challenge_does_not_pass() -> None:
    world = honest(SHAMIR)
    fresh = Dealing(world.terms, element("honest"), seed("dealing", "honest"))
    data = fresh.degree_proof(seed("a challenge of one's own"))
    with pytest.raises(KeyGenerationError, match="header"):
        DegreeProof.decode(data, world.published, world.challenge, prover="member-1")


def test_malformed_proofs_name_the_prover() -> None:
    world = honest(SHAMIR)
    assert world.proof is not None
    data = world.proof.encode()
    assert len(data) == HEADER + REPETITIONS * 4 * 25
    too_large = data[:HEADER] + PRIMES[0].to_bytes(6, "little") + data[HEADER + 6 :]
    cases = [(b"", "length"), (data[:-1], "length"), (data + b"\0", "length"), (too_large, "not below its prime")]
    cases += [(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], "header") for at in range(HEADER)]
    for wrong, message in cases:
        with pytest.raises(KeyGenerationError, match=message) as caught:
            DegreeProof.decode(wrong, world.published, world.challenge, prover="member-1")
        assert caught.value.culprits == ("member-1",)
    assert DegreeProof.decode(data, world.published, world.challenge, prover="member-1").encode() == data


def test_a_proof_by_somebody_else_or_for_no_test_is_the_callers_mistake() -> None:
    world = honest(SHAMIR)
    assert world.proof is not None
    data, values = world.proof.encode(), world.proof.values
    with pytest.raises(ValueError, match="member-2 did not publish"):
        DegreeProof.decode(data, world.published, world.challenge, prover="member-2")
    with pytest.raises(ValueError, match="challenge is 32 bytes"):
        DegreeProof.decode(data, world.published, world.challenge[:31], prover="member-1")
    with pytest.raises(ValueError, match="no degree test"):
        DegreeProof.decode(data, honest(REPLICATED).published, world.challenge, prover="member-1")
    with pytest.raises(ValueError, match="shape"):
        DegreeProof(world.published, world.challenge, values[:, :3], "member-1")
    full = np.broadcast_to(COLUMN[:, :, None], values.shape)
    with pytest.raises(ValueError, match="not below its prime"):
        DegreeProof(world.published, world.challenge, full, "member-1")
    with pytest.raises(ValueError, match="no degree test"):
        honest(REPLICATED).dealing.degree_proof(world.challenge)
    with pytest.raises(ValueError, match="challenge is 32 bytes"):
        world.dealing.degree_proof(bytes(31))


def test_the_proof_hides_the_element() -> None:
    # What is opened at zero is the fold of the element plus a mask; the masks of the repetitions differ.
    world = honest(SHAMIR)
    assert world.proof is not None
    folds = fold(world.terms, element("honest"), fold_weights(world.terms, world.challenge))
    masks = (world.proof.values[:, 0] + COLUMN - folds) % COLUMN
    assert masks.all()
    assert len(set(masks[0].tolist())) == REPETITIONS
    other = dealt(SHAMIR, "honest", addend=1)
    assert other.proof is not None
    other_folds = fold(other.terms, element("honest"), fold_weights(other.terms, other.challenge))
    assert not (masks == (other.proof.values[:, 0] + COLUMN - other_folds) % COLUMN).any()


def test_a_second_challenge_is_refused_and_would_give_a_sum_of_the_element_away() -> None:
    world = honest(SHAMIR)
    assert world.proof is not None
    assert world.dealing.degree_proof(world.challenge) == world.proof.encode()
    second = seed("second challenge")
    with pytest.raises(StateError, match="another challenge"):
        world.dealing.degree_proof(second)
    twice = Dealing(world.terms, element("honest"), seed("dealing", "honest"))
    answer = DegreeProof.decode(twice.degree_proof(second), world.published, second, prover="member-1")
    difference = (world.proof.values[:, 0] + COLUMN - answer.values[:, 0]) % COLUMN
    first_fold = fold(world.terms, element("honest"), fold_weights(world.terms, world.challenge))
    second_fold = fold(world.terms, element("honest"), fold_weights(world.terms, second))
    assert np.array_equal(difference, (first_fold + COLUMN - second_fold) % COLUMN)


def test_weights_are_below_2_to_the_39_and_depend_on_everything() -> None:
    terms = honest(SHAMIR).terms
    weights = fold_weights(terms, bytes(32))
    assert weights.shape == (REPETITIONS, 1, 256)
    assert int(weights.max()) < 1 << 39
    assert int(weights.max()) > 1 << 38
    others = [fold_weights(terms, seed("x")), fold_weights(replace(terms, addend=1), bytes(32))]
    others.append(fold_weights(replace(terms, label=seed("x")), bytes(32)))
    assert not any((weights == other).any() for other in others)
    assert np.unique(weights).size == weights.size


def test_the_challenge_depends_on_every_digest_and_on_the_position_not_on_the_order() -> None:
    first, second = honest(SHAMIR).published, dealt(SHAMIR, "second", addend=1).published
    challenge = degree_challenge([first, second], POSITION)
    assert degree_challenge([second, first], POSITION) == challenge
    changed = replace(first, digests=(*first.digests[:-1], bytes(32)))
    others = [
        degree_challenge([changed, second], POSITION),
        degree_challenge([first], POSITION),
        degree_challenge([first, second], seed("another position")),
    ]
    assert len({challenge, *others}) == 4
    with pytest.raises(ValueError, match="32 bytes of the ledger"):
        degree_challenge([first], b"")


@BOTH
def test_what_does_not_have_the_published_digest_names_its_sender(sharing: Sharing) -> None:
    world = honest(sharing)
    for piece in range(6):
        data = world.data(piece)
        for wrong in (data[:-1], data + b"\0", data[:-1] + bytes([data[-1] ^ 1]), b"", world.data((piece + 1) % 6)):
            with pytest.raises(KeyGenerationError, match=r"member-2 sent for piece .* published digest") as caught:
                check_subshare(world.published, piece, wrong, sender="member-2", proof=world.proof)
            assert caught.value.culprits == ("member-2",)
            assert convicted(world.published, piece, wrong, proof=world.proof) == ()


@BOTH
def test_two_sub_shares_for_two_holders_of_one_piece_cannot_both_have_the_digest(sharing: Sharing) -> None:
    first, second = dealt(sharing, "honest"), dealt(sharing, "another")
    check_subshare(first.published, 5, first.data(5), sender="member-1", proof=first.proof)
    with pytest.raises(KeyGenerationError, match="published digest") as caught:
        check_subshare(first.published, 5, second.data(5), sender="member-1", proof=first.proof)
    assert caught.value.culprits == ("member-1",)


@BOTH
@pytest.mark.parametrize("piece", [0, 5])
def test_malformed_bytes_with_the_published_digest_convict_those_who_published(sharing: Sharing, piece: int) -> None:
    world = honest(sharing)
    data = world.data(piece)
    other_form = world.data(5 - piece)
    for wrong in (b"", data[:-1], bytes(len(data)), other_form):
        digests = list(world.published.digests)
        digests[piece] = hashlib.sha256(wrong).digest()
        published = replace(world.published, digests=tuple(digests))
        proof = world.proof and replace(world.proof, published=published)
        with pytest.raises(KeyGenerationError, match="dealt by member-1") as caught:
            check_subshare(published, piece, wrong, sender="member-2", proof=proof)
        assert caught.value.culprits == ("member-1",)
        assert convicted(published, piece, wrong, proof=proof) == ("member-1",)


@pytest.mark.parametrize("check", [check_subshare, convicted])
def test_the_proof_belongs_to_the_dealing(check: Callable[..., Any]) -> None:
    shamir, replicated = honest(SHAMIR), honest(REPLICATED)
    sender = {"sender": "member-1"} if check is check_subshare else {}
    with pytest.raises(ValueError, match="comes with a dealing to Shamir's"):
        check(shamir.published, 5, shamir.data(5), **sender)
    with pytest.raises(ValueError, match="comes with a dealing to Shamir's"):
        check(replicated.published, 5, replicated.data(5), proof=shamir.proof, **sender)
    with pytest.raises(ValueError, match="of another dealing"):
        check(shamir.published, 5, shamir.data(5), proof=dealt(SHAMIR, "x", addend=1).proof, **sender)


def test_digests_are_published_by_dealers_one_for_each_piece() -> None:
    published = honest(SHAMIR).published
    for by in ((), ("member-2",), ("member-1", "member-2")):
        with pytest.raises(ValueError, match="published by its dealers"):
            replace(published, by=by)
    for digests in ((), published.digests[:5], (*published.digests, bytes(32)), (*published.digests[:5], bytes(31))):
        with pytest.raises(KeyGenerationError, match="must publish 6 digests") as caught:
            replace(published, digests=digests)
        assert caught.value.culprits == ("member-1",)
