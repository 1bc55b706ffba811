"""Handing the key to other members, or to the same ones in fresh pieces.

Spec: round §4.4 (v1). The public key stays, so clients notice nothing. The former members must approve the change and
erase their pieces afterwards; who takes part under a new name needs a new identity, with keys of its own.
"""

from collections.abc import Sequence

from protocols.errors import KeyGenerationError
from protocols.tckks import ShamirSharing

from .board import Board
from .member import Member
from .messages import CommitteeChange
from .operator import Operator

__all__ = ["announce_change", "change_committee"]


def announce_change(
    board: Board, operator: Operator, former: Sequence[Member], incoming: Sequence[Member], *, threshold: int
) -> bytes:
    """Announce the members of the next epoch. Run by: the operator, between two rounds.

    `former` are the members in office that are there. The result is the change's position, which every former member
    is asked to approve. A change that is stuck is replaced by announcing another one.

    Raises:
        StateError: a round is open, the plan has no more changes, or no such committee can be.
    """
    committee = board.replay.committee
    active: tuple[int, ...] = ()
    if isinstance(committee.sharing, ShamirSharing):
        active = tuple(sorted(member.number for member in former)[: committee.sharing.threshold])
    parties = tuple(member.identity.party for member in incoming)
    body = CommitteeChange(committee.epoch + 1, threshold, parties, active)
    board.append(body, operator.name, operator.identity.signing)
    return board.replay.ceremony.position


def change_committee(
    board: Board, operator: Operator, former: Sequence[Member], incoming: Sequence[Member], *, threshold: int
) -> None:
    """Hand the key from the members in office to the incoming ones, who are in office when this returns.

    For tests and runs in one process only: it approves the change in the name of every former member. Where members
    decide for themselves, each calls `Member.approve` by hand, and then the same steps as here.

    Raises:
        StateError: the change is not allowed, or a step cannot be done yet.
        KeyGenerationError, BadShareError: what was dealt is wrong, from every dealer that could have dealt it. The
            former committee stays in office; another change can be announced.
    """
    change = announce_change(board, operator, former, incoming, threshold=threshold)
    for member in former:
        member.approve(board, change)
    for member in former:
        member.commit(board)
    _deliver(board, former, incoming)
    for member in incoming:
        member.answer_test(board)
    for member in incoming:
        member.accept(board)
    for member in former:
        member.drop(board)


def _deliver(board: Board, former: Sequence[Member], incoming: Sequence[Member]) -> None:
    """Deliver and check, again by the next holder of an addend whenever a delivery is refused."""
    while True:
        for member in former:
            member.reveal(board)
        refused: KeyGenerationError | None = None
        for member in incoming:
            try:
                member.check(board)
            except KeyGenerationError as exc:
                refused = exc
                break
        if refused is None:
            return
        ceremony = board.replay.ceremony
        if any(ceremony.turn(addend) is None for addend in ceremony.undelivered):
            raise refused
