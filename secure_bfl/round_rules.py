"""The rules of a round: open, spend, commit, close, aggregate, vote, request, answer, check, model, void,
release.

Spec: round §3.2, §3.5 (v1).
"""

from typing import TYPE_CHECKING

from ledger import LedgerError
from protocols.tckks import Purpose, ReplicatedSharing

from .disputes import are_well_formed, challenge, convicted, disputes, has_checks
from .messages import (
    DENSE,
    Aggregate,
    AggregateVote,
    BlobRelease,
    BudgetSpend,
    DecryptionRequest,
    Model,
    PartialAnswer,
    PieceCheck,
    RoundClose,
    RoundOpen,
    RoundVoid,
    UpdateCommit,
)
from .roster import Committee, member_number
from .rules import Effect, RuleError, require, rule
from .state import Attempt, RoundState, cohort_digest

if TYPE_CHECKING:
    from .replay import Replay

__all__: list[str] = []


def _current(replay: "Replay", number: int) -> RoundState:
    current = replay.current
    if current is None or current.number != number:
        raise RuleError(f"round {number} is not the current round")
    require(current.void is None, f"round {number} is void")
    return current


def _any(replay: "Replay", number: int) -> RoundState:
    """A round, whether it is over or not."""
    require(1 <= number <= len(replay.rounds), f"round {number} was not opened yet")
    return replay.rounds[number - 1]


def _committee(replay: "Replay", current: RoundState, sender: str) -> Committee:
    """The committee that serves the round; the sender must be in it."""
    committee = replay.committees[current.epoch]
    require(sender in committee.parties, f"{sender} is not in the committee of round {current.number}", hostile=True)
    return committee


def _attempt(current: RoundState, number: int) -> Attempt:
    attempt = current.attempt
    if attempt is None:
        raise RuleError(f"nobody asked for answers in round {current.number}", hostile=True)
    require(number == attempt.request.attempt, f"attempt {number} of round {current.number} is not the current one")
    return attempt


@rule.register(RoundOpen)
def _(body: RoundOpen, replay: "Replay", sender: str, index: int) -> Effect:
    current = replay.current
    require(replay.key_ready, "a round before key generation is complete")
    change = replay.ceremony
    require(body.round == len(replay.rounds) + 1, f"round {len(replay.rounds) + 1} is next")
    require(body.round <= replay.known.plan.rounds, "the plan has no more rounds", hostile=True)
    if current is not None:
        require(current.finished, f"round {current.number} is not finished")
        require(body.model == current.following, "a round starts from the last model", hostile=True)
    else:
        require(body.model == replay.known.plan.initial, "the first round starts from the plan's model", hostile=True)
    epoch = replay.committee.epoch

    def effect() -> None:
        replay.rounds.append(RoundState(body.round, index, body.model, epoch))
        change.abandoned = not change.ready  # whoever is in office serves the round; another change may be announced

    return effect


@rule.register(BudgetSpend)
def _(body: BudgetSpend, replay: "Replay", sender: str, index: int) -> Effect:
    current, plan = _current(replay, body.round), replay.known.plan
    require(current.closed is None, f"round {body.round} is closed")
    require(sender not in current.spends, f"{sender} spent for this round already", hostile=True)
    stated = (body.steps, body.noise_multiplier_milli, body.sampling_rate_ppm)
    event = plan.round_event
    planned = (event.steps, event.noise_multiplier_milli, event.sampling_rate_ppm)
    require(stated == planned, "the spend is not the plan's mechanism", hostile=True)
    try:
        mechanisms = [(o.event.noise_multiplier_milli, o.event.sampling_rate_ppm) for o in body.others]
    except ValueError as exc:
        raise RuleError(f"the spend states impossible spending of other runs: {exc}", hostile=True) from exc
    require(
        mechanisms == sorted(set(mechanisms)), "the spending of other runs is not merged and in order", hostile=True
    )

    def effect() -> None:
        current.spends[sender], current.spent[sender] = body, index

    return effect


@rule.register(UpdateCommit)
def _(body: UpdateCommit, replay: "Replay", sender: str, index: int) -> Effect:
    current = _current(replay, body.round)
    require(current.closed is None, f"round {body.round} is closed")
    require(sender not in current.commits, f"{sender} committed an update for this round already", hostile=True)
    require(sender in current.spends, f"{sender} recorded no budget spend for this round", hostile=True)
    require(body.mode == DENSE, f"mode {body.mode} of an update is unknown to this version", hostile=True)
    require(not body.data, "a dense update has no data beside its ciphertext", hostile=True)
    if replay.seen & {body.opened, body.upload}:
        # Of two in one round nobody can tell who copied: a sequencer can put a copy before the entry that it is of.
        copied = any(body.opened == commit.opened for _, commit in current.commits.values())
        raise RuleError("this ciphertext was committed before", hostile=not copied)

    def effect() -> None:
        replay.seen.update((body.opened, body.upload))
        current.commits[sender] = (index, body)

    return effect


