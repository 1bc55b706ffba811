"""A client looks at the noise of the sums that were opened, and computes it itself."""

from dataclasses import replace

import pytest

from protocols.errors import PrivacyError
from secure_bfl.errors import ChainError
from secure_bfl.member import Member
from secure_bfl.model import GlobalModel
from secure_bfl.results import next_model
from tests.secure_bfl.federation import Federation

NAME = "client-1"


@pytest.mark.parametrize("ratio", [0.0, 0.5, 0.55, 0.9, 1.0, 5.0])
def test_sums_with_too_little_noise_end_it(requested: Federation, ratio: float) -> None:
    federation = requested.copy()
    plan, board = federation.plan, federation.board
    needed = plan.sentinels * plan.sentinel_variance(plan.shares)
    model = publish(federation, round(ratio * needed))
    federation.operator.open_round(board, 2, model)
    size, client = federation.log.size, federation.clients[0]
    if ratio > 0.6:
        assert client.update(board, 2, model)
        return
    with pytest.raises(PrivacyError, match="the noise in the sum of round 1 has") as caught:
        client.update(board, 2, model)
    assert f"{plan.sentinels} sentinels" in str(caught.value)
    assert federation.log.size == size
    assert len(federation.disks[NAME].odometer.reservations) == 1, "nothing is spent"


def publish(federation: Federation, energy: int) -> GlobalModel:
    """Finish round 1 with a model that states this energy of its sentinels."""
    for step in (Member.answer, Member.check_pieces):
        for member in federation.members:
            step(member, federation.board, 1)
    following = next_model(federation.board, 1, federation.zero)
    federation.operator.publish_model(federation.board, 1, following, sentinel_energy=energy)
    for client in federation.clients:
        client._energies[1] = energy  # as if the sum had been so
    return following


def test_what_the_operator_states_of_the_noise_is_computed_again(requested: Federation) -> None:
    """It could hide that there is none; or stop everybody, where there is enough."""
    for stated in (0, 1 << 50):
        federation = requested.copy()
        model = publish(federation, stated)
        client = federation.clients[0]
        client._energies.clear()
        federation.operator.open_round(federation.board, 2, model)
        with pytest.raises(ChainError, match="are not those of the sum that was opened") as caught:
            client.update(federation.board, 2, model)
        assert caught.value.culprits == ("operator",)


def test_little_too_little_in_many_rounds_is_found_as_well(finished: Federation) -> None:
    federation = finished.copy()
    plan, board, client = federation.plan, federation.board, federation.clients[0]
    state = board.round(1)
    assert state.result is not None
    energy = round(0.75 * plan.sentinels * plan.sentinel_variance(plan.shares))
    state.result = replace(state.result, sentinel_energy=energy)
    client._energies.update(dict.fromkeys(range(1, 9), energy))
    client._check_noise(board)
    board.replay.rounds.extend(replace(state, number=number) for number in range(2, 9))
    with pytest.raises(
        PrivacyError, match=r"the noise in the sum of 8 rounds together has 0\.75 of the variance that epsilon rests on"
    ):
        client._check_noise(board)
