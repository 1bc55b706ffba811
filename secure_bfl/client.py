"""A client: trains on its own records, encrypts, commits.

Spec: round §4.1 (v1). The order is fixed: reserve the privacy, record the spend, train, put the ciphertext into the
outbox, persist its digest in the odometer, commit to it, send it. The commitment stands in the log before anybody can
see the ciphertext, so nobody can commit to a copy first. Every step can be interrupted and done again: what was
persisted is sent again, byte for byte; what was reserved and not persisted never left, and is done again under the same
reservation.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from ledger import BlobError, Blobs, blob_digest
from protocols.dp import Mode, PrivacyEvent
from protocols.dp.auditing import SentinelRound, sentinel_reading
from protocols.errors import PrivacyError
from protocols.packing import pack
from protocols.tckks import Encryptor

from .board import Board
from .errors import ChainError, StateError
from .identity import Identity
from .local_training import Learner, train_round
from .messages import DENSE, BudgetSpend, OtherSpend, UpdateCommit
from .model import GlobalModel
from .odometer import Odometer, Reservation
from .plan import FederationPlan
from .results import opened_sum, sentinel_energy
from .roster import OPERATOR
from .state import RoundState

__all__ = ["LEAST_P_VALUE", "Client"]

LEAST_P_VALUE: Final = 1e-9
"""A client stays away if the noise in the sums opened so far is so small that chance does it less often than this."""


class Client:
    """One data holder. `outbox` is its own durable store of ciphertexts that may be sent.

    Every run on the same records is given the same `odometer`: see docs/how-to/keep-an-odometer.md.
    """

    def __init__(self, identity: Identity, learner: Learner, *, odometer: Odometer, outbox: Blobs) -> None:
        self.identity = identity
        self._learner, self._odometer, self._outbox = learner, odometer, outbox
        self._encryptor: Encryptor | None = None
        self._checked: FederationPlan | None = None  # the plan that the network is known to fit
        self._energies: dict[int, int] = {}  # of the sentinels of rounds that this client opened itself

    @property
    def name(self) -> str:
        """The client's name."""
        return self.identity.name

    def reserve(self, board: Board, number: int) -> Reservation:
        """Reserve this round's privacy and record it on the ledger, before any record is touched.

        Raises:
            PrivacyError: the budget would be exceeded.
            ChainError: the ledger shows what this odometer does not know: an older copy was restored.
        """
        run, plan, round_state = board.replay.context, board.roster.plan, board.round(number)
        self._check_plan(plan)
        self._odometer.begin(run, (plan.schedule,))
        self._take_over_spending(board)
        reservation = self._odometer.reserve(run, number, plan.round_event)
        if self.name not in round_state.spends:
            event = reservation.event
            spend = BudgetSpend(
                number,
                event.steps,
                event.noise_multiplier_milli,
                event.sampling_rate_ppm,
                tuple(
                    OtherSpend(other.noise_multiplier_milli, other.sampling_rate_ppm, other.steps)
                    for other in self._odometer.others(run)
                ),
                reservation.head,
            )
            board.append(spend, self.name, self.identity.signing_in(board.replay))
        return reservation

    def _check_plan(self, plan: FederationPlan) -> None:
        """Once for each plan, before anything is spent: its noise fits its budget, and this client fits it.

        Raises:
            PrivacyError: the schedule costs more than the budget that the plan states.
            StateError: the odometer counts another unit of privacy.
            ValueError: the network is not the plan's, or does not take every record.
        """
        if self._checked == plan:
            return
        plan.require_budget()
        if self._odometer.unit != plan.unit_of_privacy:
            raise StateError(
                f"{self.name}: the odometer counts the spending of a {self._odometer.unit}, the plan protects a "
                f"{plan.unit_of_privacy}: use the odometer of that unit"
            )
        self._learner.check(plan)
        self._checked = plan

    def _take_over_spending(self, board: Board) -> None:
        """Every spend and commitment in this client's name is in its odometer, or another held its key then.

        What was signed before members voted for the present key may be a thief's. It says nothing about this odometer,
        and its privacy is reserved in it all the same: the ledger counts it, so the budget has to.
        """
        run, plan = board.replay.context, board.roster.plan
        known = {reservation.head for reservation in self._odometer.reservations}
        admitted, others = self._admitted(board), self._odometer.others(run)
        for state in board.replay.rounds:
            spend = state.spends.get(self.name)
            if spend is None:
                continue
            if state.spent[self.name] < admitted:
                if spend.odometer not in known:
                    self._odometer.reserve(run, state.number, plan.round_event)
            elif spend.odometer not in known:
                raise self._rolled_back(f"spending in round {state.number}")
            elif not _holds(others, [other.event for other in spend.others]):
                raise self._rolled_back(f"spending of other runs, stated in round {state.number},")
            self._own_upload(board, state)

    def _admitted(self, board: Board) -> int:
        """The entry that admitted the key in force, -1 for the genesis: what is signed later is this client's own."""
        standing = board.replay.standings[self.name]
        return standing.keys[standing.lineage].since if standing.lineage else -1

    def _own_upload(self, board: Board, state: RoundState) -> Reservation | None:
        """The reservation of a round to whose upload the ledger has a commitment; None if there is none, or a thief's.

        Raises:
            ChainError: the commitment is this client's own, and to another upload than the one it persisted.
        """
        if self.name not in state.commits:
            return None
        index, commit = state.commits[self.name]
        reservation = self._odometer.find(board.replay.context, state.number)
        if reservation is not None and reservation.upload == commit.opened:
            return reservation
        if index < self._admitted(board):
            return None
        raise self._rolled_back(f"an update in round {state.number}")

    def _rolled_back(self, what: str) -> ChainError:
        return ChainError(
            f"{self.name}: the ledger shows {what} that this odometer does not know; an older copy was restored: bring "
            "back the newest one",
            culprits=(self.name,),
        )

    def update(self, board: Board, number: int, model: GlobalModel) -> bool:
        """Do everything this round asks of the client; True if its update is committed when this returns.

        Nothing is done, and no privacy spent, when the round is closed or the client's signing key was revoked.

        Raises:
            PrivacyError: the budget would be exceeded, or the sums opened so far have far too little noise; nothing was
                trained.
            ChainError: the ledger shows what this odometer does not know; nothing was trained.
            StateError: `model` is not the round's model; or the round's ciphertext is lost, and there is no second one.
            ValueError: the network is not the plan's.
        """
        round_state = board.round(number)
        if self.name in round_state.commits:
            return self._finish(board, round_state)
        if round_state.closed is not None or round_state.finished or not board.replay.in_force(self.name):
            return False
        if blob_digest(model.encode()) != round_state.model:
            raise StateError(f"{self.name}: the model at hand is not the one round {number} starts from")
        self._check_plan(board.roster.plan)
        self._check_noise(board)
        reservation = self.reserve(board, number)
        ciphertext = self._persisted(reservation)
        if ciphertext is None:
            ciphertext = self._train_and_encrypt(board, reservation, model)
        commit = UpdateCommit(number, DENSE, blob_digest(ciphertext), b"")
        index = board.append(commit, self.name, self.identity.signing_in(board.replay))
        self._odometer.commit(board.replay.context, number, index)
        board.blobs.put(ciphertext)
        return True

    def _finish(self, board: Board, state: RoundState) -> bool:
        """Do what a crash after the commitment left undone; False if the commitment is a thief's."""
        reservation = self._own_upload(board, state)
        if reservation is None or reservation.upload is None:
            return False
        self._odometer.commit(board.replay.context, state.number, state.commits[self.name][0])
        if state.released is None and not board.blobs.has(reservation.upload):
            ciphertext = self._persisted(reservation)
            if ciphertext is not None:
                board.blobs.put(ciphertext)
        return True

    def _check_noise(self, board: Board) -> None:
        """Whether the sums opened so far have the noise that epsilon rests on, each round alone and all together.

        Everybody's sentinels are zero, so they show the noise of a sum and nothing else. What the operator states of
        them is computed again. That of the fewest honest clients is enough: others may leave theirs out. In local mode
        nobody's noise rests on another's.
        """
        plan, parts = board.roster.plan, dict[int, SentinelRound]()
        if not plan.sentinels or plan.mode == Mode.LOCAL:
            return
        for state in board.replay.rounds:
            if state.result is not None:
                energy = self._energy(board, state.number, state.result.sentinel_energy)
                parts[state.number] = SentinelRound(plan.sentinels, energy, plan.sentinel_variance(plan.shares))
        for number, part in parts.items():
            self._check_reading(f"round {number}", [part])
        if parts:
            self._check_reading(f"{len(parts)} rounds together", list(parts.values()))

    def _energy(self, board: Board, number: int, stated: int) -> int:
        """The sentinels of a finished round, from the sum that its answers open to.

        Raises:
            ChainError: the operator stated something else.
        """
        if number not in self._energies:
            self._energies[number] = sentinel_energy(board.roster.plan, opened_sum(board, number))
        if self._energies[number] != stated:
            raise ChainError(
                f"{self.name}: the sentinels stated for round {number} are not those of the sum that was opened; "
                "nothing more is sent to this federation",
                culprits=(OPERATOR,),
            )
        return stated

    def _check_reading(self, where: str, parts: Sequence[SentinelRound]) -> None:
        reading = sentinel_reading(parts)
        if reading.p_too_small < LEAST_P_VALUE:
            raise PrivacyError(
                f"{self.name}: the noise in the sum of {where} has {reading.ratio:.3g} of the variance that epsilon "
                f"rests on, as {reading.coordinates} sentinels show (p = {reading.p_too_small:.1e}): more clients left "
                "theirs out than the plan allows for; nothing more is sent to this federation"
            )

    def _persisted(self, reservation: Reservation) -> bytes | None:
        """The one ciphertext that may be sent under this reservation; None if there is none yet.

        Raises:
            StateError: it was persisted and the outbox has lost it.
        """
        if reservation.upload is None:
            return None
        try:
            return self._outbox.get(reservation.upload, size=reservation.size)
        except BlobError as exc:
            raise StateError(
                f"{self.name}: the ciphertext for round {reservation.round} is not in the outbox any more, and another "
                f"one would be a second release: bring {reservation.upload.hex()} back from a copy of the outbox, or "
                "stay out of this round; what it cost stays spent"
            ) from exc

    def _train_and_encrypt(self, board: Board, reservation: Reservation, model: GlobalModel) -> bytes:
        plan = board.roster.plan
        vector, record = train_round(plan, model, self._learner, rand=os.urandom(32))
        if record.event() != reservation.event:
            raise StateError(f"{self.name}: round {reservation.round} released something else than was reserved")
        digits = pack(vector, plan.layout, clients=plan.clients)
        if self._encryptor is None or self._encryptor.key_digest != board.joint_key.digest:
            self._encryptor = Encryptor(board.joint_key, plan.noise_budget, plan.layout)
        ciphertext = self._encryptor.encrypt(digits, rand=os.urandom(32)).encode()
        digest = self._outbox.put(ciphertext)
        self._odometer.persist(reservation.run, reservation.round, digest, len(ciphertext))
        return ciphertext


def _holds(spent: Iterable[PrivacyEvent], stated: Iterable[PrivacyEvent]) -> bool:
    """Whether `spent` has at least the steps of each mechanism in `stated`; both have one event for each."""
    steps = {replace(event, steps=1): event.steps for event in spent}
    return all(steps.get(replace(event, steps=1), 0) >= event.steps for event in stated)
