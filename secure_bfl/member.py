"""A committee member: deals its part of the key, witnesses the log, checks every sum, answers once.

Spec: round §4.2 (v1). A member never answers a ciphertext it has not summed itself from a certified cohort, never one
cohort's ciphertext in two aggregates, never more often than the key's plan allows. Each promise is on disk before the
answer leaves.
"""

import hashlib
import os
from collections.abc import Container

from ledger import CosigningWitness, blob_digest
from ledger import DecodeError as LedgerDecodeError
from protocols.errors import DecodeError, KeyGenerationError
from protocols.tckks import (
    EncryptedVector,
    MemberKey,
    PieceKey,
    PieceSeed,
    Purpose,
    answer_test,
    check_piece,
    commitment,
    deal,
    derive_piece,
    partial_decrypt,
    test_ciphertext,
)
from protocols.tckks.keygen import SEED_BYTES

from .board import Board
from .errors import RefusedError, StateError
from .identity import Identity
from .journal import Journal
from .messages import (
    AggregateVote,
    Complaint,
    KeyAnswer,
    KeyCheck,
    KeyCommit,
    KeyReveal,
    PartialAnswer,
    PieceDigest,
    SealedSeed,
)
from .roster import member_name, member_number
from .sealing import seal

__all__ = ["Member"]


