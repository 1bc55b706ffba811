"""The operator: sequences the log, opens and closes rounds, adds, asks, publishes.

Spec: round §4.3 (v1). Nobody has to trust it: whatever it writes is checked by every member before a key is used, and by
every auditor afterwards. It can stop a run; it cannot bend one. Every step does nothing if the ledger shows it done.
"""

from collections.abc import Mapping

from ledger import BlobError, Certificate, CosigningWitness, sign_entry
from protocols.errors import DecodeError, QuorumError
from protocols.packing import unpack
from protocols.tckks import PartialDecryption, Purpose, aggregate, check_test, combine
from protocols.tckks.wire import encoded_size

from .board import Board
from .errors import StateError
from .identity import Identity
from .messages import Aggregate, DecryptionRequest, Genesis, Model, Party, RoundClose, RoundOpen
from .model import GlobalModel
from .plan import FederationPlan
from .roster import member_name, member_number

__all__ = ["Operator", "check_dry_run", "next_model"]


class Operator:
    """The party that runs the log."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity

    @property
    def name(self) -> str:
        """The operator's name."""
        return self.identity.name

    def found(self, board: Board, plan: FederationPlan, parties: tuple[Party, ...]) -> None:
        """Write the genesis entry.

        Raises:
            StateError: the parties are not those the plan calls for.
        """
        if board.started:
            return
        genesis = Genesis(board.log.origin, plan.encode(), parties)
        data = sign_entry(genesis.kind, self.name, genesis.to_value(), self.identity.signing, context=b"")
        reason = board.replay.refuses(data)
        if reason is not None:
            raise StateError(reason, culprits=(self.name,))
        board.log.append(data)
        board.replay.apply(data)

    def open_round(self, board: Board, number: int, model: GlobalModel) -> None:
        """Open a round from the model the last one ended with."""
        if len(board.replay.rounds) >= number:
            return
        digest = board.blobs.put(model.encode())
        board.append(RoundOpen(number, digest), self.name, self.identity.signing)

    def close_round(self, board: Board, number: int) -> None:
        """Close a round: the cohort is every committed update whose ciphertext is there and well formed.

        Raises:
            QuorumError: fewer than the plan's minimum of clients committed; the round stays open for them.
        """
        round_state, plan = board.round(number), board.roster.plan
        if round_state.closed is not None:
            return
        present = {
            name: index
            for name, (index, commit) in round_state.commits.items()
            if _is_well_formed(board, commit.ciphertext)
        }
        if len(present) < plan.minimum_clients:
            absent = tuple(name for name in board.roster.clients if name not in present)
            raise QuorumError(
                f"round {number} has {len(present)} updates, the plan needs {plan.minimum_clients}; "
                f"missing or malformed: {', '.join(absent)}",
                needed=plan.minimum_clients,
                have=tuple(present),
                missing=absent,
            )
        cohort = tuple(sorted(present.values()))
        board.append(RoundClose(number, cohort), self.name, self.identity.signing)

    def add_up(self, board: Board, number: int) -> None:
        """Add the cohort's ciphertexts and announce the sum."""
        round_state = board.round(number)
        if round_state.aggregate is not None:
            return
        total = aggregate(board.ciphertext(digest) for digest in round_state.ciphertexts())
        digest = board.blobs.put(total.encode())
        board.append(Aggregate(number, digest), self.name, self.identity.signing)

    def request(
        self, board: Board, number: int, witnesses: Mapping[str, CosigningWitness | None], *, now: int
    ) -> None:
        """Have the sum certified, then ask a quorum of members to open it.

        Raises:
            ledger.QuorumError: too few members cosigned the checkpoint.
            QuorumError: too few members computed the same sum.
        """
        round_state, roster = board.round(number), board.roster
        if round_state.request is not None or round_state.aggregate is None:
            return
        agreeing, needed = round_state.agreeing(), roster.policy.needed
        if len(agreeing) < needed:
            absent = tuple(name for name in roster.members if name not in agreeing)
            raise QuorumError(
                f"the sum of round {number} needs the votes of {needed} of {len(roster.members)} members, "
                f"has {len(agreeing)}; missing or of another opinion: {', '.join(absent)}",
                needed=needed,
                have=agreeing,
                missing=absent,
            )
        certificate = board.certify(witnesses, now=now)
        active = tuple(sorted(member_number(name) for name in agreeing)[: roster.plan.threshold])
        body = DecryptionRequest(
            number, Purpose.UPDATE, round_state.aggregate.ciphertext, active, certificate.note
        )
        board.append(body, self.name, self.identity.signing)

    def publish_model(
        self, board: Board, number: int, model: GlobalModel, *, accuracy_ppm: int = -1
    ) -> GlobalModel:
        """Combine the answers into the sum, apply it, and publish the model.

        Raises:
            QuorumError: a member that was asked has not answered yet; it is named.
            BadShareError: the answers do not open the sum.
        """
        round_state = board.round(number)
        following = next_model(board, number, model)
        if round_state.result is None:
            digest = board.blobs.put(following.encode())
            board.append(Model(number, digest, accuracy_ppm), self.name, self.identity.signing)
        return following

    @staticmethod
    def certify(board: Board, witnesses: Mapping[str, CosigningWitness | None], *, now: int) -> Certificate:
        """Have the newest checkpoint cosigned."""
        return board.certify(witnesses, now=now)


