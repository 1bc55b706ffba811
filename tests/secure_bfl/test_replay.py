"""The round machine: what counts, what is ignored and why, up to the end of key generation."""

from dataclasses import replace

import pytest

from ledger import (
    SigningKey,
    Value,
)
from secure_bfl.messages import (
    BODIES,
    AddendCommit,
    AddendSeed,
    Aggregate,
    AggregateVote,
    BlobRelease,
    Body,
    BudgetSpend,
    ChangeCertificate,
    CommitteeChange,
    Complaint,
    DecryptionRequest,
    Genesis,
    KeyAccept,
    KeyAnswer,
    KeyCheck,
    KeyCommit,
    KeyDrop,
    KeyOpen,
    KeyReveal,
    KeyRevocation,
    KeyRotation,
    Model,
    PartialAnswer,
    PrivacyAudit,
    RoundClose,
    RoundOpen,
    RoundVoid,
    TrialAnswer,
    UpdateCommit,
)
from secure_bfl.plan import FederationPlan
from secure_bfl.replay import Replay, RoundState
from tests.secure_bfl.federation import digest
from tests.secure_bfl.keyrun import complaint
from tests.secure_bfl.script import Script, State, check_ignored

STRANGER = SigningKey.from_seed(bytes(32))
KINDS = tuple(BODIES.values())
UNUSED = (
    Complaint,
    KeyOpen,
    CommitteeChange,
    ChangeCertificate,
    KeyDrop,
    RoundVoid,
    KeyRotation,
    KeyRevocation,
    BlobRelease,
    PrivacyAudit,
)  # in a run in which nothing goes wrong or changes
LEGAL_KINDS = tuple(kind for kind in KINDS if kind not in UNUSED)


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
        assert state.result == Model(number, digest("model", number), -1, 0)
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
    for known in ("ceremony", "committee"):
        with pytest.raises(ValueError, match="no genesis"):
            getattr(replay, known)
    assert replay.party("operator") is None
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
    (KeyReveal, r"no addend waits for member-4"),
    (KeyCheck, r"member-4 checked already"),
    (KeyAnswer, r"member-4 answered the test already"),
    (KeyAccept, r"member-4 accepted already"),
    (BudgetSpend, r"client-3 spent for this round already"),
    (UpdateCommit, r"client-3 committed an update for this round already"),
    (RoundClose, r"round 2 is closed already"),
    (Aggregate, r"round 2 has an aggregate"),
    (AggregateVote, r"member-4 voted already"),
    (DecryptionRequest, r"round 2: the same members were asked already"),
    (PartialAnswer, r"member-2 answered this aggregate twice"),
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
        listed = check_ignored(
            replay, script.sign(complaint(script.replay().ceremony, 0, bytes(32)), sender), hostile=True
        )
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
    for kind in (0, 14, 15, 29, 2**64 - 1):
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


def test_a_dealer_commits_to_its_own_addends_only(script: Script) -> None:
    replay = script.replay(script.first(KeyCommit))
    mine = script.dealt("member-1")

    def commit(*addends: int, size: int = 32) -> KeyCommit:
        return KeyCommit(script.position, tuple(AddendCommit(a, bytes(size), digest("dealing")) for a in addends))

    for body in (commit(), commit(*script.dealt("member-2")), commit(*mine, 99), commit(*mine, *mine)):
        listed = check_ignored(replay, script.sign(body, "member-1"), hostile=True)
        assert listed.reason == f"member-1 deals addends {mine}"
    listed = check_ignored(replay, script.sign(commit(*mine, size=0), "member-1"), hostile=True)
    assert listed.reason == "a public part's digest has 32 bytes here"
    late = script.replay(script.first(KeyReveal) + 1)
    first = script.steps[script.first(KeyCommit)]
    assert check_ignored(late, first.data, hostile=True).reason == "member-1 committed already"


def test_key_generation_goes_in_steps(script: Script) -> None:
    last_commit, last_reveal = script.last(KeyCommit), script.last(KeyReveal)
    early = check_ignored(script.replay(last_commit), script.steps[script.first(KeyReveal)].data, hostile=False)
    assert early.reason == "a reveal before member-4 committed"
    early = check_ignored(script.replay(last_reveal), script.steps[script.first(KeyCheck)].data, hostile=False)
    assert early.reason == "a check before every addend was delivered"
    early = check_ignored(script.replay(script.last(KeyCheck)), script.steps[script.first(KeyAnswer)].data)
    assert early.reason == "an answer before every member pinned the same key"
    early = check_ignored(script.replay(script.last(KeyAnswer)), script.steps[script.first(KeyAccept)].data)
    assert early.reason == "an acceptance before every member answered the test"
    early = check_ignored(script.replay(script.last(KeyAccept)), script.steps[script.first(RoundOpen)].data)
    assert early.reason == "a round before key generation is complete"
    assert not early.hostile


