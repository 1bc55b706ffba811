"""What follows from a transcript: sums, models, the dry run, the report's facts."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ledger import BlobError, DecodeError
from protocols.dp import PrivacyEvent
from protocols.errors import BadShareError, QuorumError
from protocols.tckks import PartialDecryption
from secure_bfl.answers import check_answers, faults
from secure_bfl.errors import StateError, UnopenableError
from secure_bfl.evidence import evidence_of
from secure_bfl.member import Member
from secure_bfl.messages import PartialAnswer, PrivacyAudit, RoundVoid
from secure_bfl.model import GlobalModel
from secure_bfl.results import final_model, next_model, report_facts
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


def answer_and_check(federation: Federation) -> None:
    for step in (Member.answer, Member.check_pieces):
        for member in federation.members:
            step(member, federation.board, 1)


def garbled(good: bytes) -> bytes:
    return good[:100] + bytes([good[100] ^ 1]) + good[101:]


def header_of_another_kind(good: bytes) -> bytes:
    return good[:5] + bytes([2]) + good[6:]


def residue_too_large(good: bytes) -> bytes:
    return good[:44] + b"\xff" * 6 + good[50:]


def answer_of(federation: Federation, data: bytes) -> PartialAnswer:
    """An answer to the last request of round 1."""
    attempt = federation.board.round(1).attempts[-1]
    return PartialAnswer(1, attempt.request.attempt, attempt.entry, data)


def nothing(good: bytes) -> bytes:
    return good[:44] + bytes(len(good) - 44)


@pytest.mark.parametrize(
    ("spoil", "culprits"),
    [
        (garbled, ("member-2",)),
        (nothing, ("member-2",)),
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
    board.append(answer_of(federation, board.blobs.put(spoil(good))), liar.name, liar.identity.signing)
    answer_and_check(federation)
    with pytest.raises(BadShareError) as caught:
        next_model(board, 1, federation.zero)
    assert caught.value.culprits == culprits
    assert faults(board, 1).keys() == set(culprits)
    assert faults(board, 1)["member-2"] == str(caught.value)


def test_a_share_that_is_not_there(requested: Federation) -> None:
    federation = requested.copy()
    liar = federation.members[1]
    federation.board.append(answer_of(federation, digest("nothing")), liar.name, liar.identity.signing)
    answer_and_check(federation)
    with pytest.raises(BlobError, match="is missing"):
        next_model(federation.board, 1, federation.zero)
    assert faults(federation.board, 1)["member-2"].startswith("member-2: its answer: blob")


def test_checks_that_are_missing_are_named(requested: Federation) -> None:
    federation = requested.copy()
    board = federation.board
    for member in federation.members:
        member.answer(board, 1)
    told = "waits for checks: it needs those of 3 members, among them all that answered"
    with pytest.raises(QuorumError, match=told) as caught:
        next_model(board, 1, federation.zero)
    assert (caught.value.needed, caught.value.have) == (3, ())
    for number in (1, 3, 4):
        federation.members[number - 1].check_pieces(board, 1)
    with pytest.raises(QuorumError, match="missing: member-2") as caught:
        next_model(board, 1, federation.zero)
    assert caught.value.missing == ("member-2",)
    federation.members[1].check_pieces(board, 1)
    next_model(board, 1, federation.zero)
    assert faults(board, 1) == {}


def lie_about(federation: Federation, number: int, piece: int) -> None:
    """A member checks, and states something else about one piece than it computed."""
    twin, liar = federation.copy(), federation.members[number - 1]
    twin.members[number - 1].check_pieces(twin.board, 1)
    check = twin.board.round(1).attempts[-1].checks[liar.name]
    honest = check.fingerprints
    index = federation.plan.sharing.held_by(number).index(piece)
    lied = (*honest[:index], bytes([honest[index][0] ^ 1]) + honest[index][1:], *honest[index + 1 :])
    federation.board.append(replace(check, fingerprints=lied), liar.name, liar.identity.signing)


def test_a_member_that_lies_about_its_own_answer_is_named(requested: Federation) -> None:
    federation = requested.copy()
    board = federation.board
    for member in federation.members:
        member.answer(board, 1)
    lie_about(federation, 2, federation.plan.sharing.assignment((1, 2))[2][0])
    for member in federation.members:
        member.check_pieces(board, 1)
    with pytest.raises(BadShareError, match="member-2: its answer is not the sum of what it states") as caught:
        check_answers(board, 1)
    assert caught.value.culprits == ("member-2",)


def test_a_dispute_that_nobody_can_decide_names_the_camps(requested: Federation) -> None:
    federation = requested.copy()
    board = federation.board
    for member in federation.members:
        member.answer(board, 1)
    assert federation.plan.sharing.holders(2) == (1, 2, 4)
    lie_about(federation, 2, 2)
    for number in (1, 3):
        federation.members[number - 1].check_pieces(board, 1)
    told = "the holders of piece 2 disagree about its answer: member-1 against member-2"
    with pytest.raises(BadShareError, match=told) as caught:
        next_model(board, 1, federation.zero)
    assert caught.value.culprits == ("member-1", "member-2")


def test_a_sum_that_does_not_open_blames_no_member(requested: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that are all confirmed, on a sum that was none: here the announced sum's first polynomial is another."""
    federation = requested.copy()
    board = federation.board
    answer_and_check(federation)
    state = board.round(1)
    other = board.ciphertext(state.ciphertexts()[0], sender="client-1")
    with monkeypatch.context() as patch:
        patch.setattr(board, "ciphertext", lambda digest, *, sender: other)
        with pytest.raises(UnopenableError, match="no member is to blame") as caught:
            next_model(board, 1, federation.zero)
    assert caught.value.culprits == state.cohort
    next_model(board, 1, federation.zero)


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


