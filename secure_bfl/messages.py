"""The body of every ledger entry, by subject: parties, the key, rounds; and the table from kind to class.

Spec: round §2 (v1).
"""

from typing import Final

from .body import DENSE, MAX_BYTES, MAX_INT, MAX_LIST, MAX_TEXT, Body, Kind, Role
from .key_messages import (
    AddendCommit,
    AddendSeed,
    ChangeCertificate,
    CommitteeChange,
    Complaint,
    KeyAccept,
    KeyAnswer,
    KeyCheck,
    KeyCommit,
    KeyDrop,
    KeyOpen,
    KeyReveal,
    TrialAnswer,
)
from .party_messages import Genesis, KeyClaim, KeyRevocation, KeyRotation, Party
from .round_messages import (
    Aggregate,
    AggregateVote,
    BlobRelease,
    BudgetSpend,
    DecryptionRequest,
    Model,
    PartialAnswer,
    PieceCheck,
    RoundClose,
    RoundOpen,
    RoundVoid,
    UpdateCommit,
)

__all__ = [
    "BODIES",
    "DENSE",
    "MAX_BYTES",
    "MAX_INT",
    "MAX_LIST",
    "MAX_TEXT",
    "AddendCommit",
    "AddendSeed",
    "Aggregate",
    "AggregateVote",
    "BlobRelease",
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
    "KeyClaim",
    "KeyCommit",
    "KeyDrop",
    "KeyOpen",
    "KeyReveal",
    "KeyRevocation",
    "KeyRotation",
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
        KeyRotation,
        KeyRevocation,
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
        BlobRelease,
    )
}
