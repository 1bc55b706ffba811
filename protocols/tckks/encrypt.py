"""Encryption of digit blocks under the joint key.

Spec: tckks §4 (v1). SEAL encrypts zero; the message, scaled above all noise, is added in the ring.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..arrays import UInt64Array, frozen
from ..digits import DigitBlocks, DigitLayout
from ..errors import DecodeError
from ..ring import Ring, ring
from ..suites import Suite
from . import _seal, wire
from .keys import JointKey
from .noise import NoiseBudget

__all__ = ["RAND_BYTES", "EncryptedVector", "Encryptor", "SealBuild", "check_suite", "seal_build"]

RAND_BYTES: Final = 32


@dataclass(frozen=True, slots=True, eq=False)
class EncryptedVector:
    """A vector under the joint key: one client's, or a sum of many.

    Shapes: residues uint64[blocks, 2, K, N], NTT form.
    """

    suite: Suite
    key_digest: bytes
    residues: UInt64Array

    def __post_init__(self) -> None:
        shape = (None, 2, len(self.suite.data_primes), self.suite.ring_degree)
        object.__setattr__(self, "residues", frozen(self.residues, np.uint64, shape))

    def encode(self) -> bytes:
        """The one encoding. Spec: wire §3 (v1)."""
        blocks, _, count, degree = self.residues.shape
        flat = self.residues.reshape(blocks * 2, count, degree)
        return wire.encode(wire.WireKind.CIPHERTEXT, flat, self.suite.data_primes, context=self.key_digest)

    @classmethod
    def decode(cls, data: bytes, key: JointKey, *, blocks: int) -> "EncryptedVector":
        """Read a peer's bytes. Run by: anyone.

        Raises:
            DecodeError: not the one encoding of `blocks` ciphertexts under `key`, or one is transparent
                (its second polynomial is zero modulo some prime, so it hides nothing).
        """
        suite, degree = key.suite, key.suite.ring_degree
        flat = wire.decode(
            wire.WireKind.CIPHERTEXT,
            data,
            suite.data_primes,
            polynomials=2 * blocks,
            degree=degree,
            context=key.digest,
        )
        residues = flat.reshape(blocks, 2, len(suite.data_primes), degree)
        if not residues[:, 1].any(axis=-1).all():
            raise DecodeError("a ciphertext is transparent: its second polynomial is zero modulo a prime")
        return cls(suite, key.digest, residues)

    @staticmethod
    def encoded_size(suite: Suite, blocks: int) -> int:
        """The exact length of the encoding."""
        return wire.encoded_size(2 * blocks, suite.ring_degree, suite.data_primes)


@dataclass(frozen=True, slots=True)
class SealBuild:
    """The SEAL that encrypts here: its version, and whether its ciphertexts are read through a memory file."""

    version: str
    memory_file: bool


def seal_build() -> SealBuild:
    """Ask SEAL. Run by: anyone."""
    return SealBuild(_seal.version(), _seal.HAS_MEMFD)


def check_suite(suite: Suite) -> None:
    """Refuse a suite that SEAL does not accept at 128-bit security.

    Raises:
        ValueError: SEAL refuses it.
    """
    if not _seal.accepts(suite):
        raise ValueError(f"SEAL refuses suite {suite.name} at 128-bit security")


def message_residues(polynomials: Ring, digits: DigitBlocks, scale_bits: int, block: int) -> UInt64Array:
    """scale * sum of digit_d * 2^(width*d), coefficient by coefficient, uint64[K, N], coefficient form."""
    width = digits.layout.width
    total = polynomials.constant(0) + np.zeros((1, digits.layout.coefficients), dtype=np.uint64)
    for plane, digit in enumerate(digits.digits[block]):
        weight = polynomials.constant(1 << (scale_bits + width * plane))
        total = polynomials.add(total, polynomials.multiply(polynomials.reduce(digit), weight))
    return total


class Encryptor:
    """The joint key, loaded once, ready to encrypt. Run by: a client."""

    def __init__(self, key: JointKey, budget: NoiseBudget, layout: DigitLayout) -> None:
        if budget.suite != key.suite or budget.pieces != key.sharing.pieces:
            raise ValueError("the noise budget is for another key")
        if (
            layout.coefficients != key.suite.ring_degree
            or layout.width * layout.per_coefficient > budget.plaintext_bits
        ):
            raise ValueError("the digit layout does not fit the noise budget")
        self._key, self._budget, self._layout = key, budget, layout
        self._seal = _seal.SealKey(key.suite, key.b, key.a)

    @property
    def key_digest(self) -> bytes:
        """The digest of the joint key it encrypts under."""
        return self._key.digest

    def encrypt(self, digits: DigitBlocks, *, rand: bytes) -> EncryptedVector:
        """Encrypt every block with its own randomness.

        `rand` is 32 fresh bytes of the operating system, used for this call and never again: the blocks' seeds are
        derived from it, and the same `rand` on two messages would give away their difference.
        """
        if len(rand) != RAND_BYTES:
            raise ValueError(f"encrypt needs {RAND_BYTES} fresh random bytes")
        if digits.layout != self._layout:
            raise ValueError("the digits have another layout")
        suite = self._key.suite
        data = ring(suite.ring_degree, suite.data_primes)
        blocks = []
        for block in range(len(digits.digits)):
            label = b"secure-bfl/encrypt/v1" + self._key.digest + block.to_bytes(4, "little")
            zero = self._seal.encrypt_zero(hashlib.shake_256(label + rand).digest(_seal.SEED_BYTES))
            message = data.ntt(message_residues(data, digits, self._budget.scale_bits, block))
            blocks.append(np.stack([data.add(zero[0], message), zero[1]]))
        return EncryptedVector(suite, self._key.digest, np.stack(blocks))