def test_void_rounds_are_not_averaged(finished: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    federation, (first, second) = with_two_rounds(finished)
    board, roster = federation.board, federation.board.roster
    monkeypatch.setattr(board.replay, "roster", replace(roster, plan=replace(roster.plan, average_from=1)))
    result = board.round(2).result
    board.round(2).result, board.round(2).void = None, RoundVoid(2, "no")
    assert np.array_equal(final_model(board, first).vector, first.vector)
    board.round(2).result, board.round(2).void = result, None
    board.round(1).result, board.round(1).void = None, RoundVoid(1, "no")
    assert np.array_equal(final_model(board, second).vector, second.vector)
    board.round(2).result, board.round(2).void = None, RoundVoid(2, "no")
    assert np.array_equal(final_model(board, federation.zero).vector, federation.zero.vector)


def test_facts_list_void_rounds(updated: Federation) -> None:
    federation = updated.copy()
    board = federation.board
    federation.operator.void_round(board, 1, "the clients are\nnot to be believed " + "x" * 300)
    facts = report_facts(board, board.certify(federation.witnesses, now=NOW))
    (void,) = facts.void_rounds
    assert (facts.rounds, void.number, len(void.reason)) == ((), 1, 256)
    assert void.reason.startswith("the clients are\\nnot to be believed xxx")
    assert all(len(client.spends) == 1 and client.uploads == () for client in facts.clients), "it was spent"


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
    assert (facts.mode, facts.honest_minimum, facts.colluders, facts.sentinels) == ("distributed", 1, 1, 256)
    assert (entry.sentinel_energy, entry.sentinel_variance) == (state.result.sentinel_energy, plan.sentinel_variance(2))
    assert (facts.audits, [c.others for c in facts.clients]) == ((), [(), (), ()])


def test_facts_state_audits_and_other_runs(opened: Federation) -> None:
    federation = opened.copy()
    board, client = federation.board, federation.clients[0]
    other = PrivacyEvent(1_000_000, 1_000_000, 3)
    federation.disks[client.name].odometer.begin(digest("another run"), (other,))
    federation.disks[client.name].odometer.reserve(digest("another run"), 1, other)
    client.reserve(board, 1)
    audit = PrivacyAudit(1000, 10**7, 400, 100, 55, 120, 10**11, 4 * 10**11, 1_010_000, 5 * 10**11, ())
    board.append(audit, "member-2", federation.members[1].identity.signing)
    facts = report_facts(board, board.certify(federation.witnesses, now=NOW))
    assert [c.others for c in facts.clients] == [(other,), (), ()]
    [stated] = facts.audits
    assert (stated.party, stated.result) == ("member-2", evidence_of(audit))


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
