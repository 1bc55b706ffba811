"""Handing the key over: the public key and the secret stay, the pieces change, and who cheats is named."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from protocols.errors import BadShareError, KeyGenerationError, QuorumError
from protocols.tckks import MemberKey, partial_decrypt
from protocols.tckks.dealing import join_piece
from protocols.tckks.degree import (
    DegreeProof,
    PublishedDealing,
    check_subshare,
    degree_challenge,
)
from protocols.tckks.handover import Handover, agree, subdeal
from protocols.tckks.keys import PieceKey
from protocols.tckks.sharing import ShamirSharing, Sharing
from protocols.tckks.subshare import SubShare
from tests.protocols.tckks.committee import SUITE, Committee, combined, committee
from tests.protocols.tckks.dealt import POSITION, PRIMES, SMALL, data_ring, seed
from tests.protocols.tckks.handed_over import (
    KINDS,
    R32,
    R43,
    R53,
    S43,
    S53,
    Pieces,
    change,
    changed,
    handover,
    pieces_of,
    secret_of,
)

EVERY = pytest.mark.parametrize(("old", "new"), KINDS.values(), ids=KINDS.keys())


# --- what a handover is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("key_digest", bytes(31), "joint key is 32 bytes"),
        ("position", bytes(33), "32-byte root"),
        ("epoch", 0, "between 1 and"),
        ("epoch", 1 << 32, "between 1 and"),
        ("active", (1, 2, 3), "no active set"),
    ],
)
def test_a_handover_is_checked_when_it_is_made(field: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        handover(R43, R53, **{field: value})


def test_exactly_t_active_members_deal_a_shamir_key() -> None:
    with pytest.raises(QuorumError, match="needs 3 of 4 members, has 2"):
        handover(S43, R53, active=(1, 2))
    with pytest.raises(QuorumError, match="has 0"):
        handover(S43, R53, active=())
    for active, message in (((1, 2, 3, 4), "exactly 3"), ((1, 2, 5), "between 1 and 4"), ((1, 2, 2), "distinct")):
        with pytest.raises(ValueError, match=message):
            handover(S43, R53, active=active)
    assert handover(S43, R53, active=(4, 1, 3)) == handover(S43, R53, active=(1, 3, 4))


def test_the_identity_names_everything() -> None:
    one = handover(S43, R53)
    others = [
        replace(one, suite=replace(SMALL, name="another")),
        replace(one, old=ShamirSharing(5, 3)),
        replace(one, new=R43),
        replace(one, new=S53),
        replace(one, key_digest=seed("another key")),
        replace(one, epoch=2),
        replace(one, position=seed("another position")),
        replace(one, active=(1, 2, 3)),
        handover(R43, R53),
    ]
    assert len({one.identity, *(h.identity for h in others)}) == 10
    assert {len(h.identity) for h in others} == {32}
    assert handover(S43, R53).identity == one.identity


def test_the_terms_name_every_holder_of_an_old_piece_the_dealer_first() -> None:
    by = handover(R43, S53)
    assert [t.addend for t in by.terms] == list(range(6))
    for t in by.terms:
        assert t.dealers[0] == f"member-{R43.dealer(t.addend)}"
        assert sorted(t.dealers) == [f"member-{m}" for m in R43.holders(t.addend)]
        assert (t.label, t.sharing, t.suite) == (by.identity, S53, SMALL)
    shamir = handover(S43, R53)
    assert [(t.addend, t.dealers) for t in shamir.terms] == [(0, ("member-1",)), (2, ("member-3",)), (3, ("member-4",))]


def test_a_piece_that_is_not_dealt() -> None:
    with pytest.raises(ValueError, match="piece 1 is not dealt"):
        subdeal(handover(S43, R53), pieces_of(S43)[1])


# --- the key goes on -------------------------------------------------------------------------------------------------


@EVERY
def test_the_new_pieces_hold_the_old_secret(old: Sharing, new: Sharing) -> None:
    secret = secret_of(old, pieces_of(old))
    quorums = combinations(range(1, 6), 3) if isinstance(new, ShamirSharing) else [None]
    for quorum in quorums:
        assert np.array_equal(secret_of(new, changed(old, new).new, quorum), secret)


def test_every_active_set_of_a_shamir_committee_hands_over_the_same_secret() -> None:
    secret = secret_of(S43, pieces_of(S43))
    for active in combinations(range(1, 5), 3):
        assert np.array_equal(secret_of(R32, change(handover(S43, R32, active=active), pieces_of(S43)).new), secret)


def test_handovers_one_after_another() -> None:
    pieces, old = pieces_of(R43), R43
    secret = secret_of(R43, pieces)
    sharing: Sharing = old
    following: tuple[Sharing, ...] = (S53, S53, R32, R43)
    for epoch, new in enumerate(following, start=1):
        pieces = change(handover(sharing, new, epoch=epoch), pieces).new
        sharing = new
        assert np.array_equal(secret_of(sharing, pieces), secret)


@pytest.mark.parametrize("sharing", [R43, S43], ids=["replicated", "shamir"])
def test_a_refresh_changes_every_piece_and_every_noise_key(sharing: Sharing) -> None:
    first = change(handover(sharing, sharing), pieces_of(sharing))
    second = change(handover(sharing, sharing, epoch=2), first.new)
    secrets = [secret_of(sharing, x) for x in (pieces_of(sharing), first.new, second.new)]
    assert np.array_equal(secrets[0], secrets[1])
    assert np.array_equal(secrets[0], secrets[2])
    values = [key.secret_ntt.tobytes() for x in (pieces_of(sharing), first.new, second.new) for key in x.values()]
    noise = [key.noise_key for x in (pieces_of(sharing), first.new, second.new) for key in x.values()]
    assert len(set(values)) == len(set(noise)) == len(values) == 3 * sharing.pieces


# --- co-holders ------------------------------------------------------------------------------------------------------


def test_all_holders_of_a_piece_make_the_same_dealing() -> None:
    by, piece = handover(R43, S53), pieces_of(R43)[2]
    one, other = subdeal(by, piece), subdeal(by, PieceKey(2, piece.secret_ntt.copy(), bytes(piece.noise_key)))
    assert one.digests == other.digests
    assert one.degree_proof(POSITION) == other.degree_proof(POSITION)
    assert [one.mask_key(p) for p in range(5)] == [other.mask_key(p) for p in range(5)]
    published = agree(by.terms[2], dict.fromkeys(by.terms[2].dealers[:1], one.digests))
    assert published.by == by.terms[2].dealers[:1]
    assert published.digests == one.digests


def test_holders_that_differ_are_named_in_their_camps() -> None:
    terms = handover(R53, R53).terms[4]
    assert len(terms.dealers) == 3
    right, wrong = tuple(bytes([p]) * 32 for p in range(10)), (bytes(32),) * 10
    first, second, third = sorted(terms.dealers)
    with pytest.raises(KeyGenerationError, match=f"{first}, {third} against {second}") as caught:
        agree(terms, {third: right, second: wrong, first: right})
    assert set(caught.value.culprits) == set(terms.dealers)
    assert agree(terms, dict.fromkeys(terms.dealers, right)).by == (first, second, third)


def test_digests_that_nobody_or_a_stranger_published() -> None:
    terms = handover(R53, R53).terms[4]
    with pytest.raises(KeyGenerationError, match="no dealer published") as caught:
        agree(terms, {})
    assert caught.value.culprits == terms.dealers
    stranger = next(f"member-{m}" for m in range(1, 6) if f"member-{m}" not in terms.dealers)
    with pytest.raises(ValueError, match="published by its dealers"):
        agree(terms, {stranger: (bytes(32),) * 10})
    with pytest.raises(KeyGenerationError, match="must publish 10 digests") as caught:
        agree(terms, {terms.dealers[0]: (bytes(32),) * 9})
    assert caught.value.culprits == terms.dealers[:1]


def test_a_dealer_that_deals_another_piece_differs_from_its_co_holders() -> None:
    by, piece = handover(R43, R53), pieces_of(R43)[1]
    wrong = PieceKey(1, data_ring().add(piece.secret_ntt, data_ring().constant(1)), piece.noise_key)
    names = by.terms[1].dealers
    with pytest.raises(KeyGenerationError, match="against"):
        agree(by.terms[1], {names[0]: subdeal(by, wrong).digests, names[1]: subdeal(by, piece).digests})


# --- cheating at a handover ------------------------------------------------------------------------------------------


def test_a_dealer_that_sends_two_holders_two_sub_shares_is_named_by_one_of_them() -> None:
    by = handover(S43, R53)
    right, other = subdeal(by, pieces_of(S43)[0]), subdeal(replace(by, epoch=2), pieces_of(S43)[0])
    published = agree(by.terms[0], {"member-1": right.digests})
    check_subshare(published, 9, right.share(9).encode(), sender="member-1")
    with pytest.raises(KeyGenerationError, match="published digest") as caught:
        check_subshare(published, 9, other.share(9).encode(), sender="member-1")
    assert caught.value.culprits == ("member-1",)


def test_a_sub_share_of_another_handover_is_refused_even_with_its_digest() -> None:
    by = handover(S43, S53)
    other = subdeal(replace(by, position=seed("other")), pieces_of(S43)[0])
    published = PublishedDealing(by.terms[0], other.digests, ("member-1",))
    challenge = degree_challenge([published], POSITION)
    proof = DegreeProof.decode(
        subdeal(by, pieces_of(S43)[0]).degree_proof(challenge), published, challenge, prover="member-1"
    )
    with pytest.raises(KeyGenerationError, match="header is for another dealing") as caught:
        check_subshare(published, 4, other.share(4).encode(), sender="member-1", proof=proof)
    assert caught.value.culprits == ("member-1",)


def test_a_shamir_dealer_off_its_polynomial_is_named() -> None:
    by = handover(S43, S53)
    dealing = subdeal(by, pieces_of(S43)[2])
    share = dealing.share(4)
    value = share.value().copy()
    value[0, 0] = (int(value[0, 0]) + 1) % PRIMES[0]
    forged = SubShare(share.terms, 4, share.contribution, value, share.masks(), pairs=tuple(share.pairs.values()))
    published = agree(by.terms[1], {"member-3": (*dealing.digests[:4], forged.digest())})
    challenge = degree_challenge([published], POSITION)
    proof = DegreeProof.decode(dealing.degree_proof(challenge), published, challenge, prover="member-3")
    with pytest.raises(KeyGenerationError, match="not on the polynomials") as caught:
        check_subshare(published, 4, forged.encode(), sender="member-3", proof=proof)
    assert caught.value.culprits == ("member-3",)


# --- a real key ------------------------------------------------------------------------------------------------------


def _keys(epoch: int, sharing: Sharing, world: Committee, pieces: Pieces) -> dict[int, MemberKey]:
    return {
        m: MemberKey(m, world.joint, {p: pieces[p] for p in sharing.held_by(m)}, sharing=sharing, epoch=epoch)
        for m in range(1, sharing.members + 1)
    }


REAL: list[tuple[str, Callable[[], list[Sharing]]]] = [
    ("refreshed", lambda: [R53]),
    ("changed", lambda: [S43, R32]),
]


@pytest.mark.parametrize(("name", "path"), REAL, ids=[name for name, _ in REAL])
def test_the_public_key_and_its_ciphertexts_outlive_the_committee(name: str, path: Callable[[], list[Sharing]]) -> None:
    world = committee()
    digits = world.digits(7)
    sealed = world.encrypt(digits, "handover", name)
    pieces: Pieces = world.pieces
    sharing: Sharing = world.sharing
    for epoch, new in enumerate(path(), start=1):
        active = tuple(range(1, sharing.threshold + 1)) if isinstance(sharing, ShamirSharing) else ()
        by = Handover(SUITE, sharing, new, world.joint.digest, epoch, POSITION, active)
        dealings = {t.addend: subdeal(by, pieces[t.addend]) for t in by.terms}
        pieces = {p: join_piece(by.terms, p, {a: d.share(p) for a, d in dealings.items()}) for p in range(new.pieces)}
        sharing = new
        keys = _keys(epoch, sharing, world, pieces)
        quorum = tuple(range(sharing.members - sharing.threshold + 1, sharing.members + 1))
        answers = {f"member-{m}": partial_decrypt(keys[m], sealed, quorum).residues for m in quorum}
        assert np.array_equal(combined(sealed, answers, world.budget, world.layout).digits, digits.digits)
        mixed = {**answers, f"member-{quorum[0]}": partial_decrypt(world.keys[1], sealed, (1, 2, 3)).residues}
        with pytest.raises(BadShareError, match="does not open"):
            combined(sealed, mixed, world.budget, world.layout)
