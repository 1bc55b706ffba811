"""The key goes to other members: it stays the same key, and the former ones lose it."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from protocols.arrays import UInt64Array
from protocols.ring import ring
from secure_bfl.committee_change import announce_change, certify_change
from secure_bfl.errors import RefusedError, StateError
from secure_bfl.local_training import Records
from secure_bfl.member import Member
from secure_bfl.messages import (
    AddendCommit,
    CommitteeChange,
    KeyAccept,
    KeyCheck,
    KeyCommit,
    KeyDrop,
    KeyOpen,
    KeyReveal,
)
from tests.secure_bfl import keyrun
from tests.secure_bfl.federation import NOW, Federation, digest
from tests.secure_bfl.keyrun import (
    REPLICATED,
    SHAMIR,
    changed,
    complaint,
    founded_on,
    incoming,
    office,
    small_plan,
    spoil,
    started,
)

pytestmark = pytest.mark.usefixtures("small")


def secret(federation: Federation, members: Sequence[Member]) -> UInt64Array:
    """The secret that a trio committee shares: for tests only, as no protocol step ever makes it."""
    suite = federation.plan.suite
    data = ring(suite.ring_degree, suite.data_primes)
    pieces = all_pieces(federation, members)
    total = np.zeros((len(suite.data_primes), suite.ring_degree), dtype=np.uint64)
    for piece in pieces.values():
        total = data.add(total, piece)
    return total


def all_pieces(federation: Federation, members: Sequence[Member]) -> dict[int, UInt64Array]:
    pieces = {}
    for member in members:
        state = federation.board.replay.ceremony_of(member_epoch(member))
        key = member._holder._held(federation.board, state)
        for number in key.sharing.held_by(key.member):
            pieces[number] = key.piece(number).secret_ntt
    return pieces


def member_epoch(member: Member) -> int:
    return int(member.name.partition("@")[2] or 0)


@pytest.mark.parametrize("new", [REPLICATED, SHAMIR, (2, 2)])
@pytest.mark.parametrize("old", [REPLICATED, SHAMIR])
def test_the_key_goes_on_under_new_members(
    keyed_plans: dict[tuple[int, int], Federation], old: tuple[int, int], new: tuple[int, int]
) -> None:
    federation = keyed_plans[old].copy()
    key = federation.board.joint_key.digest
    former = changed(federation, *new)
    replay = federation.board.replay
    assert replay.ignored == []
    assert replay.key_ready
    assert replay.committee.members == tuple(member.name for member in federation.members)
    assert (replay.committee.epoch, replay.committee.sharing.members) == (1, new[0])
    assert federation.board.joint_key.digest == key
    assert set(replay.ceremony_of(0).drops) == {member.name for member in former}
    named = federation.board.deliveries(replay.ceremonies[0]).named() | federation.board.deliveries().named()
    assert named == set(federation.blobs.digests())
    federation.operator.open_round(federation.board, 1, federation.zero)
    assert federation.board.round(1).epoch == 1


def test_changes_follow_each_other(trio: Federation) -> None:
    """A refresh, then Shamir's sharing, then pieces again; the secret is always the same."""
    before = secret(trio, trio.members)
    changed(trio, *REPLICATED)
    assert np.array_equal(secret(trio, trio.members), before)
    changed(trio, *SHAMIR)
    changed(trio, *REPLICATED)
    assert np.array_equal(secret(trio, trio.members), before)
    assert trio.board.replay.committee.epoch == 3
    assert [member.name for member in trio.members] == ["member-1@3", "member-2@3", "member-3@3"]
    with pytest.raises(StateError, match="the plan has 3 changes"):
        started(trio, *REPLICATED)


def test_pieces_of_two_epochs_do_not_add_up(trio: Federation) -> None:
    """One old member and one new one, t - 1 of each: no sum or difference of what they hold is the secret."""
    target, old = (
        secret(trio, trio.members),
        all_pieces(trio, trio.members[:1]),
    )
    changed(trio, *REPLICATED)
    new = all_pieces(trio, trio.members[:1])
    assert len(old) == len(new) == 2
    primes = trio.plan.suite.data_primes
    row = [piece[0].astype(object) for piece in (*old.values(), *new.values())]
    for factors in product((-1, 0, 1), repeat=4):
        total = sum(factor * piece for factor, piece in zip(factors, row, strict=True)) % primes[0]
        assert not np.array_equal(total, target[0])
    everything = [piece[0].astype(object) for piece in all_pieces(trio, trio.members).values()]
    assert np.array_equal(sum(everything) % primes[0], target[0]), "and all new pieces are"


