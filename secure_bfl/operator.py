"""The operator: sequences the log, opens and closes rounds, adds, asks, publishes.

Spec: round §4.3 (v1). Nobody has to trust it: whatever it writes is checked by every member before a key is used, and
by every auditor afterwards. It can stop a run; it cannot bend one. Every step does nothing if the ledger shows it done.
"""

from collections.abc import Mapping
from contextlib import suppress

from ledger import BlobError, Certificate, CosigningWitness, blob_digest, sign_entry
from protocols.errors import DecodeError, QuorumError
from protocols.tckks import Adder, EncryptedVector, Purpose, ReplicatedSharing

from .answers import faults
from .board import Board
from .disputes import disputes, has_checks
from .errors import StateError
from .identity import Identity
from .messages import (
    MAX_TEXT,
    Aggregate,
    BlobRelease,
    DecryptionRequest,
    Genesis,
    Model,
    Party,
    RoundClose,
    RoundOpen,
    RoundVoid,
)
from .model import GlobalModel
from .plan import FederationPlan
from .roster import Committee, member_number
from .spending import overspent
from .state import Attempt

__all__ = ["Operator"]


class Operator:
    """The party that runs the log."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self._summed: tuple[tuple[bytes, ...], EncryptedVector] | None = None

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
        board.append(RoundOpen(number, digest), self.name, self.identity.signing_in(board.replay))

    def close_round(self, board: Board, number: int) -> None:
        """Close a round: the cohort is every committed update whose ciphertext is there and well formed.

        A client that states more spending than the budget, of all runs on its records, is left out.

        Raises:
            QuorumError: fewer than the plan's minimum of clients committed; the round stays open for them.
        """
        round_state, plan = board.round(number), board.roster.plan
        if round_state.closed is not None:
            return
        present, adder = {}, Adder(board.joint_key, plan.blocks, most=plan.clients)
        beyond = overspent(board, number)
        for name, (index, commit) in sorted(round_state.commits.items(), key=lambda item: item[1][0]):
            if name in beyond:
                continue
            with suppress(BlobError, DecodeError):
                adder.add(board.encoded(commit.opened), sender=name)
                present[name] = index
        if len(present) < plan.minimum_clients:
            absent = tuple(name for name in board.roster.clients if name not in present)
            raise QuorumError(
                f"round {number} has {len(present)} updates, the plan needs {plan.minimum_clients}; "
                f"missing, malformed or over budget: {', '.join(absent)}",
                needed=plan.minimum_clients,
                have=tuple(present),
                missing=absent,
            )
        cohort = tuple(sorted(present.values()))
        board.append(RoundClose(number, cohort), self.name, self.identity.signing_in(board.replay))
        self._summed = (board.round(number).ciphertexts(), adder.total())

    def add_up(self, board: Board, number: int) -> None:
        """Add the cohort's ciphertexts and announce the sum.

        If the sum is itself a ciphertext that a client committed to, which takes clients that make theirs from those of
        others, the round is void: what is opened, and kept, would be somebody's update.
        """
        round_state = board.round(number)
        if round_state.aggregate is not None or round_state.void is not None:
            return
        digests = round_state.ciphertexts()
        if self._summed is None or self._summed[0] != digests:
            self._summed = (digests, board.sum_of(digests))
        encoded = self._summed[1].encode()
        if blob_digest(encoded) in board.replay.seen:
            self.void_round(board, number, "the sum of the updates is a ciphertext that somebody committed to")
            return
        digest = board.blobs.put(encoded)
        board.append(Aggregate(number, digest), self.name, self.identity.signing_in(board.replay))

    def request(self, board: Board, number: int, witnesses: Mapping[str, CosigningWitness | None], *, now: int) -> None:
        """Have the sum certified, then ask as many members as open it; see `settle` for what comes after.

        Raises:
            ledger.QuorumError: too few members cosigned the checkpoint.
            QuorumError: too few members computed the same sum.
        """
        state, committee = board.round(number), board.committee_of(number)
        if state.finished or state.attempt is not None or state.aggregate is None:
            return
        agreeing, needed = state.agreeing(), committee.policy.needed
        if len(agreeing) < needed:
            absent = tuple(name for name in committee.members if name not in agreeing)
            raise QuorumError(
                f"the sum of round {number} needs the votes of {needed} of {len(committee.members)} members, "
                f"has {len(agreeing)}; missing or of another opinion: {', '.join(absent)}",
                needed=needed,
                have=agreeing,
                missing=absent,
            )
        able = tuple(name for name in agreeing if board.replay.in_force(name))
        if len(able) < committee.sharing.threshold:
            revoked = tuple(name for name in agreeing if name not in able)
            raise QuorumError(
                f"the sum of round {number} cannot be opened: the keys of {', '.join(revoked)} were revoked",
                needed=committee.sharing.threshold,
                have=able,
                missing=revoked,
            )
        self._ask(board, number, state.aggregate.ciphertext, able, witnesses, now=now)

    def _ask(
        self,
        board: Board,
        number: int,
        ciphertext: bytes,
        able: tuple[str, ...],
        witnesses: Mapping[str, CosigningWitness | None],
        *,
        now: int,
    ) -> None:
        state = board.round(number)
        threshold = board.committee_of(number).sharing.threshold
        active = tuple(sorted(member_number(name) for name in able)[:threshold])
        note = board.certify(witnesses, now=now).note
        body = DecryptionRequest(number, len(state.attempts), Purpose.UPDATE, ciphertext, active, note)
        board.append(body, self.name, self.identity.signing_in(board.replay))

    def settle(self, board: Board, number: int, witnesses: Mapping[str, CosigningWitness | None], *, now: int) -> bool:
        """Judge what came back on a request, after everybody who is there had the time to answer and to check.

        True if the answers stand, so that the model can be computed. Else a member was silent or is proven wrong, and
        others were asked in its place; or nobody is left who could be asked, and the round is void.

        Raises:
            QuorumError: members are missing that nobody can stand in for; wait for them, or `void_round`.
            ledger.QuorumError: too few members cosigned the checkpoint.
        """
        state, committee = board.round(number), board.committee_of(number)
        attempt, checked = state.attempt, has_checks(committee.sharing)
        if attempt is None or state.finished:
            return False
        wrong = faults(board, number)
        silent = attempt.unanswered
        if checked and not silent:
            silent = tuple(name for name in attempt.asked if name not in attempt.checks)
        if not silent and not any(name in wrong for name in attempt.asked):
            return self._is_undisputed(board, number, attempt, committee)
        there = (name for name in state.agreeing() if board.replay.in_force(name))
        able = tuple(name for name in there if name not in wrong and name not in silent)
        enough = len(able) >= committee.sharing.threshold and len(state.attempts) < len(committee.members)
        if enough and isinstance(committee.sharing, ReplicatedSharing):
            self._ask(board, number, attempt.request.ciphertext, able, witnesses, now=now)
        elif wrong:
            self.void_round(board, number, f"nobody is left to open the sum: {'; '.join(wrong.values())}")
        else:
            raise QuorumError(
                f"round {number} waits for {', '.join(silent)}, and nobody is left who could stand in",
                needed=committee.sharing.threshold,
                have=able,
                missing=silent,
            )
        return False

    def _is_undisputed(self, board: Board, number: int, attempt: Attempt, committee: Committee) -> bool:
        """All who were asked have done their part. Enough others too, and do they agree?"""
        if not has_checks(committee.sharing):
            return True
        if len(attempt.checks) < committee.policy.needed:
            absent = tuple(name for name in committee.members if name not in attempt.checks)
            raise QuorumError(
                f"the answers of round {number} need the checks of {committee.policy.needed} of "
                f"{len(committee.members)} members, have {len(attempt.checks)}; missing: {', '.join(absent)}",
                needed=committee.policy.needed,
                have=tuple(sorted(attempt.checks)),
                missing=absent,
            )
        open_disputes = [str(dispute) for dispute in disputes(attempt, committee) if not dispute.believed]
        if open_disputes:
            self.void_round(board, number, "; ".join(open_disputes))
        return not open_disputes

    def void_round(self, board: Board, number: int, reason: str) -> None:
        """End a round without a model; the next one starts from the same. What its clients spent stays spent."""
        if not board.round(number).finished:
            board.append(RoundVoid(number, reason[:MAX_TEXT]), self.name, self.identity.signing_in(board.replay))

    def publish_model(
        self, board: Board, number: int, model: GlobalModel, *, sentinel_energy: int, accuracy_ppm: int = -1
    ) -> None:
        """Publish what the opened sum gives: `following_model`, and `sentinel_energy`, which anybody computes again.

        `accuracy_ppm` is the operator's word, or -1.
        """
        if not board.round(number).finished:
            digest = board.blobs.put(model.encode())
            body = Model(number, digest, accuracy_ppm, sentinel_energy)
            board.append(body, self.name, self.identity.signing_in(board.replay))

    def release_blobs(self, board: Board, number: int) -> None:
        """Write that the ciphertexts of a finished round may be deleted. `drop_blobs` does it.

        Raises:
            StateError: the round is not finished, or too few members attest that they summed it.
        """
        state = board.round(number)
        if state.released is None:
            body = BlobRelease(number, state.closing or bytes(32))
            board.append(body, self.name, self.identity.signing_in(board.replay))

    def drop_blobs(self, board: Board, number: int, certificate: Certificate) -> None:
        """Delete the ciphertexts of a released round's cohort. What it decided stays: sum, votes, answers, model.

        So does everything else that an entry names, should a client have committed to it as its update.

        The certificate must cover the release: until then a reader of the certified log would miss the ciphertexts.
        Can be done again after a crash anywhere.

        Raises:
            StateError: the round was not released, or the certificate does not cover it or is of another log.
            StoreError: a blob could not be deleted.
        """
        state, head = board.round(number), certificate.checkpoint
        if state.released is None:
            raise StateError(f"the ciphertexts of round {number} were not released; `release_blobs` first")
        covered = state.released < head.size <= board.replay.size and board.replay.root(head.size) == head.root
        if not covered:
            raise StateError(f"no certificate covers the release of round {number} yet; certify and publish first")
        for digest in set(state.ciphertexts()) - board.named():
            board.blobs.delete(digest)
