"""The round machine: rounds without a model, and what comes late."""

import pytest

from secure_bfl.messages import (
    Aggregate,
    AggregateVote,
    Body,
    DecryptionRequest,
    Model,
    PartialAnswer,
    PieceCheck,
    RoundClose,
    RoundOpen,
    RoundVoid,
    UpdateCommit,
)
from tests.secure_bfl.federation import digest
from tests.secure_bfl.script import Script, check_ignored, update
from tests.secure_bfl.test_replay_certificates import fresh_request
from tests.secure_bfl.test_replay_rounds import answered

# Rounds without a model.


@pytest.mark.parametrize(
    "after", [RoundOpen, UpdateCommit, RoundClose, Aggregate, DecryptionRequest, PartialAnswer, PieceCheck]
)
def test_a_round_can_be_void_at_any_time(script: Script, after: type[Body]) -> None:
    index = script.first(after, round_number=1) + 1
    replay = script.replay(index)
    replay.apply(script.sign(RoundVoid(1, "it does not open"), "operator"))
    assert (replay.ignored, replay.rounds[0].void) == ([], RoundVoid(1, "it does not open"))
    assert replay.rounds[0].finished
    for step in script.steps[index : script.first(Model) + 1]:
        if isinstance(step.body, AggregateVote) and replay.rounds[0].aggregate is not None:
            continue  # evidence that a member summed the updates, which may come at any time
        reason = "round 1 has no aggregate yet" if isinstance(step.body, AggregateVote) else "round 1 is void"
        assert check_ignored(replay, step.data, hostile=False).reason == reason
    twice = check_ignored(replay, script.sign(RoundVoid(1, "again"), "operator"), hostile=False)
    assert twice.reason == "round 1 is void"
    moved = check_ignored(replay, script.sign(RoundOpen(2, digest("model", 1)), "operator"), hostile=True)
    assert moved.reason == "a round starts from the last model"
    replay.apply(script.sign(RoundOpen(2, digest("model", 0)), "operator"))
    assert len(replay.rounds) == 2
    assert not replay.rounds[1].finished


def test_an_update_of_a_void_round_is_not_for_another(script: Script) -> None:
    replay = script.replay(script.first(UpdateCommit) + 1)
    replay.apply(script.sign(RoundVoid(1, "no"), "operator"))
    replay.apply(script.sign(RoundOpen(2, digest("model", 0)), "operator"))
    replay.apply(script.sign(script.spend(2, "client-2"), "client-2"))
    stolen = script.sign(update(2, digest("update", 1, "client-1")), "client-2")
    assert check_ignored(replay, stolen, hostile=True).reason == "this ciphertext was committed before"


def test_only_the_operator_makes_a_round_void(script: Script) -> None:
    replay = script.replay(script.first(RoundOpen) + 1)
    for name in ("member-1", "client-1"):
        listed = check_ignored(replay, script.sign(RoundVoid(1, "no"), name), hostile=True)
        assert listed.reason == "ROUND_VOID is for the operator"
    listed = check_ignored(answered(script), script.sign(script.check(1, "member-1"), "operator"), hostile=True)
    assert listed.reason == "PIECE_CHECK is for the member"


def test_a_vote_after_the_request_is_late(script: Script) -> None:
    """It decides nothing, and stays as evidence that one more member has summed the updates."""
    last_vote = script.last(AggregateVote, round_number=1)
    replay = script.replay(last_vote)
    replay.apply(script.sign(fresh_request(script, last_vote), "operator"))
    replay.apply(script.steps[last_vote].data)
    assert replay.ignored == []
    state = replay.rounds[0]
    assert (list(state.late_votes), state.agreeing(), state.attesting()) == (
        ["member-4"],
        script.members[:3],
        script.members,
    )
    assert check_ignored(replay, script.steps[last_vote].data, hostile=True).reason == "member-4 voted already"


def test_no_round_beyond_the_plan(script: Script) -> None:
    listed = check_ignored(script.replay(), script.sign(RoundOpen(3, digest("model", 2)), "operator"), hostile=True)
    assert listed.reason == "the plan has no more rounds"
