"""Who contradicts whom about the pieces' answers in one attempt to open a sum.

Spec: round §3.3 (v1). Every member publishes a fingerprint of the answer of each piece it holds. Holders that differ
cannot all be honest. A camp of f + 1 members has an honest one among them, where f = floor((n - 1) / 3) is what the
ledger's quorums assume at most; if exactly one camp is as large, the others are convicted. Otherwise the camps are
named and nobody is believed.

If more than f members collude, f + 1 of them can be a camp of their own: the dispute still shows, but it convicts the
wrong side. Holders of a piece that all collude make no dispute at all.
"""

import hashlib
from dataclasses import dataclass

from ledger import byzantine_quorum
from protocols.suites import Suite
from protocols.tckks import ReplicatedSharing, Sharing, fingerprint_bytes

from .messages import PieceCheck
from .roster import Committee, member_number
from .state import Attempt

__all__ = ["Dispute", "are_well_formed", "challenge", "convicted", "disputes", "has_checks"]


@dataclass(frozen=True, slots=True)
class Dispute:
    """Holders of one piece that gave different fingerprints. `believed` is the camp that wins, or empty."""

    piece: int
    camps: tuple[tuple[str, ...], ...]
    believed: tuple[str, ...]

    @property
    def convicted(self) -> tuple[str, ...]:
        """The members of the other camps, if one camp is believed."""
        return tuple(sorted(n for camp in self.camps if camp != self.believed for n in camp)) if self.believed else ()

    def __str__(self) -> str:
        sides = " against ".join(", ".join(camp) for camp in self.camps)
        return f"the holders of piece {self.piece} disagree about its answer: {sides}"


def has_checks(sharing: Sharing) -> bool:
    """Whether answers are cross-checked: every piece has more than one holder."""
    return isinstance(sharing, ReplicatedSharing) and sharing.threshold < sharing.members


def are_well_formed(check: PieceCheck, suite: Suite, held: int) -> bool:
    """Whether there is a fingerprint of the right length for each of so many held pieces."""
    size = fingerprint_bytes(suite)
    return len(check.fingerprints) == held and all(len(data) == size for data in check.fingerprints)


def challenge(context: bytes, number: int, attempt: Attempt) -> bytes:
    """The challenge of an attempt's fingerprints, 32 bytes, fixed by the request and the last answer.

    Raises:
        ValueError: not every asked member has answered.
    """
    if attempt.unanswered:
        raise ValueError(f"there is no challenge before {', '.join(attempt.unanswered)} answered")
    hashed = hashlib.sha256(b"secure-bfl/fingerprint/v1" + context)
    hashed.update(number.to_bytes(4, "big") + attempt.request.attempt.to_bytes(1, "big"))
    hashed.update(attempt.entry)
    for name in attempt.asked:
        hashed.update(attempt.answers[name].answer)
    return hashed.digest()


def disputes(attempt: Attempt, committee: Committee, *, late: bool = False) -> tuple[Dispute, ...]:
    """The pieces about which those who have checked disagree; those who came after the model too, if `late`."""
    given: dict[int, dict[bytes, list[str]]] = {}
    checks = {**attempt.checks, **attempt.late} if late else attempt.checks
    for name in committee.members:
        if name in checks:
            held = committee.sharing.held_by(member_number(name))
            for piece, data in zip(held, checks[name].fingerprints, strict=True):
                given.setdefault(piece, {}).setdefault(data, []).append(name)
    honest_with_one_more = len(committee.members) - byzantine_quorum(len(committee.members)) + 1
    found = []
    for piece, camps in sorted(given.items()):
        if len(camps) > 1:
            sides = tuple(sorted(tuple(camp) for camp in camps.values()))
            strong = [side for side in sides if len(side) >= honest_with_one_more]
            found.append(Dispute(piece, sides, strong[0] if len(strong) == 1 else ()))
    return tuple(found)


def convicted(attempt: Attempt, committee: Committee) -> dict[str, Dispute]:
    """Those whom an attempt's disputes convict, with the first dispute that does."""
    names: dict[str, Dispute] = {}
    for dispute in disputes(attempt, committee):
        for name in dispute.convicted:
            names.setdefault(name, dispute)
    return names
