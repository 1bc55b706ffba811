"""Opening a round's sum: ask, answer, check, and ask others, until it opens or nobody is left.

Spec: round §4.4 (v1). A wrong or silent member, or a client's malformed ciphertext, costs an attempt or a round; the
run goes on. A member that does it again can cost every round where nobody is believed against it: in Shamir's sharing,
with t = n, and where a piece has too few holders to decide a dispute (round §3.3).
"""

from collections.abc import Callable, Mapping, Sequence

from ledger import CosigningWitness
from protocols.errors import BadShareError

from .board import Board
from .errors import StateError, UnopenableError
from .member import Member
from .model import GlobalModel
from .operator import Operator
from .results import following_model, opened_sum, sentinel_energy

__all__ = ["open_sum"]


def open_sum(
    board: Board,
    number: int,
    model: GlobalModel,
    *,
    operator: Operator,
    members: Sequence[Member],
    witnesses: Mapping[str, CosigningWitness | None],
    now: int,
    accuracy_ppm: Callable[[GlobalModel], int] = lambda model: -1,
) -> GlobalModel:
    """Open the sum that the members voted for, and publish the model; or end the round without one.

    `members` are those that are there. Returns the model that the next round starts from.

    Raises:
        QuorumError: too few members are there to go on; the same call goes on when they are back.
        RefusedError: a member refuses; the message says why.
        StateError: a member would break a promise, or the log does not take what the operator writes.
    """
    operator.request(board, number, witnesses, now=now)
    state = board.round(number)
    while not state.finished:
        attempts = len(state.attempts)
        if not attempts:
            raise StateError(f"round {number} has no sum that could be asked for")
        for member in members:
            member.answer(board, number)
        for member in members:
            member.check_pieces(board, number)
        if not operator.settle(board, number, witnesses, now=now):
            if not state.finished and len(state.attempts) == attempts:
                raise StateError(f"round {number}: nobody else was asked, and the round is not over")
            continue
        try:
            sums = opened_sum(board, number)
        except (BadShareError, UnopenableError) as exc:
            operator.void_round(board, number, str(exc))
        else:
            following = following_model(board, number, model, sums)
            energy = sentinel_energy(board.roster.plan, sums)
            operator.publish_model(
                board, number, following, accuracy_ppm=accuracy_ppm(following), sentinel_energy=energy
            )
            return following
    return model
