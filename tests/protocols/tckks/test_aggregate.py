"""Sums of ciphertexts: any order, only of one kind, exact at the edge."""

import hashlib
import sys
from itertools import permutations

import numpy as np
import pytest

from protocols.digits import DigitBlocks
from protocols.errors import DecodeError
from protocols.tckks import EncryptedVector, aggregate, combine
from protocols.tckks.aggregate import MOST_UNREDUCED, Adder
from protocols.tckks.wire import HEADER_BYTES, WireKind, header
from tests.protocols.tckks.committee import CLIENTS, SUITE, committee, rand


def test_the_order_does_not_matter_bit_for_bit() -> None:
    team = committee()
    vectors = [team.encrypt(team.digits(i), i) for i in range(3)]
    sums = {aggregate(order).encode() for order in permutations(vectors)}
    assert len(sums) == 1
    nested = aggregate([aggregate(vectors[:2]), vectors[2]])
    assert sums == {nested.encode()}


def test_the_arguments_are_not_changed_and_one_vector_is_its_own_sum() -> None:
    team = committee()
    vectors = [team.encrypt(team.digits(i), i) for i in range(2)]
    before = [v.encode() for v in vectors]
    aggregate(vectors)
    assert [v.encode() for v in vectors] == before
    assert aggregate(vectors[:1]).encode() == before[0]


def test_an_iterator_is_enough() -> None:
    team = committee()
    vectors = [team.encrypt(team.digits(i), i) for i in range(2)]
    assert aggregate(iter(vectors)).encode() == aggregate(vectors).encode()


@pytest.mark.parametrize("sign", [1, -1])
def test_all_clients_at_the_edge_sum_exactly_without_a_carry(sign: int) -> None:
    team = committee()
    edge = team.layout.largest // CLIENTS
    extreme = DigitBlocks(team.layout, np.full((1, 5, 8192), sign * edge, dtype=np.int64))
    total = aggregate(team.encrypt(extreme, "edge", i) for i in range(CLIENTS))
    opened = combine(total, team.answers(total, (1, 2, 3)), team.budget, team.layout)
    assert set(np.unique(opened.digits).tolist()) == {sign * edge * CLIENTS}


def test_nothing_to_add() -> None:
    with pytest.raises(ValueError, match="nothing to add"):
        aggregate([])


def test_vectors_of_another_key_or_length_are_refused() -> None:
    team = committee()
    one = team.encrypt(team.digits(1), 1)
    for other in (
        EncryptedVector(SUITE, rand("another key"), one.residues),
        EncryptedVector(SUITE, team.joint.digest, np.concatenate([one.residues, one.residues])),
    ):
        with pytest.raises(ValueError, match="one length under one key"):
            aggregate([one, other])


def test_the_adder_gives_the_bytes_of_aggregate() -> None:
    team = committee()
    vectors = [team.encrypt(team.digits(i, blocks=2), i) for i in range(4)]
    adder = Adder(team.joint, 2)
    for count, vector in enumerate(vectors, 1):
        adder.add(vector.encode(), sender=f"client-{count}")
        assert adder.count == count
        assert adder.total().encode() == aggregate(vectors[:count]).encode()
    decoded = [EncryptedVector.decode(vector.encode(), team.joint, blocks=2) for vector in vectors]
    assert aggregate(decoded).encode() == adder.total().encode()


def test_sums_beyond_what_64_bits_hold_are_reduced_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_UNREDUCED * max(SUITE.data_primes) < 1 << 63
    monkeypatch.setattr(sys.modules["protocols.tckks.aggregate"], "MOST_UNREDUCED", 3)
    team = committee()
    highest = np.broadcast_to(team.data.constant(-1), (1, 2, 5, 8192)).astype(np.uint64)
    vector = EncryptedVector(SUITE, team.joint.digest, highest)
    adder = Adder(team.joint, 1)
    for _ in range(11):
        adder.add(vector.encode(), sender="client")
    expected = np.broadcast_to(team.data.constant(-11), highest.shape)
    assert np.array_equal(adder.total().residues, expected)
    assert np.array_equal(aggregate([vector] * 11).residues, expected)
    assert adder._sum.residues.max() < 5 * max(SUITE.data_primes)


def test_a_bad_message_names_its_sender_and_changes_nothing() -> None:
    team = committee()
    good = team.encrypt(team.digits(1, blocks=2), 1)
    adder = Adder(team.joint, 2)
    adder.add(good.encode(), sender="honest")
    before = adder.total().encode()
    too_large, transparent = bytearray(good.encode()), good.residues.copy()
    too_large[-3:] = b"\xff\xff\xff"  # the very last residue, of 24 bits
    transparent[1, 1, 4] = 0
    for data, message in (
        (good.encode()[:-1], "expected"),
        (b"\0" + good.encode()[1:], "the header is for another"),
        (bytes(too_large), "a residue is not below its prime"),
        (EncryptedVector(SUITE, team.joint.digest, transparent).encode(), "transparent"),
    ):
        with pytest.raises(DecodeError, match=f"mallory: CIPHERTEXT: .*{message}") as caught:
            adder.add(data, sender="mallory")
        assert caught.value.culprits == ("mallory",)
        assert (adder.count, adder.total().encode()) == (1, before)


def test_an_adder_of_nothing() -> None:
    team = committee()
    with pytest.raises(ValueError, match="nothing to add"):
        Adder(team.joint, 1).total()
    for blocks in (0, -1):
        with pytest.raises(ValueError, match=f"at least one block, not {blocks}"):
            Adder(team.joint, blocks)


def test_a_long_message_is_added_block_by_block() -> None:
    team = committee()
    messages = [team.encrypt(team.digits(i, blocks=3), i).encode() for i in range(2)]
    head, size = HEADER_BYTES, EncryptedVector.encoded_size(SUITE, 1) - HEADER_BYTES
    whole = b""
    for block in range(3):
        adder = Adder(team.joint, 1)
        for message in messages:
            part = message[head + size * block : head + size * (block + 1)]
            adder.add(header(WireKind.CIPHERTEXT, 2, 8192, team.joint.digest) + part, sender="client")
        whole += adder.total().encode()[head:]
    decoded = [EncryptedVector.decode(message, team.joint, blocks=3) for message in messages]
    assert aggregate(decoded).encode()[head:] == whole


def test_an_encrypted_vector_cannot_be_changed_and_prints_no_residue() -> None:
    team = committee()
    vector = team.encrypt(team.digits(1), 1)
    for name in ("suite", "key_digest", "blocks", "_residues", "other"):
        with pytest.raises(AttributeError, match="an encrypted vector cannot be changed"):
            setattr(vector, name, None)
    digest = team.joint.digest.hex()[:16]
    assert repr(vector) == f"EncryptedVector({SUITE.name}, key={digest}, blocks=1)"
    with pytest.raises(ValueError, match="read-only"):
        EncryptedVector.decode(vector.encode(), team.joint, blocks=1).residues[0, 0, 0, 0] = 0
    body = vector.encode()[HEADER_BYTES:]
    assert vector.second_digests() == (hashlib.sha256(body[len(body) // 2 :]).digest(),)
