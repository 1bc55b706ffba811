"""Who holds which piece of the key: replicated sharing where its pieces stay few, Shamir's beyond.

Spec: tckks §3.1 (v1). Members are numbered 1 to `members`; pieces and addends from 0. The secret is the sum of its
addends, ternary polynomials that dealers draw. In a replicated sharing every addend is one piece and is held as it is;
in Shamir's, every member holds one piece, the sum of its points on the dealers' polynomials.

Sources: Ito, Saito and Nishizeki, GLOBECOM 1987 (replicated, also called CNF); Shamir, CACM 1979.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Final

from ..errors import QuorumError

__all__ = ["MAX_MEMBERS", "MAX_REPLICATED_PIECES", "ReplicatedSharing", "ShamirSharing", "Sharing", "share_among"]

MAX_MEMBERS: Final = 32
MAX_REPLICATED_PIECES: Final = 70  # every 4 of 8, which is the most a committee of 8 can have


def _check(members: int, threshold: int) -> None:
    if not 2 <= members <= MAX_MEMBERS:
        raise ValueError(f"a committee has 2 to {MAX_MEMBERS} members, not {members}")
    if threshold > members:
        raise ValueError(f"the threshold {threshold} exceeds the {members} members: nobody could ever decrypt")
    if threshold < 2:
        raise ValueError(f"a threshold of {threshold} would let one member decrypt alone; it must be at least 2")


def _check_active(active: Sequence[int], members: int, threshold: int) -> tuple[int, ...]:
    chosen = tuple(sorted(active))
    if len(set(chosen)) != len(chosen) or any(not 1 <= m <= members for m in chosen):
        raise ValueError(f"active members must be distinct and between 1 and {members}: {chosen}")
    if len(chosen) < threshold:
        raise QuorumError(
            f"a decryption needs {threshold} of {members} members, has {len(chosen)}",
            needed=threshold,
            have=tuple(f"member-{m}" for m in chosen),
            missing=tuple(f"member-{m}" for m in range(1, members + 1) if m not in chosen),
        )
    return chosen


@dataclass(frozen=True, slots=True)
class ReplicatedSharing:
    """One piece for each set of t-1 members, held by every member outside that set.

    A coalition of t-1 members misses exactly its own piece; any t members hold all. A piece has n-t+1 holders, whose
    answers are the same bytes, so a wrong one is found by comparing, and may be asked for again.
    """

    members: int
    threshold: int

    def __post_init__(self) -> None:
        _check(self.members, self.threshold)
        if self.pieces > MAX_REPLICATED_PIECES:
            raise ValueError(
                f"{self.threshold} of {self.members} would need {self.pieces} replicated pieces, more than "
                f"{MAX_REPLICATED_PIECES}; use Shamir's sharing"
            )

    @property
    def tag(self) -> str:
        """The kind of sharing, its members and its threshold, as identities and digests name it."""
        return f"replicated/{self.members}/{self.threshold}"

    @property
    def pieces(self) -> int:
        """How many pieces the secret is the sum of."""
        return comb(self.members, self.threshold - 1)

    @property
    def addends(self) -> int:
        """How many ternary addends the secret has: its pieces."""
        return self.pieces

    @property
    def answers(self) -> int:
        """How many independent smudging noises an opened sum holds: one for each piece."""
        return self.pieces

    @property
    def missing_sets(self) -> tuple[tuple[int, ...], ...]:
        """For each piece, the t-1 members that must not know it."""
        return tuple(combinations(range(1, self.members + 1), self.threshold - 1))

    def holders(self, piece: int) -> tuple[int, ...]:
        """The members that hold a piece."""
        missing = self.missing_sets[piece]
        return tuple(m for m in range(1, self.members + 1) if m not in missing)

    def dealer(self, addend: int) -> int:
        """The holder that draws the addend; the work is spread over the committee."""
        holders = self.holders(addend)
        return holders[addend % len(holders)]

    def dealt_by(self, member: int) -> tuple[int, ...]:
        """The addends a member deals."""
        return tuple(addend for addend in range(self.addends) if self.dealer(addend) == member)

    def held_by(self, member: int) -> tuple[int, ...]:
        """The pieces a member holds."""
        return tuple(p for p, missing in enumerate(self.missing_sets) if member not in missing)

    def assignment(self, active: Sequence[int]) -> dict[int, tuple[int, ...]]:
        """Which active member answers for which pieces: every piece exactly once, the work spread evenly.

        Raises:
            ValueError: a member is unknown or named twice.
            QuorumError: the active members do not hold every piece.
        """
        chosen = _check_active(active, self.members, self.threshold)
        answers: dict[int, list[int]] = {m: [] for m in chosen}
        for piece, missing in enumerate(self.missing_sets):
            able = [m for m in chosen if m not in missing]
            answers[min(able, key=lambda m: (len(answers[m]), m))].append(piece)
        return {m: tuple(pieces) for m, pieces in answers.items()}


@dataclass(frozen=True, slots=True)
class ShamirSharing:
    """Member i holds the value at the point i of a polynomial of degree t-1 over R_q, prime by prime.

    t-1 members know nothing; t interpolate. Each piece has one holder, so a wrong answer shows only when the sum does
    not open. Shares of zero, drawn for each active set, hide single answers, so answering a ciphertext in two sets
    gives no piece away; but the second costs a second opening, with noise of its own, and members refuse it.
    """

    members: int
    threshold: int

    def __post_init__(self) -> None:
        _check(self.members, self.threshold)

    @property
    def tag(self) -> str:
        """The kind of sharing, its members and its threshold, as identities and digests name it."""
        return f"shamir/{self.members}/{self.threshold}"

    @property
    def pieces(self) -> int:
        """One for each member."""
        return self.members

    @property
    def addends(self) -> int:
        """Dealers: any t of them include an honest one."""
        return self.threshold

    @property
    def answers(self) -> int:
        """How many independent smudging noises an opened sum holds: one for each active member."""
        return self.threshold

    def holders(self, piece: int) -> tuple[int, ...]:
        """The one member that holds a piece."""
        if not 0 <= piece < self.members:
            raise IndexError(f"there is no piece {piece}")
        return (piece + 1,)

    def dealer(self, addend: int) -> int:
        """The first t members deal one addend each."""
        if not 0 <= addend < self.threshold:
            raise IndexError(f"there is no addend {addend}")
        return addend + 1

    def dealt_by(self, member: int) -> tuple[int, ...]:
        """The addends a member deals."""
        return (member - 1,) if member <= self.threshold else ()

    def held_by(self, member: int) -> tuple[int, ...]:
        """The piece a member holds."""
        return (member - 1,)

    def assignment(self, active: Sequence[int]) -> dict[int, tuple[int, ...]]:
        """Each of exactly t active members answers for its own piece.

        Raises:
            ValueError: a member is unknown or named twice, or there are more than t: an active set is t members.
            QuorumError: there are fewer.
        """
        chosen = _check_active(active, self.members, self.threshold)
        if len(chosen) > self.threshold:
            raise ValueError(f"an active set has exactly {self.threshold} members, not {len(chosen)}")
        return {m: (m - 1,) for m in chosen}

    @property
    def trial_sets(self) -> tuple[tuple[int, ...], ...]:
        """Active sets that together contain every member, as few as there can be: the quorums of the dry run."""
        n, t = self.members, self.threshold
        starts = [*range(0, n - t + 1, t)]
        if starts[-1] + t < n:
            starts.append(n - t)
        return tuple(tuple(range(start + 1, start + t + 1)) for start in starts)


Sharing = ReplicatedSharing | ShamirSharing


def share_among(members: int, threshold: int) -> Sharing:
    """The sharing a committee uses: replicated while its pieces stay few, Shamir's beyond.

    Raises:
        ValueError: no committee has this size or threshold.
    """
    _check(members, threshold)
    if comb(members, threshold - 1) <= MAX_REPLICATED_PIECES:
        return ReplicatedSharing(members, threshold)
    return ShamirSharing(members, threshold)
