"""Ciphertexts of a finished round are deleted once enough members attest that they summed them; never before."""

import shutil
from pathlib import Path

import pytest

from ledger import BlobError, Certificate, DirectoryBlobs, publish
from secure_bfl.auditor import Auditor, Finding
from secure_bfl.errors import StateError
from secure_bfl.layout import PublicFolder
from secure_bfl.messages import AggregateVote, BlobRelease, RoundClose, RoundOpen, RoundVoid
from tests.secure_bfl.federation import NOW, Federation, digest
from tests.secure_bfl.script import Script, check_ignored
from tests.secure_bfl.test_change_attacks import fork


def release(script: Script, number: int, closed: bytes) -> bytes:
    return script.sign(BlobRelease(number, closed), "operator")


# Rules.


def test_a_finished_round_is_released_once(script: Script) -> None:
    replay = script.replay()
    data = release(script, 1, replay.rounds[0].closing)
    replay.apply(data)
    assert replay.ignored == []
    assert replay.rounds[0].released == len(script.steps)
    assert check_ignored(replay, data, hostile=True).reason == "the updates of round 1 were released already"


def test_no_round_is_released_before_it_is_finished(script: Script) -> None:
    running = script.replay(len(script.steps) - 1)
    listed = check_ignored(running, release(script, 2, running.rounds[1].closing), hostile=False)
    assert listed.reason == "round 2 is not finished"
    for number in (0, -1, 3):
        listed = check_ignored(script.replay(), release(script, number, digest("x")), hostile=False)
        assert listed.reason == f"round {number} was not opened yet"


def test_a_release_names_the_updates(script: Script) -> None:
    replay = script.replay()
    listed = check_ignored(replay, release(script, 1, replay.rounds[1].closing), hostile=True)
    assert listed.reason == "the release is of other updates than round 1's"
    opened = script.replay(script.first(RoundOpen) + 1)
    opened.apply(script.sign(RoundVoid(1, "nobody came"), "operator"))
    assert "is of other updates" in check_ignored(opened, release(script, 1, bytes(32)), hostile=True).reason


def test_only_the_operator_releases(script: Script) -> None:
    replay = script.replay()
    for name in ("member-1", "client-1"):
        data = script.sign(BlobRelease(1, replay.rounds[0].closing), name)
        assert check_ignored(replay, data, hostile=True).reason == "BLOB_RELEASE is for the operator"


def test_a_void_round_is_released_when_enough_members_attest(script: Script) -> None:
    """Two of the three that are needed voted in time, one voted otherwise; the fourth comes late."""
    index = script.first(AggregateVote, round_number=1)
    replay = script.replay(index + 2)
    closing = replay.rounds[0].closing
    wrong = AggregateVote(1, closing, digest("another sum"))
    replay.apply(script.sign(wrong, "member-3"))
    replay.apply(script.sign(RoundVoid(1, "no"), "operator"))
    listed = check_ignored(replay, release(script, 1, closing), hostile=True)
    assert listed.reason == "2 of 3 members attest that they summed round 1"
    replay.apply(script.steps[index + 3].data)
    assert replay.rounds[0].attesting() == ("member-1", "member-2", "member-4")
    replay.apply(release(script, 1, closing))
    assert len(replay.ignored) == 1


def test_nobody_attests_what_was_released(script: Script) -> None:
    last = script.last(AggregateVote, round_number=1)
    replay = script.replay(last)
    replay.apply(script.sign(RoundVoid(1, "no"), "operator"))
    replay.apply(release(script, 1, replay.rounds[0].closing))
    assert replay.rounds[0].released is not None
    listed = check_ignored(replay, script.steps[last].data, hostile=False)
    assert listed.reason == "the updates of round 1 were released"


def test_a_round_that_was_closed_and_not_summed_is_kept(script: Script) -> None:
    """Nobody attests to a sum that nobody announced."""
    replay = script.replay(script.first(RoundClose) + 1)
    replay.apply(script.sign(RoundVoid(1, "no"), "operator"))
    listed = check_ignored(replay, release(script, 1, replay.rounds[0].closing), hostile=True)
    assert listed.reason == "0 of 3 members attest that they summed round 1"


# The edge.


def certificate(federation: Federation) -> Certificate:
    return federation.board.certify(federation.witnesses, now=NOW)


def test_the_ciphertexts_go_and_everything_else_stays(finished: Federation) -> None:
    federation = finished.copy()
    board, operator = federation.board, federation.operator
    digests = board.round(1).ciphertexts()
    before = set(board.blobs.digests())
    for _ in range(2):
        operator.release_blobs(board, 1)
    for _ in range(2):
        operator.drop_blobs(board, 1, certificate(federation))
    assert before - set(board.blobs.digests()) == set(digests)
    assert federation.clients[0].update(board, 1, federation.zero)
    assert not board.blobs.has(digests[0]), "a client that restarts does not bring them back"


def test_nothing_is_deleted_before_the_release_is_certified(finished: Federation) -> None:
    federation = finished.copy()
    board, operator = federation.board, federation.operator
    early = certificate(federation)
    with pytest.raises(StateError, match="were not released; `release_blobs` first"):
        operator.drop_blobs(board, 1, early)
    operator.release_blobs(board, 1)
    with pytest.raises(StateError, match="no certificate covers the release of round 1 yet"):
        operator.drop_blobs(board, 1, early)
    assert all(board.blobs.has(digest) for digest in board.round(1).ciphertexts())


