"""The round machine: what a sequence of entries means. Total, deterministic, no clock.

Spec: round §3 (v1). Entries go in by index; the state comes out. An entry that is malformed, unsigned, out of role, out
of order, late or double changes nothing: it is listed with the reason, the same on every machine. The order of an
update's life is open, spend, commit, close, aggregate, votes, request, answers, model.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import singledispatchmethod

from ledger import Entry, LedgerError, Tree, leaf_hash, parse_entry, verify_entry
from protocols.errors import ProtocolError
from protocols.tckks import Purpose

from .messages import (
    BODIES,
    Aggregate,
    AggregateVote,
    Body,
    BudgetSpend,
    Complaint,
    DecryptionRequest,
    Genesis,
    KeyAnswer,
    KeyCheck,
    KeyCommit,
    KeyReveal,
    Kind,
    Model,
    PartialAnswer,
    Role,
    RoundClose,
    RoundOpen,
    UpdateCommit,
)
from .roster import Roster, member_name, member_number

__all__ = ["CeremonyState", "Ignored", "Replay", "RoundState"]


@dataclass(frozen=True, slots=True)
class Ignored:
    """An entry without effect, and why. `hostile` if no honest party could have sent it."""

    index: int
    kind: int
    sender: str
    reason: str
    hostile: bool


@dataclass(slots=True)
class CeremonyState:
    """How far key generation is. Keys are member names."""

    commits: dict[str, KeyCommit] = field(default_factory=dict)
    reveals: dict[str, KeyReveal] = field(default_factory=dict)
    checks: dict[str, KeyCheck] = field(default_factory=dict)
    answers: dict[str, KeyAnswer] = field(default_factory=dict)
    complaints: dict[str, Complaint] = field(default_factory=dict)

    def parts(self) -> dict[int, bytes]:
        """The committed digest of each piece's public part."""
        return {part.piece: part.digest for commit in self.commits.values() for part in commit.parts}

    def answered(self) -> dict[int, dict[bytes, tuple[str, ...]]]:
        """For each piece, which holders gave which answer digest."""
        given: dict[int, dict[bytes, tuple[str, ...]]] = {}
        for name in sorted(self.answers):
            for answer in self.answers[name].answers:
                same = given.setdefault(answer.piece, {})
                same[answer.digest] = (*same.get(answer.digest, ()), name)
        return given


@dataclass(slots=True)
class RoundState:
    """One round so far. Keys are party names; `commits` keeps the entry's index beside it."""

    number: int
    opened: int
    model: bytes
    spends: dict[str, BudgetSpend] = field(default_factory=dict)
    commits: dict[str, tuple[int, UpdateCommit]] = field(default_factory=dict)
    closed: int | None = None
    cohort: tuple[str, ...] = ()
    aggregate: Aggregate | None = None
    aggregated: int = -1
    votes: dict[str, AggregateVote] = field(default_factory=dict)
    request: DecryptionRequest | None = None
    answers: dict[str, PartialAnswer] = field(default_factory=dict)
    result: Model | None = None

    def ciphertexts(self) -> tuple[bytes, ...]:
        """The cohort's ciphertext digests, in the order of their commitments."""
        return tuple(self.commits[name][1].ciphertext for name in self.cohort)

    def agreeing(self) -> tuple[str, ...]:
        """The members that computed the aggregate that was announced."""
        if self.aggregate is None:
            return ()
        return tuple(sorted(n for n, v in self.votes.items() if v.ciphertext == self.aggregate.ciphertext))


class _RuleError(Exception):
    """An entry breaks a rule; never leaves this module."""

    def __init__(self, reason: str, *, hostile: bool = False) -> None:
        super().__init__(reason)
        self.hostile = hostile


def _require(condition: object, reason: str, *, hostile: bool = False) -> None:
    if not condition:
        raise _RuleError(reason, hostile=hostile)


_ROLES: dict[Kind, Role] = {
    Kind.GENESIS: Role.OPERATOR,
    Kind.KEY_COMMIT: Role.MEMBER,
    Kind.KEY_REVEAL: Role.MEMBER,
    Kind.KEY_CHECK: Role.MEMBER,
    Kind.KEY_ANSWER: Role.MEMBER,
    Kind.COMPLAINT: Role.MEMBER,
    Kind.ROUND_OPEN: Role.OPERATOR,
    Kind.BUDGET_SPEND: Role.CLIENT,
    Kind.UPDATE_COMMIT: Role.CLIENT,
    Kind.ROUND_CLOSE: Role.OPERATOR,
    Kind.AGGREGATE: Role.OPERATOR,
    Kind.AGGREGATE_VOTE: Role.MEMBER,
    Kind.DECRYPTION_REQUEST: Role.OPERATOR,
    Kind.PARTIAL_DECRYPTION: Role.MEMBER,
    Kind.MODEL: Role.OPERATOR,
}

