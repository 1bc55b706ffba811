"""A client: trains on its own records, encrypts, commits.

Spec: round §4.1 (v1). The order is fixed: reserve the privacy, record the spend, train, persist the ciphertext, claim
it, commit to it, send it. The commitment stands in the log before anybody can see the ciphertext, so nobody can commit
to a copy first. Every step can be interrupted and done again: what was claimed is sent again, byte for byte; what was
reserved but not claimed never left, and is done again under the same reservation.
"""

import os

from ledger import Blobs, blob_digest
from protocols.packing import pack
from protocols.tckks import Encryptor

from .board import Board
from .errors import ChainError, StateError
from .identity import Identity
from .journal import Journal
from .local_training import Records, train_round
from .messages import DENSE, BudgetSpend, UpdateCommit
from .model import GlobalModel
from .odometer import Odometer, Reservation

__all__ = ["Client"]


class Client:
    """One data holder. `outbox` is its own durable store of ciphertexts that may be sent."""

    def __init__(
        self, identity: Identity, records: Records, *, odometer: Odometer, journal: Journal, outbox: Blobs
    ) -> None:
        self.identity = identity
        self._records, self._odometer, self._journal, self._outbox = records, odometer, journal, outbox
        self._encryptor: Encryptor | None = None

    @property
    def name(self) -> str:
        """The client's name."""
        return self.identity.name

    def reserve(self, board: Board, number: int) -> Reservation:
        """Reserve this round's privacy and record it on the ledger, before any record is touched.

        Raises:
            PrivacyError: the budget would be exceeded.
            ChainError: the ledger shows spending this odometer does not know: an older copy was restored.
        """
        self._take_over_spending(board)
        round_state = board.round(number)
        reservation = self._odometer.reserve(board.replay.context, number, board.roster.plan.round_event)
        if self.name not in round_state.spends:
            event = reservation.event
            spend = BudgetSpend(
                number, event.steps, event.noise_multiplier_milli, event.sampling_rate_ppm, reservation.head
            )
            board.append(spend, self.name, self.identity.signing_in(board.replay))
        return reservation

    def _take_over_spending(self, board: Board) -> None:
        """Every spend in this client's name is in its odometer, or another held its key then.

        What was signed before members voted for the present key may be a thief's. It says nothing about this odometer,
        and is reserved in it all the same: the ledger counts it, so the budget has to.
        """
        known = {reservation.head for reservation in self._odometer.reservations}
        standing = board.replay.standings[self.name]
        admitted = standing.keys[standing.lineage].since if standing.lineage else -1
        for round_state in board.replay.rounds:
            spend = round_state.spends.get(self.name)
            if spend is None or spend.odometer in known:
                continue
            if round_state.spent[self.name] < admitted:
                self._odometer.reserve(board.replay.context, round_state.number, board.roster.plan.round_event)
            else:
                raise ChainError(
                    f"{self.name}: the ledger shows spending in round {round_state.number} that this odometer does not "
                    "know; an older copy was restored: bring back the newest one",
                    culprits=(self.name,),
                )

    def update(self, board: Board, number: int, model: GlobalModel) -> bool:
        """Do everything this round asks of the client; True if its update is committed when this returns.

        Nothing is done, and no privacy spent, when the round is closed or the client's signing key was revoked.

        Raises:
            PrivacyError, ChainError: see `reserve`; nothing was trained.
            StateError: the round is closed, or `model` is not the round's model.
        """
        round_state = board.round(number)
        if self.name in round_state.commits:
            self._send(board, number)
            return True
        if round_state.closed is not None or round_state.finished or not board.replay.in_force(self.name):
            return False
        if blob_digest(model.encode()) != round_state.model:
            raise StateError(f"{self.name}: the model at hand is not the one round {number} starts from")
        self.reserve(board, number)
        ciphertext = self._claimed(board, number)
        if ciphertext is None:
            ciphertext = self._train_and_encrypt(board, number, model)
        commit = UpdateCommit(number, DENSE, blob_digest(ciphertext), b"")
        board.append(commit, self.name, self.identity.signing_in(board.replay))
        board.blobs.put(ciphertext)
        return True

    def _send(self, board: Board, number: int) -> None:
        """Send a committed ciphertext that a crash kept from the blob store."""
        digest = board.round(number).commits[self.name][1].opened
        if board.round(number).released is None and not board.blobs.has(digest):
            ciphertext = self._claimed(board, number)
            if ciphertext is not None:
                board.blobs.put(ciphertext)

    def _claim_name(self, board: Board, number: int) -> str:
        return f"update/{board.replay.context.hex()}/{number}"

    def _claimed(self, board: Board, number: int) -> bytes | None:
        claim = self._journal.get(self._claim_name(board, number))
        if claim is None:
            return None
        return self._outbox.get(claim[:32], size=int.from_bytes(claim[32:], "big"))

    def _train_and_encrypt(self, board: Board, number: int, model: GlobalModel) -> bytes:
        plan = board.roster.plan
        update, _ = train_round(plan, model, self._records, rand=os.urandom(32))
        digits = pack(plan.grid.quantize(update), plan.layout, clients=plan.clients)
        if self._encryptor is None or self._encryptor.key_digest != board.joint_key.digest:
            self._encryptor = Encryptor(board.joint_key, plan.noise_budget, plan.layout)
        ciphertext = self._encryptor.encrypt(digits, rand=os.urandom(32)).encode()
        digest = self._outbox.put(ciphertext)
        self._journal.claim(self._claim_name(board, number), digest + len(ciphertext).to_bytes(8, "big"))
        return ciphertext
