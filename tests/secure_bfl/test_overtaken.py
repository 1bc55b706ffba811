"""Honest entries that others overtook have no effect, and nobody is called a cheat for them; nor for a copy of one."""

from pathlib import Path

import numpy as np
import pytest

from ledger import BlobError, sign_entry
from protocols.tckks import EncryptedVector
from secure_bfl.ceremony import CeremonyState
from secure_bfl.committee_change import announce_change
from secure_bfl.errors import StateError
from secure_bfl.member import Member
from secure_bfl.messages import (
    AddendCommit,
    Aggregate,
    AggregateVote,
    Body,
    CommitteeChange,
    KeyCheck,
    KeyCommit,
    KeyReveal,
    Role,
    RoundOpen,
)
from secure_bfl.replay import Ignored, Replay
from secure_bfl.results import next_model
from secure_bfl.roster import member_name
from tests.secure_bfl.federation import NOW, Federation, digest, identity_of
from tests.secure_bfl.keyrun import complaint, incoming, office
from tests.secure_bfl.script import Script, check_ignored, update
from tests.secure_bfl.test_blob_release import certificate, findings
from tests.secure_bfl.test_signing_keys import apply

# A committee change.


class Change:
    """A change that was announced and certified, in replay alone."""

    def __init__(self, federation: Federation) -> None:
        self.federation = federation
        self.incoming: list[Member] = incoming(federation, 3, 1)
        announce_change(
            federation.board,
            federation.operator,
            federation.members,
            self.incoming,
            threshold=2,
            witnesses=office(federation),
            now=NOW,
        )
        self.replay = Replay()
        for entry in federation.log.entries():
            self.replay.apply(entry)
        self.keys = {name: identity.signing for name, identity in federation.identities.items()}
        self.keys |= {member.name: member.identity.signing for member in self.incoming}

    @property
    def ceremony(self) -> CeremonyState:
        return self.replay.ceremony

    def sign(self, body: Body, name: str) -> bytes:
        return sign_entry(body.kind, name, body.to_value(), self.keys[name], context=self.replay.context)

    def take(self, body: Body, name: str) -> None:
        apply(self.replay, self.sign(body, name))

    def ignored(self, body: Body, name: str, *, hostile: bool) -> Ignored:
        return check_ignored(self.replay, self.sign(body, name), hostile=hostile)

    def commitment(self, name: str) -> KeyCommit:
        mine = self.ceremony.dealt_by(name)
        return KeyCommit(self.ceremony.position, tuple(AddendCommit(a, b"", digest("dealing", a)) for a in mine))

    def reveal(self, name: str) -> KeyReveal:
        return KeyReveal(self.ceremony.position, self.ceremony.due(name), digest("deliveries", name))

    def deal(self) -> None:
        for name in self.ceremony.former.members if self.ceremony.former else ():
            self.take(self.commitment(name), name)
        for name in self.ceremony.former.members if self.ceremony.former else ():
            if self.ceremony.due(name):
                self.take(self.reveal(name), name)


@pytest.fixture
def change(trio: Federation) -> Change:
    return Change(trio)


def test_what_is_of_a_replaced_change_is_harmless(change: Change) -> None:
    """By a former member, and by a receiver whom the newest change does not have."""
    ceremony = change.ceremony
    late = change.commitment("member-1")
    parties = tuple(identity_of(member_name(number, 1), Role.MEMBER, 7).party for number in (1, 2))
    change.take(CommitteeChange(1, 2, parties, ()), "operator")
    for body, name in ((late, "member-1"), (KeyCheck(ceremony.position, digest("key"), ()), "member-3@1")):
        assert "is of another ceremony than the newest one" in change.ignored(body, name, hostile=False).reason
    newest = KeyCheck(change.ceremony.position, digest("key"), ())
    assert "is not in the committee" in change.ignored(newest, "member-3@1", hostile=True).reason
    change.ignored(KeyCheck(digest("nowhere"), digest("key"), ()), "member-1", hostile=True)


