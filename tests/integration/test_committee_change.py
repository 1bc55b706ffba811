"""Whole runs over several committees: every round opens, the public files verify, and who left can do nothing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ledger import DirectoryBlobs
from protocols.errors import BadShareError
from protocols.tckks import Purpose, combine, partial_decrypt
from secure_bfl.auditor import Auditor, Verdict
from secure_bfl.committee_change import announce_change, change_committee
from secure_bfl.datasets import load
from secure_bfl.errors import RefusedError, StateError
from secure_bfl.layout import PublicFolder
from secure_bfl.member import Member
from secure_bfl.messages import AggregateVote
from secure_bfl.model import GlobalModel
from secure_bfl.plan import FederationPlan
from secure_bfl.publication import publish_run
from secure_bfl.results import final_model
from secure_bfl.signatory import ReportSigner
from tests.secure_bfl.federation import NOW, Federation
from tests.secure_bfl.keyrun import incoming, office

CLIENTS = 3


def run(members: int, threshold: int, *, rounds: int, changes: int) -> Federation:
    plan = FederationPlan.create(
        "digits",
        clients=CLIENTS,
        members=members,
        threshold=threshold,
        rounds=rounds,
        committee_changes=changes,
        answers=12,
    )
    federation = Federation(plan, load("digits", CLIENTS).shares)
    federation.found()
    federation.generate_key()
    return federation


def one_round(federation: Federation, number: int, model: GlobalModel) -> GlobalModel:
    federation.open_and_update(number, model)
    federation.close_and_vote(number)
    federation.request(number)
    return federation.answer_and_publish(number, model)


def change(federation: Federation, members: int, threshold: int) -> list[Member]:
    """Hand the key on; the result are the former members."""
    former, epoch = federation.members, federation.board.replay.committee.epoch + 1
    new = incoming(federation, members, epoch)
    change_committee(
        federation.board, federation.operator, former, new, threshold=threshold, witnesses=office(federation), now=NOW
    )
    federation.members = new
    return former


def published(federation: Federation, model: GlobalModel, path: Path) -> Verdict:
    """Put the run into a public folder, as the operator does, and audit the folder."""
    folder = PublicFolder(path)
    blobs = DirectoryBlobs(folder.blobs)
    for digest in federation.blobs.digests():
        blobs.put(federation.blobs._blobs[digest])
    certificate = federation.board.certify(federation.witnesses, now=NOW)
    signer = ReportSigner(federation.operator.identity, {})
    publish_run(federation.board, certificate, final_model(federation.board, model), folder, sign=signer)
    return Auditor(folder).verify()


def expected_sum(before: GlobalModel, federation: Federation, number: int, after: GlobalModel) -> None:
    """The model moved, and it is the one that everybody computes from the public bytes."""
    assert after.encode() != before.encode()
    result = federation.board.round(number).result
    assert result is not None
    assert federation.board.blobs.get(result.model, size=len(after.encode())) == after.encode()


def run_over(federation: Federation, committees: Sequence[tuple[int, int]]) -> GlobalModel:
    """A round, then for each committee a change and a round."""
    model = one_round(federation, 1, federation.zero)
    for number, (members, threshold) in enumerate(committees, start=2):
        change(federation, members, threshold)
        following = one_round(federation, number, model)
        expected_sum(model, federation, number, following)
        assert federation.board.round(number).epoch == number - 1
        model = following
    return model


def test_a_smaller_committee_and_a_refresh(tmp_path: Path) -> None:
    federation = run(5, 3, rounds=3, changes=2)
    key = federation.board.joint_key.digest
    model = run_over(federation, [(4, 2), (4, 2)])
    assert federation.board.replay.ignored == []
    assert federation.board.joint_key.digest == key, "clients encrypt under the same key throughout"
    verdict = published(federation, model, tmp_path / "public")
    assert verdict.ok, verdict.findings
    assert verdict.findings == []
    assert verdict.rounds == 3


def test_from_shamirs_sharing_to_pieces(tmp_path: Path) -> None:
    federation = run(9, 5, rounds=2, changes=1)
    model = run_over(federation, [(5, 3)])
    verdict = published(federation, model, tmp_path / "public")
    assert verdict.ok, verdict.findings
    assert verdict.findings == []


def test_pieces_of_two_epochs_do_not_open_a_sum() -> None:
    """2 of 3: one member of each epoch, t - 1 of either, pool all they have. A whole committee opens the same sum."""
    federation = run(3, 2, rounds=2, changes=1)
    old_key = federation.members[0]._holder.member_key(federation.board)
    model = one_round(federation, 1, federation.zero)
    change(federation, 3, 2)
    new_keys = [member._holder.member_key(federation.board) for member in federation.members]
    plan, board = federation.plan, federation.board
    federation.open_and_update(2, model)
    total = board.sum_of(tuple(commit.opened for _, commit in board.round(2).commits.values()))
    old = partial_decrypt(old_key, total, (1, 2), purpose=Purpose.UPDATE)
    other = partial_decrypt(old_key, total, (1, 3), purpose=Purpose.UPDATE)
    mixed = partial_decrypt(new_keys[1], total, (1, 2), purpose=Purpose.UPDATE)
    for pooled in ((old, mixed), (other, mixed), (old, other), (old, other, mixed)):
        answers = {str(i): answer for i, answer in enumerate(pooled)}
        with pytest.raises(BadShareError, match="does not open"):
            combine(total, answers, plan.noise_budget, plan.layout)
    right = [partial_decrypt(key, total, (1, 2), purpose=Purpose.UPDATE) for key in new_keys[:2]]
    opened = combine(total, {str(i): answer for i, answer in enumerate(right)}, plan.noise_budget, plan.layout)
    assert np.any(opened.digits)


def test_who_left_is_refused_and_refuses(tmp_path: Path) -> None:
    federation = run(3, 2, rounds=2, changes=1)
    model = one_round(federation, 1, federation.zero)
    former = change(federation, 3, 2)
    board = federation.board
    federation.open_and_update(2, model)
    federation.operator.close_round(board, 2)
    federation.operator.add_up(board, 2)
    total = board.round(2).aggregate
    assert total is not None
    with pytest.raises(StateError, match="member-1 is not in the committee of epoch 1"):
        board.append(
            AggregateVote(2, board.round(2).closing, total.ciphertext), former[0].name, former[0].identity.signing
        )
    for member in federation.members:
        member.vote(board, 2)
    federation.request(2)
    size = federation.log.size
    for member in former:
        member.answer(board, 2)
    assert federation.log.size == size
    with pytest.raises(RefusedError, match="the committee of epoch 1 is in office"):
        former[0]._holder.member_key(board)
    last = federation.answer_and_publish(2, model)
    assert published(federation, last, tmp_path / "public").ok


def test_an_abandoned_change_is_noted_and_harms_nothing(tmp_path: Path) -> None:
    federation = run(3, 2, rounds=2, changes=3)
    model = one_round(federation, 1, federation.zero)
    board = federation.board
    lost = incoming(federation, 4, 1)
    announce_change(
        board, federation.operator, federation.members, lost, threshold=2, witnesses=office(federation), now=NOW
    )
    last = one_round(federation, 2, model)  # those in office serve it
    assert board.replay.ceremony.abandoned
    change(federation, 3, 2)
    verdict = published(federation, last, tmp_path / "public")
    assert verdict.ok, verdict.findings
    assert [str(f) for f in verdict.findings] == ["committee of epoch 1: the change was given up, or is not finished"]
