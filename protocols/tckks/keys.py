"""The key's parts: what is public, and what each member holds.

Spec: tckks §3 (v1). No type here can hold the secret key: a member's pieces lack, by the sharing, at least one addend.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

import numpy as np

from ..arrays import UInt64Array, frozen
from ..suites import Suite
from . import wire
from .sharing import ReplicatedSharing

__all__ = ["JointKey", "MemberKey", "PieceKey"]


@dataclass(frozen=True, eq=False)
class JointKey:
    """The collective public key (b, a), b = sum of the dealers' parts.

    Shapes: b, a uint64[K+1, N], NTT form, data primes then the special prime.
    """

    suite: Suite
    sharing: ReplicatedSharing
    b: UInt64Array
    a: UInt64Array

    def __post_init__(self) -> None:
        shape = (len(self.suite.key_primes), self.suite.ring_degree)
        object.__setattr__(self, "b", frozen(self.b, np.uint64, shape))
        object.__setattr__(self, "a", frozen(self.a, np.uint64, shape))

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over suite, sharing and residues: what every member pins and every message names."""
        label = f"secure-bfl/joint-key/v1/{self.suite.name}/{self.sharing.members}/{self.sharing.threshold}/"
        hashed = hashlib.sha256(label.encode())
        hashed.update(self.b.astype("<u8").tobytes())
        hashed.update(self.a.astype("<u8").tobytes())
        return hashed.digest()


class PieceKey:
    """One piece of the secret key, with the key of its smudging noise. Never leaves its holders."""

    __slots__ = ("_noise_key", "_secret", "piece")

    def __init__(self, piece: int, secret: UInt64Array, noise_key: bytes) -> None:
        if len(noise_key) != 32:
            raise ValueError("a noise key is 32 bytes")
        self.piece = piece
        self._secret = secret
        self._noise_key = noise_key

    @property
    def secret_ntt(self) -> UInt64Array:
        """The ternary piece, uint64[K, N] over the data primes, NTT form."""
        return self._secret

    @property
    def noise_key(self) -> bytes:
        """The PRF key of this piece's smudging noise."""
        return self._noise_key

    def __repr__(self) -> str:
        return f"PieceKey(piece={self.piece}, <secret>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key piece cannot be pickled or copied")


class MemberKey:
    """All the pieces one member holds."""

    __slots__ = ("_pieces", "joint", "member")

    def __init__(self, member: int, joint: JointKey, pieces: Mapping[int, PieceKey]) -> None:
        if tuple(sorted(pieces)) != joint.sharing.held_by(member):
            raise ValueError(f"member {member} must hold exactly the pieces {joint.sharing.held_by(member)}")
        self.member = member
        self.joint = joint
        self._pieces = dict(pieces)

    def piece(self, piece: int) -> PieceKey:
        """One held piece; KeyError for one that this member must not know."""
        return self._pieces[piece]

    def __repr__(self) -> str:
        return f"MemberKey(member={self.member}, pieces={len(self._pieces)}, <secret>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a member's key cannot be pickled or copied")


def public_part_bytes(suite: Suite, b: UInt64Array, ceremony: bytes) -> bytes:
    """A dealer's public part on the wire."""
    return wire.encode(wire.WireKind.PUBLIC_PART, b[None], suite.key_primes, context=ceremony)
