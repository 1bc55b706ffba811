"""Entries about who takes part, and under which signing keys.

Spec: round §2.1, §3.4 (v1).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from .body import Body, Kind, PublicKey, Role

__all__ = ["Genesis", "KeyClaim", "KeyRevocation", "KeyRotation", "Party"]


@dataclass(frozen=True, slots=True)
class Party(Body):
    """One party of the federation, with its public keys.

    `signing_key` (Ed25519) signs entries. `note_key` (Ed25519) signs notes: checkpoints for the operator, cosignatures
    for a member, empty for a client. `sealing_key` (ML-KEM-768 and X25519) is a member's; empty for the others.
    """

    name: str
    role: Role
    signing_key: PublicKey
    note_key: bytes
    sealing_key: bytes


@dataclass(frozen=True, slots=True)
class Genesis(Body):
    """Entry 0: the whole plan and every party. Its hash is the federation's identity. By the operator."""

    kind: ClassVar[Kind] = Kind.GENESIS
    origin: str
    plan: bytes
    parties: tuple[Party, ...]


@dataclass(frozen=True, slots=True)
class KeyClaim(Body):
    """A new signing key of a party, and the proof that who claims it holds it (`secure_bfl.possession`).

    `number` is that of the key which it replaces. No entry of its own: a party whose key was revoked hands it to the
    members, who vote for it.
    """

    party: str
    number: int
    key: PublicKey
    proof: Annotated[bytes, 64]


@dataclass(frozen=True, slots=True)
class KeyRotation(Body):
    """The sender's entries are signed with this key from the next entry on. By any party, with the key it replaces.

    `number` is that of the replaced key; `proof` is the new key's signature (`secure_bfl.possession`).
    """

    kind: ClassVar[Kind] = Kind.KEY_ROTATION
    number: int
    key: PublicKey
    proof: Annotated[bytes, 64]


@dataclass(frozen=True, slots=True)
class KeyRevocation(Body):
    """Nothing signed with this key counts from the next entry on. By the party itself, or by members, who vote.

    `number` is that of the party's key. In a vote, `key` and `proof` are the new key that shall count instead, as the
    party claims it (`KeyClaim`), or empty; the party itself leaves them empty.
    """

    kind: ClassVar[Kind] = Kind.KEY_REVOCATION
    party: str
    number: int
    key: bytes
    proof: bytes
    reason: str