class Member:
    """One committee member."""

    def __init__(self, identity: Identity, *, journal: Journal, witness: CosigningWitness) -> None:
        self.identity, self._journal, self.witness = identity, journal, witness
        self.number = member_number(identity.name)
        self._key: MemberKey | None = None

    @property
    def name(self) -> str:
        """The member's name."""
        return self.identity.name

    # Key generation. Every step does nothing if the ledger shows it done.

    def _claim_commitments(self, board: Board) -> None:
        """Remember, durably, the one set of commitments this member goes on from.

        Whoever could show it other commitments after it has revealed could choose its own part of the key last.
        """
        commits = sorted(board.replay.ceremony.parts().items())
        digest = hashlib.sha256(b"".join(piece.to_bytes(2, "big") + part for piece, part in commits)).digest()
        self._journal.claim(f"commitments/{board.replay.context.hex()}", digest)

    def _dealt(self, board: Board) -> tuple[PieceSeed, ...]:
        """The seeds this member deals; drawn once, kept before anything about them is published."""
        name = f"deal/{board.replay.context.hex()}"
        rand = self.identity.secrets.get(name)
        if rand is None:
            if self.name in board.replay.ceremony.commits:
                raise StateError(f"{self.name}: its keystore lacks the seeds it dealt; bring back the newest copy")
            rand = os.urandom(SEED_BYTES)
            self.identity.secrets.put(name, rand)
        return deal(board.ceremony, self.number, rand=rand)

    def commit(self, board: Board) -> None:
        """Step 1: commit to the public parts of the pieces this member deals."""
        if self.name in board.replay.ceremony.commits:
            return
        parts = tuple(
            PieceDigest(seed.piece, commitment(derive_piece(board.ceremony, seed)[1])) for seed in self._dealt(board)
        )
        board.append(KeyCommit(parts), self.name, self.identity.signing)

    def reveal(self, board: Board) -> None:
        """Step 2: publish the parts and send every other holder its seeds, sealed.

        Raises:
            StateError: not every member has committed, or the commitments are not those it saw before; nothing was
                shown, so nobody can choose a part after it.
        """
        if self.name in board.replay.ceremony.reveals:
            return
        self._wait_for_all("committed", board, board.replay.ceremony.commits)
        self._claim_commitments(board)
        ceremony, sharing = board.ceremony, board.roster.plan.sharing
        sealed = []
        for seed in self._dealt(board):
            board.blobs.put(derive_piece(ceremony, seed)[1])
            for holder in sharing.holders(seed.piece):
                if holder != self.number:
                    public = board.roster.parties[member_name(holder)].sealing_key
                    info = _seal_info(board, seed.piece, self.number, holder)
                    sealed.append(SealedSeed(seed.piece, holder, seal(seed.reveal(), public, info=info)))
        board.append(KeyReveal(tuple(sealed)), self.name, self.identity.signing)

    def check(self, board: Board) -> None:
        """Steps 3 and 4: check every piece this member holds, and pin the joint key.

        Raises:
            StateError: not every member has revealed.
            KeyGenerationError: a piece is wrong; the complaint that opens it is on the ledger, the dealer is named.
        """
        if self.name in board.replay.ceremony.checks:
            return
        self._wait_for_all("revealed", board, board.replay.ceremony.reveals)
        self._claim_commitments(board)
        self._hold_pieces(board)
        board.append(KeyCheck(board.joint_key.digest), self.name, self.identity.signing)

    def _wait_for_all(self, what: str, board: Board, done: Container[str]) -> None:
        absent = tuple(name for name in board.roster.members if name not in done)
        if absent:
            raise StateError(f"{self.name} cannot go on before {', '.join(absent)} {what}", culprits=absent)

    def answer_test(self, board: Board) -> None:
        """Step 5: answer the dry run, once for every piece held."""
        if self.name in board.replay.ceremony.answers:
            return
        plan, key = board.roster.plan, self._member_key(board)
        test = test_ciphertext(board.joint_key, plan.noise_budget, plan.layout)
        answers = [
            PieceDigest(piece, board.blobs.put(answer_test(key.piece(piece), test)))
            for piece in plan.sharing.held_by(self.number)
        ]
        board.append(KeyAnswer(tuple(answers)), self.name, self.identity.signing)

    def _hold_pieces(self, board: Board) -> dict[int, PieceKey]:
        sharing = board.roster.plan.sharing
        mine = {seed.piece: seed for seed in self._dealt(board)}
        return {
            piece: self._checked(board, mine[piece] if piece in mine else self._received(board, piece))
            for piece in sharing.held_by(self.number)
        }

    def _received(self, board: Board, piece: int) -> PieceSeed:
        dealer = board.roster.plan.sharing.dealer(piece)
        reveal = board.replay.ceremony.reveals[member_name(dealer)]
        sealed = next(s.sealed for s in reveal.seeds if (s.piece, s.holder) == (piece, self.number))
        info = _seal_info(board, piece, dealer, self.number)
        seed = self.identity.sealing.open(sealed, info=info, sender=member_name(dealer))
        if len(seed) != SEED_BYTES:
            raise KeyGenerationError(f"piece {piece}: the seed has {len(seed)} bytes", culprits=(member_name(dealer),))
        return PieceSeed(piece, seed)

    def _checked(self, board: Board, seed: PieceSeed) -> PieceKey:
        try:
            return check_piece(board.ceremony, seed, board.public_part(seed.piece))
        except KeyGenerationError:
            if self.name not in board.replay.ceremony.complaints:
                board.append(Complaint(seed.piece, seed.reveal()), self.name, self.identity.signing)
            raise

    def _member_key(self, board: Board) -> MemberKey:
        if self._key is None:
            self._key = MemberKey(self.number, board.joint_key, self._hold_pieces(board))
        return self._key

    # Rounds.

    def vote(self, board: Board, number: int) -> None:
        """Sum the cohort's ciphertexts and vote the digest of the sum."""
        round_state = board.round(number)
        if round_state.aggregate is None or round_state.request is not None or self.name in round_state.votes:
            return
        digest = blob_digest(board.sum_of(round_state.ciphertexts()).encode())
        board.append(AggregateVote(number, digest), self.name, self.identity.signing)

    def answer(self, board: Board, number: int) -> None:
        """Answer the round's decryption request, once, after checking everything it rests on.

        Raises:
            RefusedError: the request breaks a rule; the message says which.
            StateError: something it would open was opened before in another aggregate.
        """
        round_state = board.round(number)
        request = round_state.request
        if request is None or self.number not in request.active or self.name in round_state.answers:
            return
        total = self._recomputed(board, number)
        self._claim(board, number, request.ciphertext)
        share = partial_decrypt(self._member_key(board), total, request.active, purpose=Purpose(request.purpose))
        digest = board.blobs.put(share.encode())
        board.append(PartialAnswer(number, digest), self.name, self.identity.signing)

    def _recomputed(self, board: Board, number: int) -> EncryptedVector:
        """The aggregate, summed here and now from the cohort that a certified checkpoint covers."""
        round_state, plan = board.round(number), board.roster.plan
        request = round_state.request
        if request is None:
            raise StateError(f"{self.name}: there is no request in round {number}")
        if len(round_state.cohort) < plan.minimum_clients:
            raise RefusedError(
                f"{self.name} refuses: {len(round_state.cohort)} updates are fewer than the minimum "
                f"of {plan.minimum_clients}",
                culprits=("operator",),
            )
        try:
            total = board.sum_of(round_state.ciphertexts())
        except (DecodeError, LedgerDecodeError) as exc:
            raise RefusedError(f"{self.name} refuses: a ciphertext of the cohort is malformed: {exc}") from exc
        if blob_digest(total.encode()) != request.ciphertext:
            raise RefusedError(
                f"{self.name} refuses: the requested aggregate is not the sum of the cohort", culprits=("operator",)
            )
        return total

    def _claim(self, board: Board, number: int, aggregate_digest: bytes) -> None:
        """Promise, durably: this aggregate for this round, each of its ciphertexts for this aggregate only."""
        key = board.joint_key.digest.hex()
        opened = f"aggregate/{key}/"
        if self._journal.get(f"{opened}{number}") is None and self._journal.count(opened) >= board.roster.plan.rounds:
            raise RefusedError(f"{self.name} refuses: the key has served all {board.roster.plan.rounds} planned rounds")
        self._journal.claim(f"{opened}{number}", aggregate_digest)
        for digest in board.round(number).ciphertexts():
            self._journal.claim(f"ciphertext/{key}/{digest.hex()}", aggregate_digest)


def _seal_info(board: Board, piece: int, dealer: int, holder: int) -> bytes:
    return b"secure-bfl/piece-seed/v1/%d/%d/%d/" % (piece, dealer, holder) + board.ceremony.identity
