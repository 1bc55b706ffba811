"""The round machine: what counts, what is ignored, why, and that nothing else ever happens."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import (
    CosigningWitness,
    Log,
    MemoryBlobs,
    MemoryStore,
    MemoryWitnessStore,
    Policy,
    SigningKey,
    Value,
    Witness,
    certify,
)
from secure_bfl.board import Board
from secure_bfl.errors import StateError
from secure_bfl.messages import (
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
    PieceDigest,
    Role,
    RoundClose,
    RoundOpen,
    UpdateCommit,
)
from secure_bfl.plan import FederationPlan
from secure_bfl.replay import CeremonyState, Ignored, Replay, RoundState
from secure_bfl.roster import Roster
from tests.secure_bfl.federation import NOW, digest
from tests.secure_bfl.script import Script

STRANGER = SigningKey.from_seed(bytes(32))
KINDS = tuple(BODIES.values())
LEGAL_KINDS = tuple(kind for kind in KINDS if kind is not Complaint)


@dataclass(frozen=True)
class State:
    """Everything that replay knows, apart from what it ignored."""

    roster: Roster | None
    context: bytes
    ceremony: CeremonyState
    rounds: list[RoundState]

    @classmethod
    def of(cls, replay: Replay) -> "State":
        return cls(replay.roster, replay.context, copy.deepcopy(replay.ceremony), copy.deepcopy(replay.rounds))


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


# The legal run.


def test_every_legal_entry_counts(script: Script, plan: FederationPlan) -> None:
    replay = script.replay()
    assert replay.ignored == []
    assert replay.size == len(script.steps)
    assert replay.key_ready
    assert replay.joint_key_digest == digest("joint key")
    assert [state.number for state in replay.rounds] == [1, 2]
    for number, state in enumerate(replay.rounds, start=1):
        assert state.model == digest("model", number - 1)
        assert state.cohort == script.clients
        assert state.ciphertexts() == tuple(digest("update", number, name) for name in script.clients)
        assert state.agreeing() == script.members
        assert tuple(state.answers) == script.members[: plan.threshold]
        assert state.result == Model(number, digest("model", number), -1)
        assert state.opened < state.commits["client-1"][0] < (state.closed or 0) < state.aggregated
    assert {step.body.kind for step in script.steps} == {body.kind for body in LEGAL_KINDS}


def test_prefixes_replay_to_the_same_states_as_one_run(script: Script) -> None:
    running = Replay()
    for count, step in enumerate(script.steps, start=1):
        assert running.refuses(step.data) is None
        running.apply(step.data)
        fresh = script.replay(count)
        assert State.of(fresh) == State.of(running)
        assert fresh.root() == running.root()
        assert fresh.ignored == []


def test_the_tree_is_the_logs(script: Script) -> None:
    replay = script.replay()
    for size in range(1, replay.size + 1):
        assert replay.root(size) == script.log.root(size)


def test_before_the_genesis_nothing_is_known(script: Script) -> None:
    replay = Replay()
    assert replay.current is None
    assert replay.joint_key_digest is None
    assert not replay.key_ready
    with pytest.raises(ValueError, match="no genesis"):
        _ = replay.known
    for step in script.steps[1:]:
        assert check_ignored(replay, step.data, hostile=True).reason


def test_an_agreement_before_the_announcement_is_empty() -> None:
    assert RoundState(1, 0, digest("m")).agreeing() == ()


# Twice, too early, by the wrong party.


def test_nothing_counts_twice(script: Script) -> None:
    replay = Replay()
    for step in script.steps:
        replay.apply(step.data)
        assert replay.refuses(step.data) is not None
    assert replay.ignored == []
    for step in script.steps:
        listed = check_ignored(replay, step.data)
        assert (listed.kind, listed.sender) == (step.body.kind, step.sender)


def test_nothing_of_an_old_round_counts_later(script: Script) -> None:
    replay = script.replay(script.last(UpdateCommit, round_number=2) + 1)
    for step in script.steps[script.first(RoundOpen, round_number=1) : script.first(RoundOpen, round_number=2)]:
        check_ignored(replay, step.data)


def test_nothing_counts_before_the_phase_before_it(script: Script) -> None:
    begins: dict[int, int] = {}
    for index, step in enumerate(script.steps):
        begins.setdefault(step.phase, index)
    replay, checked = Replay(), 0
    for count, next_step in enumerate(script.steps):
        for phase, begin in begins.items():
            if phase and count <= begins[phase - 1]:
                early = script.steps[begin]
                assert replay.refuses(early.data) is not None, f"{early.body.kind.name} after {count} entries"
                checked += 1
        replay.apply(next_step.data)
    assert checked > 400
    assert replay.ignored == []


TWICE = [
    (KeyCommit, r"member-4 committed already"),
    (KeyReveal, r"member-4 revealed already"),
    (KeyCheck, r"member-4 checked already"),
    (KeyAnswer, r"member-4 answered the test already"),
    (BudgetSpend, r"client-3 spent for this round already"),
    (UpdateCommit, r"client-3 committed an update for this round already"),
    (RoundClose, r"round 2 is closed already"),
    (Aggregate, r"round 2 has an aggregate"),
    (AggregateVote, r"member-4 voted already"),
    (DecryptionRequest, r"the aggregate of round 2 was requested already"),
    (PartialAnswer, r"member-3 answered this aggregate twice"),
    (Model, r"round 2 has a model"),
]


@pytest.mark.parametrize(("kind", "reason"), TWICE, ids=lambda value: getattr(value, "__name__", ""))
def test_a_second_entry_of_a_kind_is_hostile(script: Script, kind: type[Body], reason: str) -> None:
    index = script.last(kind)
    assert check_ignored(script.replay(index + 1), script.steps[index].data, hostile=True).reason == reason


@pytest.mark.parametrize("kind", LEGAL_KINDS, ids=lambda kind: kind.__name__)
def test_only_the_right_role_may(script: Script, kind: type[Body]) -> None:
    index = script.first(kind)
    step, replay = script.steps[index], script.replay(index)
    role = script.identities[step.sender].role
    for sender in ("operator", "member-1", "client-1"):
        if script.identities[sender].role is not role:
            data = script.sign(step.body, sender, context=b"" if kind is Genesis else None)
            listed = check_ignored(replay if index else Replay(), data, hostile=True)
            assert f"{role.name.lower()}" in listed.reason
    if index:
        assert replay.refuses(step.data) is None, "the right one still may"


def test_complaints_are_for_members(script: Script) -> None:
    replay = script.replay(script.first(KeyCheck))
    for sender in ("operator", "client-1"):
        listed = check_ignored(replay, script.sign(Complaint(0, bytes(32)), sender), hostile=True)
        assert listed.reason == "COMPLAINT is for the member"


@pytest.mark.parametrize("kind", LEGAL_KINDS[1:], ids=lambda kind: kind.__name__)
def test_who_is_unknown_or_did_not_sign_is_ignored(script: Script, kind: type[Body]) -> None:
    index = script.first(kind)
    step, replay = script.steps[index], script.replay(index)
    value = step.body.to_value()
    unknown = script.sign_value(step.body.kind, value, "member-9", key=STRANGER)
    assert check_ignored(replay, unknown, hostile=True).reason == "member-9 is not a party of this federation"
    forged = script.sign_value(step.body.kind, value, step.sender, key=STRANGER)
    assert "signature does not verify" in check_ignored(replay, forged, hostile=True).reason
    foreign = script.sign(step.body, step.sender, context=digest("another federation"))
    assert "not signed by" in check_ignored(replay, foreign, hostile=True).reason
    spoiled = bytearray(step.data)
    spoiled[-1] ^= 1
    assert "signature does not verify" in check_ignored(replay, bytes(spoiled), hostile=True).reason
    assert replay.refuses(step.data) is None, "the right one still may"


@pytest.mark.parametrize("kind", LEGAL_KINDS[1:], ids=lambda kind: kind.__name__)
def test_malformed_bodies_are_ignored(script: Script, kind: type[Body]) -> None:
    index = script.first(kind)
    step, replay = script.steps[index], script.replay(index)
    fields = step.body.to_value()
    assert isinstance(fields, list)
    spoiled: list[Value] = [0, b"", "text", {}, [], [*fields, 0], fields[:-1], [{}, *fields[1:]]]
    for value in spoiled:
        data = script.sign_value(step.body.kind, value, step.sender)
        assert check_ignored(replay, data, hostile=True).reason.startswith("malformed: ")


def test_unknown_kinds_are_kept_and_ignored(script: Script) -> None:
    replay = script.replay()
    for kind in (0, 7, 15, 25, 2**64 - 1):
        listed = check_ignored(replay, script.sign_value(kind, [1, 2], "operator"), hostile=False)
        assert listed.reason == f"kind {kind} is unknown to this version"
        assert listed.kind == kind


def test_what_is_no_entry_is_listed_without_a_sender(script: Script) -> None:
    replay = script.replay(5)
    for data in (b"", b"\x00", b"\xff" * 100, bytes(70_000), script.steps[6].data[:-1], script.steps[6].data + b"\x00"):
        listed = check_ignored(replay, data, hostile=True)
        assert (listed.kind, listed.sender) == (-1, "")


# The genesis.


def test_there_is_one_genesis(script: Script) -> None:
    listed = check_ignored(script.replay(1), script.steps[0].data, hostile=True)
    assert listed.reason == "only entry 0 can be the genesis"


def test_a_genesis_must_be_right(script: Script, plan: FederationPlan) -> None:
    genesis = script.steps[0].body
    assert isinstance(genesis, Genesis)

    def ignored(body: Genesis, sender: str = "operator", key: SigningKey | None = None) -> str:
        return check_ignored(Replay(), script.sign(body, sender, key=key, context=b""), hostile=True).reason

    assert "exactly the parties" in ignored(replace(genesis, parties=genesis.parties[:-1]))
    assert "CBOR" in ignored(replace(genesis, plan=b"\xff"))
    assert "fields" in ignored(replace(genesis, plan=b"\x80"))
    assert "signs the genesis" in ignored(genesis, "client-1")
    assert "signs the genesis" in ignored(genesis, "stranger", STRANGER)
    assert "not signed by" in ignored(genesis, "operator", STRANGER)
    with_context = script.sign(genesis, "operator", context=bytes(32))
    assert "not signed by" in check_ignored(Replay(), with_context, hostile=True).reason


# Key generation.


def test_a_dealer_commits_to_its_own_pieces_only(script: Script) -> None:
    replay = script.replay(script.first(KeyCommit))
    wrong = [
        KeyCommit(()),
        KeyCommit((PieceDigest(script.dealt("member-2")[0], digest("part")),)),
        KeyCommit(tuple(PieceDigest(p, digest("part")) for p in [*script.dealt("member-1"), 99])),
    ]
    for body in wrong:
        listed = check_ignored(replay, script.sign(body, "member-1"), hostile=True)
        assert listed.reason == f"member-1 deals pieces {script.dealt('member-1')}"


def test_key_generation_goes_in_steps(script: Script) -> None:
    last_commit, last_reveal = script.last(KeyCommit), script.last(KeyReveal)
    early = check_ignored(script.replay(last_commit), script.steps[script.first(KeyReveal)].data, hostile=False)
    assert early.reason == "a reveal before every member committed"
    early = check_ignored(script.replay(last_reveal), script.steps[script.first(KeyCheck)].data, hostile=False)
    assert early.reason == "a check before every member revealed"
    early = check_ignored(script.replay(script.last(KeyCheck)), script.steps[script.first(KeyAnswer)].data)
    assert early.reason == "an answer before every member pinned the same key"
    early = check_ignored(script.replay(script.last(KeyAnswer)), script.steps[script.first(RoundOpen)].data)
    assert early.reason == "a round before key generation is complete"
    assert not early.hostile


def test_seeds_go_to_every_other_holder(script: Script) -> None:
    replay = script.replay(script.first(KeyReveal))
    most = max((s for s in script.steps if isinstance(s.body, KeyReveal)), key=lambda s: len(script.dealt(s.sender)))
    assert isinstance(most.body, KeyReveal)
    seeds = most.body.seeds
    assert len(seeds) > 1
    for wrong in (seeds[1:], seeds[::-1], (*seeds, seeds[0]), ()):
        listed = check_ignored(replay, script.sign(KeyReveal(wrong), most.sender), hostile=True)
        assert listed.reason == "a seed for each other holder"


def test_members_must_pin_one_key(script: Script) -> None:
    replay = script.replay(script.last(KeyCheck))
    replay.apply(script.sign(KeyCheck(digest("another key")), "member-4"))
    assert replay.ignored == []
    assert replay.joint_key_digest is None
    answer = script.steps[script.first(KeyAnswer)].data
    assert check_ignored(replay, answer).reason == "an answer before every member pinned the same key"


def test_an_answer_covers_the_held_pieces(script: Script, plan: FederationPlan) -> None:
    index = script.first(KeyAnswer)
    body = script.steps[index].body
    assert isinstance(body, KeyAnswer)
    for answers in (body.answers[1:], body.answers[::-1], ()):
        listed = check_ignored(script.replay(index), script.sign(KeyAnswer(answers), "member-1"), hostile=True)
        assert listed.reason == f"member-1 holds pieces {list(plan.sharing.held_by(1))}"


def test_holders_that_disagree_are_named_and_no_round_opens(script: Script, plan: FederationPlan) -> None:
    replay = script.replay(script.last(KeyAnswer))
    held = plan.sharing.held_by(4)
    answers = [PieceDigest(p, digest("answer", p)) for p in held[1:]]
    replay.apply(script.sign(KeyAnswer((PieceDigest(held[0], digest("wrong")), *answers)), "member-4"))
    others = tuple(f"member-{m}" for m in plan.sharing.holders(held[0]) if m != 4)
    assert replay.disputed_pieces == {held[0]: (others, ("member-4",))}
    assert not replay.key_ready
    opening = script.steps[script.first(RoundOpen)].data
    assert check_ignored(replay, opening).reason == "a round before key generation is complete"


def test_a_complaint_stops_the_key(script: Script, plan: FederationPlan) -> None:
    piece = plan.sharing.held_by(2)[0]
    replay = script.replay(script.first(KeyCheck))
    complaint = script.sign(Complaint(piece, b"seed"), "member-2")
    replay.apply(complaint)
    assert replay.ignored == []
    assert replay.ceremony.complaints == {"member-2": Complaint(piece, b"seed")}
    again = check_ignored(replay, complaint, hostile=False)
    assert again.reason == "member-2 complained already"
    for step in script.steps[script.first(KeyCheck) : script.first(RoundOpen)]:
        replay.apply(step.data)
    assert not replay.key_ready
    assert replay.refuses(script.steps[script.first(RoundOpen)].data) == "a round before key generation is complete"


def test_complaints_are_about_held_pieces_and_in_time(script: Script, plan: FederationPlan) -> None:
    replay = script.replay(script.first(KeyCheck))
    foreign = next(p for p in range(plan.sharing.pieces) if p not in plan.sharing.held_by(2))
    listed = check_ignored(replay, script.sign(Complaint(foreign, b""), "member-2"), hostile=True)
    assert listed.reason == f"member-2 does not hold piece {foreign}"
    late = script.replay(script.first(RoundOpen) + 1)
    listed = check_ignored(late, script.sign(Complaint(plan.sharing.held_by(2)[0], b""), "member-2"), hostile=False)
    assert listed.reason == "a complaint after key generation"


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


BAD = {
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
    "spend of fewer steps": Bad(
        lambda s: replace(s.spend(1, "client-1"), steps=1), "client-1", "the spend is not the plan's mechanism", True
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
        lambda s: UpdateCommit(1, digest("update", 1, "client-1")),
        "client-3",
        "this ciphertext was committed before",
        True,
        by_last=True,
    ),
    "a ciphertext of an old round": Bad(
        lambda s: UpdateCommit(2, digest("update", 1, "client-2")),
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
        lambda s: AggregateVote(2, digest("sum", 2)), "member-1", "round 2 is not the current round", False
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
        lambda s: s.request(1, active=(1, 2)),
        "operator",
        "the active set is 3 members that computed the aggregate",
        True,
    ),
    "active set too large": Bad(
        lambda s: s.request(1, active=(1, 2, 3, 4)),
        "operator",
        "the active set is 3 members that computed the aggregate",
        True,
    ),
    "active set unknown": Bad(
        lambda s: s.request(1, active=(1, 2, 9)),
        "operator",
        "the active set is 3 members that computed the aggregate",
        True,
    ),
    "active set doubled": Bad(
        lambda s: s.request(1, active=(1, 1, 2)), "operator", "the active members are not in order", True
    ),
    "active set out of order": Bad(
        lambda s: s.request(1, active=(3, 2, 1)), "operator", "the active members are not in order", True
    ),
    "answer of one that was not asked": Bad(
        lambda s: PartialAnswer(1, digest("share")), "member-4", "member-4 was not asked", True
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
        index = script.first(type(body), round_number=bad.round_number)
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
    stolen = script.sign(UpdateCommit(1, digest("update", 1, "client-1")), "client-3")
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


def test_a_vote_after_the_request_is_late(script: Script) -> None:
    last_vote = script.last(AggregateVote, round_number=1)
    replay = script.replay(last_vote)
    replay.apply(script.sign(fresh_request(script, last_vote), "operator"))
    assert replay.ignored == []
    listed = check_ignored(replay, script.steps[last_vote].data, hostile=False)
    assert listed.reason == "the vote of round 1 is over"


def test_no_round_beyond_the_plan(script: Script) -> None:
    listed = check_ignored(script.replay(), script.sign(RoundOpen(3, digest("model", 2)), "operator"), hostile=True)
    assert listed.reason == "the plan has no more rounds"


# The certificate in a request.


def fresh_request(script: Script, size: int, **changes: object) -> DecryptionRequest:
    """The request of round 1 with a certificate over the first `size` entries of the legal run."""
    return script.request(1, certificate=certificate_of([s.data for s in script.steps[:size]], script), **changes)


def certificate_of(entries: list[bytes], script: Script, *, cosigners: int = 4) -> bytes:
    """A certificate by new witnesses (with the same keys) of a log with these entries."""
    note = script.identities["operator"].note
    log = Log(MemoryStore(), script.log.origin, note)
    log.append_all(entries)
    witnesses: dict[str, CosigningWitness | None] = {
        name: Witness(name, script.identities[name].note, log.verifier, MemoryWitnessStore())
        for name in script.members[:cosigners]
    }
    keys = [w.verifier for w in witnesses.values() if isinstance(w, Witness)]
    return certify(log, witnesses, Policy(log.origin, log.verifier, tuple(keys)), now=NOW).note


def test_the_certificate_must_cover_the_aggregate(script: Script) -> None:
    index = script.first(DecryptionRequest)
    replay, aggregated = script.replay(index), script.first(Aggregate)
    assert replay.refuses(script.sign(fresh_request(script, aggregated + 1), "operator")) is None
    assert replay.refuses(script.sign(fresh_request(script, index), "operator")) is None
    listed = check_ignored(replay, script.sign(fresh_request(script, aggregated), "operator"), hostile=True)
    assert listed.reason == "the certificate does not cover the aggregate"
    replay = script.replay(index)
    listed = check_ignored(replay, script.sign(fresh_request(script, index + 1), "operator"), hostile=True)
    assert listed.reason == "the certificate does not cover the aggregate"


def test_the_certificate_must_be_of_this_log(script: Script) -> None:
    index = script.first(DecryptionRequest)
    entries = [s.data for s in script.steps[:index]]
    entries[-1], entries[-2] = entries[-2], entries[-1]
    body = script.request(1, certificate=certificate_of(entries, script))
    listed = check_ignored(script.replay(index), script.sign(body, "operator"), hostile=True)
    assert listed.reason == "the certificate is of another log"


def test_the_certificate_must_verify(script: Script) -> None:
    index = script.first(DecryptionRequest)
    entries = [s.data for s in script.steps[:index]]
    good = certificate_of(entries, script)
    lines = good.split(b"\n")
    few = certificate_of(entries, script, cosigners=2)
    spoiled = good[:-20] + bytes([good[-20] ^ 1]) + good[-19:]
    for note in (b"", b"text\n", few, b"\n".join(lines[:4]) + b"\n", spoiled):
        body = script.request(1, certificate=note)
        listed = check_ignored(script.replay(index), script.sign(body, "operator"), hostile=True)
        assert listed.reason.startswith("the request's certificate does not verify")


def test_members_of_another_opinion_are_not_asked(script: Script) -> None:
    replay = script.replay(script.first(AggregateVote))
    assert replay.ignored == []
    replay.apply(script.sign(AggregateVote(1, digest("another sum")), "member-1"))
    for name in script.members[1:]:
        replay.apply(script.sign(AggregateVote(1, digest("sum", 1)), name))
    assert replay.ignored == []
    assert replay.rounds[0].agreeing() == script.members[1:]
    size = script.first(Aggregate) + 1
    listed = check_ignored(replay, script.sign(fresh_request(script, size), "operator"), hostile=True)
    assert listed.reason == "the active set is 3 members that computed the aggregate"
    assert replay.refuses(script.sign(fresh_request(script, size, active=(2, 3, 4)), "operator")) is None


# A board admits what replay accepts, and nothing else.


def test_a_board_appends_only_what_counts(script: Script) -> None:
    log = Log(MemoryStore(), script.log.origin, script.identities["operator"].note)
    log.append_all([step.data for step in script.steps[:3]])
    board = Board(log, MemoryBlobs())
    step = script.steps[1]
    with pytest.raises(
        StateError, match="member-1: KEY_COMMIT is not allowed now: member-1 committed already"
    ) as caught:
        board.append(step.body, step.sender, script.identities[step.sender].signing)
    assert caught.value.culprits == ("member-1",)
    assert (log.size, board.replay.size) == (3, 3)
    assert board.append(script.steps[3].body, "member-3", script.identities["member-3"].signing) == 3
    assert (log.size, board.replay.size) == (4, 4)


# Hostile bytes.


@given(st.data())
@settings(max_examples=60)
def test_any_change_of_an_entry_makes_it_void(script: Script, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(script.steps) - 1), label="entry")
    entry = bytearray(script.steps[index].data)
    at = data.draw(st.integers(0, len(entry) - 1), label="byte")
    entry[at] ^= data.draw(st.integers(1, 255), label="mask")
    check_ignored(script.replay(index), bytes(entry))


@given(st.data())
@settings(max_examples=25)
def test_reordered_doubled_and_missing_entries_never_raise(script: Script, data: st.DataObject) -> None:
    order = data.draw(st.lists(st.integers(0, len(script.steps) - 1), max_size=40), label="order")
    genesis = data.draw(st.booleans(), label="genesis first")
    replay = Replay()
    for index in [0, *order] if genesis else order:
        accepted = replay.refuses(script.steps[index].data) is None
        ignored = len(replay.ignored)
        replay.apply(script.steps[index].data)
        assert (len(replay.ignored) == ignored) is accepted


VALUES: st.SearchStrategy[Value] = st.recursive(
    st.integers(-(2**64), 2**64 - 1)
    | st.binary(max_size=40)
    | st.sampled_from([bytes(32), digest("x")])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.integers(-5, 5), inner, max_size=2),
    max_leaves=12,
)


@given(st.data())
@settings(max_examples=60)
def test_well_signed_nonsense_never_raises(script: Script, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(script.steps)), label="after")
    kind = data.draw(st.sampled_from(sorted(BODIES)), label="kind")
    name = data.draw(st.sampled_from(sorted(script.identities)), label="sender")
    fields = len(BODIES[kind].__match_args__)
    value = data.draw(st.lists(VALUES, min_size=fields, max_size=fields) | VALUES, label="body")
    replay = script.replay(index)
    before = State.of(replay)
    entry = script.sign_value(kind, value, name, context=b"" if kind == Kind.GENESIS else None)
    accepted = replay.refuses(entry) is None
    replay.apply(entry)
    assert accepted is not (State.of(replay) == before)
    assert replay.size == index + 1


def test_every_role_is_used(script: Script) -> None:
    assert {identity.role for identity in script.identities.values()} == set(Role)