@rule.register(RoundClose)
def _(body: RoundClose, replay: "Replay", sender: str, index: int) -> Effect:
    current, plan = _current(replay, body.round), replay.known.plan
    require(current.closed is None, f"round {body.round} is closed already", hostile=True)
    by_index = {at: name for name, (at, _) in current.commits.items()}
    require(all(at in by_index for at in body.cohort), "the cohort names no commitment of the round", hostile=True)
    require(list(body.cohort) == sorted(set(body.cohort)), "the cohort is not in order", hostile=True)
    require(
        len(body.cohort) >= plan.minimum_clients,
        f"{len(body.cohort)} updates are fewer than the plan's minimum of {plan.minimum_clients}",
        hostile=True,
    )

    def effect() -> None:
        current.closed = index
        current.cohort = tuple(by_index[at] for at in body.cohort)
        current.closing = cohort_digest(replay.newest, current.ciphertexts())

    return effect


@rule.register(Aggregate)
def _(body: Aggregate, replay: "Replay", sender: str, index: int) -> Effect:
    current = _current(replay, body.round)
    require(current.closed is not None, f"round {body.round} is still open")
    require(current.aggregate is None, f"round {body.round} has an aggregate", hostile=True)
    require(body.ciphertext not in replay.seen, "the sum is a ciphertext that somebody committed to", hostile=True)

    def effect() -> None:
        replay.seen.add(body.ciphertext)  # nobody can send a sum as an update of its own
        current.aggregate, current.aggregated = body, index

    return effect


@rule.register(AggregateVote)
def _(body: AggregateVote, replay: "Replay", sender: str, index: int) -> Effect:
    """A vote; or, when the round has been asked for or is over, late evidence that the member summed the same."""
    state = _any(replay, body.round)
    _committee(replay, state, sender)
    require(state.aggregate is not None, f"round {body.round} has no aggregate yet")
    require(body.closed == state.closing, f"the vote is about other updates than round {body.round}'s", hostile=True)
    require(sender not in state.votes and sender not in state.late_votes, f"{sender} voted already", hostile=True)
    require(state.released is None, f"the updates of round {body.round} were released")
    votes = state.late_votes if state.attempts or state.finished else state.votes
    return lambda: votes.update({sender: body})


@rule.register(DecryptionRequest)
def _(body: DecryptionRequest, replay: "Replay", sender: str, index: int) -> Effect:
    current = _current(replay, body.round)
    committee = replay.committees[current.epoch]
    require(current.result is None, f"round {body.round} has a model", hostile=True)
    require(body.purpose == Purpose.UPDATE, f"purpose {body.purpose} is not an update", hostile=True)
    if current.aggregate is None or body.ciphertext != current.aggregate.ciphertext:
        raise RuleError("the request is not for the round's aggregate", hostile=True)
    _check_attempt(body, current, committee)
    agreeing, needed = current.agreeing(), committee.policy.needed
    require(len(agreeing) >= needed, f"{len(agreeing)} of {needed} members computed this aggregate", hostile=True)
    active, threshold = list(body.active), committee.sharing.threshold
    require(active == sorted(set(active)), "the active members are not in order", hostile=True)
    asked = tuple(committee.name(m) for m in active)
    require(
        set(asked) <= set(agreeing) and len(active) == threshold,
        f"the active set is {threshold} members that computed the aggregate",
        hostile=True,
    )
    try:
        checkpoint = committee.policy.verify(body.certificate).checkpoint
    except LedgerError as exc:
        raise RuleError(f"the request's certificate does not verify: {exc}", hostile=True) from exc
    require(current.aggregated < checkpoint.size <= index, "the certificate does not cover the aggregate", hostile=True)
    require(checkpoint.root == replay.root(checkpoint.size), "the certificate is of another log", hostile=True)
    return lambda: current.attempts.append(Attempt(body, asked, replay.newest))


