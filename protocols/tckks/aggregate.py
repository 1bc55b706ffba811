"""The sum of encrypted vectors, which anyone can compute and anyone can check.

Spec: tckks §5 (v1).
"""

from collections.abc import Iterable
from typing import Final

import numpy as np

from ..arrays import UInt64Array
from ..errors import CapacityError
from ..suites import Suite
from . import wire
from .keys import JointKey
from .vector import EncryptedVector, check_encoding

__all__ = ["MOST_UNREDUCED", "Adder", "aggregate"]

MOST_UNREDUCED: Final = 1 << 15  # residues below 2^48 that are added without reduction: their sum is below 2^63


def _check_most(most: int) -> None:
    if most < 1:
        raise ValueError(f"a sum has room for at least one ciphertext, not {most}")


def _full(most: int) -> CapacityError:
    return CapacityError(
        f"the noise budget has room for {most} summed ciphertexts, and this would be one more: close the sum, or make "
        "the key's budget for more clients"
    )


class _Sum:
    """Residues of vectors of one kind, added without reduction for as long as 64 bits hold them."""

    __slots__ = ("_column", "_lazy", "_shape", "residues")

    def __init__(self, suite: Suite, blocks: int) -> None:
        self._column = np.array(suite.data_primes, dtype=np.uint64)[:, None]
        self._shape = (blocks, 2, len(suite.data_primes), suite.ring_degree)
        self.residues: UInt64Array = np.zeros((2 * blocks, *self._shape[2:]), dtype=np.uint64)
        self._lazy = 0

    def room(self) -> UInt64Array:
        """The residues, to which one more vector may be added."""
        if self._lazy == MOST_UNREDUCED:
            self.residues %= self._column
            self._lazy = 1
        self._lazy += 1
        return self.residues

    def reduced(self) -> UInt64Array:
        """The sum, every residue below its prime: uint64[blocks, 2, K, N]."""
        total: UInt64Array = (self.residues % self._column).reshape(self._shape)
        total.setflags(write=False)
        return total


class Adder:
    """The sum of clients' messages, read from bytes and added one at a time. Run by: anyone.

    A message is checked in full before any of it is added, so a bad one changes nothing. Memory does not grow with the
    number of messages. The result does not depend on the order, bit for bit.

    `most` is how many ciphertexts may be summed, `NoiseBudget.clients`: more can leave the bounds within which a sum
    opens exactly, and leave less smudging than the plan promised.

    For messages too long for memory, one `Adder` of `blocks` = 1 serves for each block: every part of a message is then
    given as a message of one block, its header in front, and the parts of all blocks are to be checked before the first
    is added (`EncryptedVector.decode` checks).
    """

    __slots__ = ("_blocks", "_count", "_key", "_most", "_sum")

    def __init__(self, key: JointKey, blocks: int, *, most: int) -> None:
        if blocks < 1:
            raise ValueError(f"a sum has at least one block, not {blocks}")
        _check_most(most)
        self._most = most
        self._key, self._blocks, self._count, self._sum = key, blocks, 0, _Sum(key.suite, blocks)

    @property
    def count(self) -> int:
        """How many messages were added."""
        return self._count

    def add(self, data: bytes, *, sender: str) -> None:
        """Check one message in full, then add it.

        Raises:
            DecodeError: length, header or a residue is wrong, or a ciphertext is transparent; `culprits` names the
                sender, and nothing was added.
            CapacityError: there are `most` already; nothing was added.
        """
        if self._count == self._most:
            raise _full(self._most)
        check_encoding(data, self._key, blocks=self._blocks, sender=sender)
        wire.accumulate(data, self._key.suite.data_primes, self._sum.room())
        self._count += 1

    def total(self) -> EncryptedVector:
        """The sum so far.

        Raises:
            ValueError: there is none.
        """
        if not self._count:
            raise ValueError("there is nothing to add")
        return EncryptedVector(self._key.suite, self._key.digest, self._sum.reduced())


def aggregate(vectors: Iterable[EncryptedVector], *, most: int) -> EncryptedVector:
    """Add encrypted vectors, one at a time (memory does not grow with their number). Run by: anyone.

    The result does not depend on the order, bit for bit. `most` is how many ciphertexts may be summed,
    `NoiseBudget.clients`. A vector that is a sum itself counts as one, as nothing shows how many it holds.

    Raises:
        ValueError: there is none, `most` is below 1, or two are under different keys or of different length.
        CapacityError: there are more than `most`.
    """
    _check_most(most)
    first: EncryptedVector | None = None
    total: _Sum | None = None
    for count, vector in enumerate(vectors):
        if count == most:
            raise _full(most)
        if first is None or total is None:
            first, total = vector, _Sum(vector.suite, vector.blocks)
        elif vector.key_digest != first.key_digest or vector.suite != first.suite or vector.blocks != first.blocks:
            raise ValueError("only vectors of one length under one key can be added")
        vector.add_to(total.room())
    if first is None or total is None:
        raise ValueError("there is nothing to add")
    return EncryptedVector(first.suite, first.key_digest, total.reduced())
