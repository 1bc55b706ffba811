"""Replicated (CNF) secret sharing of the key: who holds which piece.

Spec: tckks §3.1 (v1). Source: Ito, Saito, Nishizeki 1987. For every set A of t-1 members there is one piece, held by
every member outside A; the secret is the sum of the pieces. A coalition of t-1 members misses exactly its own piece;
any t members hold all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from ..errors import QuorumError

__all__ = ["MAX_MEMBERS", "ReplicatedSharing"]

MAX_MEMBERS: Final = 8


@dataclass(frozen=True, slots=True)
class ReplicatedSharing:
    """The access structure of a committee. Members are numbered 1 to `members`; pieces from 0."""

    members: int
    threshold: int

    def __post_init__(self) -> None:
        if not 2 <= self.members <= MAX_MEMBERS:
            raise ValueError(f"a committee has 2 to {MAX_MEMBERS} members, not {self.members}")
        if self.threshold > self.members:
            raise ValueError(
                f"the threshold {self.threshold} exceeds the {self.members} members: nobody could ever decrypt"
            )
        if self.threshold < 2:
            raise ValueError(
                f"a threshold of {self.threshold} would let one member decrypt alone; it must be at least 2"
            )

    @property
    def missing_sets(self) -> tuple[tuple[int, ...], ...]:
        """For each piece, the t-1 members that must not know it."""
        return tuple(combinations(range(1, self.members + 1), self.threshold - 1))

    @property
    def pieces(self) -> int:
        """How many pieces the secret is the sum of."""
        return len(self.missing_sets)

    def holders(self, piece: int) -> tuple[int, ...]:
        """The members that hold a piece."""
        missing = self.missing_sets[piece]
        return tuple(m for m in range(1, self.members + 1) if m not in missing)

    def dealer(self, piece: int) -> int:
        """The holder that draws the piece; the work is spread over the committee."""
        holders = self.holders(piece)
        return holders[piece % len(holders)]

    def held_by(self, member: int) -> tuple[int, ...]:
        """The pieces a member holds."""
        return tuple(p for p, missing in enumerate(self.missing_sets) if member not in missing)

    def assignment(self, active: Sequence[int]) -> dict[int, tuple[int, ...]]:
        """Which active member answers for which pieces: every piece exactly once, the work spread evenly.

        Raises:
            ValueError: a member is unknown or named twice.
            QuorumError: the active members do not hold every piece.
        """
        chosen = tuple(sorted(active))
        if len(set(chosen)) != len(chosen) or any(not 1 <= m <= self.members for m in chosen):
            raise ValueError(f"active members must be distinct and between 1 and {self.members}: {chosen}")
        if len(chosen) < self.threshold:
            absent = tuple(f"member-{m}" for m in range(1, self.members + 1) if m not in chosen)
            raise QuorumError(
                f"a decryption needs {self.threshold} of {self.members} members, has {len(chosen)}",
                needed=self.threshold,
                have=tuple(f"member-{m}" for m in chosen),
                missing=absent,
            )
        answers: dict[int, list[int]] = {m: [] for m in chosen}
        for piece, missing in enumerate(self.missing_sets):
            able = [m for m in chosen if m not in missing]
            answers[min(able, key=lambda m: (len(answers[m]), m))].append(piece)
        return {m: tuple(pieces) for m, pieces in answers.items()}
