"""A legal run, entry by entry, with real signatures and made-up digests: replay never looks into a blob."""

import copy
from collections.abc import Container
from dataclasses import dataclass, replace

from ledger import Log, MemoryBlobs, MemoryStore, MemoryWitnessStore, SigningKey, Value, Witness, sign_entry
from protocols.tckks import Purpose, fingerprint_bytes
from secure_bfl.board import Board
from secure_bfl.disputes import challenge
from secure_bfl.messages import (
    DENSE,
    AddendCommit,
    Aggregate,
    AggregateVote,
    Body,
    BudgetSpend,
    DecryptionRequest,
    Genesis,
    KeyAccept,
    KeyAnswer,
    KeyCheck,
    KeyCommit,
    KeyReveal,
    Model,
    PartialAnswer,
    PieceCheck,
    RoundClose,
    RoundOpen,
    TrialAnswer,
    UpdateCommit,
)
from secure_bfl.operator import Operator
from secure_bfl.plan import FederationPlan
from secure_bfl.replay import CeremonyState, Ignored, Replay, RoundState
from secure_bfl.roster import OPERATOR, Roster, client_name, member_name, member_number
from secure_bfl.standing import Standing
from tests.secure_bfl.federation import NOW, digest, identities


@dataclass(frozen=True)
class Step:
    """One legal entry. `phase` counts up: no entry is legal before some entry of the phase before it."""

    phase: int
    body: Body
    sender: str
    data: bytes