def test_a_reveal_that_a_commitment_overtook_is_harmless(change: Change) -> None:
    """Two of three committed and may reveal; the commitment of the third puts itself in turn."""
    for name in ("member-1", "member-2"):
        change.take(change.commitment(name), name)
    ready = {name: change.reveal(name) for name in ("member-1", "member-2")}
    change.take(change.commitment("member-3"), "member-3")
    overtaken = {name: body for name, body in ready.items() if body.addends != change.ceremony.due(name)}
    assert overtaken
    for name, body in overtaken.items():
        change.ignored(body, name, hostile=False)
    stranger = KeyReveal(change.ceremony.position, (99,), digest("x"))
    change.ignored(stranger, "member-3", hostile=True)


def test_a_dealer_does_not_deliver_twice(change: Change) -> None:
    for name in ("member-1", "member-2", "member-3"):
        change.take(change.commitment(name), name)
    body = change.reveal("member-1")
    change.take(body, "member-1")
    other = KeyReveal(body.ceremony, body.addends, digest("other"))
    change.ignored(other, "member-1", hostile=True)


def test_a_second_complaint_about_one_delivery_is_harmless(change: Change) -> None:
    change.deal()
    body = complaint(change.ceremony, 0, b"")
    first, second, third = (member.name for member in change.incoming)
    bad = change.ceremony.delivered[0][0]
    change.take(body, first)
    assert change.ignored(body, second, hostile=False).reason == "addend 0 was not delivered"
    change.ignored(complaint(change.ceremony, 99, b""), second, hostile=True)
    honest = change.ceremony.turn(0)
    assert honest is not None
    change.take(change.reveal(honest), honest)
    listed = change.ignored(body, third, hostile=False)
    assert listed.reason == f"the complaint is about another delivery of addend 0 than that of {honest}"
    assert change.ceremony.refused == {0: {bad: first}}, "a late complaint does not reach who delivered since"


# Updates and votes.


def test_a_commitment_that_was_copied_on_its_way_is_harmless(script: Script) -> None:
    """The sequencer puts an accomplice's copy first; the client whose update it was loses the round, not its name."""
    replay = script.replay(script.first(RoundOpen) + 1)
    apply(replay, *(script.sign(script.spend(1, name), name) for name in ("client-1", "client-2")))
    body = update(1, digest("honest"))
    apply(replay, script.sign(body, "client-2"))
    listed = check_ignored(replay, script.sign(body, "client-1"), hostile=False)
    assert listed.reason == "this ciphertext was committed before"


def test_one_late_wrong_vote_spoils_no_audit(updated: Federation, tmp_path: Path) -> None:
    federation = updated.copy()
    board = federation.board
    federation.operator.close_round(board, 1)
    federation.operator.add_up(board, 1)
    for member in federation.members[:3]:
        member.vote(board, 1)
    federation.request(1)
    federation.answer_and_publish(1, federation.zero)
    board.append(
        AggregateVote(1, board.round(1).closing, digest("a lie")), "member-4", federation.identities["member-4"].signing
    )
    named = "member-4 voted for another sum than the"
    for stage in ("kept", "dropped"):
        found = findings(federation, tmp_path / stage)
        assert [f.level for f in found if f.what.startswith(named)] == ["note"]
        assert {f.level for f in found} == {"note"}
        federation.operator.release_blobs(board, 1)
        federation.operator.drop_blobs(board, 1, certificate(federation))


def test_wrong_votes_that_leave_no_quorum_are_an_error(updated: Federation, tmp_path: Path) -> None:
    """Those did harm: the round could not be opened."""
    federation = updated.copy()
    board = federation.board
    federation.operator.close_round(board, 1)
    federation.operator.add_up(board, 1)
    for member in federation.members[:2]:
        member.vote(board, 1)
    for name in ("member-3", "member-4"):
        lie = AggregateVote(1, board.round(1).closing, digest("a lie"))
        board.append(lie, name, federation.identities[name].signing)
    federation.operator.void_round(board, 1, "no quorum agrees")
    errors = [finding.what for finding in findings(federation, tmp_path) if finding.level == "error"]
    assert errors == [
        f"{name} voted for another sum than the cohort's ciphertexts give" for name in ("member-3", "member-4")
    ]