def test_a_refresh_draws_new_pieces(trio: Federation) -> None:
    old = all_pieces(trio, trio.members)
    noise = {n: trio.members[0]._holder.member_key(trio.board).piece(n).noise_key for n in (1, 2)}
    changed(trio, *REPLICATED)
    new = all_pieces(trio, trio.members)
    assert all(not np.array_equal(old[n], new[n]) for n in old)
    later = {n: trio.members[0]._holder.member_key(trio.board).piece(n).noise_key for n in (1, 2)}
    assert set(noise.values()).isdisjoint(later.values())


# The former members.


def test_the_former_members_have_nothing_left(trio: Federation) -> None:
    parties = [member.identity.party for member in trio.members]
    former = changed(trio, *REPLICATED)
    for member, party in zip(former, parties, strict=True):
        secrets = member.identity.secrets
        assert secrets.get("sealing") is None
        assert secrets.get(f"deal/{trio.board.replay.context.hex()}") is None
        assert member.identity.party == party, "its public side stays"
        with pytest.raises(RefusedError, match="the committee of epoch 1 is in office"):
            member._holder.member_key(trio.board)
        with pytest.raises(StateError, match="has erased its pieces"):
            member._holder._held(trio.board, trio.board.replay.ceremony_of(0))
        size = trio.log.size
        member.drop(trio.board)
        assert trio.log.size == size
    again = trio.member(1)
    assert again.identity.retired
    with pytest.raises(StateError, match="has erased its pieces"):
        again._holder._held(trio.board, trio.board.replay.ceremony_of(0))


def test_who_is_in_office_drops_nothing(trio: Federation) -> None:
    with pytest.raises(StateError, match="member-1 is not of a former committee"):
        trio.members[0].drop(trio.board)
    started(trio, *REPLICATED)
    with pytest.raises(StateError, match="member-1 is not of a former committee"):
        trio.members[0].drop(trio.board)
    assert trio.members[0].identity.secrets.get("sealing") is not None
    member = trio.members[0]
    with pytest.raises(StateError, match="not of a former committee"):
        trio.board.append(KeyDrop(trio.board.replay.context), member.name, member.identity.signing)


def test_who_left_drops_while_the_next_change_is_under_way(trio: Federation) -> None:
    former, new = trio.members, started(trio, *REPLICATED)
    for step in (Member.commit, Member.reveal):
        for member in former:
            step(member, trio.board)
    for step in (Member.check, Member.answer_test, Member.accept):
        for member in new:
            step(member, trio.board)
    certify_change(trio.board, trio.operator, trio.witnesses, now=NOW)
    trio.members = new
    started(trio, *SHAMIR)
    former[0].drop(trio.board)
    assert former[0].identity.retired
    assert set(trio.board.replay.ceremony_of(0).drops) == {"member-1"}


def test_former_members_vote_no_more(trio: Federation) -> None:
    former = changed(trio, *REPLICATED)
    trio.open_and_update(1, trio.zero)
    trio.operator.close_round(trio.board, 1)
    trio.operator.add_up(trio.board, 1)
    for member in former:
        member.vote(trio.board, 1)
    assert trio.board.round(1).votes == {}
    for member in trio.members:
        member.vote(trio.board, 1)
    assert set(trio.board.round(1).votes) == set(trio.board.replay.committee.members)


# What the operator may announce.


def test_a_change_must_be_right(trio: Federation) -> None:
    board, operator = trio.board, trio.operator
    parties = tuple(member.identity.party for member in incoming(trio, 3, 1))
    right = CommitteeChange(1, 2, parties, ())
    old = trio.members[0].identity.party
    wrong = {
        "epoch 1 is next": replace(right, epoch=2),
        "not a committee: a threshold of 1": replace(right, threshold=1),
        "not a committee: the members of epoch 1": replace(right, parties=parties[::-1]),
        "not a committee: member-1@1 has a key that was used before": replace(
            right, parties=(replace(parties[0], sealing_key=old.sealing_key), *parties[1:])
        ),
        "not a committee: two parties share": replace(
            right, parties=(replace(parties[0], signing_key=parties[1].signing_key), *parties[1:])
        ),
        "the active members are t of the former ones": replace(right, active=(1, 2)),
        "more noise than the plan's scale": replace(
            right,
            threshold=16,
            parties=tuple(member.identity.party for member in incoming(trio, 32, 1)),
        ),
    }
    for reason, body in wrong.items():
        with pytest.raises(StateError, match=reason):
            board.append(body, operator.name, operator.identity.signing)
    with pytest.raises(StateError, match="is for the operator"):
        board.append(right, "member-1", trio.members[0].identity.signing)
    board.append(right, operator.name, operator.identity.signing)
    assert not board.replay.ceremony.ready


