"""The Merkle tree of the log and its proofs.

Spec: RFC 6962 §2.1 (hashes, audit paths, consistency proofs), RFC 9162 §2.1.3.2 and §2.1.4.2 (verification).
All hashes are 32 bytes of SHA-256. A consistency proof from size 0 proves nothing and is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, Protocol

from .errors import ConsistencyError, ProofError

__all__ = [
    "EMPTY_ROOT",
    "HASH_SIZE",
    "MAX_PROOF",
    "Subtrees",
    "Tree",
    "consistency_proof",
    "inclusion_proof",
    "leaf_hash",
    "node_hash",
    "root",
    "verify_consistency",
    "verify_inclusion",
]

HASH_SIZE: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
"""Root of the tree without leaves."""
MAX_PROOF: Final = 64
"""Most hashes a proof may hold: trees have fewer than 2^63 leaves."""


def leaf_hash(entry: bytes) -> bytes:
    """Hash one entry as a leaf (RFC 6962 §2.1)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees as an inner node (RFC 6962 §2.1)."""
    return sha256(b"\x01" + left + right).digest()


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Verify that the leaf stands at `index` in the tree of `size` leaves with this root.

    Run by: anyone.  Spec: RFC 9162 §2.1.3.2.

    Raises:
        ProofError: it does not follow from the proof.
    """
    if not 0 <= index < size:
        raise ProofError(f"index {index} is not in a tree of {size} leaves")
    if len(leaf_hash) != HASH_SIZE or not _hashes(proof):
        raise ProofError(f"an inclusion proof is at most {MAX_PROOF} hashes of {HASH_SIZE} bytes")
    inner, last, result = index, size - 1, leaf_hash
    for sibling in proof:
        if last == 0:
            raise ProofError("the inclusion proof has too many hashes")
        if inner & 1 or inner == last:
            result = node_hash(sibling, result)
            while not inner & 1 and inner:
                inner, last = inner >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        inner, last = inner >> 1, last >> 1
    if last != 0:
        raise ProofError("the inclusion proof has too few hashes")
    if result != root:
        raise ProofError(f"the inclusion proof of index {index} leads to another root")