_Effect = Callable[[], None]


class Replay:
    """The state of a federation, entry by entry. Everybody runs the same one."""

    def __init__(self) -> None:
        self.roster: Roster | None = None
        self.context = b""
        self.ceremony = CeremonyState()
        self.rounds: list[RoundState] = []
        self.ignored: list[Ignored] = []
        self._tree = Tree()
        self._seen: set[bytes] = set()

    @property
    def size(self) -> int:
        """How many entries were applied."""
        return self._tree.size

    def root(self, size: int | None = None) -> bytes:
        """The Merkle root over the first `size` entries (all by default)."""
        return self._tree.root(size)

    @property
    def known(self) -> Roster:
        """The roster, once the genesis entry is in.

        Raises:
            ValueError: there is no genesis entry yet.
        """
        if self.roster is None:
            raise ValueError("the ledger has no genesis entry")
        return self.roster

    @property
    def current(self) -> RoundState | None:
        """The newest round, or None before the first."""
        return self.rounds[-1] if self.rounds else None

    @property
    def joint_key_digest(self) -> bytes | None:
        """The joint key that every member pinned, or None until all did and agree."""
        digests = {check.joint_key for check in self.ceremony.checks.values()}
        complete = self.roster is not None and len(self.ceremony.checks) == self.roster.plan.members
        return digests.pop() if complete and len(digests) == 1 else None

    @property
    def disputed_pieces(self) -> dict[int, tuple[tuple[str, ...], ...]]:
        """Pieces whose holders gave different answers in the dry run, with the camps."""
        return {p: tuple(same.values()) for p, same in self.ceremony.answered().items() if len(same) > 1}

    @property
    def key_ready(self) -> bool:
        """Whether key generation is complete: all pinned one key, all answered the test alike, nobody complained."""
        return (
            self.roster is not None
            and self.joint_key_digest is not None
            and len(self.ceremony.answers) == self.roster.plan.members
            and not self.disputed_pieces
            and not self.ceremony.complaints
        )

    def refuses(self, data: bytes) -> str | None:
        """Why this entry would be ignored if it came next; None if it would count. Changes nothing."""
        try:
            self._judge(self.size, data)
        except _RuleError as exc:
            return str(exc)
        return None

    def apply(self, data: bytes) -> None:
        """Take the next entry. Never raises on hostile bytes."""
        index = self.size
        self._tree.append(leaf_hash(data))
        try:
            self._judge(index, data)()
        except _RuleError as exc:
            try:
                entry = parse_entry(data)
                kind, sender = entry.kind, entry.sender
            except LedgerError:
                kind, sender = -1, ""
            self.ignored.append(Ignored(index, kind, sender, str(exc), exc.hostile))

    def _judge(self, index: int, data: bytes) -> _Effect:
        """Check everything about an entry; return what it does."""
        try:
            entry = parse_entry(data)
            body = self._body(entry)
        except LedgerError as exc:
            raise _RuleError(f"malformed: {exc}", hostile=True) from exc
        if isinstance(body, Genesis):
            return self._judge_genesis(index, entry, body)
        _require(self.roster is not None, "there is no genesis entry yet", hostile=True)
        party = self.known.party(entry.sender)
        if party is None:
            raise _RuleError(f"{entry.sender} is not a party of this federation", hostile=True)
        try:
            verify_entry(entry, party.signing_key, context=self.context)
        except LedgerError as exc:
            raise _RuleError(f"the signature does not verify: {exc}", hostile=True) from exc
        role = _ROLES[body.kind]
        _require(party.role is role, f"{body.kind.name} is for the {role.name.lower()}", hostile=True)
        return self._rule(body, entry.sender, index)

    @staticmethod
    def _body(entry: Entry) -> Body:
        cls = BODIES.get(entry.kind)
        if cls is None:
            raise _RuleError(f"kind {entry.kind} is unknown to this version")
        return cls.from_value(entry.body)

    def _judge_genesis(self, index: int, entry: Entry, body: Genesis) -> _Effect:
        _require(index == 0, "only entry 0 can be the genesis", hostile=True)
        try:
            roster = Roster.from_genesis(body)
            operator = roster.party(entry.sender)
            if operator is None or operator.role is not Role.OPERATOR:
                raise _RuleError("the operator signs the genesis", hostile=True)
            verify_entry(entry, operator.signing_key, context=b"")
        except (LedgerError, ProtocolError, ValueError) as exc:
            raise _RuleError(f"not a genesis: {exc}", hostile=True) from exc

        def effect() -> None:
            self.roster = roster
            self.context = hashlib.sha256(entry.encoded).digest()

        return effect

    @singledispatchmethod
    def _rule(self, body: Body, sender: str, index: int) -> _Effect:
        raise _RuleError(f"{type(body).__name__} has no rule")

    # Key generation: commit, reveal, check, answer the dry run. Spec: round §3.1.

    def _all_members(self, done: dict[str, KeyCommit] | dict[str, KeyReveal] | dict[str, KeyCheck]) -> bool:
        return len(done) == self.known.plan.members

    @_rule.register
    def _(self, body: KeyCommit, sender: str, index: int) -> _Effect:
        done, sharing = self.ceremony.commits, self.known.plan.sharing
        _require(sender not in done, f"{sender} committed already", hostile=True)
        mine = [p for p in range(sharing.pieces) if member_name(sharing.dealer(p)) == sender]
        _require([part.piece for part in body.parts] == mine, f"{sender} deals pieces {mine}", hostile=True)
        return lambda: done.update({sender: body})

    @_rule.register
    def _(self, body: KeyReveal, sender: str, index: int) -> _Effect:
        done, sharing = self.ceremony.reveals, self.known.plan.sharing
        _require(self._all_members(self.ceremony.commits), "a reveal before every member committed")
        _require(sender not in done, f"{sender} revealed already", hostile=True)
        mine = [
            (p, h)
            for p in range(sharing.pieces)
            if member_name(sharing.dealer(p)) == sender
            for h in sharing.holders(p)
            if member_name(h) != sender
        ]
        _require([(s.piece, s.holder) for s in body.seeds] == mine, "a seed for each other holder", hostile=True)
        return lambda: done.update({sender: body})

    @_rule.register
    def _(self, body: KeyCheck, sender: str, index: int) -> _Effect:
        done = self.ceremony.checks
        _require(self._all_members(self.ceremony.reveals), "a check before every member revealed")
        _require(sender not in done, f"{sender} checked already", hostile=True)
        return lambda: done.update({sender: body})

    @_rule.register
    def _(self, body: Complaint, sender: str, index: int) -> _Effect:
        done, sharing = self.ceremony.complaints, self.known.plan.sharing
        _require(not self.rounds, "a complaint after key generation")
        _require(sender not in done, f"{sender} complained already")
        held = sharing.held_by(member_number(sender))
        _require(body.piece in held, f"{sender} does not hold piece {body.piece}", hostile=True)
        return lambda: done.update({sender: body})

    @_rule.register
    def _(self, body: KeyAnswer, sender: str, index: int) -> _Effect:
        done, sharing = self.ceremony.answers, self.known.plan.sharing
        _require(self.joint_key_digest is not None, "an answer before every member pinned the same key")
        _require(sender not in done, f"{sender} answered the test already", hostile=True)
        held = list(sharing.held_by(member_number(sender)))
        _require([a.piece for a in body.answers] == held, f"{sender} holds pieces {held}", hostile=True)
        return lambda: done.update({sender: body})

    # Rounds. Spec: round §3.2.

    def _round(self, number: int) -> RoundState:
        current = self.current
        if current is None or current.number != number:
            raise _RuleError(f"round {number} is not the current round")
        return current

    @_rule.register
    def _(self, body: RoundOpen, sender: str, index: int) -> _Effect:
        current = self.current
        _require(self.key_ready, "a round before key generation is complete")
        _require(body.round == len(self.rounds) + 1, f"round {len(self.rounds) + 1} is next")
        _require(body.round <= self.known.plan.rounds, "the plan has no more rounds", hostile=True)
        if current is not None:
            _require(current.result is not None, f"round {current.number} is not finished")
            assert current.result is not None  # noqa: S101  # just required
            _require(body.model == current.result.model, "a round starts from the last model", hostile=True)
        return lambda: self.rounds.append(RoundState(body.round, index, body.model))

    @_rule.register
    def _(self, body: BudgetSpend, sender: str, index: int) -> _Effect:
        current, plan = self._round(body.round), self.known.plan
        _require(current.closed is None, f"round {body.round} is closed")
        _require(sender not in current.spends, f"{sender} spent for this round already", hostile=True)
        stated = (body.steps, body.noise_multiplier_milli, body.sampling_rate_ppm)
        planned = (plan.local_steps, plan.noise_multiplier_milli, plan.sampling_rate_ppm)
        _require(stated == planned, "the spend is not the plan's mechanism", hostile=True)
        return lambda: current.spends.update({sender: body})

    @_rule.register
    def _(self, body: UpdateCommit, sender: str, index: int) -> _Effect:
        current = self._round(body.round)
        _require(current.closed is None, f"round {body.round} is closed")
        _require(sender not in current.commits, f"{sender} committed an update for this round already", hostile=True)
        _require(sender in current.spends, f"{sender} recorded no budget spend for this round", hostile=True)
        _require(body.ciphertext not in self._seen, "this ciphertext was committed before", hostile=True)

        def effect() -> None:
            self._seen.add(body.ciphertext)
            current.commits[sender] = (index, body)

        return effect

    @_rule.register
    def _(self, body: RoundClose, sender: str, index: int) -> _Effect:
        current, plan = self._round(body.round), self.known.plan
        _require(current.closed is None, f"round {body.round} is closed already", hostile=True)
        by_index = {at: name for name, (at, _) in current.commits.items()}
        _require(all(at in by_index for at in body.cohort), "the cohort names no commitment of the round", hostile=True)
        _require(list(body.cohort) == sorted(set(body.cohort)), "the cohort is not in order", hostile=True)
        _require(
            len(body.cohort) >= plan.minimum_clients,
            f"{len(body.cohort)} updates are fewer than the plan's minimum of {plan.minimum_clients}",
            hostile=True,
        )

        def effect() -> None:
            current.closed = index
            current.cohort = tuple(by_index[at] for at in body.cohort)

        return effect

    @_rule.register
    def _(self, body: Aggregate, sender: str, index: int) -> _Effect:
        current = self._round(body.round)
        _require(current.closed is not None, f"round {body.round} is still open")
        _require(current.aggregate is None, f"round {body.round} has an aggregate", hostile=True)

        def effect() -> None:
            self._seen.add(body.ciphertext)  # nobody can send a sum as an update of its own
            current.aggregate, current.aggregated = body, index

        return effect

    @_rule.register
    def _(self, body: AggregateVote, sender: str, index: int) -> _Effect:
        current = self._round(body.round)
        _require(current.aggregate is not None, f"round {body.round} has no aggregate yet")
        _require(current.request is None, f"the vote of round {body.round} is over")
        _require(sender not in current.votes, f"{sender} voted already", hostile=True)
        return lambda: current.votes.update({sender: body})

    @_rule.register
    def _(self, body: DecryptionRequest, sender: str, index: int) -> _Effect:
        current, roster = self._round(body.round), self.known
        _require(current.request is None, f"the aggregate of round {body.round} was requested already", hostile=True)
        _require(body.purpose == Purpose.UPDATE, f"purpose {body.purpose} is not an update", hostile=True)
        if current.aggregate is None or body.ciphertext != current.aggregate.ciphertext:
            raise _RuleError("the request is not for the round's aggregate", hostile=True)
        agreeing, needed = current.agreeing(), roster.policy.needed
        _require(len(agreeing) >= needed, f"{len(agreeing)} of {needed} members computed this aggregate", hostile=True)
        active = list(body.active)
        _require(active == sorted(set(active)), "the active members are not in order", hostile=True)
        _require(
            all(member_name(m) in agreeing for m in active) and len(active) == roster.plan.threshold,
            f"the active set is {roster.plan.threshold} members that computed the aggregate",
            hostile=True,
        )
        try:
            checkpoint = roster.policy.verify(body.certificate).checkpoint
        except LedgerError as exc:
            raise _RuleError(f"the request's certificate does not verify: {exc}", hostile=True) from exc
        _require(
            current.aggregated < checkpoint.size <= index, "the certificate does not cover the aggregate", hostile=True
        )
        _require(checkpoint.root == self.root(checkpoint.size), "the certificate is of another log", hostile=True)

        def effect() -> None:
            current.request = body

        return effect

    @_rule.register
    def _(self, body: PartialAnswer, sender: str, index: int) -> _Effect:
        current = self._round(body.round)
        if current.request is None:
            raise _RuleError(f"nobody asked for answers in round {body.round}", hostile=True)
        _require(member_number(sender) in current.request.active, f"{sender} was not asked", hostile=True)
        _require(sender not in current.answers, f"{sender} answered this aggregate twice", hostile=True)
        return lambda: current.answers.update({sender: body})

    @_rule.register
    def _(self, body: Model, sender: str, index: int) -> _Effect:
        current = self._round(body.round)
        if current.request is None or len(current.answers) != len(current.request.active):
            raise _RuleError("a model before every asked member answered", hostile=True)
        _require(current.result is None, f"round {body.round} has a model", hostile=True)
        _require(body.accuracy_ppm <= 1_000_000, "an accuracy above 100 %", hostile=True)

        def effect() -> None:
            current.result = body

        return effect