def test_an_active_set_is_t_of_shamirs_members(quartet: Federation) -> None:
    board, operator = quartet.board, quartet.operator
    parties = tuple(member.identity.party for member in incoming(quartet, 3, 1))
    for active in ((), (1, 2), (1, 2, 2), (3, 2, 1), (1, 2, 3, 4), (1, 2, 5)):
        with pytest.raises(StateError, match=r"not a committee|the active members"):
            board.append(CommitteeChange(1, 2, parties, active), operator.name, operator.identity.signing)
    board.append(CommitteeChange(1, 2, parties, (1, 3, 4)), operator.name, operator.identity.signing)
    assert board.replay.ceremony.addends == (0, 2, 3)


def test_no_change_while_a_round_is_open(trio: Federation) -> None:
    trio.operator.open_round(trio.board, 1, trio.zero)
    with pytest.raises(StateError, match="a committee change while a round is open"):
        started(trio, *REPLICATED)


def test_a_round_abandons_an_unfinished_change_and_those_in_office_serve_it(trio: Federation) -> None:
    started(trio, *REPLICATED)
    for member in trio.members:
        member.commit(trio.board)
    trio.operator.open_round(trio.board, 1, trio.zero)
    assert trio.board.replay.ceremony.abandoned
    assert trio.board.round(1).epoch == trio.board.replay.committee.epoch == 0
    with pytest.raises(StateError, match="the change to epoch 1 was abandoned: a round opened before it was complete"):
        trio.members[0].reveal(trio.board)
    trio.open_and_update(1, trio.zero)
    trio.close_and_vote(1)
    trio.request(1)
    trio.answer_and_publish(1, trio.zero)
    assert trio.board.round(1).result is not None
    changed(trio, *REPLICATED)
    assert trio.board.replay.committee.epoch == 1


def test_no_change_before_the_key(shares: Sequence[Records]) -> None:
    federation = founded_on(small_plan(3, 2, committee_changes=1), shares)
    with pytest.raises(StateError, match="before key generation is complete"):
        started(federation, *REPLICATED)


def test_a_member_deals_only_in_a_change_it_approved(trio: Federation) -> None:
    board, new = trio.board, incoming(trio, 3, 1)
    member = trio.members[0]
    with pytest.raises(StateError, match="is not under way"):
        member.approve(board, digest("no change"))
    change = announce_change(board, trio.operator, trio.members, new, threshold=2, witnesses=office(trio), now=NOW)
    with pytest.raises(RefusedError, match="did not approve") as caught:
        member.commit(board)
    assert caught.value.culprits == ("operator",)
    member.approve(board, change)
    with pytest.raises(StateError, match="member-1@1 has a key that was used before"):
        announce_change(board, trio.operator, trio.members, new, threshold=2, witnesses=office(trio), now=NOW)
    other = incoming(trio, 3, 1)
    again = announce_change(board, trio.operator, trio.members, other, threshold=2, witnesses=office(trio), now=NOW)
    with pytest.raises(RefusedError, match="did not approve"):
        member.commit(board)
    member.approve(board, again)
    trio.member(1).commit(board)
    assert tuple(board.replay.ceremony.commits) == ("member-1",)


# Rules of the entries.


def test_nothing_secret_is_opened_in_a_change(trio: Federation) -> None:
    new = started(trio, *REPLICATED)
    board = trio.board
    for step in (Member.commit, Member.reveal):
        for member in trio.members:
            step(member, board)
    with pytest.raises(StateError, match="no sealing key is opened in a committee change"):
        board.append(complaint(board.replay.ceremony, 0, bytes(32)), new[0].name, new[0].identity.signing)
    with pytest.raises(StateError, match="nobody opens seeds in a committee change"):
        board.append(KeyOpen(board.replay.ceremony.position, ()), "member-1", trio.members[0].identity.signing)
    with pytest.raises(StateError, match="seeds are never opened in a committee change"):
        trio.members[0].open_seeds(board)


def test_the_key_stays(trio: Federation) -> None:
    new = started(trio, *REPLICATED)
    board, first = trio.board, new[0]
    with pytest.raises(StateError, match=r"member-1@1 cannot go on before .* revealed"):
        first.check(board)
    for step in (Member.commit, Member.reveal):
        for member in trio.members:
            step(member, board)
    with pytest.raises(StateError, match="a committee change keeps the joint key"):
        board.append(
            KeyCheck(board.replay.ceremony.position, digest("another key"), ()), first.name, first.identity.signing
        )
    with pytest.raises(StateError, match="is of another ceremony than the newest one"):
        board.append(KeyCheck(board.replay.context, board.joint_key.digest, ()), first.name, first.identity.signing)
    with pytest.raises(StateError, match="member-1 is not in the committee of epoch 1"):
        board.append(
            KeyCheck(board.replay.ceremony.position, board.joint_key.digest, ()),
            "member-1",
            trio.members[0].identity.signing,
        )
    for member in new:
        member.check(board)
    with pytest.raises(StateError, match="an acceptance before every member answered"):
        board.append(
            KeyAccept(board.replay.ceremony.position, board.joint_key.digest), first.name, first.identity.signing
        )
    for member in new:
        member.answer_test(board)
    with pytest.raises(StateError, match="an acceptance of another key"):
        board.append(
            KeyAccept(board.replay.ceremony.position, digest("another key")), first.name, first.identity.signing
        )
    with pytest.raises(StateError, match="checked already"):
        board.append(complaint(board.replay.ceremony, 0, b""), first.name, first.identity.signing)


