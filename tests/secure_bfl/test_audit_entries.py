"""Audits of the mechanism on the ledger: anybody may state one, in possible numbers, four times."""

from dataclasses import replace

import pytest

from secure_bfl.evidence import audit_entry, evidence_of
from secure_bfl.messages import PrivacyAudit
from tests.secure_bfl.federation import Federation
from tests.secure_bfl.script import Script, check_ignored

GOOD = PrivacyAudit(1000, 10**7, 400, 100, 55, 120, 10**11, 4 * 10**11, 1_010_000, 5 * 10**11, ())
BAD = replace(GOOD, structural=("integer norms", "sampler"))


@pytest.mark.parametrize("entry", [GOOD, BAD], ids=["good", "bad"])
def test_there_and_back(entry: PrivacyAudit) -> None:
    assert audit_entry(evidence_of(entry)) == entry


@pytest.mark.parametrize("sender", ["operator", "client-1", "member-2"])
def test_anybody_may_state_one(script: Script, sender: str) -> None:
    replay = script.replay()
    data = script.sign(GOOD, sender)
    assert replay.refuses(data) is None
    replay.apply(data)
    [audited] = replay.audits
    assert (audited.sender, audited.evidence, audited.index) == (sender, GOOD, replay.size - 1)


def test_four_of_a_party(script: Script) -> None:
    replay = script.replay()
    for number in range(4):
        replay.apply(script.sign(replace(GOOD, guesses=100 + number), "client-1"))
    assert len(replay.audits) == 4
    listed = check_ignored(replay, script.sign(replace(GOOD, guesses=200), "client-1"), hostile=True)
    assert listed.reason == "client-1 has 4 audits on the ledger"
    assert replay.refuses(script.sign(GOOD, "client-2")) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"correct": 101},
        {"guesses": 401},
        {"canaries": -1},
        {"one_run_p_e12": 10**12 + 1},
        {"z_p_e12": -1},
        {"structural": ("x" * 200, "y" * 200)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_impossible_numbers_are_hostile(script: Script, changes: dict[str, object]) -> None:
    replay = script.replay()
    data = script.sign(replace(GOOD, **changes), "client-1")  # type: ignore[arg-type]
    assert "impossible evidence" in check_ignored(replay, data, hostile=True).reason


def test_one_stands_on_the_ledger_of_a_run(finished: Federation) -> None:
    federation = finished.copy()
    client = federation.clients[0]
    federation.board.append(GOOD, client.name, client.identity.signing)
    assert [audited.sender for audited in federation.board.replay.audits] == ["client-1"]
