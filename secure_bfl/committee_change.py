"""Handing the key to other members, or to the same ones in fresh pieces.

Spec: round §4.4 (v1). The public key stays, so clients notice nothing. The former members must certify and approve
the change, and erase their pieces afterwards; who takes part under a new name needs a new identity, with keys of its
own.
"""

from collections.abc import Mapping, Sequence

from ledger import CosigningWitness
from protocols.errors import KeyGenerationError
from protocols.tckks import ShamirSharing

from .board import Board
from .member import Member
from .messages import ChangeCertificate, CommitteeChange
from .operator import Operator

__all__ = ["announce_change", "certify_change", "change_committee"]

Witnesses = Mapping[str, CosigningWitness | None]


def announce_change(
    board: Board,
    operator: Operator,
    former: Sequence[Member],
    incoming: Sequence[Member],
    *,
    threshold: int,
    witnesses: Witnesses,
    now: int,
) -> bytes:
    """Announce the members of the next epoch, and have those in office certify it. Run by: the operator, between two
    rounds.

    `former` are the members in office that are there, `witnesses` those of all in office. The result is the change's
    position, which every former member is asked to approve. A change that is stuck is replaced by announcing another
    one, with other keys.

    Units: now in POSIX seconds, for the cosignatures.

    Raises:
        StateError: a round is open, the plan has no more changes, or no such committee can be.
        QuorumError: too few of those in office cosign. The change is announced: `certify_change` when more are there.
    """
    committee = board.replay.committee
    active: tuple[int, ...] = ()
    if isinstance(committee.sharing, ShamirSharing):
        able = sorted(member.number for member in former if board.replay.in_force(member.name))
        active = tuple(able[: committee.sharing.threshold])
    parties = tuple(member.identity.party for member in incoming)
    body = CommitteeChange(committee.epoch + 1, threshold, parties, active)
    board.append(body, operator.name, operator.identity.signing_in(board.replay))
    certify_change(board, operator, witnesses, now=now)
    return board.replay.ceremony.position


def certify_change(board: Board, operator: Operator, witnesses: Witnesses, *, now: int) -> None:
    """Have the members in office cosign the log: with the announced change, so that they may deal; and again when all
    incoming members have accepted, which puts these in office. Does nothing if that is done. Run by: the operator.

    Witnesses cosign one history only, so no other fork of the log gets another change certified by the same members, or
    a round that they certified beside a successor in office.

    Raises:
        StateError: no change is under way.
        QuorumError: too few of those in office cosign; it names who is missing.
    """
    ceremony = board.replay.ceremony
    if ceremony.confirmed or (ceremony.certified and not ceremony.everyone_in(ceremony.accepts)):
        return
    certificate = board.certify(witnesses, now=now)
    body = ChangeCertificate(ceremony.position, certificate.note)
    board.append(body, operator.name, operator.identity.signing_in(board.replay))


def change_committee(
    board: Board,
    operator: Operator,
    former: Sequence[Member],
    incoming: Sequence[Member],
    *,
    threshold: int,
    witnesses: Witnesses,
    now: int,
) -> None:
    """Hand the key from the members in office to the incoming ones, who are in office when this returns.

    For tests and runs in one process only: it approves the change in the name of every former member. Where members
    decide for themselves, each calls `Member.approve` by hand, and then the same steps as here.

    Units: now in POSIX seconds, for the cosignatures.

    Raises:
        StateError: the change is not allowed, or a step cannot be done yet.
        QuorumError: too few of the former members cosign.
        KeyGenerationError, BadShareError: what was dealt is wrong, from every dealer that could have dealt it. The
            former committee stays in office; another change can be announced.
    """
    change = announce_change(board, operator, former, incoming, threshold=threshold, witnesses=witnesses, now=now)
    for member in former:
        member.approve(board, change)
    for member in former:
        member.commit(board)
    _deliver(board, former, incoming)
    for member in incoming:
        member.answer_test(board)
    for member in incoming:
        member.accept(board)
    certify_change(board, operator, witnesses, now=now)
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
