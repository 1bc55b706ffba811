"""The bytes of sub-shares, and the mask they wear in public."""

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from protocols.errors import DecodeError, KeyGenerationError
from protocols.suites import suite
from protocols.tckks.degree import (
    check_subshare,
)
from protocols.tckks.sharing import ReplicatedSharing, ShamirSharing, Sharing
from protocols.tckks.subshare import REPETITIONS, DealingTerms, SubShare, masked, unmasked
from tests.protocols.tckks.dealt import (
    COLUMN,
    LABEL,
    PRIMES,
    REPLICATED,
    SHAMIR,
    data_ring,
    element,
    honest,
)

BOTH = pytest.mark.parametrize("sharing", [REPLICATED, SHAMIR], ids=["replicated", "shamir"])
HEADER = 44


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": bytes(31)}, "32-byte identity"),
        ({"addend": -1}, "16-bit"),
        ({"addend": 1 << 16}, "16-bit"),
        ({"dealers": ()}, "at least one dealer"),
        ({"dealers": ("member-1", "member-1")}, "each named once"),
    ],
)
def test_terms_that_nobody_could_deal_by(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(honest(SHAMIR).terms, **change)


@BOTH
def test_factors_give_every_value_from_the_element_and_the_free_ones(sharing: Sharing) -> None:
    world, data = honest(sharing), data_ring()
    generators = [element("honest"), *(world.dealing.share(p).value() for p in range(world.terms.free))]
    for piece in range(6):
        value = np.zeros_like(generators[0])
        for factor, generator in zip(world.terms.factors(piece), generators, strict=True):
            value = data.add(value, data.multiply(generator, factor))
        assert np.array_equal(value, world.dealing.share(piece).value())


@BOTH
def test_a_sub_share_survives_the_wire(sharing: Sharing) -> None:
    world = honest(sharing)
    for piece in range(6):
        data, share = world.data(piece), world.dealing.share(piece)
        read = SubShare.decode(data, world.terms, piece)
        assert read.encode() == data
        assert len(data) == world.terms.subshare_bytes(piece)
        assert read.digest() == hashlib.sha256(data).digest() == world.dealing.digest(piece)
        assert np.array_equal(read.value(), share.value())
        assert read.contribution == share.contribution == data[HEADER : HEADER + 32]
        if sharing is SHAMIR:
            assert np.array_equal(read.masks(), share.masks())


def test_sizes_of_real_dealings() -> None:
    sizes = {}
    for degree in (8192, 16384):
        shamir = DealingTerms(LABEL, suite(degree), ShamirSharing(16, 10), 0, ("member-1",))
        replicated = replace(shamir, sharing=ReplicatedSharing(5, 3))
        sizes[degree] = [
            (shamir.subshare_bytes(0), shamir.subshare_bytes(15), sum(shamir.subshare_bytes(p) for p in range(16))),
            (replicated.subshare_bytes(0), replicated.subshare_bytes(9)),
        ]
    assert sizes == {
        8192: [(108 + 480, 204_976 + 480, 1_435_804 + 16 * 480), (108, 204_876)],  # 15 other pieces of 32 bytes
        16384: [(108 + 480, 852_252 + 480, 5_966_736 + 16 * 480), (108, 852_044)],
    }


@BOTH
@pytest.mark.parametrize("piece", [0, 5])
def test_every_other_spelling_is_refused(sharing: Sharing, piece: int) -> None:
    world = honest(sharing)
    data = world.data(piece)
    for wrong in (b"", data[:-1], data + b"\0", data[:HEADER]):
        with pytest.raises(DecodeError, match="bytes, not"):
            SubShare.decode(wrong, world.terms, piece)
    for at in range(HEADER):
        wrong = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(DecodeError, match="header"):
            SubShare.decode(wrong, world.terms, piece)


@BOTH
def test_a_residue_that_is_not_below_its_prime_is_refused(sharing: Sharing) -> None:
    world = honest(sharing)
    data = world.data(5)
    start = HEADER + 32 * (1 + world.terms.pairs)
    wrong = data[:start] + PRIMES[0].to_bytes(6, "little") + data[start + 6 :]
    with pytest.raises(DecodeError, match="not below its prime"):
        SubShare.decode(wrong, world.terms, 5)
    wrong = data[:-3] + PRIMES[-1].to_bytes(3, "little")
    with pytest.raises(DecodeError, match="not below its prime"):
        SubShare.decode(wrong, world.terms, 5)


@BOTH
def test_a_seed_where_the_value_is_due_and_a_value_where_a_seed_is(sharing: Sharing) -> None:
    world = honest(sharing)
    for piece, other in ((0, 5), (5, 0)):
        with pytest.raises(DecodeError, match="bytes, not"):
            SubShare.decode(world.data(other), world.terms, piece)
    with pytest.raises(TypeError, match="piece 5 is dealt in full"):
        SubShare(world.terms, 5, bytes(32), bytes(32), pairs=(bytes(32),) * world.terms.pairs)
    with pytest.raises(TypeError, match="piece 0 is dealt as a seed"):
        SubShare(world.terms, 0, bytes(32), element("x"), pairs=(bytes(32),) * world.terms.pairs)


def test_a_sub_share_is_checked_when_it_is_made() -> None:
    shamir, replicated = honest(SHAMIR).terms, honest(REPLICATED).terms
    value, masks = element("x"), element("masks", columns=REPETITIONS)
    pairs = (bytes(32),) * 5
    for given in ((), pairs[1:], (*pairs, bytes(32)), (*pairs[1:], bytes(31))):
        with pytest.raises(ValueError, match="has 5 contributions of 32 bytes to keys of pairs"):
            SubShare(shamir, 5, bytes(32), value, masks, pairs=given)
    with pytest.raises(ValueError, match="has 0 contributions"):
        SubShare(replicated, 5, bytes(32), value, pairs=pairs)
    with pytest.raises(ValueError, match="contribution to a noise key is 32"):
        SubShare(shamir, 5, bytes(31), value, masks, pairs=pairs)
    with pytest.raises(ValueError, match="seed of a sub-share is 32"):
        SubShare(shamir, 0, bytes(32), bytes(33), pairs=pairs)
    with pytest.raises(ValueError, match="masks come with a value in Shamir's"):
        SubShare(shamir, 5, bytes(32), value, pairs=pairs)
    with pytest.raises(ValueError, match="masks come with a value in Shamir's"):
        SubShare(replicated, 5, bytes(32), value, masks)
    with pytest.raises(ValueError, match="shape"):
        SubShare(shamir, 5, bytes(32), value, masks[:, :3], pairs=pairs)
    for bad in ((np.broadcast_to(COLUMN, value.shape), masks), (value, np.broadcast_to(COLUMN, masks.shape))):
        with pytest.raises(ValueError, match="not below its prime"):
            SubShare(shamir, 5, bytes(32), *bad, pairs=pairs)
    with pytest.raises(IndexError, match="no piece"):
        SubShare(shamir, 6, bytes(32), value, masks, pairs=pairs)


def test_a_replicated_sub_share_has_no_masks() -> None:
    for piece in (0, 5):
        with pytest.raises(ValueError, match="no degree test"):
            honest(REPLICATED).dealing.share(piece).masks()


@BOTH
def test_a_masked_sub_share_is_hidden_and_comes_back(sharing: Sharing) -> None:
    world = honest(sharing)
    for piece in (0, 5):
        data, key = world.data(piece), world.dealing.mask_key(piece)
        public = masked(data, key)
        assert len(public) == len(data)
        same = np.mean(np.frombuffer(public, np.uint8) == np.frombuffer(data, np.uint8))
        assert same < 0.06
        assert unmasked(public, key) == data
        received = unmasked(public, bytes([key[0] ^ 1]) + key[1:])
        with pytest.raises(KeyGenerationError, match="published digest"):
            check_subshare(world.published, piece, received, sender="member-1", proof=world.proof)
    with pytest.raises(ValueError, match="32 bytes"):
        masked(b"x", bytes(16))
