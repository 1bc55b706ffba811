"""Signing keys are replaced by their party, and revoked by it or by a quorum of members: rules, and attacks on them."""

from dataclasses import replace

import pytest

from ledger import SigningKey
from secure_bfl.messages import (
    AggregateVote,
    BudgetSpend,
    KeyClaim,
    KeyRevocation,
    KeyRotation,
    RoundOpen,
    UpdateCommit,
)
from secure_bfl.possession import claim_key
from secure_bfl.replay import Replay
from tests.secure_bfl.federation import digest
from tests.secure_bfl.script import Script, State, check_ignored, update

LOST = "the laptop is gone"


def key(*words: object) -> SigningKey:
    return SigningKey.from_seed(digest("new signing key", *words))


def claim(script: Script, party: str, number: int, new: SigningKey, context: bytes | None = None) -> KeyClaim:
    return claim_key(script.context if context is None else context, party, number, new)


def rotation(script: Script, party: str, number: int, new: SigningKey, *, old: SigningKey | None = None) -> bytes:
    body = claim(script, party, number, new)
    return script.sign(KeyRotation(number, body.key, body.proof), party, key=old)


def vote(script: Script, voter: str, party: str, number: int = 0, new: SigningKey | None = None) -> bytes:
    shown, proof = b"", b""
    if new is not None:
        body = claim(script, party, number, new)
        shown, proof = body.key, body.proof
    return script.sign(KeyRevocation(party, number, shown, proof, LOST), voter)


def apply(replay: Replay, *entries: bytes) -> Replay:
    for data in entries:
        before = len(replay.ignored)
        replay.apply(data)
        assert len(replay.ignored) == before, replay.ignored[-1]
    return replay


@pytest.fixture
def opened(script: Script) -> Replay:
    """Round 1 is open, and no client has spent."""
    return script.replay(script.first(RoundOpen) + 1)


def spend(script: Script, name: str, signer: SigningKey | None = None) -> bytes:
    return script.sign(script.spend(1, name), name, key=signer)


# Rotation.


def test_from_the_next_entry_on_only_the_new_key_counts(script: Script, opened: Replay) -> None:
    apply(opened, rotation(script, "client-1", 0, key(1)))
    party = opened.party("client-1")
    assert party is not None
    assert party.signing_key == key(1).public
    listed = check_ignored(opened, spend(script, "client-1"), hostile=False)
    at = opened.standings["client-1"].keys[0].until
    assert listed.reason == f"signed with key 0 of client-1, which was replaced by entry {at}"
    assert at == script.first(RoundOpen) + 1
    apply(opened, spend(script, "client-1", key(1)))
    assert "client-1" in opened.rounds[0].spends


@pytest.mark.parametrize("name", ["operator", "client-2", "member-3"])
def test_every_role_may_rotate(script: Script, name: str) -> None:
    replay = apply(script.replay(), rotation(script, name, 0, key(name)))
    assert [record.public for record in replay.standings[name].keys][1:] == [key(name).public]


def test_an_old_rotation_does_nothing_when_it_comes_again(script: Script, opened: Replay) -> None:
    first = rotation(script, "client-1", 0, key(1))
    apply(opened, first)
    assert "key 0 of client-1, which was replaced" in check_ignored(opened, first, hostile=False).reason
    apply(opened, rotation(script, "client-1", 1, key(2), old=key(1)))
    for again in (first, rotation(script, "client-1", 1, key(2), old=key(1))):
        check_ignored(opened, again, hostile=False)
    assert opened.standings["client-1"].number == 2


def test_a_former_key_rotates_nothing(script: Script, opened: Replay) -> None:
    """Whoever finds an old key later has nothing."""
    apply(opened, rotation(script, "client-1", 0, key(1)))
    for number in (0, 1):
        stolen = rotation(script, "client-1", number, key("thief"))
        assert "which was replaced" in check_ignored(opened, stolen, hostile=False).reason


@pytest.mark.parametrize("number", [-1, 1, 7])
def test_a_rotation_names_the_key_it_replaces(script: Script, opened: Replay, number: int) -> None:
    body = claim(script, "client-1", number, key(1))
    data = script.sign(KeyRotation(number, body.key, body.proof), "client-1")
    assert check_ignored(opened, data, hostile=True).reason == "client-1 has key 0"


