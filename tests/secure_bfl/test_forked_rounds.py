"""What a member says in one history of the log is of no use in another, where it would make an honest member a liar."""

import hashlib
from dataclasses import replace

import pytest

from ledger import parse_entry
from secure_bfl.answers import check_answers, faults
from secure_bfl.member import Member
from secure_bfl.messages import DecryptionRequest, Kind, PartialAnswer, RoundClose, UpdateCommit
from secure_bfl.replay import Replay
from secure_bfl.roster import OPERATOR
from tests.secure_bfl.federation import NOW, Federation, digest
from tests.secure_bfl.script import Script, check_ignored, update
from tests.secure_bfl.test_replay_certificates import certificate_of


def ask(federation: Federation, *active: int) -> None:
    """The operator asks these members, of all that voted."""
    aggregate = federation.board.round(1).aggregate
    assert aggregate is not None
    names = tuple(f"member-{m}" for m in active)
    federation.operator._ask(federation.board, 1, aggregate.ciphertext, names, federation.witnesses, now=NOW)


def said(federation: Federation, kind: Kind, sender: str) -> bytes:
    """A member's first entry of a kind."""
    entries = federation.board.log.entries()
    return next(e for e in entries if (parse_entry(e).kind, parse_entry(e).sender) == (kind, sender))


def put(federation: Federation, data: bytes) -> None:
    """The operator appends any bytes."""
    federation.board.log.append(data)
    federation.board.replay.apply(data)


def by_all(federation: Federation) -> None:
    """Every member does its part in the opening."""
    for step in (Member.answer, Member.check_pieces):
        for member in federation.members:
            step(member, federation.board, 1)


def test_an_answer_counts_under_its_own_request_only(voted: Federation) -> None:
    """The operator asks members 1 and 2, and shows what member-1 answers where it asked members 1 and 4."""
    one, other = voted.copy(), voted.copy()
    ask(one, 1, 2)
    one.members[0].answer(one.board, 1)
    other.blobs._blobs.update(one.blobs._blobs)
    other.disks["member-1"].journal._claims.update(one.disks["member-1"].journal._claims)
    ask(other, 1, 4)
    put(other, said(one, Kind.PARTIAL_DECRYPTION, "member-1"))
    (ignored,) = other.board.replay.ignored
    assert (ignored.reason, ignored.hostile) == ("the answer is to another request", True)
    by_all(other)
    assert check_answers(other.board, 1).keys() == {"member-1", "member-4"}
    assert faults(other.board, 1) == {}, "nobody is convicted"


def test_a_check_counts_with_its_own_answers_only(voted: Federation) -> None:
    """Member-2 gives two answers in two histories; what member-1 checked in one is put into the other."""
    one, other = voted.copy(), voted.copy()
    ask(one, 1, 2)
    put(other, said(one, Kind.DECRYPTION_REQUEST, OPERATOR))
    attempt = one.board.round(1).attempts[0]
    wrong = PartialAnswer(1, 0, attempt.entry, digest("another answer"))
    one.board.append(wrong, "member-2", one.members[1].identity.signing)
    for member in (one.members[0], other.members[0], other.members[1]):
        board = one.board if member is one.members[0] else other.board
        member.answer(board, 1)
    one.members[0].check_pieces(one.board, 1)
    put(other, said(one, Kind.PIECE_CHECK, "member-1"))
    (ignored,) = other.board.replay.ignored
    assert (ignored.reason, ignored.hostile) == ("the check is of another request, or of other answers", True)
    by_all(other)
    assert faults(other.board, 1) == {}, "nobody is convicted"
    assert other.board.round(1).attempts[0].checks.keys() == {f"member-{m}" for m in range(1, 5)}


def test_a_check_counts_under_its_own_request_only(script: Script) -> None:
    """Two requests for one sum with the same active members and the same answers have two challenges."""
    index = script.first(DecryptionRequest, round_number=1)
    one, other = script.replay(index + 1), script.replay(index)
    certificate = certificate_of([step.data for step in script.steps[: index - 1]], script)
    other.apply(script.sign(script.request(1, certificate=certificate), OPERATOR))
    for replay in (one, other):
        for member in (1, 2):
            body = script.answer(1, digest("share", 1, member), replay=replay)
            replay.apply(script.sign(body, f"member-{member}"))
    first, second = (replay.rounds[0].attempts[0] for replay in (one, other))
    assert (first.request.active, first.entry == second.entry) == (second.request.active, False)
    check = script.sign(script.check(1, "member-1", replay=one), "member-1")
    assert one.refuses(check) is None
    told = "the check is of another request, or of other answers"
    assert check_ignored(other, check, hostile=True).reason == told


def closed_over(script: Script, *swapped: tuple[str, bytes]) -> Replay:
    """Round 1, closed by the very entry of the run, with other updates at the places that it names."""
    replay = script.replay(script.first(UpdateCommit))
    for name, opened in swapped:
        replay.apply(script.sign(update(1, opened), name))
    for kind in (RoundClose, type(script.steps[script.first(RoundClose) + 1].body)):
        replay.apply(script.steps[script.first(kind)].data)
    assert replay.ignored == []
    return replay


@pytest.mark.parametrize("swap", [False, True])
def test_a_vote_counts_for_its_own_updates_only(script: Script, swap: bool) -> None:
    """`ROUND_CLOSE` names positions: in another history other updates can stand there."""
    opened = {name: digest("update", 1, name) for name in script.clients}
    if swap:
        opened["client-2"] = digest("another update")
    replay = closed_over(script, *opened.items())
    vote = script.sign(script.vote(1, digest("sum", 1)), "member-1")
    if swap:
        told = "the vote is about other updates than round 1's"
        assert check_ignored(replay, vote, hostile=True).reason == told
    else:
        assert replay.refuses(vote) is None


def test_a_vote_counts_for_its_own_close_only(script: Script) -> None:
    index = script.first(RoundClose, round_number=1)
    body = script.steps[index].body
    assert isinstance(body, RoundClose)
    replay = script.replay(index)
    shorter = script.sign(replace(body, cohort=body.cohort[:2]), OPERATOR)
    replay.apply(shorter)
    ciphertexts = b"".join(digest("update", 1, name) for name in script.clients[:2])
    named = hashlib.sha256(b"secure-bfl/cohort/v1" + hashlib.sha256(shorter).digest() + ciphertexts).digest()
    assert replay.rounds[0].closing == named
    replay.apply(script.steps[index + 1].data)
    assert replay.ignored == []
    vote = script.sign(script.vote(1, digest("sum", 1)), "member-1")
    assert check_ignored(replay, vote, hostile=True).reason == "the vote is about other updates than round 1's"
