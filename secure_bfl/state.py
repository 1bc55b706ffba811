"""What the entries so far amount to: plain records that `replay` fills and everybody reads.

Spec: round §3 (v1).
"""

import hashlib
from dataclasses import dataclass, field

from .messages import (
    Aggregate,
    AggregateVote,
    BudgetSpend,
    DecryptionRequest,
    Model,
    PartialAnswer,
    PieceCheck,
    PrivacyAudit,
    RoundVoid,
    UpdateCommit,
)

__all__ = ["Attempt", "Audited", "Ignored", "RoundState", "cohort_digest"]


def cohort_digest(closing: bytes, ciphertexts: tuple[bytes, ...]) -> bytes:
    """What a vote is about, 32 bytes: the `ROUND_CLOSE` entry of this SHA-256, and the ciphertexts that it counts.

    The entry alone would not do: it names positions, and two histories can have different updates there.
    """
    return hashlib.sha256(b"secure-bfl/cohort/v1" + closing + b"".join(ciphertexts)).digest()


@dataclass(frozen=True, slots=True)
class Ignored:
    """An entry without effect, and why. `hostile` if no honest party could have sent it."""

    index: int
    kind: int
    sender: str
    reason: str
    hostile: bool


@dataclass(frozen=True, slots=True)
class Audited:
    """A party's evidence about the mechanism, and the entry it stands in."""

    index: int
    sender: str
    evidence: PrivacyAudit


@dataclass(slots=True)
class Attempt:
    """One request to open a round's sum, and what came back. Keys are member names; `asked` are the active ones.

    `entry` is the SHA-256 of the request's entry: answers name it, and the challenge of the checks covers it.
    `late` are checks that came after the round's model: they change nothing, and show what was done without them.
    """

    request: DecryptionRequest
    asked: tuple[str, ...]
    entry: bytes
    answers: dict[str, PartialAnswer] = field(default_factory=dict)
    checks: dict[str, PieceCheck] = field(default_factory=dict)
    late: dict[str, PieceCheck] = field(default_factory=dict)

    @property
    def unanswered(self) -> tuple[str, ...]:
        """The asked members that did not answer."""
        return tuple(name for name in self.asked if name not in self.answers)


@dataclass(slots=True)
class RoundState:
    """One round so far. Keys are party names; `commits` keeps the entry's index beside it, `spent` is that of a spend.

    `epoch` is that of the committee in office when the round was opened, which serves it to its end. `closing` is what
    the votes are about (`cohort_digest`), empty while the round is open. `late_votes` came after the vote was over:
    they attest that a member had the ciphertexts and summed them, and decide nothing. `released` is the entry that let
    the ciphertexts of the cohort be deleted.
    """

    number: int
    opened: int
    model: bytes
    epoch: int = 0
    spends: dict[str, BudgetSpend] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)
    commits: dict[str, tuple[int, UpdateCommit]] = field(default_factory=dict)
    closed: int | None = None
    cohort: tuple[str, ...] = ()
    closing: bytes = b""
    aggregate: Aggregate | None = None
    aggregated: int = -1
    votes: dict[str, AggregateVote] = field(default_factory=dict)
    late_votes: dict[str, AggregateVote] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    result: Model | None = None
    void: RoundVoid | None = None
    released: int | None = None

    @property
    def attempt(self) -> Attempt | None:
        """The request that counts, the last one, with its answers."""
        return self.attempts[-1] if self.attempts else None

    @property
    def request(self) -> DecryptionRequest | None:
        """The request that counts."""
        return self.attempts[-1].request if self.attempts else None

    @property
    def answers(self) -> dict[str, PartialAnswer]:
        """The answers to the request that counts."""
        return self.attempts[-1].answers if self.attempts else {}

    @property
    def finished(self) -> bool:
        """Whether the round is over, with a model or without."""
        return self.result is not None or self.void is not None

    @property
    def following(self) -> bytes:
        """The digest of the model that the next round starts from: its own, or after a void round the same again."""
        return self.model if self.result is None else self.result.model

    def ciphertexts(self) -> tuple[bytes, ...]:
        """The digests of what is opened of the cohort's updates, in the order of their commitments."""
        return tuple(self.commits[name][1].opened for name in self.cohort)

    def agreeing(self) -> tuple[str, ...]:
        """The members that computed the aggregate that was announced."""
        if self.aggregate is None:
            return ()
        return tuple(sorted(n for n, v in self.votes.items() if v.ciphertext == self.aggregate.ciphertext))

    def attesting(self) -> tuple[str, ...]:
        """The members that computed the aggregate that was announced, those among them that said so late."""
        if self.aggregate is None:
            return ()
        votes = {**self.late_votes, **self.votes}
        return tuple(sorted(n for n, v in votes.items() if v.ciphertext == self.aggregate.ciphertext))