def test_nobody_takes_over_a_key_without_holding_it(script: Script, opened: Replay) -> None:
    """A rotation to a stranger's public key needs the stranger: for this party, this number, this federation."""
    stranger = key("stranger")
    good = claim(script, "client-1", 0, stranger)
    others = (
        claim(script, "client-2", 0, stranger),
        claim(script, "client-1", 1, stranger),
        claim(script, "client-1", 0, stranger, digest("another federation")),
        claim(script, "client-1", 0, key("other")),
        replace(good, proof=bytes(64)),
    )
    for other in others:
        data = script.sign(KeyRotation(0, stranger.public, other.proof), "client-1")
        assert "nobody shows that client-1 holds the new key" in check_ignored(opened, data, hostile=True).reason
    apply(opened, script.sign(KeyRotation(0, good.key, good.proof), "client-1"))


def test_every_new_key_is_new(script: Script, opened: Replay) -> None:
    """No key that anybody has or had, as a signing, note or sealing key; nor the one that is replaced."""
    apply(opened, rotation(script, "client-2", 0, key(2)))
    taken = [script.identities["client-1"].signing, script.identities["client-2"].signing, key(2)]
    taken += [script.identities["member-1"].note, script.identities["operator"].note]
    for used in taken:
        listed = check_ignored(opened, rotation(script, "client-1", 0, used), hostile=True)
        assert listed.reason == "the new key was used before: every key is new"


# Revocation by the party.


def test_who_lost_its_key_revokes_it(script: Script, opened: Replay) -> None:
    apply(opened, spend(script, "client-1"))
    apply(opened, script.sign(KeyRevocation("client-1", 0, b"", b"", LOST), "client-1"))
    assert not opened.in_force("client-1")
    at = opened.standings["client-1"].keys[0].until
    commit = script.sign(update(1, digest("update", 1, "client-1")), "client-1")
    reason = f"signed with key 0 of client-1, which was revoked by entry {at}"
    assert check_ignored(opened, commit, hostile=False).reason == reason
    assert "client-1" in opened.rounds[0].spends, "what it said before stays"


def test_a_stolen_key_rotates_nothing_after_its_revocation(script: Script, opened: Replay) -> None:
    apply(opened, script.sign(KeyRevocation("client-1", 0, b"", b"", LOST), "client-1"))
    listed = check_ignored(opened, rotation(script, "client-1", 0, key("thief")), hostile=False)
    assert "was revoked by entry" in listed.reason
    assert not opened.in_force("client-1")


@pytest.mark.parametrize("number", [-1, 1])
def test_a_party_revokes_the_key_it_has(script: Script, opened: Replay, number: int) -> None:
    data = script.sign(KeyRevocation("client-1", number, b"", b"", LOST), "client-1")
    assert check_ignored(opened, data, hostile=True).reason == "client-1 has key 0"


def test_a_party_does_not_vote_for_its_own_new_key(script: Script, opened: Replay) -> None:
    for name in ("client-1", "member-1"):
        listed = check_ignored(opened, vote(script, name, name, 0, key(1)), hostile=True)
        assert listed.reason == "a party replaces its own key by a rotation"


# Revocation by votes.


def test_a_quorum_revokes_and_fewer_do_not(script: Script, opened: Replay) -> None:
    needed = opened.committee.policy.needed
    assert needed == 3
    for count, voter in enumerate(script.members[:needed], start=1):
        assert opened.in_force("client-1")
        apply(opened, vote(script, voter, "client-1"))
        assert opened.in_force("client-1") is (count < needed)
    late = check_ignored(opened, vote(script, "member-4", "client-1"), hostile=False)
    assert late.reason == "key 0 of client-1 was revoked already"


def test_a_vote_counts_once(script: Script, opened: Replay) -> None:
    apply(opened, vote(script, "member-1", "client-1"), vote(script, "member-2", "client-1"))
    for voter in ("member-1", "member-2"):
        listed = check_ignored(opened, vote(script, voter, "client-1"), hostile=True)
        assert listed.reason == f"{voter} voted for this already"
    other = script.sign(KeyRevocation("client-1", 0, b"", b"", "in other words"), "member-1")
    check_ignored(opened, other, hostile=True)
    assert opened.in_force("client-1")


