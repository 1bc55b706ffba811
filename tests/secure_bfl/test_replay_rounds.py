"""The round machine: rounds, one bad entry for each rule, and the certificate in a request."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from ledger import (
    parse_entry,
)
from secure_bfl.disputes import disputes
from secure_bfl.messages import (
    Aggregate,
    AggregateVote,
    Body,
    BudgetSpend,
    DecryptionRequest,
    Model,
    OtherSpend,
    PartialAnswer,
    PieceCheck,
    RoundClose,
    RoundOpen,
    RoundVoid,
    UpdateCommit,
)
from secure_bfl.replay import Replay
from tests.secure_bfl.federation import digest
from tests.secure_bfl.script import Script, check_ignored, update
from tests.secure_bfl.test_replay_certificates import fresh_request

# Rounds: one bad body for each rule.


@dataclass(frozen=True)
class Bad:
    """An entry that breaks one rule just before the entry of the same kind that would be right."""

    body: Callable[[Script], Body]
    sender: str
    reason: str
    hostile: bool
    round_number: int = 1
    by_last: bool = False
    by_kind: type[Body] | None = None


BAD = {
    "first round from another model": Bad(
        lambda s: RoundOpen(1, digest("other")), "operator", "the first round starts from the plan's model", True
    ),
    "round number skipped": Bad(lambda s: RoundOpen(2, digest("model", 0)), "operator", "round 1 is next", False),
    "round before the last is finished": Bad(
        lambda s: RoundOpen(2, digest("model", 1)), "operator", "round 1 is not finished", False, 0
    ),
    "another model": Bad(
        lambda s: RoundOpen(2, digest("other")), "operator", "a round starts from the last model", True, 2
    ),
    "spend for another round": Bad(
        lambda s: s.spend(2, "client-1"), "client-1", "round 2 is not the current round", False
    ),
    "spend of other steps": Bad(
        lambda s: replace(s.spend(1, "client-1"), steps=2), "client-1", "the spend is not the plan's mechanism", True
    ),
    "impossible spending of other runs": Bad(
        lambda s: replace(s.spend(1, "client-1"), others=(OtherSpend(1, 1, 1),)),
        "client-1",
        "the spend states impossible spending of other runs: noise_multiplier_milli must be in [100, 10000000], got 1",
        True,
    ),
    "other runs not in order": Bad(
        lambda s: replace(s.spend(1, "client-1"), others=(OtherSpend(900, 5, 1), OtherSpend(800, 5, 1))),
        "client-1",
        "the spending of other runs is not merged and in order",
        True,
    ),
    "other runs not merged": Bad(
        lambda s: replace(s.spend(1, "client-1"), others=(OtherSpend(900, 5, 1), OtherSpend(900, 5, 2))),
        "client-1",
        "the spending of other runs is not merged and in order",
        True,
    ),
    "spend with more noise": Bad(
        lambda s: replace(s.spend(1, "client-1"), noise_multiplier_milli=10**6),
        "client-1",
        "the spend is not the plan's mechanism",
        True,
    ),
    "spend at another rate": Bad(
        lambda s: replace(s.spend(1, "client-1"), sampling_rate_ppm=1),
        "client-1",
        "the spend is not the plan's mechanism",
        True,
    ),
    "somebody else's ciphertext": Bad(
        lambda s: update(1, digest("update", 1, "client-1")),
        "client-3",
        "this ciphertext was committed before",
        False,
        by_last=True,
    ),
    "a ciphertext of an old round": Bad(
        lambda s: update(2, digest("update", 1, "client-2")),
        "client-1",
        "this ciphertext was committed before",
        True,
        2,
    ),
    "cohort below the minimum": Bad(
        lambda s: RoundClose(1, (s.first(UpdateCommit),)),
        "operator",
        "1 updates are fewer than the plan's minimum of 2",
        True,
    ),
    "empty cohort": Bad(
        lambda s: RoundClose(1, ()), "operator", "0 updates are fewer than the plan's minimum of 2", True
    ),
    "cohort of another entry": Bad(
        lambda s: RoundClose(1, (s.first(BudgetSpend), s.first(UpdateCommit))),
        "operator",
        "the cohort names no commitment of the round",
        True,
    ),
    "cohort of the other round": Bad(
        lambda s: RoundClose(2, (s.first(UpdateCommit), s.first(UpdateCommit) + 1)),
        "operator",
        "the cohort names no commitment of the round",
        True,
        2,
    ),
    "cohort with one twice": Bad(
        lambda s: RoundClose(1, (s.first(UpdateCommit), s.first(UpdateCommit))),
        "operator",
        "the cohort is not in order",
        True,
    ),
    "cohort out of order": Bad(
        lambda s: RoundClose(1, (s.first(UpdateCommit) + 1, s.first(UpdateCommit))),
        "operator",
        "the cohort is not in order",
        True,
    ),
    "aggregate of another round": Bad(
        lambda s: Aggregate(2, digest("sum", 2)), "operator", "round 2 is not the current round", False
    ),
    "vote for another round": Bad(
        lambda s: s.vote(2, digest("sum", 2)), "member-1", "round 2 was not opened yet", False
    ),
    "request with another purpose": Bad(
        lambda s: s.request(1, purpose=2), "operator", "purpose 2 is not an update", True
    ),
    "request for another ciphertext": Bad(
        lambda s: s.request(1, ciphertext=digest("update", 1, "client-1")),
        "operator",
        "the request is not for the round's aggregate",
        True,
    ),
    "active set too small": Bad(
        lambda s: s.request(1, active=(1,)),
        "operator",
        "the active set is 2 members that computed the aggregate",
        True,
    ),
    "active set too large": Bad(
        lambda s: s.request(1, active=(1, 2, 3)),
        "operator",
        "the active set is 2 members that computed the aggregate",
        True,
    ),
    "active set unknown": Bad(
        lambda s: s.request(1, active=(1, 9)),
        "operator",
        "the active set is 2 members that computed the aggregate",
        True,
    ),
    "active set doubled": Bad(
        lambda s: s.request(1, active=(1, 1)), "operator", "the active members are not in order", True
    ),
    "active set out of order": Bad(
        lambda s: s.request(1, active=(2, 1)), "operator", "the active members are not in order", True
    ),
    "a sum of an old round as an update": Bad(
        lambda s: update(2, digest("sum", 1)), "client-1", "this ciphertext was committed before", True, 2
    ),
    "an accuracy above the whole": Bad(
        lambda s: Model(1, digest("model", 1), 1_000_001, 0), "operator", "an accuracy above 100 %", True
    ),
    "a sum of squares below zero": Bad(
        lambda s: Model(1, digest("model", 1), -1, -1), "operator", "a sum of squares below zero", True
    ),
    "an update of another mode": Bad(
        lambda s: UpdateCommit(1, 1, digest("mode"), b""),
        "client-1",
        "mode 1 of an update is unknown to this version",
        True,
    ),
    "an update with something beside it": Bad(
        lambda s: UpdateCommit(1, 0, digest("beside"), b"x"),
        "client-1",
        "a dense update has no data beside its ciphertext",
        True,
    ),
    "a first request that is not the first": Bad(
        lambda s: s.request(1, attempt=1), "operator", "attempt 0 of round 1 is next", True
    ),
    "answer to another attempt": Bad(
        lambda s: replace(s.answer(1, digest("share")), attempt=1),
        "member-1",
        "attempt 1 of round 1 is not the current one",
        False,
    ),
    "checks of another attempt": Bad(
        lambda s: replace(s.check(1, "member-1"), attempt=1),
        "member-1",
        "attempt 1 of round 1 is not the current one",
        False,
    ),
    "a check too few": Bad(
        lambda s: replace(s.check(1, "member-1"), fingerprints=s.check(1, "member-1").fingerprints[1:]),
        "member-1",
        "member-1 states other than 3 fingerprints of the right length",
        True,
    ),
    "a check too short": Bad(
        lambda s: replace(s.check(1, "member-1"), fingerprints=(b"", *s.check(1, "member-1").fingerprints[1:])),
        "member-1",
        "member-1 states other than 3 fingerprints of the right length",
        True,
    ),
    "a vote about other updates": Bad(
        lambda s: replace(s.vote(1, digest("sum", 1)), closed=digest("another close")),
        "member-1",
        "the vote is about other updates than round 1's",
        True,
    ),
    "an answer to another request": Bad(
        lambda s: replace(s.answer(1, digest("share", 1, 1)), request=digest("another request")),
        "member-1",
        "the answer is to another request",
        True,
    ),
    "a check for another challenge": Bad(
        lambda s: replace(s.check(1, "member-1"), challenge=digest("another challenge")),
        "member-1",
        "the check is of another request, or of other answers",
        True,
    ),
    "void of another round": Bad(
        lambda s: RoundVoid(2, "no"), "operator", "round 2 is not the current round", False, by_kind=Aggregate
    ),
    "answer of one that was not asked": Bad(
        lambda s: s.answer(1, digest("share")), "member-4", "member-4 was not asked", True
    ),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_rounds_follow_the_rules(script: Script, bad: Bad) -> None:
    body = bad.body(script)
    if bad.round_number == 0:  # in the middle of round 1
        index = script.first(UpdateCommit)
    elif bad.by_last:
        index = script.last(type(body), round_number=bad.round_number)
    else:
        index = script.first(bad.by_kind or type(body), round_number=bad.round_number)
    listed = check_ignored(script.replay(index), script.sign(body, bad.sender))
    assert (listed.reason, listed.hostile) == (bad.reason, bad.hostile)


def test_a_late_spend_or_update_does_not_count(script: Script) -> None:
    closing = script.steps[script.first(RoundClose)]
    late_commit = script.last(UpdateCommit, round_number=1)
    replay = script.replay(late_commit)  # client-3 has not committed
    cohort = (late_commit - 2, late_commit - 1)
    replay.apply(script.sign(RoundClose(1, cohort), "operator"))
    assert replay.ignored == []
    assert replay.rounds[0].cohort == ("client-1", "client-2")
    listed = check_ignored(replay, script.steps[late_commit].data, hostile=False)
    assert listed.reason == "round 1 is closed"
    listed = check_ignored(replay, closing.data, hostile=True)
    assert listed.reason == "round 1 is closed already"
    without_spend = script.replay(script.first(BudgetSpend) + 2)
    commits = [script.first(UpdateCommit), script.first(UpdateCommit) + 1]
    for index in commits:
        without_spend.apply(script.steps[index].data)
    size = without_spend.size
    without_spend.apply(script.sign(RoundClose(1, (size - 2, size - 1)), "operator"))
    assert without_spend.ignored == []
    listed = check_ignored(without_spend, script.sign(script.spend(1, "client-3"), "client-3"), hostile=False)
    assert listed.reason == "round 1 is closed"


def test_an_update_needs_its_spend(script: Script) -> None:
    replay = script.replay(script.last(BudgetSpend, round_number=1))  # client-3 has not spent
    listed = check_ignored(replay, script.steps[script.last(UpdateCommit, round_number=1)].data, hostile=True)
    assert listed.reason == "client-3 recorded no budget spend for this round"


def test_a_refused_update_leaves_its_ciphertext_to_its_owner(script: Script) -> None:
    first = script.first(UpdateCommit)
    replay = script.replay(script.last(BudgetSpend, round_number=1))  # client-3 may not commit yet
    stolen = script.sign(update(1, digest("update", 1, "client-1")), "client-3")
    check_ignored(replay, stolen, hostile=True)
    assert replay.refuses(script.steps[first].data) is None


def test_order_within_a_round(script: Script) -> None:
    aggregate, vote = script.steps[script.first(Aggregate)].data, script.steps[script.first(AggregateVote)].data
    request = script.steps[script.first(DecryptionRequest)].data
    answer, model = script.steps[script.first(PartialAnswer)].data, script.steps[script.first(Model)].data
    still_open = script.replay(script.first(RoundClose))
    assert check_ignored(still_open, aggregate, hostile=False).reason == "round 1 is still open"
    closed = script.replay(script.first(Aggregate))
    assert check_ignored(closed, vote, hostile=False).reason == "round 1 has no aggregate yet"
    assert check_ignored(closed, request, hostile=True).reason == "the request is not for the round's aggregate"
    added = script.replay(script.first(AggregateVote) + 2)
    assert check_ignored(added, request, hostile=True).reason == "2 of 3 members computed this aggregate"
    assert check_ignored(added, answer, hostile=True).reason == "nobody asked for answers in round 1"
    assert check_ignored(added, model, hostile=True).reason == "a model before every asked member answered"
    answered = script.replay(script.last(PartialAnswer, round_number=1))
    assert check_ignored(answered, model, hostile=True).reason == "a model before every asked member answered"
    check = script.steps[script.first(PieceCheck)].data
    assert check_ignored(answered, check, hostile=True).reason == "a check before every asked member answered"
    checked = script.replay(script.first(PieceCheck) + 1)
    assert check_ignored(checked, check, hostile=True).reason == "member-1 checked this attempt already"
    assert check_ignored(checked, model, hostile=True).reason == "a model before member-2 checked"
    checked = script.replay(script.first(PieceCheck) + 2)
    assert check_ignored(checked, model, hostile=True).reason == "a model that 2 members checked, of the 3 it needs"
    done = script.replay(script.first(Model) + 1)
    void = script.sign(RoundVoid(1, "too late"), "operator")
    assert check_ignored(done, void, hostile=True).reason == "round 1 has a model"
    again = script.sign(fresh_request(script, script.first(DecryptionRequest), attempt=1), "operator")
    assert check_ignored(done, again, hostile=True).reason == "round 1 has a model"


def test_a_check_after_the_model_is_late_and_stays_as_evidence(script: Script) -> None:
    last = script.last(PieceCheck, round_number=1)
    replay = script.replay(last)  # member-4 has not checked, and need not
    replay.apply(script.steps[script.first(Model)].data)
    replay.apply(script.steps[last].data)
    assert replay.ignored == []
    attempt = replay.rounds[0].attempts[0]
    assert (set(attempt.checks), set(attempt.late)) == ({"member-1", "member-2", "member-3"}, {"member-4"})
    twice = check_ignored(replay, script.steps[last].data, hostile=True)
    assert twice.reason == "member-4 checked this attempt already"
    check = script.sign(other_fingerprints(script, last), "member-4")
    replay = script.replay(last)
    replay.apply(script.steps[script.first(Model)].data)
    replay.apply(check)
    attempt = replay.rounds[0].attempts[0]
    assert disputes(attempt, replay.committee) == ()
    assert all("member-4" in str(dispute) for dispute in disputes(attempt, replay.committee, late=True))
    assert disputes(attempt, replay.committee, late=True)


def other_fingerprints(script: Script, step: int) -> PieceCheck:
    """The check of a step, with other values."""
    check = PieceCheck.from_value(parse_entry(script.steps[step].data).body)
    return replace(check, fingerprints=tuple(bytes(len(f)) for f in check.fingerprints))


# Other members are asked.


def again(script: Script, attempt: int, active: tuple[int, ...]) -> bytes:
    """Another request of round 1, with a certificate over the votes."""
    body = fresh_request(script, script.first(DecryptionRequest), attempt=attempt, active=active)
    return script.sign(body, "operator")


def test_others_are_asked_until_every_member_was(script: Script) -> None:
    replay = script.replay(script.first(DecryptionRequest) + 1)
    for member in (1, 2):
        replay.apply(script.sign(script.answer(1, digest("wrong", member)), f"member-{member}"))
    same = check_ignored(replay, again(script, 1, (1, 2)), hostile=True)
    assert same.reason == "round 1: the same members were asked already"
    skipped = check_ignored(replay, again(script, 2, (1, 3)), hostile=True)
    assert skipped.reason == "attempt 1 of round 1 is next"
    for attempt, active in enumerate(((1, 3), (1, 2), (3, 4)), start=1):
        replay.apply(again(script, attempt, active))
        assert len(replay.ignored) == 2
        state = replay.rounds[0]
        assert (state.answers, len(state.attempts)) == ({}, attempt + 1)
    full = check_ignored(replay, again(script, 4, (1, 3)), hostile=True)
    assert full.reason == "the aggregate of round 1 was requested 4 times"
    late = check_ignored(replay, script.sign(script.answer(1, digest("late")), "member-1"), hostile=False)
    assert late.reason == "attempt 0 of round 1 is not the current one"
    for member in (3, 4):
        replay.apply(script.sign(script.answer(1, digest("right", member), replay=replay), f"member-{member}"))
    for name in script.members:
        replay.apply(script.sign(script.check(1, name, replay=replay), name))
    replay.apply(script.steps[script.first(Model)].data)
    assert replay.rounds[0].result is not None
    assert len(replay.rounds[0].attempts[0].answers) == 2, "the first answers are kept"
    assert replay.rounds[0].answers.keys() == {"member-3", "member-4"}


def answered(script: Script) -> Replay:
    """Round 1 with all answers and no checks."""
    return script.replay(script.last(PartialAnswer, round_number=1) + 1)


@pytest.mark.parametrize(
    ("liars", "reason"),
    [
        ({"member-3": (0,)}, None),  # f + 1 = 2 holders against one that was not asked
        (
            {"member-2": (2,)},
            "a model from the answer of member-2, which other holders contradict",
        ),
        (
            {"member-2": (2,), "member-3": (1,)},
            "a model from the answer of member-2, which other holders contradict",
        ),
    ],
)
def test_a_contradicted_answer_makes_no_model(
    script: Script, liars: dict[str, tuple[int, ...]], reason: str | None
) -> None:
    replay = answered(script)
    for name in script.members:
        replay.apply(script.sign(script.check(1, name, lies=liars.get(name, ())), name))
    model = script.steps[script.first(Model)].data
    assert replay.ignored == []
    if reason is None:
        assert replay.refuses(model) is None
    else:
        assert check_ignored(replay, model, hostile=True).reason == reason


def test_an_undecided_dispute_makes_no_model(script: Script) -> None:
    """One against one, as long as the third holder has not spoken."""
    replay, model = answered(script), script.steps[script.first(Model)].data
    assert script.plan.sharing.holders(2) == (1, 2, 4)
    for name in ("member-1", "member-2", "member-3"):
        replay.apply(script.sign(script.check(1, name, lies=(2,) if name == "member-2" else ()), name))
    told = "a model while the holders of piece 2 disagree about its answer: member-1 against member-2"
    assert check_ignored(replay, model, hostile=True).reason == told
    replay.apply(script.sign(script.check(1, "member-4"), "member-4"))
    told = "a model from the answer of member-2, which other holders contradict"
    assert check_ignored(replay, model, hostile=True).reason == told
    replay = answered(script)
    for name in script.members:
        replay.apply(script.sign(script.check(1, name, lies=(1,) if name == "member-4" else ()), name))
    assert replay.refuses(model) is None, "member-4 was not asked"