def verify_consistency(old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Verify that the tree of `new_size` leaves begins with the `old_size` leaves of the old tree.

    Run by: witnesses, anyone.  Spec: RFC 9162 §2.1.4.2; old size 0 is an error.

    Raises:
        ConsistencyError: it does not follow from the proof.
    """
    if not 0 < old_size <= new_size:
        raise ConsistencyError(f"no consistency proof leads from size {old_size} to size {new_size}")
    if old_size == new_size:
        if proof or old_root != new_root:
            raise ConsistencyError(f"two trees of size {old_size} are consistent only if their roots are equal")
        return
    if not _hashes(proof):
        raise ConsistencyError(f"a consistency proof is at most {MAX_PROOF} hashes of {HASH_SIZE} bytes")
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise ConsistencyError("the consistency proof is empty")
    inner, last = old_size - 1, new_size - 1
    while inner & 1:
        inner, last = inner >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ConsistencyError("the consistency proof has too many hashes")
        if inner & 1 or inner == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not inner & 1 and inner:
                inner, last = inner >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        inner, last = inner >> 1, last >> 1
    if last != 0:
        raise ConsistencyError("the consistency proof has too few hashes")
    if old != old_root or new != new_root:
        raise ConsistencyError(f"the tree of size {new_size} is not shown to extend the tree of size {old_size}")


class Subtrees(Protocol):
    """What a root or a proof is made from: the hashes of the complete subtrees, wherever they are kept."""

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        ...

    def subtree(self, height: int, index: int) -> bytes:
        """The root of the complete subtree over leaves [index * 2^height, (index + 1) * 2^height)."""
        ...


def root(tree: Subtrees, size: int) -> bytes:
    """The root over the first `size` leaves (RFC 6962 §2.1).

    Raises:
        ValueError: the tree has fewer leaves.
    """
    return EMPTY_ROOT if _checked(tree, size) == 0 else _range(tree, 0, size)


def inclusion_proof(tree: Subtrees, index: int, size: int) -> list[bytes]:
    """The audit path of leaf `index` in the tree of the first `size` leaves (RFC 6962 §2.1.1).

    Raises:
        ValueError: the tree has fewer leaves, or the leaf is not among the first `size`.
    """
    if not 0 <= index < _checked(tree, size):
        raise ValueError(f"index {index} is not in a tree of {size} leaves")
    proof: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            proof.append(_range(tree, middle, high))
            high = middle
        else:
            proof.append(_range(tree, low, middle))
            low = middle
    return proof[::-1]


def consistency_proof(tree: Subtrees, old: int, new: int) -> list[bytes]:
    """The proof that the first `new` leaves begin with the first `old` (RFC 6962 §2.1.2); `old` is at least 1.

    Raises:
        ValueError: the tree has fewer leaves than `new`, or `new` is below `old`, or `old` is 0.
    """
    if not 0 < old <= _checked(tree, new):
        raise ValueError(f"no consistency proof leads from size {old} to size {new}")
    proof: list[bytes] = []
    low, high, old_is_whole = 0, new, True
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            proof.append(_range(tree, middle, high))
            high = middle
        else:
            proof.append(_range(tree, low, middle))
            low, old_is_whole = middle, False
    if not old_is_whole:
        proof.append(_range(tree, low, high))
    return proof[::-1]


class Tree:
    """A growing Merkle tree of leaf hashes, in memory: every complete subtree's hash is kept.

    Cost in hashes: append O(1) amortised, root O(log n), a proof O(log^2 n) at most.
    """

    __slots__ = ("_levels",)

    def __init__(self, leaf_hashes: Sequence[bytes] = ()) -> None:
        self._levels: list[list[bytes]] = [[]]
        for item in leaf_hashes:
            self.append(item)

    @property
    def size(self) -> int:
        """How many leaves the tree has."""
        return len(self._levels[0])

    def append(self, leaf_hash: bytes) -> None:
        """Add one leaf hash of 32 bytes at the end."""
        if len(leaf_hash) != HASH_SIZE:
            raise ValueError(f"a leaf hash is {HASH_SIZE} bytes")
        self._levels[0].append(leaf_hash)
        height = 0
        while len(self._levels[height]) % 2 == 0:
            if height + 1 == len(self._levels):
                self._levels.append([])
            left, right = self._levels[height][-2:]
            self._levels[height + 1].append(node_hash(left, right))
            height += 1

    def truncate(self, size: int) -> None:
        """Take back the leaves after the first `size`, for appends whose writing failed."""
        _checked(self, size)
        for height, level in enumerate(self._levels):
            del level[size >> height :]

    def root(self, size: int | None = None) -> bytes:
        """The root over the first `size` leaves (all of them by default)."""
        return root(self, self.size if size is None else size)

    def subtree(self, height: int, index: int) -> bytes:
        """The root of the complete subtree over leaves [index * 2^height, (index + 1) * 2^height)."""
        if not (0 <= height < len(self._levels) and 0 <= index < len(self._levels[height])):
            raise ValueError(f"no complete subtree {index} of height {height} in a tree of {self.size} leaves")
        return self._levels[height][index]

    def inclusion_proof(self, index: int, size: int) -> list[bytes]:
        """The audit path of leaf `index` in the tree of the first `size` leaves; see `inclusion_proof`."""
        return inclusion_proof(self, index, size)

    def consistency_proof(self, old: int, new: int) -> list[bytes]:
        """The proof that the first `new` leaves begin with the first `old`; see `consistency_proof`."""
        return consistency_proof(self, old, new)


def _checked(tree: Subtrees, size: int) -> int:
    if not 0 <= size <= tree.size:
        raise ValueError(f"size {size} is not in [0, {tree.size}]")
    return size


def _range(tree: Subtrees, low: int, high: int) -> bytes:
    """Root over leaves [low, high), where low is a multiple of the largest power of two below the length."""
    width = high - low
    if width & (width - 1) == 0:
        return tree.subtree(width.bit_length() - 1, low // width)
    middle = low + _split(width)
    return node_hash(_range(tree, low, middle), _range(tree, middle, high))


def _split(width: int) -> int:
    """The largest power of two smaller than `width`, for width over 1."""
    return 1 << ((width - 1).bit_length() - 1)


def _hashes(proof: Sequence[bytes]) -> bool:
    return len(proof) <= MAX_PROOF and all(len(item) == HASH_SIZE for item in proof)