def test_only_members_in_office_vote(script: Script, opened: Replay) -> None:
    for voter in ("operator", "client-2"):
        listed = check_ignored(opened, vote(script, voter, "client-1"), hostile=True)
        assert listed.reason == f"{voter} is not in the committee of epoch 0"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (KeyRevocation("client-9", 0, b"", b"", LOST), "'client-9' is not a party of this federation"),
        (KeyRevocation("client-1", -1, b"", b"", LOST), "client-1 has no key -1"),
        (KeyRevocation("client-1", 0, bytes(31), bytes(64), LOST), "a key has 32 bytes, its proof 64"),
        (KeyRevocation("client-1", 0, bytes(32), bytes(63), LOST), "a key has 32 bytes, its proof 64"),
        (KeyRevocation("client-1", 0, b"", bytes(64), LOST), "a key has 32 bytes, its proof 64"),
        (KeyRevocation("client-1", 0, bytes(32), bytes(64), LOST), "nobody shows that client-1 holds the new key"),
    ],
)
def test_votes_that_cannot_be(script: Script, opened: Replay, body: KeyRevocation, reason: str) -> None:
    assert reason in check_ignored(opened, script.sign(body, "member-1"), hostile=True).reason


def test_a_reason_is_bounded_text(script: Script, opened: Replay) -> None:
    for reason in ("", "x" * 257):
        value = ["client-1", 0, b"", b"", reason]
        data = script.sign_value(KeyRevocation.kind, value, "member-1")  # type: ignore[arg-type]  # a CBOR value
        assert check_ignored(opened, data, hostile=True).reason.startswith("malformed: ")


# A new key by votes.


def test_a_quorum_gives_back_what_was_lost(script: Script, opened: Replay) -> None:
    new = key("found again")
    apply(opened, *(vote(script, voter, "client-1") for voter in script.members[:3]))
    assert not opened.in_force("client-1")
    apply(opened, *(vote(script, voter, "client-1", 0, new) for voter in script.members[:2]))
    check_ignored(opened, spend(script, "client-1", new), hostile=True)
    apply(opened, vote(script, "member-4", "client-1", 0, new))
    assert opened.in_force("client-1")
    check_ignored(opened, spend(script, "client-1"), hostile=False)
    apply(opened, spend(script, "client-1", new))


def test_a_key_is_revoked_and_replaced_in_one(script: Script, opened: Replay) -> None:
    new = key("at once")
    apply(opened, *(vote(script, voter, "client-1", 0, new) for voter in script.members[:3]))
    records = opened.standings["client-1"].keys
    assert [(record.public == new.public, record.revoked) for record in records] == [(False, True), (True, False)]


def test_votes_for_different_keys_are_different(script: Script, opened: Replay) -> None:
    one, two = key("one"), key("two")
    apply(opened, vote(script, "member-1", "client-1", 0, one), vote(script, "member-2", "client-1", 0, one))
    apply(opened, vote(script, "member-3", "client-1", 0, two), vote(script, "member-4", "client-1"))
    assert (opened.in_force("client-1"), opened.standings["client-1"].number) == (True, 0)


def test_votes_do_not_reach_a_key_that_was_voted_in_later(script: Script, opened: Replay) -> None:
    """Two votes against the old key and one against the new one are not three."""
    apply(opened, vote(script, "member-1", "client-1"), vote(script, "member-2", "client-1"))
    apply(opened, *(vote(script, voter, "client-1", 0, key("new")) for voter in script.members[:3]))
    assert opened.standings["client-1"].ballots == {}
    late = check_ignored(opened, vote(script, "member-3", "client-1"), hostile=False)
    assert late.reason == "client-1 was admitted again, with key 1"
    apply(opened, vote(script, "member-3", "client-1", 1))
    assert opened.in_force("client-1")


def test_a_thief_does_not_escape_by_rotating(script: Script, opened: Replay) -> None:
    """Votes against a key reach every key that it signed in."""
    apply(opened, vote(script, "member-1", "client-1"))
    apply(opened, rotation(script, "client-1", 0, key("thief")))
    apply(opened, vote(script, "member-2", "client-1"))
    apply(opened, rotation(script, "client-1", 1, key("thief", 2), old=key("thief")))
    apply(opened, vote(script, "member-3", "client-1", 2))
    assert not opened.in_force("client-1")
    assert all(record.revoked for record in opened.standings["client-1"].keys)
    listed = check_ignored(opened, spend(script, "client-1", key("thief", 2)), hostile=False)
    assert "key 2 of client-1, which was revoked" in listed.reason


def test_a_proposed_key_that_somebody_else_takes_is_used(script: Script, opened: Replay) -> None:
    new = key("wanted twice")
    apply(opened, *(vote(script, voter, "client-1", 0, new) for voter in script.members[:2]))
    apply(opened, rotation(script, "client-2", 0, new))
    listed = check_ignored(opened, vote(script, "member-3", "client-1", 0, new), hostile=True)
    assert listed.reason == "the new key was used before: every key is new"


