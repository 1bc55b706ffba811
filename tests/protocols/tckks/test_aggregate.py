"""Sums of ciphertexts: any order, only of one kind, exact at the edge."""

from itertools import permutations

import numpy as np
import pytest

from protocols.digits import DigitBlocks
from protocols.tckks import EncryptedVector, aggregate, combine
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
