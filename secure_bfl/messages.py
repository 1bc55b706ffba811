"""The body of every ledger entry: one frozen class a kind, one encoding a value.

Spec: round §2 (v1). A body is a CBOR array of the class's fields in order. A reader checks every type, every fixed
length and every bound before it builds the object, so a body that exists is well formed; whether it is *allowed* is for
`secure_bfl.replay` to decide.
"""

import dataclasses
import hashlib
from enum import IntEnum
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Final, Self, get_args, get_origin, get_type_hints

from ledger import DecodeError, Value

__all__ = [
    "BODIES",
    "AddendCommit",
    "AddendSeed",
    "Aggregate",
    "AggregateVote",
    "Body",
    "BudgetSpend",
    "ChangeCertificate",
    "CommitteeChange",
    "Complaint",
    "DecryptionRequest",
    "Genesis",
    "KeyAccept",
    "KeyAnswer",
    "KeyCheck",
    "KeyCommit",
    "KeyDrop",
    "KeyOpen",
    "KeyReveal",
    "Kind",
    "Model",
    "PartialAnswer",
    "Party",
    "PieceCheck",
    "Role",
    "RoundClose",
    "RoundOpen",
    "RoundVoid",
    "TrialAnswer",
    "UpdateCommit",
]


class Kind(IntEnum):
    """The closed list of entry kinds. Unknown kinds stay in the log and are ignored by replay."""

    GENESIS = 1
    KEY_COMMIT = 2
    KEY_REVEAL = 3
    KEY_CHECK = 4
    KEY_ANSWER = 5
    COMPLAINT = 6
    KEY_ACCEPT = 7
    KEY_OPEN = 8
    COMMITTEE_CHANGE = 9
    KEY_DROP = 10
    CHANGE_CERTIFICATE = 11
    ROUND_OPEN = 16
    BUDGET_SPEND = 17
    UPDATE_COMMIT = 18
    ROUND_CLOSE = 19
    AGGREGATE = 20
    AGGREGATE_VOTE = 21
    DECRYPTION_REQUEST = 22
    PARTIAL_DECRYPTION = 23
    MODEL = 24
    PIECE_CHECK = 25
    ROUND_VOID = 26


class Role(IntEnum):
    """What a party may do."""

    OPERATOR = 1
    CLIENT = 2
    MEMBER = 3


DENSE: Final = 0  # the mode of an update whose digits are all encrypted; the only one in this version
MAX_LIST: Final = 4096
MAX_TEXT: Final = 256
MAX_BYTES: Final = 32_768
MAX_INT: Final = (1 << 63) - 1

Hint = Any
Digest = Annotated[bytes, 32]
PublicKey = Annotated[bytes, 32]


def _to_value(value: Any) -> Value:
    if isinstance(value, Body):
        return [_to_value(getattr(value, name)) for name in _field_names(type(value))]
    if isinstance(value, tuple):
        return [_to_value(item) for item in value]
    if isinstance(value, IntEnum):
        return int(value)
    return value  # type: ignore[no-any-return]  # int, bytes or str


def _field_names(cls: Any) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(cls))


def _from_value(hint: Hint, value: Value, where: str) -> Any:
    origin: Any = get_origin(hint)
    if origin is Annotated:
        base, size = get_args(hint)
        if not isinstance(value, base) or len(value) != size:
            raise DecodeError(f"{where}: expected {size} bytes")
        return value
    if origin is tuple:
        item, _ = get_args(hint)
        if not isinstance(value, list) or len(value) > MAX_LIST:
            raise DecodeError(f"{where}: expected a list of at most {MAX_LIST} items")
        return tuple(_from_value(item, v, where) for v in value)
    if isinstance(hint, type) and issubclass(hint, Body):
        return hint.from_value(value)
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        if type(value) is not int or value not in set(hint):
            raise DecodeError(f"{where}: {value!r:.20} is not a {hint.__name__}")
        return hint(value)
    if hint is int:
        if type(value) is not int or not -1 <= value <= MAX_INT:
            raise DecodeError(f"{where}: expected an integer from -1 to 2^63 - 1")
    elif hint is str:
        if not isinstance(value, str) or not value or len(value) > MAX_TEXT:
            raise DecodeError(f"{where}: expected text of 1 to {MAX_TEXT} characters")
    elif not isinstance(value, bytes) or len(value) > MAX_BYTES:
        raise DecodeError(f"{where}: expected at most {MAX_BYTES} bytes")
    return value


@lru_cache(maxsize=64)
def _hints(cls: Any) -> dict[str, Hint]:
    return get_type_hints(cls, include_extras=True)


