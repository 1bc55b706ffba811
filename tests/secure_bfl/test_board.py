"""The board: what everybody can read, and how it grows."""

import dataclasses
from collections.abc import Sequence

import pytest

import ledger
from ledger import BlobError, Log, MemoryBlobs, MemoryStore, StoreError
from protocols.errors import CapacityError, DecodeError, KeyGenerationError
from protocols.tckks import aggregate, commitment
from secure_bfl.board import Board, Transcript
from secure_bfl.errors import StateError
from secure_bfl.local_training import Records
from secure_bfl.member import Member
from secure_bfl.messages import BudgetSpend
from secure_bfl.plan import FederationPlan
from tests.secure_bfl.federation import NOW, Federation, digest


def test_before_the_genesis(plan: FederationPlan, shares: Sequence[Records]) -> None:
    board = Federation(plan, shares).board
    assert not board.started
    with pytest.raises(ValueError, match="no genesis"):
        _ = board.roster
    with pytest.raises(StateError, match="round 1 was not opened yet"):
        board.round(1)


def test_a_transcript_reads_what_the_board_wrote(finished: Federation) -> None:
    board = finished.board
    transcript = Transcript(finished.log.entries(), finished.blobs)
    assert transcript.started
    assert transcript.roster == board.roster
    assert transcript.round(1) == board.round(1)
    assert transcript.joint_key.digest == board.joint_key.digest
    assert transcript.ceremony == board.ceremony
    assert transcript.replay.ignored == []
    for number in (-1, 0, 2, 10**9):
        with pytest.raises(StateError, match=f"round {number} was not opened yet"):
            transcript.round(number)


def test_a_reopened_board_goes_on(opened: Federation) -> None:
    federation = opened.copy()
    board = Board(federation.log, federation.blobs)
    federation.clients[0].update(board, 1, federation.zero)
    assert tuple(board.round(1).commits) == ("client-1",)
    assert Board(federation.log, federation.blobs).round(1) == board.round(1)


def test_the_sum_is_the_sum(voted: Federation) -> None:
    board = voted.board
    digests = board.round(1).ciphertexts()
    total = board.sum_of(digests)
    again = [board.ciphertext(one, sender="client-1") for one in reversed(digests)]
    assert commitment(total.encode()) == commitment(aggregate(again, most=len(digests)).encode())
    announced = board.round(1).aggregate
    assert announced is not None
    assert commitment(total.encode()) == announced.ciphertext
    with pytest.raises(ValueError, match="nothing to add"):
        board.sum_of(())
    clients = board.roster.plan.clients
    with pytest.raises(CapacityError, match=f"room for {clients} summed ciphertexts"):
        board.sum_of(digests[:1] * (clients + 1))


def test_ciphertexts_are_checked(voted: Federation) -> None:
    federation = voted.copy()
    board = federation.board
    good = federation.blobs._blobs[board.round(1).ciphertexts()[0]]
    with pytest.raises(BlobError, match="missing"):
        board.ciphertext(digest("nothing"), sender="client-1")
    with pytest.raises(BlobError, match="corrupt"):
        board.ciphertext(board.blobs.put(good + b"\x00"), sender="client-1")
    for wrong in (b"\x00" * len(good), good[:12] + bytes(32) + good[44:], good[:44] + b"\xff" * (len(good) - 44)):
        with pytest.raises(DecodeError, match="client-1: CIPHERTEXT") as caught:
            board.ciphertext(board.blobs.put(wrong), sender="client-1")
        assert caught.value.culprits == ("client-1",)
    federation.blobs._blobs[digest("lie")] = good
    with pytest.raises(BlobError, match="not those the digest names"):
        board.ciphertext(digest("lie"), sender="client-1")


def test_public_parts_are_those_committed(keyed: Federation) -> None:
    federation = keyed.copy()
    board = federation.board
    part = board.public_part(0)
    counted = board.replay.ceremony.commitment(0)
    assert counted is not None
    assert commitment(part) == counted[0].part
    federation.blobs._blobs[commitment(part)] = part[:-1] + bytes([part[-1] ^ 1])
    with pytest.raises(BlobError, match="corrupt"):
        board.public_part(0)
    del federation.blobs._blobs[commitment(part)]
    with pytest.raises(BlobError, match="missing"):
        _ = federation.copy().board.joint_key


def test_a_malformed_part_names_its_dealer(founded: Federation) -> None:
    federation = founded.copy()
    for step in (Member.commit, Member.reveal):
        for member in federation.members:
            step(member, federation.board)
    dealer = f"member-{federation.plan.sharing.dealer(0)}"
    part = bytearray(federation.board.public_part(0))
    part[44:50] = b"\xff" * 6
    ceremony = federation.board.replay.ceremony
    commit = ceremony.commits[dealer]
    parts = tuple(
        dataclasses.replace(p, part=federation.blobs.put(bytes(part))) if p.addend == 0 else p for p in commit.parts
    )
    ceremony.commits[dealer] = dataclasses.replace(commit, parts=parts)
    with pytest.raises(KeyGenerationError, match="public part of piece 0") as caught:
        _ = federation.board.joint_key
    assert caught.value.culprits == (dealer,)


def test_what_is_not_durable_does_not_count(opened: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = opened.copy()
    board, client = federation.board, federation.clients[0]
    size, root = board.replay.size, board.replay.root()

    def full(*_: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(federation.store, "append", full)
        with pytest.raises(StoreError, match="the disk is full"):
            client.reserve(board, 1)
    assert (board.replay.size, board.replay.root(), federation.log.size) == (size, root, size)
    assert board.round(1).spends == {}
    with pytest.raises(StoreError, match="close it and open it again"):
        client.reserve(board, 1)
    federation = Federation(
        federation.plan, federation.shares, store=federation.store, blobs=federation.blobs, disks=federation.disks
    )
    board = federation.board
    client.reserve(board, 1)
    assert tuple(board.round(1).spends) == ("client-1",)
    assert federation.log.root(size + 1) == board.replay.root()


def test_an_entry_that_would_not_count_is_not_appended(opened: Federation) -> None:
    federation = opened.copy()
    client = federation.clients[0]
    with pytest.raises(StateError, match="client-1: BUDGET_SPEND is not allowed now: the spend is not") as caught:
        federation.board.append(BudgetSpend(1, 1, 1, 1, (), bytes(32)), client.name, client.identity.signing)
    assert caught.value.culprits == ("client-1",)
    assert federation.log.size == opened.log.size


def test_certificates_cover_the_end(opened: Federation) -> None:
    federation = opened.copy()
    certificate = federation.board.certify(federation.witnesses, now=NOW)
    assert certificate.checkpoint.size == federation.log.size
    assert certificate.checkpoint.root == federation.board.replay.root()
    with pytest.raises(ledger.QuorumError) as caught:
        federation.board.certify(dict.fromkeys(federation.witnesses), now=NOW)
    assert caught.value.missing == federation.board.replay.committee.members


def test_a_log_with_ignored_entries_opens(plan: FederationPlan, keyed: Federation) -> None:
    log = Log(MemoryStore(), keyed.log.origin, keyed.identities["operator"].note)
    entries = keyed.log.entries()
    log.append_all([*entries[:3], b"rubbish", *entries[3:]])
    board = Board(log, MemoryBlobs())
    assert [(i.index, i.hostile) for i in board.replay.ignored] == [(3, True)]
    assert board.replay.root() == log.root(log.size)
    assert board.replay.key_ready
