"""Entries of key generation and of committee changes.

Spec: round §2, §3.1 (v1).
"""

from dataclasses import dataclass
from typing import ClassVar

from .body import Body, Digest, Kind
from .party_messages import Party

__all__ = [
    "AddendCommit",
    "AddendSeed",
    "ChangeCertificate",
    "CommitteeChange",
    "Complaint",
    "KeyAccept",
    "KeyAnswer",
    "KeyCheck",
    "KeyCommit",
    "KeyDrop",
    "KeyOpen",
    "KeyReveal",
    "TrialAnswer",
]


@dataclass(frozen=True, slots=True)
class AddendCommit(Body):
    """What a dealer binds itself to for one addend of the secret, before anybody shows anything.

    `part` is SHA-256 of the public part at founding, and empty in a committee change, which leaves the public key as it
    is. `dealing` binds the secret side: a piece's seed where holders get seeds, else SHA-256 of the table of all
    sub-shares' digests.
    """

    addend: int
    part: bytes
    dealing: Digest


@dataclass(frozen=True, slots=True)
class KeyCommit(Body):
    """A dealer's commitments, one for each addend it can deal. By a member.

    `ceremony`, here and below, is the 32-byte position of the ceremony that the entry is of.
    """

    kind: ClassVar[Kind] = Kind.KEY_COMMIT
    ceremony: Digest
    parts: tuple[AddendCommit, ...]


@dataclass(frozen=True, slots=True)
class KeyReveal(Body):
    """What the holders get for these addends lies in the blob store under this digest. By a member."""

    kind: ClassVar[Kind] = Kind.KEY_REVEAL
    ceremony: Digest
    addends: tuple[int, ...]
    deliveries: Digest


@dataclass(frozen=True, slots=True)
class KeyCheck(Body):
    """This member's pieces are right, and this is the joint key it pins. By a member.

    `pairs` are the first 16 bytes of a digest of each key that this member's piece has in common with another one, in
    the order of the others, in Shamir's sharing (`pair_checks`); it is empty in a replicated one.
    """

    kind: ClassVar[Kind] = Kind.KEY_CHECK
    ceremony: Digest
    joint_key: Digest
    pairs: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class TrialAnswer(Body):
    """SHA-256 of the answer for one piece in one trial of the dry run."""

    trial: int
    piece: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class KeyAnswer(Body):
    """This member's answers to the dry run's tests. By a member."""

    kind: ClassVar[Kind] = Kind.KEY_ANSWER
    ceremony: Digest
    answers: tuple[TrialAnswer, ...]


@dataclass(frozen=True, slots=True)
class KeyAccept(Body):
    """This member opened every test itself; from now on it opens neither its seeds nor its sealing key. By a member."""

    kind: ClassVar[Kind] = Kind.KEY_ACCEPT
    ceremony: Digest
    joint_key: Digest


@dataclass(frozen=True, slots=True)
class Complaint(Body):
    """What was dealt for an addend fails this member's check. By a member.

    `deliveries` is the digest of what was revealed for it: a complaint that comes late hits nobody who delivered since.
    At founding `sealing_seed` opens the complainant's sealing key, so that everybody repeats the check; it is empty
    where the fault is in public bytes, and always in a committee change.
    """

    kind: ClassVar[Kind] = Kind.COMPLAINT
    ceremony: Digest
    addend: int
    deliveries: Digest
    sealing_seed: bytes


@dataclass(frozen=True, slots=True)
class AddendSeed(Body):
    """The seed of an addend, for all to derive."""

    addend: int
    seed: Digest


@dataclass(frozen=True, slots=True)
class KeyOpen(Body):
    """The dry run failed: this dealer's seeds, so that everybody finds out why. The key is dead. By a member."""

    kind: ClassVar[Kind] = Kind.KEY_OPEN
    ceremony: Digest
    seeds: tuple[AddendSeed, ...]


@dataclass(frozen=True, slots=True)
class CommitteeChange(Body):
    """The key goes to these members, in new pieces; the public key stays. By the operator.

    `active` are the old members that deal, if the old sharing is Shamir's; else it is empty.
    """

    kind: ClassVar[Kind] = Kind.COMMITTEE_CHANGE
    epoch: int
    threshold: int
    parties: tuple[Party, ...]
    active: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ChangeCertificate(Body):
    """The former committee certifies that this change is on its log, so that no fork has another. By the operator."""

    kind: ClassVar[Kind] = Kind.CHANGE_CERTIFICATE
    ceremony: Digest
    certificate: bytes


@dataclass(frozen=True, slots=True)
class KeyDrop(Body):
    """This member has erased what it got of the key in this ceremony. By a member of a former committee."""

    kind: ClassVar[Kind] = Kind.KEY_DROP
    ceremony: Digest
