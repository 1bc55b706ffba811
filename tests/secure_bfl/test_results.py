"""What follows from a transcript: sums, models, the dry run, the report's facts."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ledger import BlobError, DecodeError
from protocols.errors import BadShareError, QuorumError
from protocols.tckks import PartialDecryption
from secure_bfl.errors import StateError
from secure_bfl.member import Member
from secure_bfl.messages import KeyAnswer, KeyCheck, PartialAnswer, PieceDigest
from secure_bfl.model import GlobalModel
from secure_bfl.results import check_dry_run, final_model, next_model, report_facts
from secure_bfl.roster import member_name
from tests.secure_bfl.federation import NOW, Federation, digest


def test_everybody_gets_the_same_model(finished: Federation) -> None:
    result = finished.board.round(1).result
    assert result is not None
    model = next_model(finished.board, 1, finished.zero)
    assert digest_of(model) == result.model
    assert np.abs(model.vector).max() > 0


def digest_of(model: GlobalModel) -> bytes:
    return hashlib.sha256(model.encode()).digest()


def test_answers_that_are_missing_are_named(voted: Federation, requested: Federation) -> None:
    with pytest.raises(StateError, match="nothing was asked in round 1 yet"):
        next_model(voted.board, 1, voted.zero)
    federation = requested.copy()
    federation.members[1].answer(federation.board, 1)
    with pytest.raises(QuorumError, match="round 1 waits for the answers of member-1") as caught:
        next_model(federation.board, 1, federation.zero)
    error = caught.value
    assert (error.needed, error.have, error.missing) == (2, ("member-2",), ("member-1",))


def garbled(good: bytes) -> bytes:
    return good[:100] + bytes([good[100] ^ 1]) + good[101:]


def header_of_another_kind(good: bytes) -> bytes:
    return good[:5] + bytes([2]) + good[6:]


def residue_too_large(good: bytes) -> bytes:
    return good[:44] + b"\xff" * 6 + good[50:]


def nothing(good: bytes) -> bytes:
    return good[:44] + bytes(len(good) - 44)


@pytest.mark.parametrize(
    ("spoil", "culprits"),
    [
        (garbled, ("member-1", "member-2")),
        (nothing, ("member-1", "member-2")),
        (header_of_another_kind, ("member-2",)),
        (residue_too_large, ("member-2",)),
    ],
)
def test_a_wrong_share_is_seen(
    requested: Federation, spoil: Callable[[bytes], bytes], culprits: tuple[str, ...]
) -> None:
    federation = requested.copy()
    board = federation.board
    honest = requested.copy()
    honest.members[1].answer(honest.board, 1)
    good = honest.blobs._blobs[honest.board.round(1).answers["member-2"].answer]
    liar = federation.members[1]
    board.append(PartialAnswer(1, board.blobs.put(spoil(good))), liar.name, liar.identity.signing)
    for member in federation.members:
        member.answer(board, 1)
    with pytest.raises(BadShareError) as caught:
        next_model(board, 1, federation.zero)
    assert caught.value.culprits == culprits


def test_a_share_that_is_not_there(requested: Federation) -> None:
    federation = requested.copy()
    liar = federation.members[1]
    federation.board.append(PartialAnswer(1, digest("nothing")), liar.name, liar.identity.signing)
    for member in federation.members:
        member.answer(federation.board, 1)
    with pytest.raises(BlobError, match="is missing"):
        next_model(federation.board, 1, federation.zero)


# The dry run.


def with_answers(federation: Federation, liar: int, spoil: Callable[[bytes], bytes], *, pieces: int = 1) -> None:
    """Everybody answers the dry run; one member gives something else for its first pieces."""
    board = federation.board
    for step in (Member.commit, Member.reveal, Member.check):
        for member in federation.members:
            step(member, board)
    for member in federation.members:
        if member.number != liar:
            member.answer_test(board)
    twin = federation.copy()
    twin.members[liar - 1].answer_test(twin.board)
    honest = twin.board.replay.ceremony.answers[member_name(liar)].answers
    answers = []
    for index, answer in enumerate(honest):
        data = twin.blobs._blobs[answer.digest]
        answers.append(PieceDigest(answer.piece, board.blobs.put(spoil(data) if index < pieces else data)))
    member = federation.members[liar - 1]
    board.append(KeyAnswer(tuple(answers)), member.name, member.identity.signing)


def test_a_different_answer_names_the_camps(founded: Federation) -> None:
    federation = founded.copy()
    with_answers(federation, 4, garbled)
    piece = federation.plan.sharing.held_by(4)[0]
    others = ", ".join(member_name(m) for m in federation.plan.sharing.holders(piece) if m != 4)
    with pytest.raises(
        StateError, match=f"holders of piece {piece} answered .* differently: {others} against member-4"
    ):
        check_dry_run(federation.board)
    assert not federation.board.replay.key_ready
    with pytest.raises(StateError, match="a round before key generation is complete"):
        federation.operator.open_round(federation.board, 1, federation.zero)


def test_right_answers_open_the_test(founded: Federation) -> None:
    federation = founded.copy()
    with_answers(federation, 4, bytes)
    check_dry_run(federation.board)
    assert federation.board.replay.key_ready


def test_a_dry_run_needs_every_piece(founded: Federation, keyed: Federation) -> None:
    federation = founded.copy()
    for step in (Member.commit, Member.reveal, Member.check):
        for member in federation.members:
            step(member, federation.board)
    with pytest.raises(BadShareError, match="no answer for piece 0"):
        check_dry_run(federation.board)
    gone = keyed.copy()
    gone.blobs._blobs.pop(gone.board.replay.ceremony.answers["member-1"].answers[0].digest)
    with pytest.raises(BlobError, match="is missing"):
        check_dry_run(gone.board)


def test_a_key_that_nobody_summed(founded: Federation) -> None:
    federation = founded.copy()
    board = federation.board
    with pytest.raises(StateError, match="not every dealer has committed"):
        _ = board.joint_key
    for step in (Member.commit, Member.reveal):
        for member in federation.members:
            step(member, board)
    liar = federation.members[0]
    board.append(KeyCheck(digest("another key")), liar.name, liar.identity.signing)
    with pytest.raises(StateError, match="member-1 pinned another joint key") as caught:
        _ = board.joint_key
    assert caught.value.culprits == ("member-1",)
    with pytest.raises(StateError, match="member-1 pinned another joint key"):
        federation.members[1].check(board)


# The models of a run.


def with_two_rounds(finished: Federation) -> tuple[Federation, list[GlobalModel]]:
    federation = finished.copy()
    first = next_model(federation.board, 1, federation.zero)
    federation.open_and_update(2, first)
    federation.close_and_vote(2)
    federation.request(2)
    return federation, [first, federation.answer_and_publish(2, first)]


def test_the_final_model_is_the_mean_of_the_last(finished: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    federation, (first, second) = with_two_rounds(finished)
    assert federation.board.replay.ignored == []
    assert federation.plan.average_from == 2
    assert np.array_equal(final_model(federation.board, second).vector, second.vector)
    roster = federation.board.roster
    averaging = replace(roster, plan=replace(roster.plan, average_from=1))
    monkeypatch.setattr(federation.board.replay, "roster", averaging)
    expected = ((first.vector + second.vector) / 2).astype(np.float32)
    assert np.array_equal(final_model(federation.board, second).vector.astype(np.float32), expected)
    federation.board.round(1).result = None
    with pytest.raises(StateError, match="round 1 has no model yet"):
        final_model(federation.board, second)


def test_a_missing_earlier_model(finished: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = finished.copy()
    roster = federation.board.roster
    monkeypatch.setattr(federation.board.replay, "roster", replace(roster, plan=replace(roster.plan, average_from=1)))
    result = federation.board.round(1).result
    assert result is not None
    federation.blobs._blobs.pop(result.model)
    with pytest.raises(BlobError, match="is missing"):
        final_model(federation.board, federation.zero)


# The facts for the report.


def test_facts_agree_with_the_replay(opened: Federation) -> None:
    federation = opened.copy()
    board, plan = federation.board, federation.plan
    federation.clients[0].reserve(board, 1)  # spends, and vanishes
    for client in federation.clients[1:]:
        client.update(board, 1, federation.zero)
    federation.close_and_vote(1)
    federation.request(1)
    federation.answer_and_publish(1, federation.zero)
    certificate = board.certify(federation.witnesses, now=NOW)
    facts = report_facts(board, certificate)
    assert (facts.origin, facts.genesis) == (federation.log.origin, board.replay.context)
    assert (facts.log_size, facts.log_root) == (federation.log.size, federation.log.root(federation.log.size))
    assert [c.name for c in facts.clients] == ["client-1", "client-2", "client-3"]
    event = plan.round_event
    for stated in facts.clients:
        (spend,) = stated.spends
        assert (spend.round, spend.steps) == (1, event.steps)
        assert spend.noise_multiplier_milli == event.noise_multiplier_milli
        assert spend.sampling_rate_ppm == event.sampling_rate_ppm
    assert [c.uploads for c in facts.clients] == [(), (1,), (1,)]
    (entry,) = facts.rounds
    state = board.round(1)
    assert state.aggregate is not None
    assert state.result is not None
    assert (entry.number, entry.contributors, entry.absent) == (1, ("client-2", "client-3"), ("client-1",))
    assert (entry.aggregate_digest, entry.model_digest) == (state.aggregate.ciphertext, state.result.model)
    assert facts.key_digest == board.joint_key.digest
    assert facts.accuracy_ppm is None
    for name in ("members", "threshold", "minimum_clients", "ring_degree", "epsilon_milli", "delta_e12", "parameters"):
        assert getattr(facts, name) == getattr(plan, name)
    assert (facts.certificate_quorum, facts.planned_rounds, facts.suite) == (3, 2, plan.suite.name)
    assert facts.smudging_lambda == plan.smudging_lambda


def test_facts_before_the_key_is_there(founded: Federation) -> None:
    federation = founded.copy()
    certificate = federation.board.certify(federation.witnesses, now=NOW)
    with pytest.raises(ValueError, match="key generation is not complete"):
        report_facts(federation.board, certificate)


def test_facts_of_a_run_without_rounds(keyed: Federation) -> None:
    federation = keyed.copy()
    facts = report_facts(federation.board, federation.board.certify(federation.witnesses, now=NOW))
    assert facts.rounds == ()
    assert facts.accuracy_ppm is None
    assert all(not client.spends and not client.uploads for client in facts.clients)


def test_answers_have_one_encoding(finished: Federation) -> None:
    board, plan = finished.board, finished.plan
    data = finished.blobs._blobs[board.round(1).answers["member-1"].answer]
    share = PartialDecryption.decode(data, board.joint_key, sender="member-1", blocks=plan.blocks)
    assert share.encode() == data
    with pytest.raises((BadShareError, DecodeError)):
        PartialDecryption.decode(data[:-1], board.joint_key, sender="member-1", blocks=plan.blocks)
