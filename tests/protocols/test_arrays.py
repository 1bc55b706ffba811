"""Arrays of messages are copies that nobody can change."""

import numpy as np
import pytest

from protocols.arrays import exceeds, frozen


def test_a_frozen_array_is_a_read_only_copy() -> None:
    mine = np.arange(6, dtype=np.int64).reshape(2, 3)
    theirs = frozen(mine, np.int64, (None, 3))
    mine[0, 0] = 99
    assert theirs[0, 0] == 0
    with pytest.raises(ValueError, match="read-only"):
        theirs[0, 0] = 1


def test_the_copy_is_contiguous_whatever_the_input_was() -> None:
    assert frozen(np.arange(12, dtype=np.int64).reshape(3, 4).T, np.int64, (4, 3)).flags.c_contiguous


@pytest.mark.parametrize("dtype", [np.int32, np.uint64, np.float64, ">i8"])
def test_no_dtype_is_converted(dtype: str) -> None:
    with pytest.raises(TypeError, match="expected dtype int64, got"):
        frozen(np.zeros(3, dtype=dtype), np.int64, (3,))


@pytest.mark.parametrize("shape", [(2,), (3, 1), (), (None, 3), (4, None)])
def test_no_other_shape(shape: tuple[int | None, ...]) -> None:
    with pytest.raises(ValueError, match="expected shape"):
        frozen(np.zeros(3, dtype=np.int64), np.int64, shape)


def test_what_is_given_away_is_not_copied() -> None:
    """Read-only and the owner of its memory. A view, which someone else may write through, is copied."""
    mine = np.arange(6, dtype=np.int64)
    view = mine[:]
    view.setflags(write=False)
    assert frozen(view, np.int64, (6,)) is not view
    mine.setflags(write=False)
    assert frozen(mine, np.int64, (6,)) is mine


@pytest.mark.parametrize("place", [0, 1 << 15, (1 << 15) + 4])
@pytest.mark.parametrize("value", [8, -8, np.iinfo(np.int64).min])
def test_one_value_out_of_range_is_found_wherever_it_stands(place: int, value: int) -> None:
    array = np.resize(np.array([7, -7], dtype=np.int64), (5, ((1 << 15) + 5) // 5 + 1))
    assert not exceeds(array, 7)
    array.reshape(-1)[place] = value
    assert exceeds(array, 7)
    assert not exceeds(array[:0], 7)
