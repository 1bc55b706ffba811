"""Who holds what. Spec: tckks §3.1 (v1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

from .arithmetic import ExpectedFailure

__all__ = ["Replicated", "Shamir", "Sharing", "share_among"]

LARGEST = 70


def _active(active: Sequence[int], members: int, threshold: int) -> list[int]:
    chosen = sorted(active)
    if len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(1, members + 1)):
        raise ExpectedFailure("ValueError")
    if len(chosen) < threshold:
        raise ExpectedFailure("QuorumError", *(f"member-{m}" for m in range(1, members + 1) if m not in chosen))
    return chosen


@dataclass(frozen=True)
class Replicated:
    """One piece for every t-1 members, held by the others."""

    members: int
    threshold: int
    tag = "replicated"

    @property
    def missing(self) -> list[tuple[int, ...]]:
        """For each piece, who must not know it."""
        return list(combinations(range(1, self.members + 1), self.threshold - 1))

    @property
    def pieces(self) -> int:
        """The number of pieces, of addends, and of the noises in an opened sum."""
        return len(self.missing)

    addends = answers = pieces

    def holders(self, piece: int) -> list[int]:
        """Who holds a piece."""
        return [m for m in range(1, self.members + 1) if m not in self.missing[piece]]

    def dealer(self, addend: int) -> int:
        """Who draws an addend."""
        holders = self.holders(addend)
        return holders[addend % len(holders)]

    def assign(self, active: Sequence[int]) -> dict[int, list[int]]:
        """Who answers for which pieces."""
        load: dict[int, list[int]] = {m: [] for m in _active(active, self.members, self.threshold)}
        for piece, missing in enumerate(self.missing):
            load[min((m for m in load if m not in missing), key=lambda m: (len(load[m]), m))].append(piece)
        return load


@dataclass(frozen=True)
class Shamir:
    """Member i holds the value at i of polynomials of degree t-1."""

    members: int
    threshold: int
    tag = "shamir"

    @property
    def pieces(self) -> int:
        """One for each member."""
        return self.members

    @property
    def addends(self) -> int:
        """Dealers, and noises in an opened sum."""
        return self.threshold

    answers = addends

    def holders(self, piece: int) -> list[int]:
        """Who holds a piece."""
        return [piece + 1]

    def dealer(self, addend: int) -> int:
        """Who draws an addend."""
        return addend + 1

    def assign(self, active: Sequence[int]) -> dict[int, list[int]]:
        """Who answers for which pieces: exactly t members."""
        chosen = _active(active, self.members, self.threshold)
        if len(chosen) > self.threshold:
            raise ExpectedFailure("ValueError")
        return {m: [m - 1] for m in chosen}

    @property
    def trial_sets(self) -> list[list[int]]:
        """Active sets that together contain every member."""
        n, t = self.members, self.threshold
        starts = list(range(0, n - t + 1, t))
        if starts[-1] + t < n:
            starts.append(n - t)
        return [list(range(start + 1, start + t + 1)) for start in starts]


Sharing = Replicated | Shamir


def share_among(members: int, threshold: int) -> Sharing:
    """Replicated up to 70 pieces, Shamir's beyond."""
    few = comb(members, threshold - 1) <= LARGEST
    return Replicated(members, threshold) if few else Shamir(members, threshold)