class Body:
    """Base of all bodies; knows how to become a CBOR value and back."""

    __slots__ = ()
    kind: ClassVar[Kind]

    def to_value(self) -> Value:
        """The CBOR array of the fields, in order."""
        return _to_value(self)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Check and build.

        Raises:
            DecodeError: a field is missing, too many, of a wrong type, length or range.
        """
        names = _field_names(cls)
        if not isinstance(value, list) or len(value) != len(names):
            raise DecodeError(f"{cls.__name__}: expected {len(names)} fields")
        hints = _hints(cls)  # type: ignore[arg-type]  # a class is hashable
        fields = {n: _from_value(hints[n], v, f"{cls.__name__}.{n}") for n, v in zip(names, value, strict=True)}
        return cls(**fields)


@dataclasses.dataclass(frozen=True, slots=True)
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


@dataclasses.dataclass(frozen=True, slots=True)
class Genesis(Body):
    """Entry 0: the whole plan and every party. Its hash is the federation's identity. By the operator."""

    kind: ClassVar[Kind] = Kind.GENESIS
    origin: str
    plan: bytes
    parties: tuple[Party, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class AddendCommit(Body):
    """What a dealer binds itself to for one addend of the secret, before anybody shows anything.

    `part` is SHA-256 of the public part at founding, and empty in a committee change, which leaves the public key as it
    is. `dealing` binds the secret side: a piece's seed where holders get seeds, else SHA-256 of the table of all
    sub-shares' digests.
    """

    addend: int
    part: bytes
    dealing: Digest


@dataclasses.dataclass(frozen=True, slots=True)
class KeyCommit(Body):
    """A dealer's commitments, one for each addend it can deal. By a member.

    `ceremony`, here and below, is the 32-byte position of the ceremony that the entry is of.
    """

    kind: ClassVar[Kind] = Kind.KEY_COMMIT
    ceremony: Digest
    parts: tuple[AddendCommit, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class KeyReveal(Body):
    """What the holders get for these addends lies in the blob store under this digest. By a member."""

    kind: ClassVar[Kind] = Kind.KEY_REVEAL
    ceremony: Digest
    addends: tuple[int, ...]
    deliveries: Digest


@dataclasses.dataclass(frozen=True, slots=True)
class KeyCheck(Body):
    """This member's pieces are right, and this is the joint key it pins. By a member.

    `pairs` are the first 16 bytes of a digest of each key that this member's piece has in common with another one, in
    the order of the others, in Shamir's sharing (`pair_checks`); it is empty in a replicated one.
    """

    kind: ClassVar[Kind] = Kind.KEY_CHECK
    ceremony: Digest
    joint_key: Digest
    pairs: tuple[bytes, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class TrialAnswer(Body):
    """SHA-256 of the answer for one piece in one trial of the dry run."""

    trial: int
    piece: int
    digest: Digest


@dataclasses.dataclass(frozen=True, slots=True)
class KeyAnswer(Body):
    """This member's answers to the dry run's tests. By a member."""

    kind: ClassVar[Kind] = Kind.KEY_ANSWER
    ceremony: Digest
    answers: tuple[TrialAnswer, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class KeyAccept(Body):
    """This member opened every test itself; from now on it opens neither its seeds nor its sealing key. By a member."""

    kind: ClassVar[Kind] = Kind.KEY_ACCEPT
    ceremony: Digest
    joint_key: Digest


@dataclasses.dataclass(frozen=True, slots=True)
class Complaint(Body):
    """What was dealt for an addend fails this member's check. By a member.

    At founding `sealing_seed` opens the complainant's sealing key, so that everybody repeats the check; it is empty
    where the fault is in public bytes, and always in a committee change.
    """

    kind: ClassVar[Kind] = Kind.COMPLAINT
    ceremony: Digest
    addend: int
    sealing_seed: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class AddendSeed(Body):
    """The seed of an addend, for all to derive."""

    addend: int
    seed: Digest


@dataclasses.dataclass(frozen=True, slots=True)
class KeyOpen(Body):
    """The dry run failed: this dealer's seeds, so that everybody finds out why. The key is dead. By a member."""

    kind: ClassVar[Kind] = Kind.KEY_OPEN
    ceremony: Digest
    seeds: tuple[AddendSeed, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class CommitteeChange(Body):
    """The key goes to these members, in new pieces; the public key stays. By the operator.

    `active` are the old members that deal, if the old sharing is Shamir's; else it is empty.
    """

    kind: ClassVar[Kind] = Kind.COMMITTEE_CHANGE
    epoch: int
    threshold: int
    parties: tuple[Party, ...]
    active: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ChangeCertificate(Body):
    """The former committee certifies that this change is on its log, so that no fork has another. By the operator."""

    kind: ClassVar[Kind] = Kind.CHANGE_CERTIFICATE
    ceremony: Digest
    certificate: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class KeyDrop(Body):
    """This member has erased what it got of the key in this ceremony. By a member of a former committee."""

    kind: ClassVar[Kind] = Kind.KEY_DROP
    ceremony: Digest


@dataclasses.dataclass(frozen=True, slots=True)
class RoundOpen(Body):
    """A round starts from this model. By the operator."""

    kind: ClassVar[Kind] = Kind.ROUND_OPEN
    round: int
    model: Digest


@dataclasses.dataclass(frozen=True, slots=True)
class BudgetSpend(Body):
    """A client reserved this privacy for this round, before it touched its data. By a client."""

    kind: ClassVar[Kind] = Kind.BUDGET_SPEND
    round: int
    steps: int
    noise_multiplier_milli: int
    sampling_rate_ppm: int
    odometer: Digest


@dataclasses.dataclass(frozen=True, slots=True)
class UpdateCommit(Body):
    """A client's update. By a client.

    `mode` 0 is a dense update: `opened` is the digest of the ciphertext, and `data` is empty. In any mode `opened`
    names the part that members sum and open, in the blob store; another one would put what else is sent into `data`.
    """

    kind: ClassVar[Kind] = Kind.UPDATE_COMMIT
    round: int
    mode: int
    opened: Digest
    data: bytes

    @property
    def upload(self) -> bytes:
        """The digest of all that is uploaded: no two commitments may have the same."""
        mode = self.mode.to_bytes(8, "big", signed=True)
        return hashlib.sha256(b"secure-bfl/upload/v1" + mode + self.opened + self.data).digest()


@dataclasses.dataclass(frozen=True, slots=True)
class RoundClose(Body):
    """Who is in: the indices of the counted commitments. By the operator."""

    kind: ClassVar[Kind] = Kind.ROUND_CLOSE
    round: int
    cohort: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Aggregate(Body):
    """The sum of the cohort's ciphertexts. By the operator."""

    kind: ClassVar[Kind] = Kind.AGGREGATE
    round: int
    ciphertext: Digest


@dataclasses.dataclass(frozen=True, slots=True)
class AggregateVote(Body):
    """The sum this member computed itself, of the ciphertexts that `closed` names (`cohort_digest`). By a member."""

    kind: ClassVar[Kind] = Kind.AGGREGATE_VOTE
    round: int
    closed: Digest
    ciphertext: Digest


@dataclasses.dataclass(frozen=True, slots=True)
class DecryptionRequest(Body):
    """Ask these members to open the aggregate that this certified checkpoint covers. By the operator.

    `attempt` counts the requests for one aggregate from 0: another one asks other members.
    """

    kind: ClassVar[Kind] = Kind.DECRYPTION_REQUEST
    round: int
    attempt: int
    purpose: int
    ciphertext: Digest
    active: tuple[int, ...]
    certificate: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class PartialAnswer(Body):
    """A member's partial decryption lies in the blob store under this digest. By a member.

    `request` is the SHA-256 of the entry that it answers, so nobody can put it under another one.
    """

    kind: ClassVar[Kind] = Kind.PARTIAL_DECRYPTION
    round: int
    attempt: int
    request: Digest
    answer: Digest


@dataclasses.dataclass(frozen=True, slots=True)
class Model(Body):
    """The model that follows from the opened sum. `accuracy_ppm` is the operator's word (-1: not stated)."""

    kind: ClassVar[Kind] = Kind.MODEL
    round: int
    model: Digest
    accuracy_ppm: int


@dataclasses.dataclass(frozen=True, slots=True)
class PieceCheck(Body):
    """Fingerprints of the right answer of every piece this member holds, in the order of the pieces. By a member.

    `challenge` is the one that they were computed for.
    """

    kind: ClassVar[Kind] = Kind.PIECE_CHECK
    round: int
    attempt: int
    challenge: Digest
    fingerprints: tuple[bytes, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class RoundVoid(Body):
    """The round ends without a model; the next one starts from the same. By the operator."""

    kind: ClassVar[Kind] = Kind.ROUND_VOID
    round: int
    reason: str


BODIES: Final[dict[int, type[Body]]] = {
    body.kind: body
    for body in (
        Genesis,
        KeyCommit,
        KeyReveal,
        KeyCheck,
        KeyAnswer,
        KeyAccept,
        Complaint,
        KeyOpen,
        CommitteeChange,
        KeyDrop,
        ChangeCertificate,
        RoundOpen,
        BudgetSpend,
        UpdateCommit,
        RoundClose,
        Aggregate,
        AggregateVote,
        DecryptionRequest,
        PartialAnswer,
        Model,
        PieceCheck,
        RoundVoid,
    )
}
