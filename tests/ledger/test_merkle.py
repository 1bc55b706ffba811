"""The tree against the recursive definition of RFC 6962 §2.1."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import EMPTY_ROOT, ConsistencyError, ProofError, Tree, leaf_hash, node_hash
from ledger import verify_consistency as consistent
from ledger import verify_inclusion as included

LEAVES = [leaf_hash(bytes([i])) for i in range(70)]


def _mth(leaves: list[bytes]) -> bytes:
    """RFC 6962 §2.1, word by word."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return node_hash(_mth(leaves[:k]), _mth(leaves[k:]))


ROOTS = [_mth(LEAVES[:size]) for size in range(71)]


def test_roots_are_those_of_the_definition() -> None:
    tree = Tree()
    assert tree.root() == EMPTY_ROOT
    for size, leaf in enumerate(LEAVES, start=1):
        tree.append(leaf)
        assert (tree.size, tree.root()) == (size, ROOTS[size])
    assert [tree.root(size) for size in range(71)] == ROOTS


def test_every_inclusion_proof_of_every_size_verifies_at_its_place_only() -> None:
    tree = Tree(LEAVES)
    for size in range(1, 33):
        for index in range(size):
            proof = tree.inclusion_proof(index, size)
            included(LEAVES[index], index, size, proof, ROOTS[size])
            for other in {index ^ 1, 0, size - 1} - {index}:
                with pytest.raises(ProofError):
                    included(LEAVES[index], other, size, proof, ROOTS[size])


def test_every_consistency_proof_verifies_for_its_sizes_only() -> None:
    tree = Tree(LEAVES)
    for new in range(1, 33):
        for old in range(1, new + 1):
            proof = tree.consistency_proof(old, new)
            consistent(old, new, proof, ROOTS[old], ROOTS[new])
            with pytest.raises(ConsistencyError):
                consistent(old, new, proof, ROOTS[old + 1], ROOTS[new])
            with pytest.raises(ConsistencyError):
                consistent(old, new, proof, ROOTS[old], ROOTS[new + 1])


@given(st.integers(1, 70), st.data())
def test_no_mutated_proof_verifies(size: int, draw: st.DataObject) -> None:
    tree = Tree(LEAVES)
    index = draw.draw(st.integers(0, size - 1))
    proof = tree.inclusion_proof(index, size)
    mutated = draw.draw(st.sampled_from([[*proof, bytes(32)], proof[1:], [p[::-1] for p in proof], [*proof, b"short"]]))
    if mutated != proof:
        with pytest.raises(ProofError):
            included(LEAVES[index], index, size, mutated, ROOTS[size])
    old = draw.draw(st.integers(1, size))
    path = tree.consistency_proof(old, size)
    for other in ([*path, bytes(32)], path[1:], [p[::-1] for p in path], [*path, b"short"]):
        if other != path:
            with pytest.raises(ConsistencyError):
                consistent(old, size, other, ROOTS[old], ROOTS[size])


def test_an_old_size_of_zero_proves_nothing() -> None:
    for new in (0, 1, 5):
        with pytest.raises(ConsistencyError, match="from size 0"):
            consistent(0, new, [], EMPTY_ROOT, ROOTS[new])
        with pytest.raises(ValueError, match="from size 0"):
            Tree(LEAVES).consistency_proof(0, new)


def test_proofs_are_bounded() -> None:
    with pytest.raises(ProofError, match="at most 64"):
        included(LEAVES[0], 0, 2**63, [bytes(32)] * 65, ROOTS[1])
    with pytest.raises(ConsistencyError, match="at most 64"):
        consistent(1, 2**63, [bytes(32)] * 65, ROOTS[1], ROOTS[2])
    with pytest.raises(ProofError, match="32 bytes"):
        included(b"short", 0, 1, [], b"short")


def test_the_caller_asks_within_the_tree() -> None:
    tree = Tree(LEAVES[:5])
    for ask in (
        lambda: tree.root(6),
        lambda: tree.inclusion_proof(5, 5),
        lambda: tree.inclusion_proof(0, 6),
        lambda: tree.consistency_proof(3, 6),
        lambda: tree.subtree(2, 1),
        lambda: tree.append(b"short"),
        lambda: tree.truncate(6),
    ):
        with pytest.raises(ValueError):
            ask()


@given(st.integers(0, 70), st.integers(0, 70))
def test_truncate_takes_leaves_back(size: int, kept: int) -> None:
    tree = Tree(LEAVES[:size])
    tree.truncate(min(size, kept))
    assert tree.root() == ROOTS[min(size, kept)]
    for leaf in LEAVES[min(size, kept) :]:
        tree.append(leaf)
    assert tree.root() == ROOTS[70]
