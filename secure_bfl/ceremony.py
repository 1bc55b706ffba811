"""How far a key generation, or a committee change, is: the record that `replay` fills from the members' entries.

Spec: round §3.1 (v1). The first ceremony founds the key: its dealers are members of the committee that it makes. Every
later one hands the key over: the former committee deals, the new one receives.
"""

from dataclasses import dataclass, field
from typing import Final

from protocols.tckks import ShamirSharing

from .messages import AddendCommit, Complaint, KeyAccept, KeyAnswer, KeyCheck, KeyCommit, KeyDrop, KeyOpen, KeyReveal
from .roster import Committee, member_number

__all__ = ["PAIR_CHECK_BYTES", "CeremonyState"]

PAIR_CHECK_BYTES: Final = 16


@dataclass(slots=True)
class CeremonyState:
    """One ceremony so far. Keys are member names, or numbers of addends.

    `position` is 32 bytes of the ledger that make the ceremony unique, `index` its entry. `certified` tells whether the
    former committee certified a change, `confirmed` whether it certified all acceptances, the last of which is the
    entry `accepted`. `refused` tells, for each addend of a committee
    change, whose delivery was refused by whom. A change is abandoned when a round opens before it is complete.
    """

    committee: Committee
    position: bytes
    former: Committee | None = None
    active: tuple[int, ...] = ()
    index: int = 0
    certified: bool = False
    confirmed: bool = False
    accepted: int = -1
    commits: dict[str, KeyCommit] = field(default_factory=dict)
    delivered: dict[int, tuple[str, KeyReveal]] = field(default_factory=dict)
    refused: dict[int, dict[str, str]] = field(default_factory=dict)
    checks: dict[str, KeyCheck] = field(default_factory=dict)
    answers: dict[str, KeyAnswer] = field(default_factory=dict)
    accepts: dict[str, KeyAccept] = field(default_factory=dict)
    complaints: dict[str, Complaint] = field(default_factory=dict)
    opens: dict[str, KeyOpen] = field(default_factory=dict)
    drops: dict[str, KeyDrop] = field(default_factory=dict)
    abandoned: bool = False

    @property
    def epoch(self) -> int:
        """The epoch of the committee that the ceremony makes."""
        return self.committee.epoch

    @property
    def founding(self) -> bool:
        """Whether this ceremony makes the key; else it hands the key over."""
        return self.former is None

    @property
    def seeds_travel(self) -> bool:
        """Whether holders get the dealers' seeds themselves: in a founding replicated sharing."""
        return self.founding and not isinstance(self.committee.sharing, ShamirSharing)

    @property
    def addends(self) -> tuple[int, ...]:
        """What is dealt: addends of a new secret, or the old pieces; in Shamir's sharing those of active members."""
        if self.former is None:
            return tuple(range(self.committee.sharing.addends))
        return tuple(member - 1 for member in self.active) or tuple(range(self.former.sharing.pieces))

    def dealers(self, addend: int) -> tuple[str, ...]:
        """Who can deal an addend, the one whose duty it is first."""
        if self.former is None:
            return (self.committee.name(self.committee.sharing.dealer(addend)),)
        holders = self.former.sharing.holders(addend)
        first = holders[addend % len(holders)]
        return tuple(self.former.name(m) for m in (first, *(m for m in holders if m != first)))

    def dealt_by(self, name: str) -> tuple[int, ...]:
        """The addends a member can deal."""
        return tuple(addend for addend in self.addends if name in self.dealers(addend))

    def camps(self, addend: int) -> dict[AddendCommit, tuple[str, ...]]:
        """Who committed to what for an addend, the most supported first. Honest dealers of one addend all agree."""
        camps: dict[AddendCommit, tuple[str, ...]] = {}
        for name in self.dealers(addend):
            if name in self.commits:
                commit = next(part for part in self.commits[name].parts if part.addend == addend)
                camps[commit] = (*camps.get(commit, ()), name)
        return dict(sorted(camps.items(), key=lambda item: -len(item[1])))

    def commitment(self, addend: int) -> tuple[AddendCommit, tuple[str, ...]] | None:
        """The commitment that counts, and who stands behind it: the one of most dealers; None if two have as many."""
        camps = list(self.camps(addend).items())
        if not camps or (len(camps) > 1 and len(camps[0][1]) == len(camps[1][1])):
            return None
        return camps[0]

    def absent(self) -> tuple[str, ...]:
        """Whose commitment is waited for. At founding every dealer's; in a change any threshold of the former members,
        who hold every piece, may go on.
        """
        dealers = sorted({name for addend in self.addends for name in self.dealers(addend)})
        missing = tuple(name for name in dealers if name not in self.commits)
        if self.former is None:
            return missing
        return missing if len(self.commits) < self.former.sharing.threshold else ()

    @property
    def committed(self) -> bool:
        """Whether every addend has a commitment that counts, so that dealers may reveal."""
        return not self.absent() and all(self.commitment(addend) is not None for addend in self.addends)

    def due(self, name: str) -> tuple[int, ...]:
        """The addends that wait for this member's delivery."""
        return tuple(addend for addend in self.undelivered if self.turn(addend) == name)

    def turn(self, addend: int) -> str | None:
        """Who is to deliver an addend: the first that committed as most did, and whose delivery was not refused."""
        counted = self.commitment(addend)
        able = () if counted is None else counted[1]
        return next((name for name in able if name not in self.refused.get(addend, {})), None)

    @property
    def undelivered(self) -> tuple[int, ...]:
        """The addends whose holders have nothing yet."""
        return tuple(addend for addend in self.addends if addend not in self.delivered)

    def answered(self) -> dict[tuple[int, int], dict[bytes, tuple[str, ...]]]:
        """For each trial and piece, which holders gave which answer digest."""
        given: dict[tuple[int, int], dict[bytes, tuple[str, ...]]] = {}
        for name in sorted(self.answers):
            for answer in self.answers[name].answers:
                same = given.setdefault((answer.trial, answer.piece), {})
                same[answer.digest] = (*same.get(answer.digest, ()), name)
        return given

    @property
    def disputed(self) -> dict[tuple[int, int], tuple[tuple[str, ...], ...]]:
        """Trials and pieces whose holders gave different answers in the dry run, with the camps."""
        return {key: tuple(same.values()) for key, same in self.answered().items() if len(same) > 1}

    @property
    def unequal(self) -> dict[tuple[int, int], tuple[tuple[str, ...], ...]]:
        """Pairs of pieces whose holders stated different keys in common, with the two camps. Shamir's sharing only."""
        stated: dict[tuple[int, int], dict[bytes, tuple[str, ...]]] = {}
        for name, check in sorted(self.checks.items()):
            piece = member_number(name) - 1
            others = [other for other in range(self.committee.sharing.pieces) if other != piece]
            for other, value in zip(others, check.pairs, strict=False):
                same = stated.setdefault((min(piece, other), max(piece, other)), {})
                same[value] = (*same.get(value, ()), name)
        return {pair: tuple(same.values()) for pair, same in sorted(stated.items()) if len(same) > 1}

    def everyone_in(self, done: dict[str, KeyCheck] | dict[str, KeyAnswer] | dict[str, KeyAccept]) -> bool:
        """Whether every member of the new committee has done it."""
        return len(done) == len(self.committee.parties)

    @property
    def ready(self) -> bool:
        """Whether every member of the new committee accepted, and nobody has given the key up.

        In a change the former committee must have certified that, too.
        """
        if not self.founding:
            return self.confirmed
        return self.everyone_in(self.accepts) and not self.complaints and not self.opens
