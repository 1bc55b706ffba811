"""A vector under the joint key, as bytes or as residues: whichever was given, the other is made when it is asked for.

Spec: wire §3 (v1).
"""

import hashlib
from typing import NoReturn

import numpy as np

from ..arrays import UInt64Array, frozen
from ..errors import DecodeError
from ..suites import Suite
from . import wire
from .keys import JointKey

__all__ = ["EncryptedVector"]


def check_encoding(data: bytes, key: JointKey, *, blocks: int, sender: str) -> None:
    """Check a peer's bytes: see `EncryptedVector.decode`."""
    suite = key.suite
    try:
        wire.check(
            wire.WireKind.CIPHERTEXT,
            data,
            suite.data_primes,
            polynomials=2 * blocks,
            degree=suite.ring_degree,
            context=key.digest,
            transparent=1,
        )
    except DecodeError as exc:
        raise DecodeError(f"{sender}: {exc}", culprits=(sender,)) from exc


class EncryptedVector:
    """A vector under the joint key: one client's, or a sum of many. It cannot be changed.

    Shapes: residues uint64[blocks, 2, K, N], NTT form.
    """

    __slots__ = ("_digests", "_encoded", "_residues", "blocks", "key_digest", "suite")

    _digests: tuple[bytes, ...] | None
    _encoded: bytes | None
    _residues: UInt64Array | None
    blocks: int
    key_digest: bytes
    suite: Suite

    def __init__(self, suite: Suite, key_digest: bytes, residues: UInt64Array) -> None:
        shape = (None, 2, len(suite.data_primes), suite.ring_degree)
        self._fill(suite, key_digest, len(residues), frozen(residues, np.uint64, shape), None)

    def _fill(
        self, suite: Suite, key_digest: bytes, blocks: int, residues: UInt64Array | None, encoded: bytes | None
    ) -> None:
        values = (("suite", suite), ("key_digest", key_digest), ("blocks", blocks))
        for name, value in (*values, ("_residues", residues), ("_encoded", encoded), ("_digests", None)):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"an encrypted vector cannot be changed: {name}")

    def __repr__(self) -> str:
        return f"EncryptedVector({self.suite.name}, key={self.key_digest.hex()[:16]}, blocks={self.blocks})"

    @classmethod
    def of_bytes(cls, suite: Suite, key_digest: bytes, encoded: bytes, blocks: int) -> "EncryptedVector":
        """A vector whose bytes were checked, or just made. For a peer's bytes there is `decode`."""
        vector = cls.__new__(cls)
        vector._fill(suite, key_digest, blocks, None, encoded)
        return vector

    @property
    def residues(self) -> UInt64Array:
        """uint64[blocks, 2, K, N], NTT form, read-only."""
        kept = self._residues
        if kept is None:
            suite = self.suite
            flat = wire.read(self.encode(), suite.data_primes, polynomials=2 * self.blocks, degree=suite.ring_degree)
            kept = flat.reshape(self.blocks, 2, len(suite.data_primes), suite.ring_degree)
            kept.setflags(write=False)
            object.__setattr__(self, "_residues", kept)
        return kept

    def encode(self) -> bytes:
        """The one encoding. Spec: wire §3 (v1)."""
        kept = self._encoded
        if kept is None:
            primes, degree = self.suite.data_primes, self.suite.ring_degree
            flat = self.residues.reshape(2 * self.blocks, len(primes), degree)
            kept = wire.encode(wire.WireKind.CIPHERTEXT, flat, primes, context=self.key_digest)
            object.__setattr__(self, "_encoded", kept)
        return kept

    def second_digests(self) -> tuple[bytes, ...]:
        """SHA-256 of each block's second polynomial as it travels."""
        kept = self._digests
        if kept is None:
            body = memoryview(self.encode())[wire.HEADER_BYTES :]
            half = len(body) // (2 * self.blocks) if self.blocks else 0
            parts = (body[half * (2 * block + 1) : half * (2 * block + 2)] for block in range(self.blocks))
            kept = tuple(hashlib.sha256(part).digest() for part in parts)
            object.__setattr__(self, "_digests", kept)
        return kept

    def add_to(self, total: UInt64Array) -> None:
        """Add the residues to `total` uint64[2 * blocks, K, N], without reduction and without keeping them."""
        if self._residues is None:
            wire.accumulate(self.encode(), self.suite.data_primes, total)
        else:
            total += self._residues.reshape(total.shape)

    @classmethod
    def decode(cls, data: bytes, key: JointKey, *, blocks: int, sender: str) -> "EncryptedVector":
        """Read a peer's bytes: all is checked now, the residues are made when they are asked for. Run by: anyone.

        Raises:
            DecodeError: not the one encoding of `blocks` ciphertexts under `key`, or one is transparent
                (its second polynomial is zero modulo some prime, so it hides nothing); `culprits` names the sender.
        """
        suite = key.suite
        check_encoding(data, key, blocks=blocks, sender=sender)
        return cls.of_bytes(suite, key.digest, bytes(data), blocks)

    @staticmethod
    def encoded_size(suite: Suite, blocks: int) -> int:
        """The exact length of the encoding."""
        return wire.encoded_size(2 * blocks, suite.ring_degree, suite.data_primes)
