"""Values to digits and back; sums that never carry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.digits import DigitBlocks, DigitLayout
from protocols.errors import CapacityError, DecodeError
from protocols.grid import Grid, GridVector
from protocols.packing import checksum_modulus, digit_width, pack, unpack

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


CHECKED = DigitLayout(width=9, per_coefficient=3, coefficients=4, checksum=checksum_modulus(GRID, 9))


@given(st.integers(4, 20), st.integers(2, 500))
def test_the_checksum_s_modulus_is_a_prime_that_no_carry_is_a_multiple_of(value_bits: int, clients: int) -> None:
    grid = Grid(value_bits, 0)
    width = digit_width(grid, clients)
    modulus = checksum_modulus(grid, width)
    assert all(modulus % divisor for divisor in range(2, 1 + int(modulus**0.5)))
    assert modulus // 2 <= grid.largest  # a checksum digit needs no more room than a value
    assert (1 - 2**width) % modulus
    assert (1 + 2**width) % modulus


def test_values_too_short_for_a_checksum_are_refused() -> None:
    with pytest.raises(CapacityError, match="values of 2 bits are too short for a checksum digit"):
        checksum_modulus(Grid(2, 0), 5)


@given(st.lists(st.lists(st.integers(-31, 31), min_size=11, max_size=11), min_size=1, max_size=8))
def test_sums_keep_the_checksum(clients: list[list[int]]) -> None:
    each = [pack(vector(values), CHECKED, clients=8).digits for values in clients]
    total = DigitBlocks(CHECKED, np.sum(each, axis=0))
    assert unpack(total, 11).tolist() == [sum(column) for column in zip(*clients, strict=True)]
    assert CHECKED.values_per_block == 8


def read(coefficients: list[int]) -> DigitBlocks:
    """Digits as they are read from one coefficient each: a digit out of range carries into the next."""
    digits = np.zeros((1, 3, 4), dtype=np.int64)
    for at, message in enumerate(coefficients):
        for plane in range(3):
            digits[0, plane, at] = (message + 256) % 512 - 256
            message = (message - digits[0, plane, at]) >> 9
    return DigitBlocks(CHECKED, digits)


@pytest.mark.parametrize("plane", [0, 1])
@pytest.mark.parametrize("value", [254, 300, -260, 511, -1000])
def test_a_client_out_of_range_is_seen_where_it_carries(plane: int, value: int) -> None:
    honest = pack(vector([3] * 8), CHECKED, clients=8).digits[0].astype(object)
    messages = [sum(int(honest[d, i]) << (9 * d) for d in range(3)) for i in range(4)]
    assert unpack(read(messages), 8).tolist() == [3] * 8
    half = CHECKED.checksum // 2
    its_checksum = (6 + value + half) % CHECKED.checksum - half  # of the values it has, though they do not fit
    messages[2] += (value << (9 * plane)) + ((its_checksum - 6) << 18)
    with pytest.raises(DecodeError, match="block 0: a checksum digit is wrong"):
        unpack(read(messages), 8)
    plain = DigitBlocks(LAYOUT, read(messages).digits)
    assert unpack(plain, 12)[plane * 4 + 2] != 3 + value  # without the digit the wrong sums would be taken


def test_a_wrong_value_with_its_own_checksum_is_not_seen() -> None:
    """The limit: the checksum finds clients out of range by accident, not those who choose it to fit."""
    digits = pack(vector([3] * 8), CHECKED, clients=8).digits.copy()
    digits[0, 0, 0] += 50
    digits[0, 2, 0] += 50 - (CHECKED.checksum if digits[0, 2, 0] + 50 > CHECKED.checksum // 2 else 0)
    assert unpack(DigitBlocks(CHECKED, digits), 8)[0] == 53
