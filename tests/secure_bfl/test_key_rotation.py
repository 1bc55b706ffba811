"""A party replaces its signing key, and others revoke it: with keystores, crashes and whole rounds."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ledger import SigningKey, StoreError, sign_entry
from protocols.errors import QuorumError
from secure_bfl import keystore
from secure_bfl.committee_change import announce_change
from secure_bfl.errors import KeystoreError, StateError
from secure_bfl.identity import Identity, Secrets
from secure_bfl.keystore import Keystore
from secure_bfl.member import KEY_STEPS, Member
from secure_bfl.messages import AggregateVote, Role
from secure_bfl.opening import open_sum
from tests.secure_bfl.federation import NOW, Federation, digest, identity_of
from tests.secure_bfl.keyrun import REPLICATED, SHAMIR, changed, incoming, started
from tests.secure_bfl.script import check_ignored

LOST = "the laptop is gone"


def number_of(federation: Federation, name: str) -> int:
    return federation.board.replay.standings[name].number


def certified(federation: Federation) -> int:
    return federation.board.certify(federation.witnesses, now=NOW).checkpoint.size


def revoke(federation: Federation, party: str, voters: Sequence[Member]) -> None:
    for member in voters:
        member.vote_revocation(federation.board, party, reason=LOST)


# Rotation at the edge.


def test_everybody_rotates_in_the_middle_of_a_round(opened: Federation) -> None:
    """Operator, members and clients sign on with new keys, and the round gives its model."""
    federation = opened.copy()
    for identity in federation.identities.values():
        identity.rotate(federation.board)
    federation.open_and_update(1, federation.zero)
    federation.close_and_vote(1)
    federation.request(1)
    federation.answer_and_publish(1, federation.zero)
    assert federation.board.replay.ignored == []
    assert {number_of(federation, name) for name in federation.identities} == {1}
    assert federation.board.round(1).result is not None


def test_a_rotation_is_done_once_and_again_after_it_is_certified(opened: Federation) -> None:
    federation = opened.copy()
    identity, board = federation.identities["client-1"], federation.board
    identity.rotate(board)
    for _ in range(2):
        with pytest.raises(StateError, match=r"gave it a new key already.*certified and call `forget_former_keys`"):
            identity.rotate(board)
    assert number_of(federation, "client-1") == 1
    assert identity.secrets.names() == ("signing", "signing/1"), "no seed is drawn for nothing"
    at = board.replay.standings["client-1"].keys[0].until
    assert at is not None
    identity.forget_former_keys(board.replay, certified=at)
    assert identity.secrets.names() == ("signing", "signing/1"), "the log may still lose the entry"
    identity.forget_former_keys(board.replay, certified=certified(federation))
    assert identity.secrets.names() == ("first-signing-key", "signing/1")
    identity.rotate(board)
    identity.forget_former_keys(board.replay, certified=certified(federation))
    assert identity.secrets.names() == ("first-signing-key", "signing/2")
    assert number_of(federation, "client-1") == 2


def test_the_first_key_stays_known_for_the_genesis(founded: Federation) -> None:
    """Founding again, after a crash, compares with the keys that the genesis names."""
    federation = founded.copy()
    identity = federation.identities["client-1"]
    before = identity.party
    identity.rotate(federation.board)
    identity.forget_former_keys(federation.board.replay, certified=certified(federation))
    again = Identity("client-1", Role.CLIENT, identity.secrets)
    assert again.party == identity.party == before
    assert (
        again.signing_in(federation.board.replay).public == federation.board.replay.standings["client-1"].newest.public
    )
    federation.found()


class CrashError(Exception):
    """The process ends here."""


def crashing(board_append: Callable[..., int], *, after: bool) -> Callable[..., int]:
    def append(*args: object) -> int:
        if after:
            board_append(*args)
        raise CrashError

    return append


@pytest.mark.parametrize("after", [False, True], ids=["before the entry", "after the entry"])
def test_a_crash_around_the_entry(opened: Federation, monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    """The new seed is kept before anybody hears of its key; the same call again ends what was begun."""
    federation = opened.copy()
    board, identity = federation.board, federation.identities["client-1"]
    with monkeypatch.context() as patch:
        patch.setattr(board, "append", crashing(board.append, after=after))
        with pytest.raises(CrashError):
            identity.rotate(board)
    assert identity.secrets.names() == ("signing", "signing/1")
    drawn = identity.secrets.get("signing/1")
    assert drawn is not None
    restarted = Identity("client-1", Role.CLIENT, identity.secrets)
    assert number_of(federation, "client-1") == after
    assert federation.client(1).update(board, 1, federation.zero) is True, "it signs with the key in force"
    if after:
        with pytest.raises(StateError, match="gave it a new key already"):
            restarted.rotate(board)
    else:
        restarted.rotate(board)
    assert number_of(federation, "client-1") == 1
    assert board.replay.standings["client-1"].newest.public == SigningKey.from_seed(drawn).public
    assert board.replay.ignored == []


def test_a_seed_that_cannot_be_kept_is_never_announced(
    opened: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keystore, "_SCRYPT", {"n": 2, "r": 8, "p": 1})
    federation = opened.copy()
    seed = federation.identities["client-1"].secrets.get("signing")
    assert seed is not None
    kept = Keystore.create(tmp_path / "keystore", "passphrase", {"signing": seed})
    identity, size = Identity("client-1", Role.CLIENT, kept), federation.log.size

    def full(*args: object, **options: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(keystore, "write_durably", full)
        with pytest.raises(StoreError, match="full"):
            identity.rotate(federation.board)
    assert federation.log.size == size
    identity.rotate(federation.board)
    opened_again = Identity("client-1", Role.CLIENT, Keystore.open(tmp_path / "keystore", "passphrase"))
    public = opened_again.signing_in(federation.board.replay).public
    assert public == federation.board.replay.standings["client-1"].newest.public


def test_a_copy_of_the_keystore_from_before_cannot_rotate(opened: Federation) -> None:
    federation = opened.copy()
    federation.identities["client-1"].rotate(federation.board)
    older = identity_of("client-1", Role.CLIENT)
    with pytest.raises(KeystoreError, match="client-1: the keystore lacks the signing key that is in force"):
        older.rotate(federation.board)


def test_strangers_have_no_standing(opened: Federation) -> None:
    stranger = Identity.in_memory("client-9", Role.CLIENT)
    for act in (
        stranger.rotate,
        lambda board: stranger.revoke(board, LOST),
        lambda board: stranger.claim(board.replay),
    ):
        with pytest.raises(StateError, match="client-9 is not a party of this federation"):
            act(opened.board)


# Revocation at the edge.


def test_who_revoked_its_key_comes_back_by_votes(opened: Federation) -> None:
    federation = opened.copy()
    board, identity = federation.board, federation.identities["client-1"]
    for _ in range(2):
        identity.revoke(board, LOST)
    with pytest.raises(StateError, match="its key was revoked; members must vote for a new one"):
        identity.rotate(board)
    assert not federation.clients[0].update(board, 1, federation.zero)
    assert federation.disks["client-1"].odometer.reservations == (), "no privacy is spent for nothing"
    first, claim, last = (identity.claim(board.replay) for _ in range(3))
    assert len({first.key, claim.key, last.key}) == 3
    for member in federation.members[:3]:
        for _ in range(2):
            member.vote_revocation(board, "client-1", reason="came back in person", claim=claim)
    assert board.replay.in_force("client-1")
    assert federation.clients[0].update(board, 1, federation.zero)
    identity.forget_former_keys(board.replay, certified=certified(federation))
    assert identity.secrets.names() == ("first-signing-key", "signing/1", "signing/2", "signing/3")


def test_who_lost_everything_comes_back_with_a_new_keystore(opened: Federation) -> None:
    federation = opened.copy()
    board, new = federation.board, Identity.in_memory("client-2", Role.CLIENT)
    claim = new.claim(board.replay)
    for member in federation.members[1:]:
        member.vote_revocation(board, "client-2", reason=LOST, claim=claim)
    assert new.signing_in(board.replay).public == claim.key


def test_votes_that_a_member_does_not_cast(opened: Federation) -> None:
    federation = opened.copy()
    member, board = federation.members[0], federation.board
    with pytest.raises(StateError, match="member-1: there is no party 'client-9'"):
        member.vote_revocation(board, "client-9", reason=LOST)
    claim = federation.identities["client-2"].claim(board.replay)
    with pytest.raises(StateError, match="the claim is of client-2, not of client-1") as caught:
        member.vote_revocation(board, "client-1", reason=LOST, claim=claim)
    assert caught.value.culprits == ("client-2",)


def test_a_round_ends_without_its_revoked_client(opened: Federation) -> None:
    federation = opened.copy()
    revoke(federation, "client-3", federation.members[:3])
    assert [client.update(federation.board, 1, federation.zero) for client in federation.clients] == [True, True, False]
    federation.close_and_vote(1)
    federation.request(1)
    federation.answer_and_publish(1, federation.zero)
    assert federation.board.round(1).cohort == ("client-1", "client-2")


@pytest.mark.parametrize("stage", ["voted", "requested"])
def test_a_round_ends_without_a_revoked_member(request: pytest.FixtureRequest, stage: str) -> None:
    """Whether it was revoked after its vote or after it was asked: others answer, and nothing hangs."""
    federation: Federation = request.getfixturevalue(stage).copy()
    revoke(federation, "member-1", federation.members[1:])
    board = federation.board
    open_sum(
        board,
        1,
        federation.zero,
        operator=federation.operator,
        members=federation.members,
        witnesses=federation.witnesses,
        now=NOW,
    )
    state = board.round(1)
    assert state.result is not None
    assert state.attempt is not None
    assert "member-1" not in state.attempt.asked
    assert len(state.attempts) == (1 if stage == "voted" else 2)


def test_too_few_members_that_count_are_named(voted: Federation) -> None:
    """With three of four revoked, a sum of 2 of 4 cannot be opened any more, and the request says why."""
    federation = voted.copy()
    for member in federation.members[:3]:
        member.identity.revoke(federation.board, LOST)
    with pytest.raises(QuorumError, match="the keys of member-1, member-2, member-3 were revoked") as caught:
        federation.request(1)
    assert caught.value.missing == ("member-1", "member-2", "member-3")


def test_a_run_waits_for_a_revoked_operator_and_goes_on(updated: Federation) -> None:
    federation = updated.copy()
    board, identity = federation.board, federation.identities["operator"]
    revoke(federation, "operator", federation.members[:3])
    with pytest.raises(StateError, match="key 0 of operator, which was revoked"):
        federation.operator.close_round(board, 1)
    claim = identity.claim(board.replay)
    for member in federation.members[:3]:
        member.vote_revocation(board, "operator", reason="found", claim=claim)
    federation.close_and_vote(1)
    assert board.round(1).aggregate is not None


# Committee changes.


def test_what_a_former_member_says_late_is_harmless(trio: Federation) -> None:
    """A change can overtake an honest member's entry; nobody is called a cheat for that."""
    board = trio.board
    trio.open_and_update(1, trio.zero)
    trio.close_and_vote(1)
    trio.operator.void_round(board, 1, "somebody was away")
    former, key = trio.members[0], trio.members[0].identity.signing
    late = sign_entry(
        AggregateVote.kind,
        former.name,
        AggregateVote(1, board.round(1).closing, digest("sum")).to_value(),
        key,
        context=board.replay.context,
    )
    changed(trio, *REPLICATED)
    listed = check_ignored(board.replay, late, hostile=False)
    assert listed.reason == "member-1 is not in the committee of epoch 1"


