"""A client that fills digits it must leave alone: its ciphertext is well formed, the sum opens, and the round ends."""

import numpy as np
import pytest

from protocols.digits import DigitBlocks, DigitLayout
from protocols.grid import GridVector
from protocols.packing import pack
from secure_bfl import client as client_module
from secure_bfl.datasets import load
from secure_bfl.errors import UnopenableError
from secure_bfl.opening import open_sum
from secure_bfl.plan import FederationPlan
from secure_bfl.results import next_model
from tests.secure_bfl.federation import NOW, Federation


def spoiled(vector: GridVector, layout: DigitLayout, *, clients: int) -> DigitBlocks:
    """The last digit is one more than it must be: padding, or if there is one the checksum."""
    honest = pack(vector, layout, clients=clients)
    digits = honest.digits.copy()
    digits[-1, -1, -1] += 1
    return DigitBlocks(layout, digits)


@pytest.mark.parametrize(
    ("threshold", "checksum", "told", "culprits"),
    [
        (2, False, "the padding behind the last value is not zero", ("client-1", "client-2")),
        (2, True, "a checksum digit is wrong", ("client-1", "client-2")),
        (3, False, "the padding behind", ("client-1", "client-2", "member-1", "member-2", "member-3")),
    ],
)
def test_a_client_that_spoils_a_digit_costs_one_round(
    monkeypatch: pytest.MonkeyPatch, threshold: int, checksum: bool, told: str, culprits: tuple[str, ...]
) -> None:
    plan = FederationPlan.create(
        "breast-cancer", clients=2, members=3, threshold=threshold, rounds=2, checksum_digit=checksum
    )
    federation = Federation(plan, load(plan.dataset, plan.clients).shares)
    federation.found()
    federation.generate_key()
    board, model = federation.board, federation.zero
    for number in (1, 2):
        federation.operator.open_round(board, number, model)
        federation.clients[0].update(board, number, model)
        with monkeypatch.context() as patch:
            if number == 1:
                patch.setattr(client_module, "pack", spoiled)
            federation.clients[1].update(board, number, model)
        federation.close_and_vote(number)
        model = open_sum(
            board,
            number,
            model,
            operator=federation.operator,
            members=federation.members,
            witnesses=federation.witnesses,
            now=NOW,
        )
    first, second = board.round(1), board.round(2)
    assert first.void is not None
    assert first.void.reason.startswith("the sum of round 1 opens to what no honest updates give: ")
    assert told in first.void.reason
    with pytest.raises(UnopenableError, match=told) as caught:
        next_model(board, 1, federation.zero)
    assert caught.value.culprits == culprits
    assert second.result is not None, "the next round is an ordinary one"
    assert np.abs(model.vector).max() > 0