def test_a_dealer_delivers_all_that_is_due(script: Script) -> None:
    index = script.first(KeyReveal)
    mine = tuple(script.dealt("member-1"))
    for wrong in ((), (*mine, 99), (*mine, *mine), tuple(script.dealt("member-2"))):
        data = script.sign(KeyReveal(script.position, wrong, digest("deliveries")), "member-1")
        listed = check_ignored(script.replay(index), data, hostile=True)
        assert listed.reason == f"member-1 is to deliver addends {list(mine)}"


def test_an_entry_of_another_ceremony(script: Script) -> None:
    for kind in (KeyCommit, KeyReveal, KeyCheck, KeyAnswer, KeyAccept):
        step = script.steps[script.first(kind)]
        data = script.sign(replace(step.body, ceremony=digest("another")), step.sender)  # type: ignore[type-var]
        listed = check_ignored(script.replay(script.first(kind)), data, hostile=True)
        assert "is of another ceremony than the newest one" in listed.reason
    for body in (Complaint(digest("another"), 0, digest("deliveries"), b""), KeyOpen(digest("another"), ())):
        listed = check_ignored(script.replay(script.first(KeyCheck)), script.sign(body, "member-1"), hostile=True)
        assert "is of another ceremony than the newest one" in listed.reason
    with pytest.raises(ValueError, match="no ceremony of epoch 1"):
        script.replay().ceremony_of(1)


def test_a_founding_needs_no_certificate(script: Script) -> None:
    data = script.sign(ChangeCertificate(script.position, b""), "operator")
    listed = check_ignored(script.replay(script.first(KeyCommit)), data, hostile=True)
    assert listed.reason == "key generation needs no certificate"


def test_no_keys_in_common_are_stated_of_replicated_pieces(script: Script) -> None:
    data = script.sign(KeyCheck(script.position, digest("joint key"), (bytes(16),)), "member-1")
    listed = check_ignored(script.replay(script.first(KeyCheck)), data, hostile=True)
    assert listed.reason == "member-1 states 0 digests of 16 bytes of keys in common"


def test_members_must_pin_one_key(script: Script) -> None:
    replay = script.replay(script.last(KeyCheck))
    replay.apply(script.sign(KeyCheck(script.position, digest("another key"), ()), "member-4"))
    assert replay.ignored == []
    assert replay.joint_key_digest is None
    answer = script.steps[script.first(KeyAnswer)].data
    assert check_ignored(replay, answer).reason == "an answer before every member pinned the same key"


def test_an_answer_covers_the_held_pieces(script: Script, plan: FederationPlan) -> None:
    index = script.first(KeyAnswer)
    body = script.steps[index].body
    assert isinstance(body, KeyAnswer)
    others = replace(body.answers[0], trial=1)
    for answers in (body.answers[1:], body.answers[::-1], (), (others, *body.answers[1:])):
        listed = check_ignored(
            script.replay(index), script.sign(KeyAnswer(script.position, answers), "member-1"), hostile=True
        )
        expected = [(0, piece) for piece in plan.sharing.held_by(1)]
        assert listed.reason == f"member-1 answers (trial, piece) {expected}"


def test_holders_that_disagree_are_named_and_nobody_accepts(script: Script, plan: FederationPlan) -> None:
    replay = script.replay(script.last(KeyAnswer))
    held = plan.sharing.held_by(4)
    answers = [TrialAnswer(0, p, digest("answer", p)) for p in held[1:]]
    replay.apply(
        script.sign(KeyAnswer(script.position, (TrialAnswer(0, held[0], digest("wrong")), *answers)), "member-4")
    )
    others = tuple(f"member-{m}" for m in plan.sharing.holders(held[0]) if m != 4)
    assert replay.ceremony.disputed == {(0, held[0]): (others, ("member-4",))}
    accept = script.steps[script.first(KeyAccept)].data
    reason = "an acceptance although holders of a piece answered differently"
    assert check_ignored(replay, accept, hostile=True).reason == reason
    opening = script.steps[script.first(RoundOpen)].data
    assert check_ignored(replay, opening).reason == "a round before key generation is complete"