def test_a_copy_of_a_hostile_entry_is_a_note(finished: Federation, tmp_path: Path) -> None:
    """The operator can copy what others said; the entry itself stays an error, once."""
    federation = finished.copy()
    state = federation.board.round(1)
    wrong = AggregateVote(1, digest("other updates"), digest("sum"))
    key = federation.identities["member-1"].signing
    data = sign_entry(wrong.kind, "member-1", wrong.to_value(), key, context=federation.board.replay.context)
    at = [federation.log.append(entry) for entry in (data, data, federation.log.entry(state.opened))]
    found = {finding.where: finding.level for finding in findings(federation, tmp_path)}
    assert found == {
        f"entry {at[0]}": "error",
        f"entry {at[1]} (entry {at[0]} again, byte for byte: the operator's doing)": "note",
        f"entry {at[2]} (entry {state.opened} again, byte for byte: the operator's doing)": "note",
    }


# A sum that is somebody's update.


def cancelling(federation: Federation) -> bytes:
    """What a malicious client sends so that the sum of three updates is the third one: minus the first."""
    board = federation.board
    victim = board.ciphertext(board.round(1).commits["client-1"][1].opened, sender="client-1")
    primes = np.array(victim.suite.data_primes, dtype=np.uint64)
    shape = [1] * victim.residues.ndim
    shape[victim.residues.shape.index(len(primes))] = len(primes)
    modulus = primes.reshape(shape)
    negated = (modulus - victim.residues) % modulus
    return EncryptedVector(victim.suite, victim.key_digest, negated).encode()


def test_a_sum_that_is_an_update_makes_the_round_void(opened: Federation) -> None:
    """Opened, it would be one client's update; released, it would be deleted with the others."""
    federation = opened.copy()
    board, key = federation.board, federation.identities["client-2"].signing
    federation.clients[0].update(board, 1, federation.zero)
    event = federation.clients[1].reserve(board, 1).event
    assert event == federation.plan.round_event
    board.append(update(1, board.blobs.put(cancelling(federation))), "client-2", key)
    federation.clients[2].update(board, 1, federation.zero)
    federation.operator.close_round(board, 1)
    state = board.round(1)
    third = state.commits["client-3"][1].opened
    operator = federation.identities["operator"].signing
    with pytest.raises(StateError, match="the sum is a ciphertext that somebody committed to"):
        board.append(Aggregate(1, third), "operator", operator)
    for _ in range(2):
        federation.operator.add_up(board, 1)
    assert state.void is not None
    assert state.void.reason == "the sum of the updates is a ciphertext that somebody committed to"
    assert state.aggregate is None
    for member in federation.members:
        member.vote(board, 1)
    federation.operator.request(board, 1, federation.witnesses, now=NOW)
    assert (state.votes, state.attempts) == ({}, [])
    federation.operator.open_round(board, 2, federation.zero)
    assert board.replay.ignored == []


def test_what_another_entry_names_is_not_dropped(finished: Federation) -> None:
    """Two commitments of a released cohort that are a model and an answer: those stay."""
    federation = finished.copy()
    board = federation.board
    state = board.round(1)
    first, second, third = state.cohort
    assert state.result is not None
    answer = next(iter(state.answers.values())).answer
    gone = state.commits[third][1].opened
    for name, named in ((first, state.result.model), (second, answer)):
        state.commits[name] = (state.commits[name][0], update(1, named))
    federation.operator.release_blobs(board, 1)
    federation.operator.drop_blobs(board, 1, certificate(federation))
    assert board.blobs.has(state.result.model)
    assert board.blobs.has(answer)
    assert not board.blobs.has(gone)
    with pytest.raises(BlobError, match="is missing"):
        board.encoded(gone)
    assert next_model(board, 1, federation.zero) is not None
