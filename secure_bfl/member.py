"""A committee member: deals its part of the key, witnesses the log, checks every sum, answers once.

Spec: round §4.2 (v1). A member never answers a ciphertext it has not summed itself from a certified cohort, never one
cohort's ciphertext in two aggregates, never more often than the key's plan allows. Each promise is on disk before the
answer leaves.
"""

from collections.abc import Callable, Sequence
from typing import Final

from ledger import CosigningWitness, blob_digest
from ledger import DecodeError as LedgerDecodeError
from protocols.errors import DecodeError
from protocols.tckks import (
    EncryptedVector,
    Opening,
    OpeningProfile,
    Purpose,
    ShamirSharing,
    challenge_weights,
    fingerprint,
    partial_decrypt,
    piece_answer,
    trial_ciphertext,
    trials,
)

from .board import Board
from .disputes import challenge, has_checks
from .errors import RefusedError, StateError
from .identity import Identity
from .journal import Journal
from .key_member import KeyHolder
from .messages import (
    AggregateVote,
    KeyClaim,
    KeyRevocation,
    PartialAnswer,
    PieceCheck,
)
from .roster import member_number
from .spending import overspent

__all__ = ["KEY_STEPS", "Member"]


class Member:
    """One committee member."""

    def __init__(self, identity: Identity, *, journal: Journal, witness: CosigningWitness) -> None:
        self.identity, self._journal, self.witness = identity, journal, witness
        self.number = member_number(identity.name)
        self._holder = KeyHolder(identity, journal)
        self._summed: tuple[tuple[bytes, ...], EncryptedVector] | None = None

    @property
    def name(self) -> str:
        """The member's name."""
        return self.identity.name

    # The key. Every step does nothing if the ledger shows it done: see `KeyHolder`.

    def approve(self, board: Board, change: bytes) -> None:
        """Agree to deal in the committee change of this position."""
        self._holder.approve(board, change)

    def commit(self, board: Board) -> None:
        """Commit to what this member deals.

        Raises:
            PrivacyError: the plan's schedule costs more than its budget; no key is made for such a run.
        """
        board.roster.plan.require_budget()
        self._holder.commit(board)

    def reveal(self, board: Board) -> None:
        """Publish the public parts, and what every holder gets, sealed."""
        self._holder.reveal(board)

    def check(self, board: Board) -> None:
        """Check everything this member was dealt, and pin the joint key."""
        self._holder.check(board)

    def answer_test(self, board: Board) -> None:
        """Answer the dry run."""
        self._holder.answer_test(board)

    def accept(self, board: Board) -> None:
        """Open the dry run's tests, and accept the key for good."""
        self._holder.accept(board)

    def open_seeds(self, board: Board) -> None:
        """After a founding whose dry run fails: show the seeds this member dealt, so that the culprit is found."""
        self._holder.open_seeds(board)

    def drop(self, board: Board) -> None:
        """Erase what this member held, once another committee is in office."""
        self._holder.drop(board)

    # Rounds. A member that is not in the committee, or whose signing key was revoked, does nothing.

    def _serves(self, board: Board, number: int) -> bool:
        return self.name in board.committee_of(number).parties and board.replay.in_force(self.name)

    def vote(self, board: Board, number: int) -> None:
        """Sum the cohort's ciphertexts and vote the digest of the sum.

        Raises:
            RefusedError: the cohort holds a client whose spending is above the budget.
        """
        state = board.round(number)
        if not self._serves(board, number) or state.finished:
            return
        if state.aggregate is None or state.attempt is not None or self.name in state.votes:
            return
        self._require_budgets(board, number)
        digest = blob_digest(self._sum(board, number).encode())
        board.append(AggregateVote(number, state.closing, digest), self.name, self.identity.signing_in(board.replay))

    def attest(self, board: Board, number: int) -> None:
        """Say that this member had all ciphertexts of a round and summed them, now that the vote is over or never was.

        Done by a member that could not vote in time, for those who want to know how many have checked the sum. Nothing
        is done where this member voted, or the ciphertexts were released.

        Raises:
            BlobError: a ciphertext is missing.
            StateError: this member is not in office any more.
        """
        state = board.round(number)
        said = self.name in state.votes or self.name in state.late_votes
        if said or not self._serves(board, number) or state.aggregate is None or state.released is not None:
            return
        digest = blob_digest(self._sum(board, number).encode())
        body = AggregateVote(number, state.closing, digest)
        board.append(body, self.name, self.identity.signing_in(board.replay))

    def answer(self, board: Board, number: int) -> None:
        """Answer the round's decryption request, once, after checking everything it rests on.

        Another request for the same sum is answered with the same bytes for each piece, whoever is asked with it; under
        Shamir's sharing it is refused.

        Raises:
            RefusedError: the request breaks a rule; the message says which.
            StateError: something it would open was opened before in another aggregate, or in another active set.
        """
        attempt = board.round(number).attempt
        if attempt is None or self.name not in attempt.asked or self.name in attempt.answers:
            return
        if not self._serves(board, number):
            return
        request = attempt.request
        total = self._recomputed(board, number)
        self._claim(board, number, total)
        share = partial_decrypt(self._holder.member_key(board), total, request.active, purpose=Purpose(request.purpose))
        digest = board.blobs.put(share.encode())
        board.append(
            PartialAnswer(number, request.attempt, attempt.entry, digest),
            self.name,
            self.identity.signing_in(board.replay),
        )

    def check_pieces(self, board: Board, number: int) -> None:
        """Publish fingerprints of the answer of every piece held, once all that were asked have answered.

        Done by every member that is there, asked or not, and by one that comes after the model was published, as
        evidence. It computes the answers itself, under the same rules as if it gave them. Nothing is done where each
        piece has one holder.

        Raises:
            RefusedError, StateError: as for `answer`.
        """
        state, committee = board.round(number), board.committee_of(number)
        attempt = state.attempt
        if attempt is None or state.void is not None or attempt.unanswered or state.released is not None:
            return
        if self.name in attempt.checks or self.name in attempt.late:
            return
        if not self._serves(board, number) or not has_checks(committee.sharing):
            return
        plan, key = board.roster.plan, self._holder.member_key(board)
        total = self._recomputed(board, number)
        self._claim(board, number, total)
        opening = Opening.of(key, Purpose.UPDATE, attempt.request.active, OpeningProfile.exact(plan.suite))
        random = challenge(board.replay.context, number, attempt)
        weights = challenge_weights(random, plan.blocks, plan.suite.ring_degree)
        prints = tuple(
            fingerprint(plan.suite, piece_answer(key.piece(piece), total, opening), weights)
            for piece in committee.sharing.held_by(self.number)
        )
        body = PieceCheck(number, attempt.request.attempt, random, prints)
        board.append(body, self.name, self.identity.signing_in(board.replay))

    # Other parties' keys.

    def vote_revocation(self, board: Board, party: str, *, reason: str, claim: KeyClaim | None = None) -> None:
        """Vote that nothing signed with this party's key counts any more; with a claim, that the claimed key does.

        To be called by a person that knows why: a claim proves that somebody holds the new key, not that it is the
        party. Does nothing if this member voted for this already, or it is so.

        Raises:
            StateError: there is no such party, or the claim is another party's, or replay would ignore the vote.
        """
        standing = board.replay.standings.get(party)
        if standing is None:
            raise StateError(f"{self.name}: there is no party {party!r}")
        if claim is not None and claim.party != party:
            raise StateError(f"{self.name}: the claim is of {claim.party}, not of {party}", culprits=(claim.party,))
        key, proof = (b"", b"") if claim is None else (claim.key, claim.proof)
        number = standing.number if claim is None else claim.number
        done = not standing.in_force if claim is None else any(key == known.public for known in standing.keys)
        if not done and standing.ballots.get(self.name) != key:
            body = KeyRevocation(party, number, key, proof, reason)
            board.append(body, self.name, self.identity.signing_in(board.replay))

    def _require_budgets(self, board: Board, number: int) -> None:
        beyond = overspent(board, number)
        for name in board.round(number).cohort:
            if name in beyond:
                raise RefusedError(
                    f"{self.name} refuses: {name} states spending of epsilon {beyond[name]:.4g} on its records, the "
                    f"budget is {board.roster.plan.epsilon:g}; close the round without it",
                    culprits=(name, "operator"),
                )

    def _sum(self, board: Board, number: int) -> EncryptedVector:
        """The sum of the cohort's ciphertexts, computed here; kept until another one is needed."""
        digests = board.round(number).ciphertexts()
        if self._summed is None or self._summed[0] != digests:
            self._summed = (digests, board.sum_of(digests))
        return self._summed[1]

    def _recomputed(self, board: Board, number: int) -> EncryptedVector:
        """The aggregate, summed by this member from the cohort that a certified checkpoint covers."""
        state, plan = board.round(number), board.roster.plan
        request = state.request
        if request is None:
            raise StateError(f"{self.name}: there is no request in round {number}")
        if state.void is not None:
            raise RefusedError(f"{self.name} refuses: round {number} is void", culprits=("operator",))
        if len(state.cohort) < plan.minimum_clients:
            raise RefusedError(
                f"{self.name} refuses: {len(state.cohort)} updates are fewer than the minimum "
                f"of {plan.minimum_clients}",
                culprits=("operator",),
            )
        self._require_budgets(board, number)
        try:
            total = self._sum(board, number)
        except (DecodeError, LedgerDecodeError) as exc:
            raise RefusedError(f"{self.name} refuses: a ciphertext of the cohort is malformed: {exc}") from exc
        if blob_digest(total.encode()) != request.ciphertext:
            raise RefusedError(
                f"{self.name} refuses: the requested aggregate is not the sum of the cohort", culprits=("operator",)
            )
        if not total.residues[:, 1].any(axis=-1).all():
            raise RefusedError(f"{self.name} refuses: the sum of the cohort is transparent, it hides nothing")
        return total

    def _claim(self, board: Board, number: int, total: EncryptedVector) -> None:
        """Promise, durably: this aggregate for this round, each of its ciphertexts for this aggregate only.

        Under Shamir's sharing also: each block's second polynomial in this active set only, since answers in two sets
        give the piece away. The dry run's tests are bound to their sets likewise.
        """
        request = board.round(number).attempts[-1].request
        key, plan = board.joint_key.digest.hex(), board.roster.plan
        opened = f"aggregate/{key}/"
        if self._journal.get(f"{opened}{number}") is None and self._journal.count(opened) >= plan.rounds:
            raise RefusedError(f"{self.name} refuses: the key has served all {plan.rounds} planned rounds")
        committee = board.committee_of(number)
        if isinstance(committee.sharing, ShamirSharing):
            for trial in trials(committee.sharing):
                if self.number in trial.active:
                    test = trial_ciphertext(
                        board.joint_key,
                        plan.noise_budget,
                        plan.layout,
                        epoch=committee.epoch,
                        trial=trial.number,
                        binding=board.deliveries(board.replay.ceremony_of(committee.epoch)).binding,
                    )
                    self._claim_active(test, trial.active)
            self._claim_active(total, request.active)
        self._journal.claim(f"{opened}{number}", request.ciphertext)
        for digest in board.round(number).ciphertexts():
            self._journal.claim(f"ciphertext/{key}/{digest.hex()}", request.ciphertext)

    def _claim_active(self, vector: EncryptedVector, active: Sequence[int]) -> None:
        for digest in vector.second_digests():
            self._journal.claim(f"active/{vector.key_digest.hex()}/{digest.hex()}", bytes(active))


KEY_STEPS: Final[tuple[Callable[[Member, Board], None], ...]] = (
    Member.commit,
    Member.reveal,
    Member.check,
    Member.answer_test,
    Member.accept,
)
"""What the members do, one step after the other, each by all of them, to make a key or to take it over."""