def test_former_members_do_not_vote(trio: Federation) -> None:
    """Neither again, nor with what they said while they were in office."""
    board = trio.board
    revoke(trio, "client-1", trio.members[:1])
    former = changed(trio, *REPLICATED)
    assert board.replay.committee.epoch == 1
    with pytest.raises(StateError, match="member-2 is not in the committee of epoch 1"):
        former[1].vote_revocation(board, "client-1", reason=LOST)
    needed = board.replay.committee.policy.needed
    for count, member in enumerate(trio.members[:needed], start=1):
        assert board.replay.in_force("client-1")
        member.vote_revocation(board, "client-1", reason=LOST)
        assert board.replay.in_force("client-1") is (count < needed)


def test_a_key_that_was_rotated_in_is_not_new_for_a_committee(trio: Federation) -> None:
    board = trio.board
    new = incoming(trio, 3, 1)
    secrets = Secrets()
    seeds = {name: new[0].identity.secrets.get(name) for name in ("signing", "note", "sealing")}
    taken = trio.identities["client-1"].claim(board.replay)
    seeds["signing"] = trio.identities["client-1"].secrets.get("signing/1")
    for name, seed in seeds.items():
        assert seed is not None
        secrets.put(name, seed)
    identity = Identity(new[0].name, Role.MEMBER, secrets)
    assert identity.party.signing_key == taken.key
    trio.identities["client-1"].rotate(board)
    new[0].identity = identity
    with pytest.raises(StateError, match="member-1@1 has a key that was used before"):
        announce_change(board, trio.operator, trio.members, new, threshold=2, witnesses=trio.witnesses, now=NOW)


def test_who_was_revoked_is_not_asked_to_deal(quartet: Federation) -> None:
    """In Shamir's sharing the announcement fixes who deals: three of the four whose entries count."""
    board = quartet.board
    for member in quartet.members[1:]:
        member.vote_revocation(board, "member-1", reason=LOST)
    assert board.replay.in_force("member-1"), "where all four certify, three cannot revoke the fourth"
    quartet.members[0].identity.revoke(board, LOST)
    started(quartet, *SHAMIR)
    assert board.replay.ceremony.active == (2, 3, 4)


def test_members_of_both_committees_rotate_during_a_change(trio: Federation) -> None:
    new, board = started(trio, *REPLICATED), trio.board
    for member in (*trio.members, *new):
        member.identity.rotate(board)
    for step in KEY_STEPS[:2]:
        for member in trio.members:
            step(member, board)
    for step in KEY_STEPS[2:]:
        for member in new:
            step(member, board)
    assert len(board.replay.ceremony.accepts) == len(new)
    assert board.replay.ignored == []