# Members and the operator.


def test_a_revoked_member_has_no_voice(script: Script, opened: Replay) -> None:
    """Neither later nor in what is not decided: its key may have been another's when it voted."""
    apply(opened, vote(script, "member-1", "client-1"), vote(script, "member-2", "client-1"))
    apply(opened, *(vote(script, voter, "member-1") for voter in script.members[1:]))
    assert not opened.in_force("member-1")
    check_ignored(opened, vote(script, "member-1", "client-2"), hostile=False)
    apply(opened, vote(script, "member-3", "client-1"))
    assert opened.in_force("client-1"), "member-1's vote was withdrawn"
    apply(opened, vote(script, "member-4", "client-1"))
    assert not opened.in_force("client-1")


def test_a_member_that_revokes_itself_withdraws_its_votes(script: Script, opened: Replay) -> None:
    apply(opened, vote(script, "member-1", "client-1"))
    apply(opened, script.sign(KeyRevocation("member-1", 0, b"", b"", LOST), "member-1"))
    assert opened.standings["client-1"].ballots == {}


def test_a_member_that_rotated_has_one_vote(script: Script, opened: Replay) -> None:
    apply(opened, vote(script, "member-1", "client-1"), rotation(script, "member-1", 0, key("m")))
    again = script.sign(KeyRevocation("client-1", 0, b"", b"", LOST), "member-1", key=key("m"))
    assert check_ignored(opened, again, hostile=True).reason == "member-1 voted for this already"


def test_a_revoked_member_votes_for_no_sum(script: Script) -> None:
    replay = script.replay(script.first(AggregateVote))
    apply(replay, *(vote(script, voter, "member-1") for voter in script.members[1:]))
    listed = check_ignored(replay, script.steps[script.first(AggregateVote)].data, hostile=False)
    assert "key 0 of member-1, which was revoked" in listed.reason


def test_the_log_waits_for_a_revoked_operator(script: Script, opened: Replay) -> None:
    apply(opened, *(vote(script, voter, "operator") for voter in script.members[:3]))
    apply(opened, *(spend(script, name) for name in script.clients))
    apply(opened, *(script.sign(update(1, digest("update", 1, name)), name) for name in script.clients))
    close = script.sign(RoundOpen(1, digest("model", 0)), "operator")
    assert "key 0 of operator, which was revoked" in check_ignored(opened, close, hostile=False).reason
    new = key("operator")
    apply(opened, *(vote(script, voter, "operator", 0, new) for voter in script.members[:3]))
    assert opened.in_force("operator")


def test_all_interleavings_of_a_rotation_and_an_entry_are_decided(script: Script, opened: Replay) -> None:
    """Whichever the log has first: the same entries in the same order give the same state."""
    rotate, paid = rotation(script, "client-1", 0, key(1)), spend(script, "client-1")
    states = []
    for order in ((rotate, paid), (paid, rotate)):
        runs = []
        for _ in range(2):
            replay = script.replay(script.first(RoundOpen) + 1)
            for data in order:
                replay.apply(data)
            runs.append((State.of(replay), replay.ignored))
        assert runs[0] == runs[1]
        states.append(runs[0])
    assert "client-1" not in states[0][0].rounds[0].spends
    assert "client-1" in states[1][0].rounds[0].spends
    assert [len(ignored) for _, ignored in states] == [1, 0]


def test_what_a_revoked_client_committed_is_counted(script: Script) -> None:
    """Its update was its own when it came; nobody can take it out afterwards."""
    at = script.last(UpdateCommit, round_number=1) + 1
    replay = apply(script.replay(at), script.sign(KeyRevocation("client-1", 0, b"", b"", LOST), "client-1"))
    assert replay.rounds[0].commits["client-1"][0] == script.first(UpdateCommit)
    assert isinstance(script.steps[script.first(BudgetSpend)].body, BudgetSpend)


def test_nobody_but_a_party_rotates(script: Script, opened: Replay) -> None:
    stranger = key("nobody")
    listed = check_ignored(
        opened, script.sign_value(KeyRotation.kind, [0, bytes(32), bytes(64)], "client-9", key=stranger), hostile=True
    )
    assert listed.reason == "client-9 is not a party of this federation"


def test_the_proof_signs_what_the_specification_says(script: Script) -> None:
    new = key("spelled out")
    message = b"secure-bfl/key-possession/v1" + script.context + (3).to_bytes(8, "big") + b"client-1"
    assert claim(script, "client-1", 3, new).proof == new.sign(message)
