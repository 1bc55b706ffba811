"""A member and the key: what it keeps, refuses and promises. For cheats see `test_judging`."""

from typing import Any

import pytest

from protocols.tckks import commitment
from secure_bfl.errors import RefusedError, StateError
from secure_bfl.key_member import KeyHolder
from secure_bfl.member import KEY_STEPS, Member
from secure_bfl.messages import AddendCommit, KeyCommit, Role
from tests.secure_bfl.federation import Federation, digest, identity_of


class CrashError(Exception):
    """The process dies here."""


def holder(member: Member) -> KeyHolder:
    return member._holder


def test_steps_out_of_order(founded: Federation) -> None:
    federation = founded.copy()
    board, member = federation.board, federation.members[0]
    names = board.replay.committee.members
    with pytest.raises(StateError, match=r"member-1 cannot go on before member-1, .*, member-4 committed") as caught:
        member.reveal(board)
    assert caught.value.culprits == names
    assert list(federation.blobs.digests()) == [], "no public part is shown before all are committed"
    with pytest.raises(StateError, match=r"member-1 cannot go on before member-1, .*, member-4 revealed") as caught:
        member.check(board)
    assert caught.value.culprits == names
    with pytest.raises(StateError, match=r"member-1 cannot go on before member-1, .*, member-4 checked"):
        member.answer_test(board)
    with pytest.raises(StateError, match=r"member-1 cannot go on before member-1, .*, member-4 answered"):
        member.accept(board)
    with pytest.raises(StateError, match="not every addend was delivered in epoch 0"):
        holder(member).member_key(board)
    assert federation.log.size == 1


def test_commitments_shown_after_the_reveal_are_refused(founded: Federation) -> None:
    """Who could show others later could choose its own part of the key last."""
    federation, fork = founded.copy(), founded.copy()
    for member in federation.members:
        member.commit(federation.board)
    federation.members[0].reveal(federation.board)
    fork.disks["member-1"] = federation.disks["member-1"]
    first, late = fork.member(1), fork.members[3]
    first.commit(fork.board)
    for member in fork.members[1:3]:
        member.commit(fork.board)
    mine = fork.board.replay.ceremony.dealt_by(late.name)
    parts = tuple(AddendCommit(addend, digest("chosen last"), digest("dealing")) for addend in mine)
    fork.board.append(KeyCommit(fork.board.replay.context, parts), late.name, late.identity.signing)
    for again in (first, fork.member(1)):
        with pytest.raises(StateError, match=r"commitments/.* was claimed before"):
            again.reveal(fork.board)
    assert fork.board.replay.ceremony.delivered == {}
    assert list(fork.blobs.digests()) == []


def test_no_part_is_shown_before_the_last_commitment(founded: Federation) -> None:
    """A rogue key, chosen after the others' parts, would need to see them: the part is bound before any is shown."""
    federation = founded.copy()
    for member in federation.members:
        assert list(federation.blobs.digests()) == []
        member.commit(federation.board)
    committed = {p.part for c in federation.board.replay.ceremony.commits.values() for p in c.parts}
    for member in federation.members:
        member.reveal(federation.board)
    shown = {commitment(federation.board.public_part(addend)) for addend in federation.board.replay.ceremony.addends}
    assert shown == committed


def test_a_restart_deals_the_same_pieces(founded: Federation, keyed: Federation) -> None:
    federation = founded.copy()
    for number in range(1, federation.plan.members + 1):
        federation.member(number).commit(federation.board)
    for step in KEY_STEPS[1:]:
        for number in range(1, federation.plan.members + 1):
            step(federation.member(number), federation.board)
            step(federation.member(number), federation.board)
    assert federation.board.replay.key_ready
    assert federation.log.size == keyed.log.size
    for number in range(1, federation.plan.members + 1):
        old = holder(federation.member(number)).member_key(federation.board)
        new = holder(federation.members[number - 1]).member_key(federation.board)
        for piece in federation.plan.sharing.held_by(number):
            assert old.piece(piece).noise_key == new.piece(piece).noise_key
            assert (old.piece(piece).secret_ntt == new.piece(piece).secret_ntt).all()


@pytest.mark.parametrize("point", ["claim", "put", "append"])
def test_a_crash_leaves_no_second_delivery(founded: Federation, monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """Sealing is random; after a crash a dealer publishes what it published before, not another sealing of it."""
    federation = founded.copy()
    board = federation.board
    for member in federation.members:
        member.commit(board)
    deliveries = board.deliveries()
    owner: Any = {"claim": federation.disks["member-1"].journal, "put": federation.blobs, "append": board}[point]
    size = deliveries.size(board.replay.ceremony.due("member-1"), "member-1")
    real = getattr(owner, point)

    def dies(*args: Any, **named: Any) -> Any:
        if point == "append" or (point == "put" and len(args[0]) == size) or str(args[0]).startswith("deliveries"):
            raise CrashError
        return real(*args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, point, dies)
        with pytest.raises(CrashError):
            federation.members[0].reveal(board)
    federation.member(1).reveal(board)
    sealed = [blob for blob in federation.blobs._blobs.values() if len(blob) == size]
    assert len(sealed) == 1
    assert deliveries.named() == set(federation.blobs.digests()) | {
        part.part for name in ("member-2", "member-3", "member-4") for part in board.replay.ceremony.commits[name].parts
    }


def test_a_keystore_that_lost_the_seeds_is_said_so(keyed: Federation, requested: Federation) -> None:
    for stage in (keyed, requested):
        federation = stage.copy()
        board, older = federation.board, identity_of("member-1", Role.MEMBER)
        member = Member(older, journal=federation.disks["member-1"].journal, witness=federation.members[0].witness)
        with pytest.raises(StateError, match="member-1: its keystore lacks the seeds it dealt"):
            holder(member).member_key(board)
        if board.replay.rounds:
            with pytest.raises(StateError, match="bring back the newest copy"):
                member.answer(board, 1)
        assert board.replay.ceremony.complaints == {}


def test_what_is_sealed_is_bound_to_its_place(founded: Federation) -> None:
    deliveries = founded.copy().board.deliveries()
    infos = {
        deliveries.seal_info(addend, dealer, (piece, member))
        for addend in (1, 11)
        for dealer in ("member-1", "member-11", "member-1@1")
        for piece in (1, 11)
        for member in (1, 11)
    }
    assert len(infos) == 2 * 3 * 2 * 2
    assert all(info.endswith(deliveries.identity) for info in infos), "of this federation"


def test_who_is_no_member_of_the_ceremony_does_nothing(keyed: Federation) -> None:
    federation = keyed.copy()
    stranger = Member(
        identity_of("member-1@7", Role.MEMBER),
        journal=federation.disks["member-1"].journal,
        witness=federation.members[0].witness,
    )
    for step in (*KEY_STEPS, Member.open_seeds):
        step(stranger, federation.board)
    assert federation.log.size == keyed.log.size
    with pytest.raises(RefusedError, match="the committee of epoch 0 is in office"):
        holder(stranger).member_key(federation.board)


def test_nothing_secret_is_printed(keyed: Federation) -> None:
    assert repr(holder(keyed.members[0])) == "KeyHolder(member-1, <secret>)"
    assert "<secret>" in repr(holder(keyed.copy().members[0]).member_key(keyed.board))