def test_a_certificate_of_another_log_deletes_nothing(finished: Federation) -> None:
    """Two histories: one released, the other has a new round there."""
    federation, fork = finished.copy(), finished.copy()
    federation.operator.release_blobs(federation.board, 1)
    model = fork.board.round(1).result
    assert model is not None
    fork.board.append(RoundOpen(2, model.model), "operator", fork.identities["operator"].signing)
    with pytest.raises(StateError, match="no certificate covers the release"):
        federation.operator.drop_blobs(federation.board, 1, certificate(fork))


def test_an_unfinished_round_is_not_released(voted: Federation) -> None:
    federation = voted.copy()
    with pytest.raises(StateError, match="round 1 is not finished"):
        federation.operator.release_blobs(federation.board, 1)


def test_a_member_that_could_not_vote_attests_later(updated: Federation) -> None:
    federation = updated.copy()
    board, absent = federation.board, federation.members[3]
    federation.operator.close_round(board, 1)
    absent.attest(board, 1)
    assert board.round(1).late_votes == {}, "there is no sum to attest to yet"
    federation.operator.add_up(board, 1)
    for member in federation.members[:3]:
        member.vote(board, 1)
    federation.request(1)
    federation.answer_and_publish(1, federation.zero)
    absent.vote(board, 1)
    assert absent.name not in board.round(1).attesting()
    for member in federation.members:
        for _ in range(2):
            member.attest(board, 1)
    assert board.round(1).attesting() == tuple(member.name for member in federation.members)
    assert list(board.round(1).late_votes) == [absent.name]
    federation.operator.release_blobs(board, 1)


def test_who_has_not_the_ciphertexts_attests_nothing(finished: Federation) -> None:
    federation = finished.copy()
    board = federation.board
    board.round(1).votes.pop("member-4")
    board.blobs.delete(board.round(1).ciphertexts()[0])
    with pytest.raises(BlobError, match="is missing"):
        federation.member(4).attest(board, 1)
    federation.operator.release_blobs(board, 1)
    federation.member(4).attest(board, 1)
    assert board.round(1).late_votes == {}


def test_nobody_checks_answers_of_what_is_gone(finished: Federation) -> None:
    """A member that comes after the ciphertexts were deleted has nothing to compute with, and says nothing."""
    federation = finished.copy()
    board = federation.board
    board.round(1).attempts[-1].checks.pop("member-4")
    federation.operator.release_blobs(board, 1)
    federation.operator.drop_blobs(board, 1, certificate(federation))
    size = board.log.size
    federation.member(4).check_pieces(board, 1)
    assert board.log.size == size


# The audit.


def findings(federation: Federation, folder: Path) -> list[Finding]:
    """What the auditor says of the files of this federation, but that the run is not complete."""
    public = PublicFolder(folder)
    shutil.rmtree(folder, ignore_errors=True)
    store = DirectoryBlobs(public.blobs)
    sizes = federation.blobs._blobs
    for digest_ in federation.blobs.digests():
        store.put(sizes[digest_])
    publish(federation.log, certificate(federation), public.ledger)
    found = Auditor(public).verify(with_report=False).findings
    return [finding for finding in found if finding.where != "run"]


def test_the_audit_notes_what_was_released(finished: Federation, tmp_path: Path) -> None:
    federation = finished.copy()
    board = federation.board
    assert findings(federation, tmp_path / "before") == []
    federation.operator.release_blobs(board, 1)
    assert findings(federation, tmp_path / "released") == [], "while the ciphertexts are there, the sum is recomputed"
    federation.operator.drop_blobs(board, 1, certificate(federation))
    assert findings(federation, tmp_path / "dropped") == [
        Finding(
            "note",
            "round 1",
            "the sum is not recomputed: its updates were deleted after 4 members attested it: "
            "member-1, member-2, member-3, member-4",
        )
    ]


def test_missing_ciphertexts_of_a_round_that_was_not_released_are_an_error(
    finished: Federation, tmp_path: Path
) -> None:
    federation = finished.copy()
    federation.blobs.delete(federation.board.round(1).ciphertexts()[0])
    found = findings(federation, tmp_path)
    assert [(finding.level, finding.where) for finding in found] == [("error", "rounds")]
    assert "is missing" in found[0].what


def test_what_is_not_released_must_stay(finished: Federation, tmp_path: Path) -> None:
    """The sum and the answers of a released round are still computed with."""
    federation = finished.copy()
    federation.operator.release_blobs(federation.board, 1)
    federation.operator.drop_blobs(federation.board, 1, certificate(federation))
    aggregate = federation.board.round(1).aggregate
    assert aggregate is not None
    federation.blobs.delete(aggregate.ciphertext)
    assert "error" in [finding.level for finding in findings(federation, tmp_path)]


def test_who_voted_otherwise_is_named_when_the_ciphertexts_are_gone(voted: Federation, tmp_path: Path) -> None:
    federation = voted.copy()
    board = federation.board
    member = federation.members[3]
    wrong = AggregateVote(1, board.round(1).closing, digest("a lie"))
    rebuilt = fork(federation, federation.log.size - 1)  # without the last entry, its vote
    rebuilt.board.append(wrong, member.name, rebuilt.identities[member.name].signing)
    rebuilt.request(1)
    rebuilt.answer_and_publish(1, rebuilt.zero)
    rebuilt.operator.release_blobs(rebuilt.board, 1)
    rebuilt.operator.drop_blobs(rebuilt.board, 1, certificate(rebuilt))
    found = {finding.what: finding.level for finding in findings(rebuilt, tmp_path)}
    assert found["member-4 voted for another sum than the others; the updates to judge it by were deleted"] == "note"
    assert "error" not in found.values(), "a quorum agreed: it spoils nothing"