def test_members_accept_the_key_they_pinned(script: Script) -> None:
    replay = script.replay(script.first(KeyAccept))
    listed = check_ignored(
        replay, script.sign(KeyAccept(script.position, digest("another key")), "member-1"), hostile=True
    )
    assert listed.reason == "an acceptance of another key"


def test_a_complaint_stops_the_key(script: Script, plan: FederationPlan) -> None:
    addend = plan.sharing.held_by(2)[0]
    replay = script.replay(script.first(KeyCheck))
    body = complaint(replay.ceremony, addend, bytes(32))
    data = script.sign(body, "member-2")
    replay.apply(data)
    assert replay.ignored == []
    assert replay.ceremony.complaints == {"member-2": body}
    again = check_ignored(replay, data, hostile=False)
    assert again.reason == "member-2 complained already"
    for step in script.steps[script.first(KeyCheck) : script.first(RoundOpen)]:
        replay.apply(step.data)
    assert [listed.reason for listed in replay.ignored[1:]] == ["member-2 has given this key up"]
    assert not replay.key_ready
    assert replay.refuses(script.steps[script.first(RoundOpen)].data) == "a round before key generation is complete"


def test_complaints_are_about_delivered_addends_and_in_time(script: Script) -> None:
    early = script.replay(script.first(KeyReveal))
    listed = check_ignored(early, script.sign(complaint(early.ceremony, 0, b""), "member-2"), hostile=True)
    assert listed.reason == "addend 0 was not delivered"
    replay = script.replay(script.first(KeyCheck))
    listed = check_ignored(replay, script.sign(complaint(replay.ceremony, 99, b""), "member-2"), hostile=True)
    assert listed.reason == "addend 99 was not delivered"
    listed = check_ignored(replay, script.sign(complaint(replay.ceremony, 0, b"seed"), "member-2"), hostile=True)
    assert listed.reason == "a sealing key's seed has 32 bytes"
    other = Complaint(script.position, 0, digest("other deliveries"), b"")
    listed = check_ignored(replay, script.sign(other, "member-2"), hostile=True)
    assert listed.reason.startswith("the complaint is about another delivery of addend 0 than that of member-")
    after = script.replay(script.first(KeyAnswer))
    listed = check_ignored(after, script.sign(complaint(after.ceremony, 0, b""), "member-2"), hostile=True)
    assert listed.reason == "member-2 checked already"
    late = script.replay(script.first(RoundOpen) + 1)
    listed = check_ignored(late, script.sign(complaint(late.ceremony, 0, b""), "member-2"), hostile=False)
    assert listed.reason == "a complaint after key generation"


def opening(script: Script, name: str) -> KeyOpen:
    return KeyOpen(script.position, tuple(AddendSeed(addend, digest("seed", addend)) for addend in script.dealt(name)))


def test_seeds_are_opened_after_the_dry_run_and_before_acceptance(script: Script) -> None:
    body = opening(script, "member-1")
    early = script.replay(script.last(KeyAnswer))
    listed = check_ignored(early, script.sign(body, "member-1"), hostile=True)
    assert listed.reason == "seeds opened before every member answered the test"
    replay = script.replay(script.first(KeyAccept))
    for wrong in (KeyOpen(script.position, ()), opening(script, "member-2")):
        listed = check_ignored(replay, script.sign(wrong, "member-1"), hostile=True)
        assert listed.reason == f"member-1 deals addends {script.dealt('member-1')}"
    replay.apply(script.sign(body, "member-1"))
    assert replay.ceremony.opens == {"member-1": body}
    assert check_ignored(replay, script.sign(body, "member-1")).reason == "member-1 opened its seeds already"
    for step in script.steps[script.first(KeyAccept) : script.first(RoundOpen)]:
        replay.apply(step.data)
    assert "member-1 has given this key up" in [listed.reason for listed in replay.ignored]
    assert not replay.key_ready
    accepted = script.replay(script.first(KeyAccept) + 1)
    listed = check_ignored(accepted, script.sign(body, "member-1"), hostile=True)
    assert listed.reason == "member-1 accepted this key"
    ready = script.replay(script.first(RoundOpen))
    listed = check_ignored(ready, script.sign(body, "member-1"), hostile=True)
    assert listed.reason == "seeds opened of a key that everybody accepted"


def test_a_plan_without_changes_has_none(script: Script) -> None:
    replay = script.replay(script.first(RoundOpen))
    listed = check_ignored(replay, script.sign(CommitteeChange(1, 2, (), ()), "operator"), hostile=True)
    assert listed.reason == "the plan has 0 changes"
