"""Independent blocks, computed by several workers; the results do not depend on how many there are.

Threads serve where the work leaves Python's lock, which is the compiled engine's; processes serve everywhere else. What
goes to a process is plain bytes and arrays: types that hold secrets cannot be sent.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar

__all__ = ["in_processes", "in_threads", "shares"]

_Result = TypeVar("_Result")


def shares(blocks: int, workers: int) -> tuple[range, ...]:
    """The blocks of each worker: contiguous, in order, of nearly equal length, none empty.

    Raises:
        ValueError: there is no worker, or a negative number of blocks.
    """
    if workers < 1 or blocks < 0:
        raise ValueError(f"cannot share {blocks} blocks among {workers} workers")
    count = min(workers, blocks)
    edges = [blocks * i // count for i in range(count + 1)] if count else [0]
    return tuple(range(first, last) for first, last in pairwise(edges))


def in_threads(function: Callable[[range], _Result], blocks: int, *, workers: int) -> list[_Result]:
    """`function` of each worker's blocks, in the order of the blocks."""
    parts = shares(blocks, workers)
    if len(parts) <= 1:
        return [function(part) for part in parts]
    with ThreadPoolExecutor(len(parts)) as pool:
        return list(pool.map(function, parts))


def in_processes(
    function: Callable[..., _Result],
    arguments: Sequence[tuple[Any, ...]],
    *,
    workers: int,
    start: Callable[..., None],
    state: tuple[Any, ...],
) -> list[_Result]:
    """`function` of each tuple of arguments, in order, in fresh processes that called `start(*state)` once.

    Both functions must be importable by name; nothing of this process is inherited.
    """
    if not arguments:
        return []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(arguments)), context, initializer=start, initargs=state) as pool:
        futures = [pool.submit(function, *given) for given in arguments]
        return [future.result() for future in futures]
