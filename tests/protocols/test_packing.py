"""Values to digits and back; sums that never carry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.digits import DigitBlocks, DigitLayout
from protocols.errors import CapacityError, DecodeError
from protocols.grid import Grid, GridVector
from protocols.packing import digit_width, pack, unpack

GRID = Grid(6, 0)
LAYOUT = DigitLayout(width=9, per_coefficient=3, coefficients=4)


def vector(values: list[int], grid: Grid = GRID) -> GridVector:
    return GridVector(grid, np.array(values, dtype=np.int64))


@given(st.integers(2, 32), st.integers(1, 10_000))
def test_the_width_is_the_least_that_holds_every_sum(value_bits: int, clients: int) -> None:
    grid = Grid(value_bits, 0)
    width = digit_width(grid, clients)
    largest_sum = clients * grid.largest
    assert largest_sum <= (1 << (width - 1)) - 1  # what a digit of this width holds
    assert largest_sum > (1 << (width - 2)) - 1  # and one bit less does not


def test_no_client_no_width() -> None:
    with pytest.raises(ValueError, match="at least one client"):
        digit_width(GRID, 0)


def test_places() -> None:
    """Value i is in block i // kN, plane (i mod kN) // N, coefficient i mod N."""
    digits = pack(vector([i - 15 for i in range(30)]), LAYOUT, clients=8).digits
    assert digits.shape == (3, 3, 4)
    for i in range(36):
        assert digits[i // 12, i % 12 // 4, i % 4] == (i - 15 if i < 30 else 0)


@given(st.lists(st.integers(-31, 31), max_size=40))
def test_unpack_inverts_pack(values: list[int]) -> None:
    result = unpack(pack(vector(values), LAYOUT, clients=8), len(values))
    assert result.tolist() == values
    assert not result.flags.writeable


def test_all_clients_at_the_edge_sum_exactly() -> None:
    clients = (LAYOUT.largest) // GRID.largest
    assert digit_width(GRID, clients) == LAYOUT.width
    for edge in (GRID.largest, -GRID.largest):
        each = pack(vector([edge] * 12), LAYOUT, clients=clients)
        total = DigitBlocks(LAYOUT, clients * each.digits)
        assert set(unpack(total, 12).tolist()) == {clients * edge}


def test_one_client_more_than_the_digits_hold() -> None:
    clients = LAYOUT.largest // GRID.largest + 1
    with pytest.raises(CapacityError, match=f"{clients} clients of 6-bit values need digits of 10 bits; the layout"):
        pack(vector([0]), LAYOUT, clients=clients)


def test_the_wrong_number_of_blocks_is_refused() -> None:
    with pytest.raises(DecodeError, match="13 values stand in 2 blocks, not 1"):
        unpack(pack(vector([1] * 12), LAYOUT, clients=8), 13)


def test_padding_that_is_not_zero_is_refused() -> None:
    with pytest.raises(DecodeError, match="padding behind the last value is not zero"):
        unpack(pack(vector([1] * 12), LAYOUT, clients=8), 11)
