"""Work shared among threads and processes: in order, all of it, and the same whatever the number."""

import os
import threading

import pytest

from protocols.workers import in_processes, in_threads, shares

_STATE: list[int] = []


def _start(value: int) -> None:
    _STATE.append(value)


def _added(x: int) -> tuple[int, int]:
    return _STATE[0] + x, os.getpid()


def _refused(x: int) -> None:
    raise KeyError(x)


@pytest.mark.parametrize("blocks", [0, 1, 2, 5, 16, 17])
@pytest.mark.parametrize("workers", [1, 2, 3, 16, 40])
def test_shares_cover_everything_once_and_evenly(blocks: int, workers: int) -> None:
    parts = shares(blocks, workers)
    assert [block for part in parts for block in part] == list(range(blocks))
    assert len(parts) == min(blocks, workers)
    assert not parts or max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("blocks", "workers"), [(1, 0), (1, -1), (-1, 1)])
def test_no_worker_and_less_than_nothing(blocks: int, workers: int) -> None:
    with pytest.raises(ValueError, match="cannot share"):
        shares(blocks, workers)
    with pytest.raises(ValueError, match="cannot share"):
        in_threads(len, blocks, workers=workers)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_threads_answer_in_order(workers: int) -> None:
    assert [list(part) for part in in_threads(lambda part: part, 7, workers=workers)] == [
        list(part) for part in shares(7, workers)
    ]


def test_threads_run_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=30)
    assert len(in_threads(lambda part: both.wait(), 2, workers=2)) == 2


def test_an_error_in_a_thread_is_raised_here() -> None:
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda part: 1 // 0, 4, workers=2)


@pytest.mark.slow
def test_processes_answer_in_order_and_inherit_nothing() -> None:
    _STATE[:] = [1000]
    answers = in_processes(_added, [(i,) for i in range(5)], workers=2, start=_start, state=(7,))
    assert [value for value, _ in answers] == [7, 8, 9, 10, 11]
    assert os.getpid() not in {process for _, process in answers}
    assert in_processes(_added, [], workers=2, start=_start, state=(7,)) == []
    with pytest.raises(KeyError):
        in_processes(_refused, [(1,), (2,)], workers=2, start=_start, state=(7,))
