"""The whole protocol in one process, in memory: the text of the specification, executable.

Spec: round §4 (v1), which prints `run_round`. Nothing outlives the call; the deployed roles in `client`, `member` and
`operator` are the same ones with durable stores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ledger import Blobs, Certificate, Log, MemoryBlobs, MemoryStore, MemoryWitnessStore, VerifierKey, Witness

from .board import Board
from .client import Client
from .identity import Identity
from .journal import MemoryJournal
from .local_training import Learner
from .member import KEY_STEPS, Member
from .messages import Role
from .model import GlobalModel
from .odometer import MemoryOdometer
from .opening import open_sum
from .operator import Operator
from .plan import FederationPlan
from .roster import OPERATOR, client_name, member_name

__all__ = ["Outcome", "run_round"]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What one round leaves: the public board, the certificate of its end, and the new model: see `publish_run`."""

    board: Board
    certificate: Certificate
    model: GlobalModel


def run_round(
    plan: FederationPlan, learners: Sequence[Learner], *, blobs: Blobs, now: int, start: GlobalModel | None = None
) -> Outcome:
    """Found a federation, generate its key, and run its first round.

    `learners` are the clients' records and network, one entry a client; `blobs` keeps what is too large for the log;
    `start` is the model whose digest the plan names, by default zeros.
    Units: now in POSIX seconds, for the cosignatures.

    Raises:
        ValueError: there are not as many learners as clients.
        StateError: `start` is not the plan's first model.
    """
    if len(learners) != plan.clients:
        raise ValueError(f"{len(learners)} learners for {plan.clients} clients")

    # Everybody makes their own keys; the operator opens the log and writes the plan and the parties into it.
    operator = Operator(Identity.in_memory(OPERATOR, Role.OPERATOR))
    log = Log(MemoryStore(), f"secure-bfl/{operator.identity.note.public.hex()[:16]}", operator.identity.note)
    board = Board(log, blobs)
    members = [_member(number, log.verifier) for number in range(1, plan.members + 1)]
    clients = [_client(number, plan, learner) for number, learner in enumerate(learners, start=1)]
    identities = [operator.identity, *(m.identity for m in members), *(c.identity for c in clients)]
    operator.found(board, plan, tuple(identity.party for identity in identities))
    witnesses = {member.name: member.witness for member in members}

    # Key generation: commit, reveal, check, dry run, accept. Nobody ever holds the secret key.
    for step in KEY_STEPS:
        for member in members:
            step(member, board)

    # The round: clients train, add noise, encrypt and commit; the operator fixes who is in.
    model = GlobalModel.zero(plan.tensors) if start is None else start
    operator.open_round(board, 1, model)
    for client in clients:
        client.update(board, 1, model)
    operator.close_round(board, 1)

    # The sum: the operator adds, every member adds again and votes.
    operator.add_up(board, 1)
    for member in members:
        member.vote(board, 1)

    # The opening: the committee certifies, t members answer, all check, and others are asked in place of who is wrong.
    # The model follows from public bytes; anybody gets the same one.
    model = open_sum(board, 1, model, operator=operator, members=members, witnesses=witnesses, now=now)
    return Outcome(board, board.certify(witnesses, now=now), model)


def _member(number: int, log_key: VerifierKey) -> Member:
    identity = Identity.in_memory(member_name(number), Role.MEMBER)
    witness = Witness(identity.name, identity.note, log_key, MemoryWitnessStore())
    return Member(identity, journal=MemoryJournal(), witness=witness)


def _client(number: int, plan: FederationPlan, learner: Learner) -> Client:
    name = client_name(number)
    odometer = MemoryOdometer(
        dataset=f"{plan.dataset}/{name}",
        unit=plan.unit_of_privacy,
        epsilon=plan.epsilon,
        delta=plan.delta,
        dim=plan.values,
    )
    return Client(Identity.in_memory(name, Role.CLIENT), learner, odometer=odometer, outbox=MemoryBlobs())
