"""Blocks of digits: shapes and bounds."""

import numpy as np
import pytest

from protocols.digits import DigitBlocks, DigitLayout

LAYOUT = DigitLayout(width=5, per_coefficient=2, coefficients=4)


@pytest.mark.parametrize(("values", "blocks"), [(0, 0), (1, 1), (8, 1), (9, 2), (16, 2), (17, 3)])
def test_how_many_blocks(values: int, blocks: int) -> None:
    assert LAYOUT.blocks(values) == blocks


def test_derived_numbers() -> None:
    assert (LAYOUT.values_per_block, LAYOUT.largest) == (8, 15)


@pytest.mark.parametrize(
    ("width", "per_coefficient", "coefficients"), [(1, 1, 1), (49, 1, 1), (2, 0, 1), (2, 1, 0), (2, -1, 1)]
)
def test_impossible_layouts(width: int, per_coefficient: int, coefficients: int) -> None:
    with pytest.raises(ValueError, match=r"a digit is 2 to 48|at least one coefficient"):
        DigitLayout(width, per_coefficient, coefficients)


@pytest.mark.parametrize("value", [16, -16, (1 << 63) - 1, -(1 << 63)])
def test_a_digit_beyond_its_width_is_refused(value: int) -> None:
    digits = np.zeros((1, 2, 4), dtype=np.int64)
    digits[0, 1, 3] = value
    with pytest.raises(ValueError, match="does not fit 5 bits"):
        DigitBlocks(LAYOUT, digits)


def test_extreme_digits_and_no_block_are_fine() -> None:
    assert len(DigitBlocks(LAYOUT, np.full((1, 2, 4), -15, dtype=np.int64)).digits) == 1
    assert len(DigitBlocks(LAYOUT, np.zeros((0, 2, 4), dtype=np.int64)).digits) == 0


@pytest.mark.parametrize("shape", [(2, 4), (1, 4, 2), (1, 2, 5), (1, 2, 4, 1)])
def test_no_other_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected shape"):
        DigitBlocks(LAYOUT, np.zeros(shape, dtype=np.int64))


def test_no_digit_is_printed() -> None:
    assert "15" not in repr(DigitBlocks(LAYOUT, np.full((1, 2, 4), 15, dtype=np.int64))).replace("width=5", "")


@pytest.mark.parametrize(
    ("per_coefficient", "modulus", "message"),
    [(1, 7, "needs another digit"), (2, 8, "odd"), (2, 1, "odd"), (2, 33, "at most 5 bits"), (2, -7, "odd")],
)
def test_impossible_checksums(per_coefficient: int, modulus: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DigitLayout(5, per_coefficient, 4, checksum=modulus)


def test_a_checksum_takes_one_digit() -> None:
    layout = DigitLayout(5, 3, 4, checksum=7)
    assert (layout.value_digits, layout.values_per_block, layout.blocks(9)) == (2, 8, 2)
