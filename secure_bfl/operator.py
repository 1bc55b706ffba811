"""The operator: sequences the log, opens and closes rounds, adds, asks, publishes.

Spec: round §4.3 (v1). Nobody has to trust it: whatever it writes is checked by every member before a key is used, and
by every auditor afterwards. It can stop a run; it cannot bend one. Every step does nothing if the ledger shows it done.
"""

from collections.abc import Mapping

from ledger import BlobError, CosigningWitness, sign_entry
from protocols.errors import DecodeError, QuorumError
from protocols.tckks import Purpose, aggregate

from .board import Board
from .errors import StateError
from .identity import Identity
from .messages import Aggregate, DecryptionRequest, Genesis, Model, Party, RoundClose, RoundOpen
from .model import GlobalModel
from .plan import FederationPlan
from .roster import member_number

__all__ = ["Operator"]


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
            StateError: the parties are not those the plan calls for, or the log is another federation's.
        """
        if board.started:
            if board.roster.plan != plan or tuple(board.roster.parties.values()) != parties:
                raise StateError("the log has a genesis entry of another plan or other parties")
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

    def request(self, board: Board, number: int, witnesses: Mapping[str, CosigningWitness | None], *, now: int) -> None:
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
        body = DecryptionRequest(number, Purpose.UPDATE, round_state.aggregate.ciphertext, active, certificate.note)
        board.append(body, self.name, self.identity.signing)

    def publish_model(self, board: Board, number: int, model: GlobalModel, *, accuracy_ppm: int = -1) -> None:
        """Publish the model that the answers give (`next_model`). `accuracy_ppm` is the operator's word, or -1."""
        if board.round(number).result is None:
            digest = board.blobs.put(model.encode())
            board.append(Model(number, digest, accuracy_ppm), self.name, self.identity.signing)


def _is_well_formed(board: Board, digest: bytes) -> bool:
    try:
        board.ciphertext(digest)
    except (BlobError, DecodeError):
        return False
    return True
