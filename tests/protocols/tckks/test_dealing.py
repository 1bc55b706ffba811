"""Dealing a secret element, and joining what was dealt."""

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from protocols.errors import KeyGenerationError
from protocols.tckks.dealing import Dealing, join_piece
from protocols.tckks.degree import (
    check_subshare,
    convicted,
)
from protocols.tckks.sharing import Sharing
from protocols.tckks.subshare import SubShare, expand
from tests.protocols.tckks.dealt import (
    COLUMN,
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


@BOTH
def test_the_sub_shares_are_a_sharing_of_the_element(sharing: Sharing) -> None:
    values = [honest(sharing).dealing.share(p).value() for p in range(6)]
    quorums = combinations(range(1, 7), 4) if sharing is SHAMIR else [None]
    for quorum in quorums:
        assert np.array_equal(opened(sharing, values, quorum), element("honest"))


@BOTH
def test_every_value_is_spread_over_all_residues(sharing: Sharing) -> None:
    for piece in range(6):
        value = honest(sharing).dealing.share(piece).value()
        assert value.shape == (len(PRIMES), 256)
        assert (value < COLUMN).all()
        assert (abs(value.mean(axis=1) / COLUMN[:, 0] - 0.5) < 0.1).all()
        assert (np.unique(value[0]).size, np.unique(value[1]).size) == (256, 256)


def test_the_expansion_is_chacha20_below_the_prime() -> None:
    key = seed("sub-seed")
    stream = Cipher(ChaCha20(key, bytes(4) + b"sub-share".ljust(12, b"\0")), mode=None).encryptor()
    words = np.frombuffer(stream.update(bytes(8 * 256 * len(PRIMES))), dtype="<u8").reshape(len(PRIMES), 256)
    assert np.array_equal(expand(key, 256, PRIMES), words % COLUMN)  # a rejection has probability below 2^-15 a word
    assert not np.array_equal(expand(key, 4, PRIMES), expand(key, 4, PRIMES, purpose=b"degree-mask"))


@BOTH
def test_the_same_element_and_seed_make_the_same_bytes(sharing: Sharing) -> None:
    again = dealt(sharing, "honest")
    assert again.published == honest(sharing).published
    assert [again.data(p) for p in range(6)] == [honest(sharing).data(p) for p in range(6)]
    assert [again.dealing.mask_key(p) for p in range(6)] == [honest(sharing).dealing.mask_key(p) for p in range(6)]
    proofs = [world.proof.encode() for world in (again, honest(sharing)) if world.proof is not None]
    assert len(proofs) == (2 if sharing is SHAMIR else 0)
    assert len(set(proofs)) <= 1


@BOTH
@pytest.mark.parametrize("what", ["element", "seed", "label", "addend", "sharing"])
def test_a_dealing_shares_no_randomness_with_another(sharing: Sharing, what: str) -> None:
    terms, secret, key = honest(sharing).terms, element("honest"), seed("dealing", "honest")
    if what == "element":
        secret = data_ring().add(secret, data_ring().constant(1))
    elif what == "seed":
        key = seed("another")
    elif what == "label":
        terms = replace(terms, label=seed("another"))
    elif what == "addend":
        terms = replace(terms, addend=1)
    else:
        terms = replace(terms, sharing=type(sharing)(5, 3))
    other, mine = Dealing(terms, secret, key), honest(sharing).dealing
    shares = [(mine.share(p), other.share(q)) for p in range(6) for q in range(min(6, terms.sharing.pieces))]
    assert not any(np.array_equal(x.value(), y.value()) for x, y in shares)
    assert not any(x.contribution == y.contribution for x, y in shares)
    assert not any(mine.mask_key(x.piece) == other.mask_key(y.piece) for x, y in shares)


@BOTH
def test_mask_keys_and_contributions_are_each_their_own(sharing: Sharing) -> None:
    dealing = honest(sharing).dealing
    derived = [dealing.mask_key(p) for p in range(6)] + [dealing.share(p).contribution for p in range(6)]
    assert len(set(derived)) == 12


@BOTH
def test_there_is_no_seventh_piece(sharing: Sharing) -> None:
    world = honest(sharing)
    for wrong in (6, -1):
        for call in (world.dealing.share, world.dealing.mask_key, world.terms.subshare_bytes, world.terms.factors):
            with pytest.raises(IndexError, match="no piece"):
                call(wrong)
        with pytest.raises(IndexError, match="no piece"):
            check_subshare(world.published, wrong, b"", sender="member-1", proof=world.proof)
        with pytest.raises(IndexError, match="no piece"):
            convicted(world.published, wrong, b"", proof=world.proof)


def test_a_dealing_needs_a_seed_and_an_element_of_the_ring() -> None:
    terms = honest(SHAMIR).terms
    with pytest.raises(ValueError, match="32 bytes"):
        Dealing(terms, element("x"), bytes(31))
    with pytest.raises(ValueError, match="shape"):
        Dealing(terms, element("x")[:2], bytes(32))


SECRETS: dict[str, Callable[[], object]] = {
    "Dealing": lambda: honest(SHAMIR).dealing,
    "SubShare": lambda: honest(SHAMIR).dealing.share(5),
}


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_do_not_print(name: str) -> None:
    text = f"{SECRETS[name]()!r} {SECRETS[name]()}"
    assert name in text
    assert "<secret>" in text
    share = honest(SHAMIR).dealing.share(5)
    assert share.contribution.hex() not in text
    assert repr(share.contribution) not in text
    assert str(int(share.value()[0, 0])) not in text


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
def test_secrets_do_not_pickle_or_copy(name: str, take: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        take(SECRETS[name]())
    assert not hasattr(SECRETS[name](), "__dict__")


@BOTH
def test_a_piece_is_the_sum_of_its_sub_shares(sharing: Sharing) -> None:
    worlds = [dealt(sharing, "join", a, addend=a) for a in (0, 1, 7)]
    terms = [w.terms for w in worlds]
    keys = [join_piece(terms, p, {w.terms.addend: w.dealing.share(p) for w in worlds}) for p in range(6)]
    assert [key.piece for key in keys] == list(range(6))
    secret = data_ring().add(data_ring().add(element("join", 0), element("join", 1)), element("join", 7))
    assert np.array_equal(opened(sharing, [key.secret_ntt for key in keys]), secret)
    assert len({key.noise_key for key in keys}) == 6


@BOTH
@pytest.mark.parametrize("piece", [0, 5])
def test_the_noise_key_depends_on_every_contribution(sharing: Sharing, piece: int) -> None:
    worlds = [dealt(sharing, "join", a, addend=a) for a in range(3)]
    terms = [w.terms for w in worlds]
    shares = {a: worlds[a].dealing.share(piece) for a in range(3)}
    key = join_piece(terms, piece, shares).noise_key
    assert join_piece(terms[::-1], piece, dict(reversed(shares.items()))).noise_key == key
    for a in range(3):
        data = shares[a].encode()
        other = SubShare.decode(data[:HEADER] + seed("other") + data[HEADER + 32 :], terms[a], piece)
        assert join_piece(terms, piece, {**shares, a: other}).noise_key != key
    assert not any(key in (share.contribution, share.encode()) for share in shares.values())


def test_a_missing_sub_share_names_its_dealers() -> None:
    worlds = [dealt(SHAMIR, a, addend=a, dealers=(f"member-{a + 1}", "member-6")) for a in range(3)]
    shares = {a: worlds[a].dealing.share(2) for a in (0, 2)}
    with pytest.raises(KeyGenerationError, match="addend 1 is missing") as caught:
        join_piece([w.terms for w in worlds], 2, shares)
    assert caught.value.culprits == ("member-2", "member-6")


def test_only_the_sub_shares_of_one_ceremony_and_piece_are_joined() -> None:
    worlds = [dealt(SHAMIR, a, addend=a) for a in range(2)]
    terms, shares = [w.terms for w in worlds], {a: worlds[a].dealing.share(2) for a in range(2)}
    with pytest.raises(ValueError, match="of one ceremony"):
        join_piece([], 2, {})
    with pytest.raises(ValueError, match="of one ceremony"):
        join_piece([terms[0], replace(terms[1], label=seed("other"))], 2, shares)
    with pytest.raises(ValueError, match="joined once"):
        join_piece([terms[0], terms[0]], 2, shares)
    with pytest.raises(ValueError, match="joined once"):
        join_piece(terms, 2, {**shares, 2: shares[0]})
    with pytest.raises(ValueError, match="another dealing or piece"):
        join_piece(terms, 2, {0: shares[0], 1: shares[0]})
    with pytest.raises(ValueError, match="another dealing or piece"):
        join_piece(terms, 2, {0: shares[0], 1: worlds[1].dealing.share(3)})
    with pytest.raises(IndexError, match="no piece 6"):
        join_piece(terms, 6, shares)


def test_both_pieces_of_a_pair_make_the_same_key_and_no_other_piece_has_it() -> None:
    worlds = [dealt(SHAMIR, "pairs", a, addend=a) for a in range(2)]
    terms = [w.terms for w in worlds]
    keys = [join_piece(terms, p, {a: worlds[a].dealing.share(p) for a in range(2)}) for p in range(6)]
    pairs = {(p, o): keys[p].pair_key(o) for p in range(6) for o in range(6) if p != o}
    assert all(pairs[p, o] == pairs[o, p] for p, o in pairs)
    assert len(set(pairs.values())) == 15
    (third,) = [dealt(SHAMIR, "pairs", "other", addend=1)]
    shares = {0: worlds[0].dealing.share(0), 1: third.dealing.share(0)}
    assert join_piece(terms, 0, shares).pair_key(1) != pairs[0, 1]  # it depends on every dealer
    with pytest.raises(ValueError, match="piece 0 has no key in common with piece 0"):
        keys[0].pair_key(0)


def test_a_replicated_piece_has_no_pairs() -> None:
    world = dealt(REPLICATED, "pairs")
    with pytest.raises(ValueError, match="piece 0 has no key in common with piece 1"):
        join_piece([world.terms], 0, {0: world.dealing.share(0)}).pair_key(1)
