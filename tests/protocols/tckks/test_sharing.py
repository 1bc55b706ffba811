"""Who holds which piece, for every committee there can be."""

from itertools import combinations
from math import comb

import pytest

from protocols.errors import QuorumError
from protocols.tckks import ReplicatedSharing, ShamirSharing, share_among
from protocols.tckks.sharing import MAX_MEMBERS

EVERY = [ReplicatedSharing(n, t) for n in range(2, 9) for t in range(2, n + 1)]
ALL = [share_among(n, t) for n in range(2, MAX_MEMBERS + 1) for t in range(2, n + 1)]
NAMES = [f"{s.threshold}-of-{s.members}" for s in EVERY]


@pytest.mark.parametrize("sharing", EVERY, ids=NAMES)
def test_one_member_less_than_the_threshold_misses_exactly_one_piece_dealt_outside(sharing: ReplicatedSharing) -> None:
    everyone = range(1, sharing.members + 1)
    for coalition in combinations(everyone, sharing.threshold - 1):
        held = {piece for member in coalition for piece in sharing.held_by(member)}
        missing = set(range(sharing.pieces)) - held
        assert len(missing) == 1
        assert sharing.dealer(*missing) not in coalition


def test_no_two_sharings_have_one_tag() -> None:
    everything = {*EVERY, *ALL, *(ShamirSharing(s.members, s.threshold) for s in EVERY)}
    assert len({sharing.tag for sharing in everything}) == len(everything)
    assert (ReplicatedSharing(5, 3).tag, ShamirSharing(16, 10).tag) == ("replicated/5/3", "shamir/16/10")


@pytest.mark.parametrize("sharing", EVERY, ids=NAMES)
def test_every_quorum_covers_and_the_assignment_partitions(sharing: ReplicatedSharing) -> None:
    for size in range(sharing.threshold, sharing.members + 1):
        for active in combinations(range(1, sharing.members + 1), size):
            assignment = sharing.assignment(active)
            assert tuple(assignment) == active
            assert sorted(p for pieces in assignment.values() for p in pieces) == list(range(sharing.pieces))
            assert all(set(pieces) <= set(sharing.held_by(m)) for m, pieces in assignment.items())


@pytest.mark.parametrize("sharing", EVERY, ids=NAMES)
def test_holders_and_dealers_agree(sharing: ReplicatedSharing) -> None:
    for piece in range(sharing.pieces):
        holders = sharing.holders(piece)
        assert len(holders) == sharing.members - sharing.threshold + 1
        assert holders == tuple(m for m in range(1, sharing.members + 1) if piece in sharing.held_by(m))
        assert sharing.dealer(piece) in holders


def test_n_of_n_is_one_piece_each() -> None:
    sharing = ReplicatedSharing(4, 4)
    assert [sharing.holders(p) for p in range(4)] == [(4,), (3,), (2,), (1,)]
    assert sharing.assignment((4, 2, 1, 3)) == {1: (3,), 2: (2,), 3: (1,), 4: (0,)}


def test_the_order_of_the_active_members_does_not_matter() -> None:
    sharing = ReplicatedSharing(5, 3)
    assert sharing.assignment((5, 1, 3)) == sharing.assignment((1, 3, 5))


@pytest.mark.parametrize(
    ("members", "threshold", "message"),
    [
        (3, 4, "the threshold 4 exceeds the 3 members: nobody could ever decrypt"),
        (5, 1, "would let one member decrypt alone; it must be at least 2"),
        (5, 0, "at least 2"),
        (1, 1, "2 to 32 members, not 1"),
        (33, 5, "2 to 32 members, not 33"),
    ],
)
def test_impossible_committees(members: int, threshold: int, message: str) -> None:
    for make in (ReplicatedSharing, ShamirSharing, share_among):
        with pytest.raises(ValueError, match=message):
            make(members, threshold)


def test_replicated_where_pieces_stay_few_and_shamir_beyond() -> None:
    assert len(ALL) == 31 * 32 // 2
    for sharing in ALL:
        few = comb(sharing.members, sharing.threshold - 1) <= 70
        assert isinstance(sharing, ReplicatedSharing if few else ShamirSharing)
    assert all(isinstance(share_among(n, t), ReplicatedSharing) for n in range(2, 33) for t in (2, n))
    assert not any(isinstance(share_among(n, t), ShamirSharing) for n in range(2, 9) for t in range(2, n + 1))
    with pytest.raises(ValueError, match="5 of 9 would need 126 replicated pieces, more than 70; use Shamir"):
        ReplicatedSharing(9, 5)


@pytest.mark.parametrize("sharing", [s for s in ALL if isinstance(s, ShamirSharing)][::7], ids=str)
def test_shamir_gives_each_member_one_piece_and_each_dealer_one_addend(sharing: ShamirSharing) -> None:
    members = range(1, sharing.members + 1)
    assert [sharing.holders(p) for p in range(sharing.pieces)] == [(m,) for m in members]
    assert [sharing.held_by(m) for m in members] == [(m - 1,) for m in members]
    assert [sharing.dealer(a) for a in range(sharing.addends)] == list(range(1, sharing.threshold + 1))
    assert [a for m in members for a in sharing.dealt_by(m)] == list(range(sharing.addends))
    assert {m for active in sharing.trial_sets for m in active} == set(members)
    assert all(len(active) == sharing.threshold for active in sharing.trial_sets)
    assert len(sharing.trial_sets) == -(-sharing.members // sharing.threshold)
    quorum = tuple(range(2, sharing.threshold + 2))
    assert sharing.assignment(quorum) == {m: (m - 1,) for m in quorum}
    with pytest.raises(ValueError, match=f"exactly {sharing.threshold} members"):
        sharing.assignment(tuple(members)[: sharing.threshold + 1])
    with pytest.raises(QuorumError, match=f"needs {sharing.threshold} of"):
        sharing.assignment(quorum[:-1])
    for call, index in ((sharing.holders, sharing.members), (sharing.dealer, sharing.threshold), (sharing.holders, -1)):
        with pytest.raises(IndexError, match="there is no"):
            call(index)


@pytest.mark.parametrize("active", [(1, 1, 2), (0, 1, 2), (1, 2, 6), (-1, 2, 3)])
def test_unknown_or_repeated_members(active: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="distinct and between 1 and 5"):
        ReplicatedSharing(5, 3).assignment(active)


@pytest.mark.parametrize("active", [(), (2,), (2, 5)])
def test_a_quorum_too_small_names_who_is_there_and_who_is_not(active: tuple[int, ...]) -> None:
    with pytest.raises(QuorumError, match=f"needs 3 of 5 members, has {len(active)}") as caught:
        ReplicatedSharing(5, 3).assignment(active)
    error = caught.value
    assert error.needed == 3
    assert error.have == tuple(f"member-{m}" for m in active)
    assert error.missing == error.culprits == tuple(f"member-{m}" for m in range(1, 6) if m not in active)
