"""Sums of ciphertexts: any order, only of one kind, exact at the edge."""

import hashlib
import sys
from itertools import permutations

import numpy as np
import pytest

from protocols.digits import DigitBlocks
from protocols.errors import CapacityError, DecodeError
from protocols.tckks import EncryptedVector, aggregate
from protocols.tckks.aggregate import MOST_UNREDUCED, Adder
from protocols.tckks.wire import HEADER_BYTES, WireKind, header
from tests.protocols.tckks.committee import CLIENTS, SUITE, combined, committee, rand


def test_the_order_does_not_matter_bit_for_bit() -> None:
    team = committee()
    vectors = [team.encrypt(team.digits(i), i) for i in range(3)]
    sums = {aggregate(order, most=CLIENTS).encode() for order in permutations(vectors)}
    assert len(sums) == 1
    nested = aggregate([aggregate(vectors[:2], most=2), vectors[2]], most=2)
    assert sums == {nested.encode()}


def test_the_arguments_are_not_changed_and_one_vector_is_its_own_sum() -> None:
    team = committee()
    vectors = [team.encrypt(team.digits(i), i) for i in range(2)]
    before = [v.encode() for v in vectors]
    aggregate(vectors, most=2)
    assert [v.encode() for v in vectors] == before
    assert aggregate(vectors[:1], most=1).encode() == before[0]


def test_an_iterator_is_enough() -> None:
    team = committee()
    vectors = [team.encrypt(team.digits(i), i) for i in range(2)]
    assert aggregate(iter(vectors), most=2).encode() == aggregate(vectors, most=2).encode()


@pytest.mark.parametrize("sign", [1, -1])
def test_all_clients_at_the_edge_sum_exactly_without_a_carry(sign: int) -> None:
    team = committee()
    edge = team.layout.largest // CLIENTS
    extreme = DigitBlocks(team.layout, np.full((1, 5, 8192), sign * edge, dtype=np.int64))
    total = aggregate((team.encrypt(extreme, "edge", i) for i in range(CLIENTS)), most=CLIENTS)
    opened = combined(total, team.answers(total, (1, 2, 3)), team.budget, team.layout)
    assert set(np.unique(opened.digits).tolist()) == {sign * edge * CLIENTS}


def test_nothing_to_add() -> None:
    with pytest.raises(ValueError, match="nothing to add"):
        aggregate([], most=CLIENTS)


def test_vectors_of_another_key_or_length_are_refused() -> None:
    team = committee()
    one = team.encrypt(team.digits(1), 1)
    for other in (
        EncryptedVector(SUITE, rand("another key"), one.residues),
        EncryptedVector(SUITE, team.joint.digest, np.concatenate([one.residues, one.residues])),
    ):
        with pytest.raises(ValueError, match="one length under one key"):
            aggregate([one, other], most=CLIENTS)


def test_the_adder_gives_the_bytes_of_aggregate() -> None:
    team = committee()
    vectors = [team.encrypt(team.digits(i, blocks=2), i) for i in range(4)]
    adder = Adder(team.joint, 2, most=CLIENTS)
    for count, vector in enumerate(vectors, 1):
        adder.add(vector.encode(), sender=f"client-{count}")
        assert adder.count == count
        assert adder.total().encode() == aggregate(vectors[:count], most=count).encode()
    decoded = [EncryptedVector.decode(vector.encode(), team.joint, blocks=2, sender="client") for vector in vectors]
    assert aggregate(decoded, most=CLIENTS).encode() == adder.total().encode()


def test_sums_beyond_what_64_bits_hold_are_reduced_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_UNREDUCED * max(SUITE.data_primes) < 1 << 63
    monkeypatch.setattr(sys.modules["protocols.tckks.aggregate"], "MOST_UNREDUCED", 3)
    team = committee()
    highest = np.broadcast_to(team.data.constant(-1), (1, 2, 5, 8192)).astype(np.uint64)
    vector = EncryptedVector(SUITE, team.joint.digest, highest)
    adder = Adder(team.joint, 1, most=11)
    for _ in range(11):
        adder.add(vector.encode(), sender="client")
    expected = np.broadcast_to(team.data.constant(-11), highest.shape)
    assert np.array_equal(adder.total().residues, expected)
    assert np.array_equal(aggregate([vector] * 11, most=11).residues, expected)
    assert adder._sum.residues.max() < 5 * max(SUITE.data_primes)


