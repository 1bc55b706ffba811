"""What a thief of a key, or of a copy of a keystore, can do afterwards: nothing that lasts."""

import pytest

from ledger import SigningKey
from secure_bfl.client import Client
from secure_bfl.errors import ChainError, StateError
from secure_bfl.identity import Identity, Secrets
from secure_bfl.local_training import Learner
from secure_bfl.messages import BudgetSpend, KeyClaim, Role, RoundOpen
from secure_bfl.replay import Replay
from secure_bfl.standing import MAX_ROTATIONS
from tests.secure_bfl.federation import Federation, digest, odometer_of
from tests.secure_bfl.script import Script, check_ignored
from tests.secure_bfl.test_signing_keys import apply, key, rotation, spend, vote

OFFICE = "came to the office with a passport"


def stolen_spend(federation: Federation, number: int = 1) -> None:
    """A thief of the first client's key records spending with an odometer that nobody has."""
    event = federation.plan.round_event
    body = BudgetSpend(number, event.steps, event.noise_multiplier_milli, event.sampling_rate_ppm, (), digest("thief"))
    federation.board.append(body, "client-1", federation.identities["client-1"].signing)


def readmit(federation: Federation, identity: Identity) -> KeyClaim:
    """Revoked, and admitted again with another key, by votes."""
    board = federation.board
    for member in federation.members[:3]:
        member.vote_revocation(board, identity.name, reason="stolen")
    claim = identity.claim(board.replay)
    for member in federation.members[:3]:
        member.vote_revocation(board, identity.name, reason=OFFICE, claim=claim)
    assert board.replay.in_force(identity.name)
    return claim


# Spending.


def test_a_thief_s_spend_does_not_lock_the_client_out(opened: Federation) -> None:
    federation = opened.copy()
    board, client = federation.board, federation.clients[0]
    stolen_spend(federation)
    with pytest.raises(ChainError, match="this odometer does not know"):
        client.update(board, 1, federation.zero)
    readmit(federation, client.identity)
    assert all(each.update(board, 1, federation.zero) for each in federation.clients)
    federation.close_and_vote(1)
    federation.request(1)
    model = federation.answer_and_publish(1, federation.zero)
    federation.operator.open_round(board, 2, model)
    assert client.update(board, 2, model)
    assert board.replay.ignored == []


def test_what_a_thief_spent_is_spent(opened: Federation) -> None:
    """In a round that the client took no part in: the ledger counts it, so its odometer does."""
    federation = opened.copy()
    board, client = federation.board, federation.clients[0]
    stolen_spend(federation)
    readmit(federation, client.identity)
    for other in federation.clients[1:]:
        other.update(board, 1, federation.zero)
    federation.close_and_vote(1)
    federation.request(1)
    model = federation.answer_and_publish(1, federation.zero)
    federation.operator.open_round(board, 2, model)
    assert client.update(board, 2, model)
    reserved = [reservation.round for reservation in federation.disks["client-1"].odometer.reservations]
    assert reserved == [1, 2]
    assert "client-1" in board.round(1).spends


def test_an_older_odometer_is_found_after_the_admission_too(opened: Federation) -> None:
    federation = opened.copy()
    board, client = federation.board, federation.clients[0]
    readmit(federation, client.identity)
    client.reserve(board, 1)
    older = Client(
        client.identity,
        Learner(federation.shares[0]),
        odometer=odometer_of(federation.plan),
        outbox=federation.disks["client-1"].outbox,
    )
    with pytest.raises(ChainError, match="an older copy was restored"):
        older.reserve(board, 1)


# Claims.


def copied(identity: Identity) -> Identity:
    """What somebody has who copied the keystore now."""
    secrets = Secrets()
    for name in identity.secrets.names():
        secret = identity.secrets.get(name)
        assert secret is not None
        secrets.put(name, secret)
    return Identity(identity.name, Role.CLIENT, secrets)


def holds(identity: Identity, federation: Federation) -> bool:
    """Whether it signs with the key in force."""
    replay = federation.board.replay
    return identity.signing_in(replay).public == replay.standings[identity.name].newest.public


def test_a_copied_claim_is_not_claimed_again(opened: Federation) -> None:
    """The keystore was copied after a claim that came to nothing; the next claim is to a key that the thief lacks."""
    federation = opened.copy()
    identity = federation.identities["client-1"]
    identity.claim(federation.board.replay)
    thief = copied(identity)
    readmit(federation, identity)
    assert (holds(identity, federation), holds(thief, federation)) == (True, False)


def test_a_copied_claim_is_not_claimed_again_where_members_had_begun_to_vote(opened: Federation) -> None:
    federation = opened.copy()
    board, identity = federation.board, federation.identities["client-1"]
    early = identity.claim(board.replay)
    for member in federation.members[:2]:
        member.vote_revocation(board, "client-1", reason="lost", claim=early)
    thief = copied(identity)
    identity.revoke(board, "stolen")
    federation.members[3].vote_revocation(board, "client-1", reason="on its way", claim=early)
    assert not board.replay.in_force("client-1"), "votes from before the revocation have lapsed"
    assert readmit(federation, identity) != early
    assert not holds(thief, federation)


