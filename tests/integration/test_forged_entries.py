"""A finished run whose log was rewritten with everybody's real keys: entries after its end, others taken out."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger import Value, parse_entry, sign_entry
from secure_bfl.layout import PublicFolder
from secure_bfl.messages import (
    Kind,
    Role,
)

from .commands import rejected, verify
from .conftest import FinishedRun
from .dishonest import Cast, StolenKeys, plan_of_cheats, play
from .published import entries_of, write_entries, write_hashes, write_root


@pytest.fixture(scope="module")
def stolen(finished: FinishedRun) -> StolenKeys:
    return StolenKeys.of(finished.out)


def sign(stolen: StolenKeys, sender: str, kind: int, body: Value, context: bytes) -> bytes:
    return sign_entry(kind, sender, body, stolen.identities[sender].signing, context=context)


Forge = Callable[[StolenKeys, bytes], bytes]


def by_a_stranger(stolen: StolenKeys, context: bytes) -> bytes:
    return sign_entry(
        Kind.MODEL, "client-9", [2, bytes(32), -1, 0], stolen.identities["client-1"].signing, context=context
    )


def by_another_s_key(stolen: StolenKeys, context: bytes) -> bytes:
    return sign_entry(
        Kind.MODEL, "operator", [2, bytes(32), -1, 0], stolen.identities["client-1"].signing, context=context
    )


def of_another_federation(stolen: StolenKeys, context: bytes) -> bytes:
    return sign(stolen, "operator", Kind.MODEL, [2, bytes(32), -1, 0], bytes(32))


def out_of_role(stolen: StolenKeys, context: bytes) -> bytes:
    return sign(stolen, "client-1", Kind.MODEL, [2, bytes(32), -1, 0], context)


def second_model(stolen: StolenKeys, context: bytes) -> bytes:
    return sign(stolen, "operator", Kind.MODEL, [2, bytes(32), -1, 0], context)


def malformed(stolen: StolenKeys, context: bytes) -> bytes:
    return sign(stolen, "operator", Kind.MODEL, [2, b"short", -1, 0], context)


def garbage(stolen: StolenKeys, context: bytes) -> bytes:
    return b"\xff" * 64


def second_genesis(stolen: StolenKeys, context: bytes) -> bytes:
    parties = [i.party for i in stolen.identities.values()]
    return sign(stolen, "operator", Kind.GENESIS, ["x/y", b"", [p.to_value() for p in parties]], b"")


@pytest.mark.parametrize(
    ("forge", "told"),
    [
        (by_a_stranger, "client-9 is not a party of this federation"),
        (by_another_s_key, "the signature does not verify"),
        (of_another_federation, "the signature does not verify"),
        (out_of_role, "MODEL is for the operator"),
        (second_model, "round 2 has a model"),
        (malformed, "malformed: Model.model: expected 32 bytes"),
        (garbage, "malformed"),
        (second_genesis, "only entry 0 can be the genesis"),
    ],
)
def test_an_entry_that_no_honest_party_sends(
    public: PublicFolder, finished: FinishedRun, stolen: StolenKeys, forge: Forge, told: str
) -> None:
    entries = entries_of(public)
    context = bytes.fromhex(finished.answer.json["genesis"])
    stolen.publish([*entries, forge(stolen, context)], public)
    errors = rejected(public.path)
    assert len(errors) == 1, errors
    assert errors[0].startswith(f"entry {len(entries)}: ")
    assert told in errors[0]


def test_an_entry_of_a_kind_of_the_future_is_only_noted(
    public: PublicFolder, finished: FinishedRun, stolen: StolenKeys
) -> None:
    entries = entries_of(public)
    context = bytes.fromhex(finished.answer.json["genesis"])
    stolen.publish([*entries, sign(stolen, "client-1", 99, [1], context)], public)
    answer = verify(public.path)
    assert answer.code == 0, answer.out
    assert answer.notes() == [
        f"entry {len(entries)}: kind 99 by client-1 has no effect: kind 99 is unknown to this version",
    ]


@pytest.mark.parametrize("kind", [Kind.BUDGET_SPEND, Kind.UPDATE_COMMIT, Kind.AGGREGATE_VOTE, Kind.PARTIAL_DECRYPTION])
def test_history_rewritten_with_the_committee_s_help(public: PublicFolder, stolen: StolenKeys, kind: Kind) -> None:
    """An entry taken out of the middle, and all of the log certified again: what rests on it no longer follows."""
    entries = entries_of(public)
    index = next(i for i, data in enumerate(entries) if parse_entry(data).kind == kind)
    stolen.publish(entries[:index] + entries[index + 1 :], public)
    errors = rejected(public.path)
    assert any("has no effect" in error for error in errors), errors
    assert any("is not finished" in error for error in errors), errors


def test_another_federation_in_its_place_needs_the_pin(
    public: PublicFolder, finished: FinishedRun, tmp_path: Path
) -> None:
    """A whole other run is consistent in itself: only the pinned genesis tells it from the one that was meant."""
    other = PublicFolder(tmp_path / "other")
    other.blobs.mkdir(parents=True)
    play(plan_of_cheats(), Cast(), other)
    shutil.rmtree(public.path)
    shutil.move(other.path, public.path)
    assert verify(public.path).code == 0
    errors = rejected(public.path, "--genesis", finished.answer.json["genesis"])
    assert errors[0].startswith("ledger: this is another federation: its genesis is ")


def test_a_committee_in_which_one_key_counts_twice(public: PublicFolder, stolen: StolenKeys) -> None:
    entries = entries_of(public)
    match parse_entry(entries[0]).body:
        case [str(origin), bytes(plan), list(parties)]:
            pass
        case other:
            pytest.fail(f"not a genesis: {other!r}")
    members = [list(party) for party in parties if isinstance(party, list) and party[1] == Role.MEMBER]
    others = [party for party in parties if isinstance(party, list) and party[1] != Role.MEMBER]
    members[1][3] = members[0][3]
    forged = sign(stolen, "operator", Kind.GENESIS, [origin, plan, [*others, *members]], b"")
    rewritten = [forged, *entries[1:]]
    write_entries(public, len(entries), rewritten)
    write_hashes(public, len(entries), rewritten)
    write_root(public, rewritten)
    errors = rejected(public.path)
    told = "GENESIS by operator has no effect: not a genesis: one public key is registered for two witnesses"
    assert errors[0] == f"entry 0: {told}"
    assert errors[-1] == "ledger: the ledger does not begin with a genesis entry"
