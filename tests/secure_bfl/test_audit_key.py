"""What an auditor says about a key that was spoiled: the guilty, by name."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from ledger import DirectoryBlobs, publish
from protocols.errors import KeyGenerationError
from protocols.tckks import sharing as sharing_module
from secure_bfl.auditor import Auditor
from secure_bfl.committee_change import announce_change
from secure_bfl.datasets import load
from secure_bfl.errors import StateError
from secure_bfl.layout import PublicFolder
from secure_bfl.local_training import Records
from secure_bfl.member import KEY_STEPS, Member
from tests.secure_bfl import keyrun
from tests.secure_bfl.federation import NOW, Federation
from tests.secure_bfl.keyrun import SMALL, checked, founded_on, incoming, office, small_plan, spoil, step


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing_module, "MAX_REPLICATED_PIECES", SMALL)


@pytest.fixture(scope="module")
def shares() -> Sequence[Records]:
    return load("digits", 2).shares


def findings(federation: Federation, path: Path) -> list[str]:
    """What an auditor finds about the key in the public files, as they are now."""
    folder = PublicFolder(path)
    blobs = DirectoryBlobs(folder.blobs)
    for one in federation.blobs.digests():
        blobs.put(federation.blobs._blobs[one])
    publish(federation.log, federation.board.certify(federation.witnesses, now=NOW), folder.ledger)
    verdict = Auditor(folder).verify()
    assert not verdict.ok
    return [str(f) for f in verdict.findings if f.where == "key" or f.where.startswith("committee")]


@pytest.mark.parametrize("threshold", [2, 3])
def test_a_convicted_dealer(shares: Sequence[Records], tmp_path: Path, threshold: int) -> None:
    federation = founded_on(small_plan(threshold + 1, threshold), shares)
    spoil(federation, 2, keyrun.Garbage)
    step(federation, Member.commit, Member.reveal)
    checked(federation)
    (found,) = findings(federation, tmp_path)
    assert found.startswith("key: member-2: member-2 sealed something that does not open")


def test_who_withholds(shares: Sequence[Records], tmp_path: Path) -> None:
    federation = founded_on(small_plan(3, 2), shares)
    spoil(federation, 2, keyrun.WithheldPart)
    step(federation, Member.commit, Member.reveal)
    checked(federation)
    assert findings(federation, tmp_path) == [
        "key: key generation is not complete: member-2 withholds what it committed to"
    ]


def test_a_key_that_is_not_finished(shares: Sequence[Records], tmp_path: Path) -> None:
    federation = founded_on(small_plan(3, 2), shares)
    step(federation, *KEY_STEPS[:-1])
    assert findings(federation, tmp_path) == ["key: key generation is not complete"]


def test_a_stuck_change_is_noted_with_its_camps(shares: Sequence[Records], tmp_path: Path) -> None:
    federation = founded_on(small_plan(3, 2, committee_changes=1), shares)
    federation.generate_key()
    spoil(federation, 2, keyrun.OtherDealing)
    new = incoming(federation, 3, 1)
    change = announce_change(
        federation.board,
        federation.operator,
        federation.members,
        new,
        threshold=2,
        witnesses=office(federation),
        now=NOW,
    )
    for member in federation.members:
        member.approve(federation.board, change)
        member.commit(federation.board)
    with pytest.raises(StateError, match="committed to different dealings"):
        federation.members[0].reveal(federation.board)
    where = "committee of epoch 1: the holders of addend"
    assert findings(federation, tmp_path) == [
        f"{where} 0 committed to different dealings: member-2 against member-3",
        f"{where} 2 committed to different dealings: member-1 against member-2",
        "committee of epoch 1: the change was given up, or is not finished",
    ]


def test_refused_deliveries_are_noted(shares: Sequence[Records], tmp_path: Path) -> None:
    federation = founded_on(small_plan(3, 2, committee_changes=1), shares)
    federation.generate_key()
    spoil(federation, 2, keyrun.Garbage)
    new = incoming(federation, 3, 1)
    change = announce_change(
        federation.board,
        federation.operator,
        federation.members,
        new,
        threshold=2,
        witnesses=office(federation),
        now=NOW,
    )
    for member in federation.members:
        member.approve(federation.board, change)
    step(federation, Member.commit, Member.reveal)
    with pytest.raises(KeyGenerationError) as caught:
        new[0].check(federation.board)
    assert caught.value.culprits == ("member-2",)
    found = findings(federation, tmp_path)
    assert found[0] == (
        "committee of epoch 1: member-1@1 refused what member-2 delivered for addend 0: one of them is wrong"
    )
    assert found[-1] == "committee of epoch 1: the change was given up, or is not finished"
