"""The loop that opens a sum: it goes on where it stopped, and never without end."""

import pytest

from protocols.errors import QuorumError
from secure_bfl.errors import StateError
from secure_bfl.member import Member
from secure_bfl.opening import open_sum
from secure_bfl.operator import Operator
from tests.secure_bfl.federation import NOW, Federation


def opened(federation: Federation, *, members: int = 4) -> bytes:
    model = open_sum(
        federation.board,
        1,
        federation.zero,
        operator=federation.operator,
        members=federation.members[:members],
        witnesses=federation.witnesses,
        now=NOW,
        accuracy_ppm=lambda following: 7,
    )
    return model.encode()


def test_an_interrupted_opening_goes_on(voted: Federation) -> None:
    calm, federation = voted.copy(), voted.copy()
    model = opened(calm)
    assert calm.board.round(1).result is not None
    for step in (Member.answer, Member.check_pieces):
        federation.request(1)
        step(federation.members[0], federation.board, 1)
    assert opened(federation) == model
    result = federation.board.round(1).result
    assert result is not None
    assert result.accuracy_ppm == 7
    assert len(federation.board.round(1).attempts) == 1


def test_too_few_members_are_waited_for(voted: Federation) -> None:
    federation = voted.copy()
    with pytest.raises(QuorumError, match="need the checks of 3 of 4 members, have 2"):
        opened(federation, members=2)
    assert not federation.board.round(1).finished
    opened(federation)
    assert federation.board.round(1).result is not None


def test_a_round_without_a_sum_is_not_opened(updated: Federation) -> None:
    with pytest.raises(StateError, match="round 1 has no sum that could be asked for"):
        opened(updated.copy())


def test_a_loop_that_gets_nowhere_ends(voted: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a log drops what the operator writes."""
    monkeypatch.setattr(Operator, "settle", lambda *_, **__: False)
    with pytest.raises(StateError, match="nobody else was asked, and the round is not over"):
        opened(voted.copy())