def _is_well_formed(board: Board, digest: bytes) -> bool:
    try:
        board.ciphertext(digest)
    except (BlobError, DecodeError):
        return False
    return True


def next_model(board: Board, number: int, model: GlobalModel) -> GlobalModel:
    """The model that follows from a round's committed ciphertexts and answers. Run by: anyone.

    Raises:
        QuorumError: an answer is missing.
        BlobError, BadShareError, DecodeError: an answer or ciphertext is not what it should be.
    """
    round_state, plan = board.round(number), board.roster.plan
    if round_state.request is None:
        raise StateError(f"nothing was asked in round {number} yet")
    asked = tuple(member_name(m) for m in round_state.request.active)
    absent = tuple(name for name in asked if name not in round_state.answers)
    if absent:
        raise QuorumError(
            f"round {number} waits for the answers of {', '.join(absent)}",
            needed=len(asked),
            have=tuple(round_state.answers),
            missing=absent,
        )
    size = encoded_size(plan.blocks, plan.suite.ring_degree, plan.suite.data_primes)
    answers = {}
    for name in asked:
        data = board.blobs.get(round_state.answers[name].answer, size=size)
        answers[name] = PartialDecryption.decode(data, board.joint_key, sender=name, blocks=plan.blocks).residues
    total = board.ciphertext(round_state.request.ciphertext)
    sums = unpack(combine(total, answers, plan.noise_budget, plan.layout), plan.parameters)
    return model.apply(sums, len(round_state.cohort), plan.grid)


def check_dry_run(board: Board) -> None:
    """Open the dry run's test from the published answers. Run by: anyone, once the key is ready.

    Raises:
        StateError: holders of a piece gave different answers; the camps are named.
        BlobError, BadShareError: an answer is missing or the test does not open.
    """
    disputed = board.replay.disputed_pieces
    if disputed:
        piece, camps = next(iter(disputed.items()))
        sides = " against ".join(", ".join(camp) for camp in camps)
        raise StateError(f"the holders of piece {piece} answered the dry run differently: {sides}")
    plan = board.roster.plan
    size = encoded_size(1, plan.suite.ring_degree, plan.suite.data_primes)
    answers = {
        piece: board.blobs.get(next(iter(same)), size=size)
        for piece, same in board.replay.ceremony.answered().items()
    }
    check_test(board.joint_key, plan.noise_budget, plan.layout, answers)
