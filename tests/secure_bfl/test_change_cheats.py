"""Cheats in a committee change: they cost time, and the key goes on."""

from collections.abc import Sequence

import numpy as np
import pytest

from protocols.errors import BadShareError, KeyGenerationError
from protocols.tckks import PieceKey
from protocols.tckks import sharing as sharing_module
from protocols.tckks.subshare import SubShare
from secure_bfl.board import Board
from secure_bfl.deliveries import Deliveries
from secure_bfl.errors import StateError
from secure_bfl.key_member import KeyHolder
from secure_bfl.local_training import Records
from tests.secure_bfl import keyrun
from tests.secure_bfl.federation import Federation
from tests.secure_bfl.keyrun import REPLICATED, SHAMIR, changed, founded_on, small_plan, spoil

pytestmark = pytest.mark.usefixtures("small")


class Twisted(KeyHolder):
    """Hands over another element than its share."""

    def _received(self, board: Board, deliveries: Deliveries, addend: int, piece: int) -> PieceKey | SubShare:
        got = super()._received(board, deliveries, addend, piece)
        if isinstance(got, SubShare) and deliveries.state.founding and addend == 0:
            twisted = got.value().copy()
            twisted[0, 0] ^= np.uint64(1)
            got._content = twisted
        return got


@pytest.mark.parametrize("cheat", [keyrun.Garbage, keyrun.ShortDeliveries, keyrun.WithheldShares, keyrun.OtherShare])
def test_the_next_holder_delivers_what_one_spoils(trio: Federation, cheat: type[KeyHolder]) -> None:
    spoil(trio, 2, cheat)
    duty = {addend for addend in (0, 1, 2) if trio.board.replay.committee.name(2) == first_dealer(addend)}
    former = changed(trio, *REPLICATED)
    ceremony = trio.board.replay.ceremony
    assert set(ceremony.refused) == duty
    assert all(set(refused) == {"member-2"} for refused in ceremony.refused.values())
    assert "member-2" not in {name for name, _ in ceremony.delivered.values()}
    assert ceremony.ready
    assert ceremony.complaints == {}, "nothing is opened, and nobody judged"
    assert former[1].name in trio.board.replay.ceremony_of(0).drops


def first_dealer(addend: int) -> str:
    """Whose duty it is to deliver an old piece, 2 of 3."""
    holders = [m for m in (1, 2, 3) if m != addend + 1]
    return f"member-{holders[addend % 2]}"


def test_shamirs_shares_have_one_holder_each(quartet: Federation) -> None:
    """Who spoils its delivery stops the change; another active set goes on."""
    spoil(quartet, 2, keyrun.Garbage)
    with pytest.raises(KeyGenerationError, match="member-2") as caught:
        changed(quartet, *SHAMIR)
    assert caught.value.culprits == ("member-2",)
    assert quartet.board.replay.committee.epoch == 0
    quartet.members = [member for member in quartet.members if member.number != 2]
    changed(quartet, *SHAMIR)
    assert quartet.board.replay.committee.epoch == 1
    assert quartet.board.replay.ceremony.active == (1, 3, 4)


@pytest.mark.parametrize("cheat", [keyrun.WrongProof, keyrun.MalformedProof, keyrun.EarlyProof])
def test_a_wrong_degree_proof_is_refused(trio: Federation, cheat: type[KeyHolder]) -> None:
    spoil(trio, 2, cheat)
    changed(trio, *SHAMIR)
    assert {name for refused in trio.board.replay.ceremony.refused.values() for name in refused} == {"member-2"}
    assert trio.board.replay.key_ready


def test_one_holder_against_two_is_outvoted(shares: Sequence[Records]) -> None:
    """2 of 4: every piece has three holders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing_module, "MAX_REPLICATED_PIECES", 4)
        federation = founded_on(small_plan(4, 2, committee_changes=1), shares)
        federation.generate_key()
        spoil(federation, 2, keyrun.OtherDealing)
        changed(federation, *REPLICATED)
        ceremony = federation.board.replay.ceremony
        assert {len(ceremony.camps(addend)) for addend in ceremony.addends} == {1, 2}
        assert all("member-2" not in (ceremony.commitment(a) or ((), ()))[1] for a in ceremony.addends)
        assert federation.board.replay.key_ready


def test_one_holder_against_one_stops_the_change(trio: Federation) -> None:
    spoil(trio, 2, keyrun.OtherDealing)
    with pytest.raises(StateError, match=r"holders of addend 0 committed to different dealings: member-2 against"):
        changed(trio, *REPLICATED)
    assert trio.board.replay.committee.epoch == 0
    assert not trio.board.replay.ceremony.ready
    trio.members = [trio.member(number) for number in (1, 2, 3)]
    changed(trio, *REPLICATED)
    assert trio.board.replay.committee.epoch == 1, "another announcement replaces a change that is stuck"


def test_another_element_is_found_by_the_dry_run(quartet: Federation) -> None:
    """A dealer hands on what is not its share: every check passes, but no test opens, and nobody accepts."""
    spoil(quartet, 1, Twisted)
    quartet.members[0]._holder._key = None
    with pytest.raises(BadShareError, match="does not open"):
        changed(quartet, *REPLICATED)
    replay = quartet.board.replay
    assert replay.ceremony.accepts == {}
    assert replay.committee.epoch == 0
    assert all(member.identity.secrets.get("sealing") is not None for member in quartet.members)
    quartet.members = [quartet.members[3], *quartet.members[1:3]]
    changed(quartet, *REPLICATED)
    assert replay.key_ready