class Script:
    """The run, and the means to sign other entries. `steps[i]` is the entry with index i."""

    def __init__(self, plan: FederationPlan) -> None:
        self.plan = replace(plan, initial=digest("model", 0))
        self.identities = identities(plan)
        note = self.identities[OPERATOR].note
        self.log = Log(MemoryStore(), "secure-bfl/script", note)
        self._board = Board(self.log, MemoryBlobs())
        self._phase = 0
        self.steps: list[Step] = []
        self.witnesses = {
            name: Witness(name, self.identities[name].note, self.log.verifier, MemoryWitnessStore())
            for name in self.members
        }
        self._found()
        self._generate_key()
        for number in (1, 2):
            self._round(number)
        self.context = self._board.replay.context

    @property
    def members(self) -> tuple[str, ...]:
        return tuple(member_name(i) for i in range(1, self.plan.members + 1))

    @property
    def clients(self) -> tuple[str, ...]:
        return tuple(client_name(i) for i in range(1, self.plan.clients + 1))

    def first(self, body: type[Body], *, round_number: int | None = None) -> int:
        """The index of the first entry of this kind (of a round)."""
        return next(
            i
            for i, step in enumerate(self.steps)
            if isinstance(step.body, body) and round_number in (None, getattr(step.body, "round", None))
        )

    def last(self, body: type[Body], *, round_number: int | None = None) -> int:
        """The index of the last entry of this kind (of a round)."""
        return max(
            i
            for i, step in enumerate(self.steps)
            if isinstance(step.body, body) and round_number in (None, getattr(step.body, "round", None))
        )

    def replay(self, count: int | None = None) -> Replay:
        """The state after the first `count` entries (all by default)."""
        replay = Replay()
        for step in self.steps[:count]:
            replay.apply(step.data)
        return replay

    def sign(self, body: Body, sender: str, *, key: SigningKey | None = None, context: bytes | None = None) -> bytes:
        """Sign any body as any party."""
        return self.sign_value(body.kind, body.to_value(), sender, key=key, context=context)

    def sign_value(
        self, kind: int, value: Value, sender: str, *, key: SigningKey | None = None, context: bytes | None = None
    ) -> bytes:
        """Sign any value as an entry of any kind."""
        key = self.identities[sender].signing if key is None else key
        return sign_entry(kind, sender, value, key, context=self.context if context is None else context)

    @property
    def position(self) -> bytes:
        """Where the founding is: what its entries are bound to."""
        return self._board.replay.context

    def dealt(self, name: str) -> list[int]:
        """The pieces a member deals."""
        sharing = self.plan.sharing
        return [p for p in range(sharing.pieces) if sharing.dealer(p) == member_number(name)]

    def _add(self, body: Body, sender: str) -> None:
        self._board.append(body, sender, self.identities[sender].signing)
        self._keep(body, sender)

    def _keep(self, body: Body, sender: str) -> None:
        self.steps.append(Step(self._phase, body, sender, self.log.entry(self.log.size - 1)))

    def _found(self) -> None:
        parties = tuple(identity.party for identity in self.identities.values())
        Operator(self.identities[OPERATOR]).found(self._board, self.plan, parties)
        self._keep(Genesis(self.log.origin, self.plan.encode(), parties), OPERATOR)

    def _generate_key(self) -> None:
        sharing = self.plan.sharing
        self._phase = 1
        for name in self.members:
            self._add(
                KeyCommit(
                    self.position,
                    tuple(AddendCommit(p, digest("part", p), digest("dealing", p)) for p in self.dealt(name)),
                ),
                name,
            )
        self._phase = 2
        for name in self.members:
            self._add(KeyReveal(self.position, tuple(self.dealt(name)), digest("deliveries", name)), name)
        self._phase = 3
        for name in self.members:
            self._add(KeyCheck(self.position, digest("joint key"), ()), name)
        self._phase = 4
        for name in self.members:
            held = sharing.held_by(member_number(name))
            self._add(KeyAnswer(self.position, tuple(TrialAnswer(0, p, digest("answer", p)) for p in held)), name)
        self._phase = 5
        for name in self.members:
            self._add(KeyAccept(self.position, digest("joint key")), name)

    def _round(self, number: int) -> None:
        plan, opened = self.plan, self._phase
        self._phase = opened + 1
        self._add(RoundOpen(number, digest("model", number - 1)), OPERATOR)
        self._phase = opened + 2
        for name in self.clients:
            self._add(self.spend(number, name), name)
        self._phase = opened + 3
        cohort = []
        for name in self.clients:
            cohort.append(self.log.size)
            self._add(update(number, digest("update", number, name)), name)
        self._phase = opened + 4
        self._add(RoundClose(number, tuple(cohort)), OPERATOR)
        self._phase = opened + 5
        self._add(Aggregate(number, digest("sum", number)), OPERATOR)
        self._phase = opened + 6
        for name in self.members:
            self._add(self.vote(number, digest("sum", number)), name)
        self._phase = opened + 7
        certificate = self._board.certify(self.witnesses, now=NOW).note
        active = tuple(range(1, plan.threshold + 1))
        self._add(DecryptionRequest(number, 0, Purpose.UPDATE, digest("sum", number), active, certificate), OPERATOR)
        self._phase = opened + 8
        for member in active:
            self._add(self.answer(number, digest("share", number, member)), member_name(member))
        self._phase = opened + 9
        for name in self.members:
            self._add(self.check(number, name), name)
        self._phase = opened + 10
        self._add(Model(number, digest("model", number), -1, 0), OPERATOR)

    def vote(self, number: int, ciphertext: bytes) -> AggregateVote:
        """A vote about the updates that the run counts in this round."""
        return AggregateVote(number, self._board.round(number).closing, ciphertext)

    def answer(self, number: int, data: bytes, *, replay: Replay | None = None) -> PartialAnswer:
        """An answer to the last request of a round, of the run or of another replay."""
        attempt = (self._board.replay if replay is None else replay).rounds[number - 1].attempts[-1]
        return PartialAnswer(number, attempt.request.attempt, attempt.entry, data)

    def check(self, number: int, name: str, *, lies: Container[int] = (), replay: Replay | None = None) -> PieceCheck:
        """A member's fingerprints: all holders of a piece agree, but for the pieces about which this one lies."""
        replay = self._board.replay if replay is None else replay
        asked = replay.rounds[number - 1].attempts[-1]
        size = fingerprint_bytes(self.plan.suite)
        held = self.plan.sharing.held_by(member_number(name))
        prints = tuple(bytes([piece, piece in lies]) * (size // 2) for piece in held)
        return PieceCheck(number, asked.request.attempt, challenge(replay.context, number, asked), prints)

    def spend(self, number: int, name: str) -> BudgetSpend:
        """What a client spends in a round of the plan."""
        event = self.plan.round_event
        return BudgetSpend(
            number,
            event.steps,
            event.noise_multiplier_milli,
            event.sampling_rate_ppm,
            (),
            digest("odometer", number, name),
        )

    def request(self, number: int, **changes: object) -> DecryptionRequest:
        """The legal request of a round, with some fields changed."""
        body = self.steps[self.first(DecryptionRequest, round_number=number)].body
        assert isinstance(body, DecryptionRequest)
        return replace(body, **changes)  # type: ignore[arg-type]  # fields of a request


def update(number: int, opened: bytes) -> UpdateCommit:
    """A dense update."""
    return UpdateCommit(number, DENSE, opened, b"")


@dataclass(frozen=True)
class State:
    """Everything that replay knows, apart from what it ignored."""

    roster: Roster | None
    context: bytes
    ceremonies: list[CeremonyState]
    rounds: list[RoundState]
    standings: dict[str, Standing]

    @classmethod
    def of(cls, replay: Replay) -> "State":
        parts = copy.deepcopy((replay.ceremonies, replay.rounds, replay.standings))
        return cls(replay.roster, replay.context, *parts)


def check_ignored(replay: Replay, data: bytes, *, hostile: bool | None = None) -> Ignored:
    """Apply an entry that must have no effect; return how it is listed."""
    before, ignored, size = State.of(replay), list(replay.ignored), replay.size
    reason = replay.refuses(data)
    assert reason is not None
    assert (State.of(replay), replay.ignored, replay.size) == (before, ignored, size), "refuses() changed something"
    replay.apply(data)
    assert State.of(replay) == before
    listed = replay.ignored[-1]
    assert len(replay.ignored) == len(ignored) + 1
    assert (listed.index, listed.reason, replay.size) == (size, reason, size + 1)
    if hostile is not None:
        assert listed.hostile is hostile, listed
    return listed
