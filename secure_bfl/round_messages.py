"""Entries of rounds.

Spec: round §2, §3.2 (v1).
"""

import hashlib
from dataclasses import dataclass
from typing import ClassVar

from protocols.dp import PrivacyEvent

from .body import Body, Digest, Kind

__all__ = [
    "Aggregate",
    "AggregateVote",
    "BlobRelease",
    "BudgetSpend",
    "DecryptionRequest",
    "Model",
    "OtherSpend",
    "PartialAnswer",
    "PieceCheck",
    "PrivacyAudit",
    "RoundClose",
    "RoundOpen",
    "RoundVoid",
    "UpdateCommit",
]


@dataclass(frozen=True, slots=True)
class RoundOpen(Body):
    """A round starts from this model. By the operator."""

    kind: ClassVar[Kind] = Kind.ROUND_OPEN
    round: int
    model: Digest


@dataclass(frozen=True, slots=True)
class OtherSpend(Body):
    """Equal steps that other runs took on the same records."""

    noise_multiplier_milli: int
    sampling_rate_ppm: int
    steps: int

    @property
    def event(self) -> PrivacyEvent:
        """The same, as the accountants take it. Raises ValueError if it is out of range."""
        return PrivacyEvent(self.noise_multiplier_milli, self.sampling_rate_ppm, self.steps)


@dataclass(frozen=True, slots=True)
class BudgetSpend(Body):
    """A client reserved this privacy for this round, before it touched its data. By a client.

    `others` is everything that its odometer holds of other runs on the same records, equal mechanisms merged.
    """

    kind: ClassVar[Kind] = Kind.BUDGET_SPEND
    round: int
    steps: int
    noise_multiplier_milli: int
    sampling_rate_ppm: int
    others: tuple[OtherSpend, ...]
    odometer: Digest


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class RoundClose(Body):
    """Who is in: the indices of the counted commitments. By the operator."""

    kind: ClassVar[Kind] = Kind.ROUND_CLOSE
    round: int
    cohort: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Aggregate(Body):
    """The sum of the cohort's ciphertexts. By the operator."""

    kind: ClassVar[Kind] = Kind.AGGREGATE
    round: int
    ciphertext: Digest


@dataclass(frozen=True, slots=True)
class AggregateVote(Body):
    """The sum this member computed itself, of the ciphertexts that `closed` names (`cohort_digest`). By a member."""

    kind: ClassVar[Kind] = Kind.AGGREGATE_VOTE
    round: int
    closed: Digest
    ciphertext: Digest


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class PartialAnswer(Body):
    """A member's partial decryption lies in the blob store under this digest. By a member.

    `request` is the SHA-256 of the entry that it answers, so nobody can put it under another one.
    """

    kind: ClassVar[Kind] = Kind.PARTIAL_DECRYPTION
    round: int
    attempt: int
    request: Digest
    answer: Digest


@dataclass(frozen=True, slots=True)
class Model(Body):
    """The model that follows from the opened sum. `accuracy_ppm` is the operator's word (-1: not stated).

    `sentinel_energy` is the sum of the squares of the sum's sentinels: what the noise in it was.
    """

    kind: ClassVar[Kind] = Kind.MODEL
    round: int
    model: Digest
    accuracy_ppm: int
    sentinel_energy: int


@dataclass(frozen=True, slots=True)
class PieceCheck(Body):
    """Fingerprints of the right answer of every piece this member holds, in the order of the pieces. By a member.

    `challenge` is the one that they were computed for.
    """

    kind: ClassVar[Kind] = Kind.PIECE_CHECK
    round: int
    attempt: int
    challenge: Digest
    fingerprints: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class RoundVoid(Body):
    """The round ends without a model; the next one starts from the same. By the operator."""

    kind: ClassVar[Kind] = Kind.ROUND_VOID
    round: int
    reason: str


@dataclass(frozen=True, slots=True)
class BlobRelease(Body):
    """The ciphertexts that `closed` names (`cohort_digest`) may be deleted: a quorum summed them. By the operator."""

    kind: ClassVar[Kind] = Kind.BLOB_RELEASE
    round: int
    closed: Digest


@dataclass(frozen=True, slots=True)
class PrivacyAudit(Body):
    """What a party's audit of this mechanism found, in integers from which anybody computes the verdict. By any party.

    The fields are those of `protocols.dp.auditing.AuditResult`; `structural` names the checks that failed.
    """

    kind: ClassVar[Kind] = Kind.PRIVACY_AUDIT
    claimed_epsilon_milli: int
    delta_e12: int
    canaries: int
    guesses: int
    correct: int
    epsilon_lower_milli: int
    one_run_p_e12: int
    z_p_e12: int
    noise_ratio_ppm: int
    sentinel_p_e12: int
    structural: tuple[str, ...]