def test_a_restart_goes_on(trio: Federation) -> None:
    """Every party is restarted before every step."""
    new = started(trio, *SHAMIR)
    board = trio.board
    for step in (Member.commit, Member.reveal):
        for number in (1, 2, 3):
            step(trio.member(number), board)
            step(trio.member(number), board)
    names = [member.name for member in new]

    def restarted(name: str) -> Member:
        disk = trio.disks[name]
        return Member(disk.identity, journal=disk.journal, witness=new[0].witness)

    for step in (Member.check, Member.answer_test, Member.accept):
        for name in names:
            step(restarted(name), board)
            step(restarted(name), board)
    certify_change(board, trio.operator, trio.witnesses, now=NOW)
    assert board.replay.ceremony.ready
    for number in (1, 2, 3):
        trio.member(number).drop(board)
    assert board.replay.ignored == []


def test_what_comes_too_late_or_from_the_wrong_side(quartet: Federation) -> None:
    new = started(quartet, *REPLICATED)
    board, parties = quartet.board, quartet.members
    mine = KeyCommit(board.replay.ceremony.position, (AddendCommit(3, b"", digest("dealing")),))
    with pytest.raises(StateError, match="member-4 deals nothing in epoch 1"):
        board.append(mine, "member-4", parties[3].identity.signing)
    body = KeyCommit(board.replay.ceremony.position, (AddendCommit(0, bytes(32), digest("dealing")),))
    with pytest.raises(StateError, match="a public part's digest has 0 bytes here"):
        board.append(body, "member-1", parties[0].identity.signing)
    with pytest.raises(StateError, match=r"a reveal before member-1, member-2, member-3 committed"):
        board.append(
            KeyReveal(board.replay.ceremony.position, (0,), digest("deliveries")),
            "member-1",
            parties[0].identity.signing,
        )
    for member in new:
        member.commit(board)
        member.reveal(board)
    assert board.replay.ceremony.commits == {}


def test_no_commitment_after_the_first_reveal(trio: Federation) -> None:
    started(trio, *REPLICATED)
    board, members = trio.board, trio.members
    for member in members[:2]:
        member.commit(board)
    members[0].reveal(board)
    with pytest.raises(StateError, match="a commitment after the first reveal"):
        members[2].commit(board)


def test_a_tie_is_refused_by_the_ledger(trio: Federation) -> None:
    spoil(trio, 2, keyrun.OtherDealing)
    started(trio, *REPLICATED)
    for member in trio.members:
        member.commit(trio.board)
    first = trio.members[0]
    with pytest.raises(StateError, match="committed to different dealings, as many to one as to another"):
        trio.board.append(
            KeyReveal(trio.board.replay.ceremony.position, (1,), digest("deliveries")),
            first.name,
            first.identity.signing,
        )


def test_pieces_are_dropped_once(trio: Federation) -> None:
    former = changed(trio, *REPLICATED)
    with pytest.raises(StateError, match="member-1 dropped its pieces already"):
        trio.board.append(KeyDrop(trio.board.replay.context), "member-1", former[0].identity.signing)
    with pytest.raises(StateError, match="drops what is of another ceremony than its own"):
        trio.board.append(KeyDrop(trio.board.replay.ceremony.position), "member-1", former[0].identity.signing)


def test_a_ceremony_is_one_thing_or_the_other(trio: Federation) -> None:
    founding = trio.board.deliveries()
    with pytest.raises(ValueError, match="key generation hands nothing over"):
        _ = founding.handover
    started(trio, *REPLICATED)
    change = trio.board.deliveries()
    with pytest.raises(ValueError, match="a committee change generates no key"):
        _ = change.ceremony
    with pytest.raises(ValueError, match="nobody committed to addend 0"):
        change.public_part(0)
    assert founding.identity != change.identity
    trio.board.replay.ceremonies[0].checks.clear()
    with pytest.raises(StateError, match="not every member has pinned the joint key"):
        trio.board.deliveries()