def _check_attempt(body: DecryptionRequest, current: RoundState, committee: Committee) -> None:
    """One request for an aggregate, ever; more in a replicated sharing, whose answers do not depend on who is asked."""
    count, last = len(current.attempts), current.request
    if last is not None:
        replicated = isinstance(committee.sharing, ReplicatedSharing)
        require(replicated, f"the aggregate of round {body.round} was requested already", hostile=True)
        limit = committee.sharing.members
        require(count < limit, f"the aggregate of round {body.round} was requested {limit} times", hostile=True)
        require(body.active != last.active, f"round {body.round}: the same members were asked already", hostile=True)
    require(body.attempt == count, f"attempt {count} of round {body.round} is next", hostile=True)


@rule.register(PartialAnswer)
def _(body: PartialAnswer, replay: "Replay", sender: str, index: int) -> Effect:
    attempt = _attempt(_current(replay, body.round), body.attempt)
    require(body.request == attempt.entry, "the answer is to another request", hostile=True)
    require(sender in attempt.asked, f"{sender} was not asked", hostile=True)
    require(sender not in attempt.answers, f"{sender} answered this aggregate twice", hostile=True)
    return lambda: attempt.answers.update({sender: body})


@rule.register(PieceCheck)
def _(body: PieceCheck, replay: "Replay", sender: str, index: int) -> Effect:
    current = _current(replay, body.round)
    committee = _committee(replay, current, sender)
    require(has_checks(committee.sharing), "answers of this committee are not cross-checked", hostile=True)
    attempt = _attempt(current, body.attempt)
    require(not attempt.unanswered, "a check before every asked member answered", hostile=True)
    ours = challenge(replay.context, body.round, attempt)
    require(body.challenge == ours, "the check is of another request, or of other answers", hostile=True)
    done = sender in attempt.checks or sender in attempt.late
    require(not done, f"{sender} checked this attempt already", hostile=True)
    held = len(committee.sharing.held_by(member_number(sender)))
    formed = are_well_formed(body, replay.known.plan.suite, held)
    require(formed, f"{sender} states other than {held} fingerprints of the right length", hostile=True)
    checks = attempt.checks if current.result is None else attempt.late
    return lambda: checks.update({sender: body})


@rule.register(Model)
def _(body: Model, replay: "Replay", sender: str, index: int) -> Effect:
    current = _current(replay, body.round)
    attempt, committee = current.attempt, replay.committees[current.epoch]
    if attempt is None or attempt.unanswered:
        raise RuleError("a model before every asked member answered", hostile=True)
    require(current.result is None, f"round {body.round} has a model", hostile=True)
    require(body.accuracy_ppm <= 1_000_000, "an accuracy above 100 %", hostile=True)
    require(body.sentinel_energy >= 0, "a sum of squares below zero", hostile=True)
    if has_checks(committee.sharing):
        _check_confirmed(attempt, committee)

    def effect() -> None:
        current.result = body

    return effect


def _check_confirmed(attempt: Attempt, committee: Committee) -> None:
    """A quorum has checked, the asked members among them, and nobody contradicts those whose answers count.

    Every piece is then confirmed by at least needed - t + 1 of its holders, which is two or more.
    """
    needed = committee.policy.needed
    unchecked = [name for name in attempt.asked if name not in attempt.checks]
    require(not unchecked, f"a model before {', '.join(unchecked)} checked", hostile=True)
    have = len(attempt.checks)
    require(have >= needed, f"a model that {have} members checked, of the {needed} it needs", hostile=True)
    for dispute in disputes(attempt, committee):
        require(dispute.believed, f"a model while {dispute}", hostile=True)
    guilty = [name for name in attempt.asked if name in convicted(attempt, committee)]
    require(not guilty, f"a model from the answer of {', '.join(guilty)}, which other holders contradict", hostile=True)


@rule.register(RoundVoid)
def _(body: RoundVoid, replay: "Replay", sender: str, index: int) -> Effect:
    current = _current(replay, body.round)
    require(current.result is None, f"round {body.round} has a model", hostile=True)

    def effect() -> None:
        current.void = body

    return effect


@rule.register(BlobRelease)
def _(body: BlobRelease, replay: "Replay", sender: str, index: int) -> Effect:
    state = _any(replay, body.round)
    require(state.finished, f"round {body.round} is not finished")
    require(body.closed == state.closing, f"the release is of other updates than round {body.round}'s", hostile=True)
    require(state.released is None, f"the updates of round {body.round} were released already", hostile=True)
    have, needed = len(state.attesting()), replay.committees[state.epoch].policy.needed
    require(have >= needed, f"{have} of {needed} members attest that they summed round {body.round}", hostile=True)

    def effect() -> None:
        state.released = index

    return effect
