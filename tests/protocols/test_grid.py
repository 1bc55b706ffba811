"""Reals to grid units: nearest, clipped, never NaN."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.grid import Grid, GridVector


def test_nearest_ties_to_even_and_clipping() -> None:
    grid = Grid(value_bits=4, step_bits=1)
    assert (grid.step, grid.largest) == (0.5, 7)
    update = np.array([0.0, -0.0, 0.25, 0.75, -0.25, 0.26, 3.5, 3.74, 3.76, 100.0, -100.0, 1e308, -1e308, 5e-324])
    assert grid.quantize(update).values.tolist() == [0, 0, 0, 2, 0, 1, 7, 7, 7, 7, -7, 7, -7, 0]


@given(st.integers(2, 32), st.integers(0, 40), st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20))
def test_every_value_is_within_half_a_step_or_clipped(value_bits: int, step_bits: int, update: list[float]) -> None:
    grid = Grid(value_bits, step_bits)
    for real, unit in zip(update, grid.quantize(np.array(update, dtype=np.float64)).values.tolist(), strict=True):
        edge = grid.largest * grid.step
        assert abs(min(max(real, -edge), edge) - unit * grid.step) <= grid.step / 2


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_sent(bad: float) -> None:
    with pytest.raises(ValueError, match="not finite; nothing was sent"):
        Grid(8, 4).quantize(np.array([0.0, bad]))


@pytest.mark.parametrize(("value_bits", "step_bits"), [(1, 0), (33, 0), (8, -1), (8, 41)])
def test_impossible_grids(value_bits: int, step_bits: int) -> None:
    with pytest.raises(ValueError, match=r"must be \d+ to \d+, not"):
        Grid(value_bits, step_bits)


@pytest.mark.parametrize("value", [8, -8, 1 << 62, -(1 << 63)])
def test_a_value_beyond_the_grid_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="exceeds the grid's 4 bits"):
        GridVector(Grid(4, 0), np.array([0, value], dtype=np.int64))


def test_a_vector_is_typed_and_does_not_print_its_values() -> None:
    vector = GridVector(Grid(8, 0), np.array([123, -77], dtype=np.int64))
    assert "123" not in repr(vector)
    assert "<secret>" in repr(vector)
    with pytest.raises(TypeError, match="int64"):
        GridVector(Grid(8, 0), np.array([1.0]))