def test_a_copied_claim_is_not_rotated_to(opened: Federation) -> None:
    """A seed from before the key in force is never used: not by the next rotation either."""
    federation = opened.copy()
    identity = federation.identities["client-1"]
    identity.claim(federation.board.replay)
    thief = copied(identity)
    readmit(federation, identity)
    identity.forget_former_keys(federation.board.replay, certified=federation.board.replay.size)
    identity.rotate(federation.board)
    assert (holds(identity, federation), holds(thief, federation)) == (True, False)


# Many keys.


@pytest.fixture
def running(script: Script) -> Replay:
    return script.replay(script.first(RoundOpen) + 1)


def rotated(script: Script, replay: Replay, times: int) -> SigningKey:
    """Rotate the first client's key so often; the key in force then."""
    now = script.identities["client-1"].signing
    for _ in range(times):
        number = replay.standings["client-1"].number
        apply(replay, rotation(script, "client-1", number, key("long", number), old=now))
        now = key("long", number)
    return now


def test_a_lineage_has_an_end(script: Script, running: Replay) -> None:
    """After it only votes help, which begin another: nobody makes replay slow with keys of its own."""
    last = rotated(script, running, MAX_ROTATIONS)
    listed = check_ignored(running, rotation(script, "client-1", MAX_ROTATIONS, key("more"), old=last), hostile=True)
    assert listed.reason == "client-1 rotated 32 times since its key was admitted: members must vote for another one"
    apply(running, *(vote(script, name, "client-1", MAX_ROTATIONS, key("new")) for name in script.members[:3]))
    apply(running, rotation(script, "client-1", MAX_ROTATIONS + 1, key("newer"), old=key("new")))


def test_three_keys_are_tried(script: Script, running: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest and the two before: what is signed with those came late, and anything else is a forgery."""
    rotated(script, running, 5)
    for number in (3, 4):
        listed = check_ignored(running, spend(script, "client-1", key("long", number - 1)), hostile=False)
        assert f"signed with key {number} of client-1, which was replaced" in listed.reason
    calls: list[bytes] = []
    monkeypatch.setattr("secure_bfl.replay.verify_entry", counting(calls))
    for signer in (key("long", 1), key("stranger")):
        calls.clear()
        running.apply(spend(script, "client-1", signer))
        assert running.ignored[-1].hostile
        assert running.ignored[-1].reason.startswith("the signature does not verify")
        assert len(calls) == 3


def counting(calls: list[bytes]) -> object:
    from ledger import verify_entry

    def verify(entry: object, public: bytes, *, context: bytes) -> None:
        calls.append(public)
        verify_entry(entry, public, context=context)  # type: ignore[arg-type]  # an entry

    return verify


def test_used_keys_are_all_keys_there_ever_were(script: Script, running: Replay) -> None:
    rotated(script, running, 3)
    apply(running, *(vote(script, name, "client-2", 0, key("voted in")) for name in script.members[:3]))
    parties = [identity.party for identity in script.identities.values()]
    expected = {key for party in parties for key in (party.signing_key, party.note_key, party.sealing_key) if key}
    assert running.used == expected | {key("long", n).public for n in range(3)} | {key("voted in").public}


# Votes that a member changed.


def test_a_member_has_one_vote_for_one_outcome(script: Script, running: Replay) -> None:
    """Two were for a key that was lost since. They change their mind, and one more vote for it does not bring it in."""
    lost, kept = key("lost again"), key("kept")
    for name in ("member-1", "member-2"):
        apply(running, vote(script, name, "client-1", 0, lost), vote(script, name, "client-1", 0, kept))
    apply(running, vote(script, "member-4", "client-1", 0, lost))
    assert running.standings["client-1"].number == 0
    apply(running, vote(script, "member-3", "client-1", 0, kept))
    assert running.standings["client-1"].newest.public == kept.public


def test_a_copy_of_a_changed_vote_does_not_change_it_back(script: Script, running: Replay) -> None:
    first, second = key("first"), key("second")
    before = vote(script, "member-1", "client-1", 0, first)
    apply(running, before, vote(script, "member-1", "client-1", 0, second))
    listed = check_ignored(running, before, hostile=False)
    assert listed.reason == "member-1 said this before, word by word; it changed its mind since"
    assert running.standings["client-1"].ballots == {"member-1": second.public}


def test_late_votes_are_harmless(script: Script, running: Replay) -> None:
    """For a key that the party rotated to meanwhile, or about a key of a history that was lost."""
    apply(running, vote(script, "member-1", "client-1", 0, key("K")), rotation(script, "client-1", 0, key("K")))
    listed = check_ignored(running, vote(script, "member-2", "client-1", 0, key("K")), hostile=False)
    assert listed.reason == "client-1 has this key already"
    listed = check_ignored(running, vote(script, "member-2", "client-1", 2), hostile=False)
    assert listed.reason == "client-1 has no key 2"


def test_a_rotation_beyond_the_end_is_refused_at_the_edge(opened: Federation) -> None:
    federation = opened.copy()
    identity, board = federation.identities["client-1"], federation.board
    for _ in range(MAX_ROTATIONS):
        identity.rotate(board)
        identity.forget_former_keys(board.replay, certified=board.replay.size)
    with pytest.raises(StateError, match="rotated 32 times since its key was admitted"):
        identity.rotate(board)