def test_a_bad_message_names_its_sender_and_changes_nothing() -> None:
    team = committee()
    good = team.encrypt(team.digits(1, blocks=2), 1)
    adder = Adder(team.joint, 2, most=CLIENTS)
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
        Adder(team.joint, 1, most=CLIENTS).total()
    for blocks in (0, -1):
        with pytest.raises(ValueError, match=f"at least one block, not {blocks}"):
            Adder(team.joint, blocks, most=CLIENTS)


def test_no_more_than_the_noise_budget_has_room_for() -> None:
    """One ciphertext more is refused before it is added: a sum of all there is room for still opens."""
    team = committee()
    digits = team.digits(1)
    vectors = [team.encrypt(digits, i) for i in range(CLIENTS)]
    adder = Adder(team.joint, 1, most=team.budget.clients)
    for vector in vectors:
        adder.add(vector.encode(), sender="client")
    full = adder.total().encode()
    for data in (vectors[0].encode(), b"not even a message"):
        with pytest.raises(CapacityError, match="room for 10 summed ciphertexts"):
            adder.add(data, sender="client")
    assert (adder.count, adder.total().encode()) == (CLIENTS, full)
    opened = combined(adder.total(), team.answers(adder.total(), (1, 2, 3)), team.budget, team.layout)
    assert np.array_equal(opened.digits, CLIENTS * digits.digits)
    assert aggregate(vectors, most=CLIENTS).encode() == full
    with pytest.raises(CapacityError, match="room for 9 summed ciphertexts"):
        aggregate(iter(vectors), most=CLIENTS - 1)


@pytest.mark.parametrize("most", [0, -1])
def test_a_sum_of_at_most_nothing_is_a_mistake(most: int) -> None:
    with pytest.raises(ValueError, match=f"at least one ciphertext, not {most}"):
        Adder(committee().joint, 1, most=most)
    with pytest.raises(ValueError, match=f"at least one ciphertext, not {most}"):
        aggregate([], most=most)


def test_a_vector_that_is_malformed_names_its_sender() -> None:
    team = committee()
    data = team.encrypt(team.digits(1), 1).encode()
    with pytest.raises(DecodeError, match="mallory: CIPHERTEXT: ") as caught:
        EncryptedVector.decode(data[:-1], team.joint, blocks=1, sender="mallory")
    assert caught.value.culprits == ("mallory",)


def test_a_long_message_is_added_block_by_block() -> None:
    team = committee()
    messages = [team.encrypt(team.digits(i, blocks=3), i).encode() for i in range(2)]
    head, size = HEADER_BYTES, EncryptedVector.encoded_size(SUITE, 1) - HEADER_BYTES
    whole = b""
    for block in range(3):
        adder = Adder(team.joint, 1, most=CLIENTS)
        for message in messages:
            part = message[head + size * block : head + size * (block + 1)]
            adder.add(header(WireKind.CIPHERTEXT, 2, 8192, team.joint.digest) + part, sender="client")
        whole += adder.total().encode()[head:]
    decoded = [EncryptedVector.decode(message, team.joint, blocks=3, sender="client") for message in messages]
    assert aggregate(decoded, most=CLIENTS).encode()[head:] == whole


def test_an_encrypted_vector_cannot_be_changed_and_prints_no_residue() -> None:
    team = committee()
    vector = team.encrypt(team.digits(1), 1)
    for name in ("suite", "key_digest", "blocks", "_residues", "other"):
        with pytest.raises(AttributeError, match="an encrypted vector cannot be changed"):
            setattr(vector, name, None)
    digest = team.joint.digest.hex()[:16]
    assert repr(vector) == f"EncryptedVector({SUITE.name}, key={digest}, blocks=1)"
    with pytest.raises(ValueError, match="read-only"):
        EncryptedVector.decode(vector.encode(), team.joint, blocks=1, sender="client").residues[0, 0, 0, 0] = 0
    body = vector.encode()[HEADER_BYTES:]
    assert vector.second_digests() == (hashlib.sha256(body[len(body) // 2 :]).digest(),)
