"""The key's parts: what is public, and what each member holds.

Spec: tckks §3 (v1). No type here can hold the secret key: the pieces of one member do not determine it.
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
from .sharing import ShamirSharing, Sharing

__all__ = ["JointKey", "MemberKey", "PieceKey"]


@dataclass(frozen=True, eq=False)
class JointKey:
    """The collective public key (b, a), b = sum of the dealers' parts.

    It outlives its founding committee: `founding` is the sharing it was generated with, and part of its name; who holds
    the secret now, and how, is in each `MemberKey`.

    Shapes: b, a uint64[K+1, N], NTT form, data primes then the special prime.
    """

    suite: Suite
    founding: Sharing
    b: UInt64Array
    a: UInt64Array

    def __post_init__(self) -> None:
        shape = (len(self.suite.key_primes), self.suite.ring_degree)
        object.__setattr__(self, "b", frozen(self.b, np.uint64, shape))
        object.__setattr__(self, "a", frozen(self.a, np.uint64, shape))

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over suite, sharing and residues: what every member pins and every message names."""
        label = f"secure-bfl/joint-key/v1/{self.suite.name}/{self.founding.tag}/"
        hashed = hashlib.sha256(label.encode())
        hashed.update(self.b.astype("<u8").tobytes())
        hashed.update(self.a.astype("<u8").tobytes())
        return hashed.digest()


class PieceKey:
    """One piece of the secret key, with the key of its smudging noise. Never leaves its holders.

    `pairs` are the keys that a piece of Shamir's sharing has in common with each other piece, for the masks of its
    answers; a replicated piece has none.
    """

    __slots__ = ("_noise_key", "_pairs", "_secret", "piece")

    def __init__(
        self, piece: int, secret: UInt64Array, noise_key: bytes, *, pairs: Mapping[int, bytes] | None = None
    ) -> None:
        self.piece = piece
        self._secret = secret
        self._noise_key = noise_key
        self._pairs = dict(pairs or {})
        if any(len(key) != 32 for key in (noise_key, *self._pairs.values())):
            raise ValueError("a noise key and a pair's key are 32 bytes")
        if piece in self._pairs:
            raise ValueError("a piece makes no pair with itself")

    @property
    def secret_ntt(self) -> UInt64Array:
        """The piece, uint64[K, N] over the data primes, NTT form; ternary until a committee change."""
        return self._secret

    @property
    def noise_key(self) -> bytes:
        """The PRF key of this piece's smudging noise."""
        return self._noise_key

    @property
    def paired(self) -> tuple[int, ...]:
        """The pieces with which this one has a key in common, in order."""
        return tuple(sorted(self._pairs))

    def pair_key(self, other: int) -> bytes:
        """The key that this piece has in common with another one.

        Raises:
            ValueError: it has none: the piece was not made for answers in an active set.
        """
        if other not in self._pairs:
            raise ValueError(f"piece {self.piece} has no key in common with piece {other}")
        return self._pairs[other]

    def __repr__(self) -> str:
        return f"PieceKey(piece={self.piece}, <secret>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key piece cannot be pickled or copied")


class MemberKey:
    """All the pieces one member holds in one epoch of the key. Epoch 0 is the founding committee's.

    Raises:
        ValueError: other pieces than the member's; a piece without the keys of pairs that Shamir's sharing calls for,
            or with such keys in a replicated one; or the epoch is no 32-bit number.
    """

    __slots__ = ("_pieces", "epoch", "joint", "member", "sharing")

    def __init__(
        self, member: int, joint: JointKey, pieces: Mapping[int, PieceKey], *, sharing: Sharing, epoch: int = 0
    ) -> None:
        if tuple(sorted(pieces)) != sharing.held_by(member):
            raise ValueError(f"member {member} must hold exactly the pieces {sharing.held_by(member)}")
        shamir = isinstance(sharing, ShamirSharing)
        for number, held in pieces.items():
            others = tuple(other for other in range(sharing.pieces) if other != number) if shamir else ()
            if held.piece != number or held.paired != others:
                raise ValueError(
                    f"piece {number} of {sharing.tag} must be that piece, with keys in common with pieces {others}: "
                    "take it from " + ("join_piece" if shamir else "check_piece, or from join_piece after a handover")
                )
        if not 0 <= epoch < 1 << 32:
            raise ValueError(f"an epoch is a 32-bit number, not {epoch}")
        self.member = member
        self.joint = joint
        self.sharing = sharing
        self.epoch = epoch
        self._pieces = dict(pieces)

    def piece(self, piece: int) -> PieceKey:
        """One held piece; KeyError for one that this member must not know."""
        return self._pieces[piece]

    def __repr__(self) -> str:
        return f"MemberKey(member={self.member}, epoch={self.epoch}, pieces={len(self._pieces)}, <secret>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a member's key cannot be pickled or copied")


def public_part_bytes(suite: Suite, b: UInt64Array, ceremony: bytes) -> bytes:
    """A dealer's public part on the wire."""
    return wire.encode(wire.WireKind.PUBLIC_PART, b[None], suite.key_primes, context=ceremony)
