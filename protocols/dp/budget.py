"""The noise that a budget asks for, and the gate that keeps a run within it.

Spec: dp §5.7 (v1).
"""

import math
from bisect import bisect_left
from collections.abc import Iterable
from functools import lru_cache

from ..errors import PrivacyError
from .accounting import MAX_EPSILON, QUICK_ORDERS, check_delta, epsilon_pld, epsilon_rdp
from .events import MAX_NOISE_MULTIPLIER_MILLI, MIN_NOISE_MULTIPLIER_MILLI, PrivacyEvent, totals
from .integers import check_int
from .noise import MAX_DIM

__all__ = ["calibrate", "gate"]


def gate(
    events: Iterable[PrivacyEvent],
    *,
    epsilon_budget: float,
    delta: float,
    dim: int = MAX_DIM,
    schedule: Iterable[PrivacyEvent] | None = None,
) -> float:
    """Let a step pass, and return epsilon of everything reserved, this step included, or refuse.

    Run by: a client, before it reserves the step; by an auditor, on the ledger.
    `events`: what was reserved so far, and the step that is to be reserved.
    `schedule`: all events that were committed to before the first of them was released. If `events` are among them,
    and the whole schedule fits the budget or has one mechanism only, all that can react to a result is when to stop,
    and the number is `epsilon_pld`. Otherwise it is `epsilon_rdp`, which stays valid
    when each step is chosen in view of the results so far (Feldman and Zrnic 2021; Lecuyer 2021).
    Raises:
        PrivacyError: epsilon is above the budget, or is not a number in [0, inf).
        ValueError: the budget is not finite and positive, or `delta` or `dim` is out of range.
    """
    if not (math.isfinite(epsilon_budget) and epsilon_budget > 0):
        raise ValueError("the epsilon budget must be finite and positive")
    reserved, committed = list(events), list(schedule or ())
    if schedule is not None and _leaves_no_choice(reserved, committed, epsilon_budget, delta, dim):
        epsilon = epsilon_pld(reserved, delta, dim=dim)
    else:
        epsilon = epsilon_rdp(reserved, delta, dim=dim)
    if not (math.isfinite(epsilon) and 0 <= epsilon <= epsilon_budget):
        raise PrivacyError(
            f"privacy budget: this step would make epsilon {epsilon:.6g}, the budget is {epsilon_budget:.6g} "
            f"at delta {delta:g}: stop here, or agree on a new plan"
        )
    return epsilon


def _leaves_no_choice(
    events: list[PrivacyEvent], schedule: list[PrivacyEvent], epsilon_budget: float, delta: float, dim: int
) -> bool:
    """Whether the budget leaves nothing to choose in view of results but when to stop.

    Where a schedule of several mechanisms does not fit as a whole, which part of it comes next could be chosen.
    """
    committed = totals(schedule)
    if not totals(events) <= committed:
        return False
    return len(committed) <= 1 or epsilon_pld(schedule, delta, dim=dim) <= epsilon_budget


def calibrate(*, epsilon: float, delta: float, sampling_rate_ppm: int, steps: int, dim: int = MAX_DIM) -> int:
    """The least noise multiplier (times 1000) with which `steps` steps cost at most `epsilon` by `epsilon_pld`.

    Run by: whoever writes the plan. The result is on the grid 100, .. , next = ceil(1.01 * last), .. , 10^7.
    `gate` then never stops the planned run, as both use the same number.
    Raises:
        ValueError: no privacy loss that small, or that large, can be asked for; or an argument is out of range.
    """
    if not (math.isfinite(epsilon) and 0 < epsilon <= MAX_EPSILON):
        raise ValueError(f"epsilon must be above 0 and at most {MAX_EPSILON:g}")
    PrivacyEvent(MIN_NOISE_MULTIPLIER_MILLI, sampling_rate_ppm, steps)
    check_int("dim", dim, 1, MAX_DIM)
    return _calibrate(epsilon, check_delta(delta), sampling_rate_ppm, steps, dim)


@lru_cache(maxsize=256)
def _calibrate(epsilon: float, delta: float, rate_ppm: int, steps: int, dim: int) -> int:
    grid = [MIN_NOISE_MULTIPLIER_MILLI]
    while grid[-1] < MAX_NOISE_MULTIPLIER_MILLI:
        grid.append(min(-(-grid[-1] * 101 // 100), MAX_NOISE_MULTIPLIER_MILLI))

    def fits(index: int) -> bool:
        return epsilon_pld([PrivacyEvent(grid[index], rate_ppm, steps)], delta, dim=dim) <= epsilon

    def surely_fits(index: int) -> bool:
        event = PrivacyEvent(grid[index], rate_ppm, steps)
        return epsilon_rdp([event], delta, dim=dim, orders=QUICK_ORDERS) <= epsilon

    everything = range(len(grid))
    # Renyi accounting is quick and close, and mostly above: start there and double the stride outwards.
    high = min(bisect_left(everything, True, key=surely_fits), len(grid) - 1)
    stride = 1
    while not fits(high):
        if high == len(grid) - 1:
            raise ValueError(
                "no noise multiplier up to 10000 reaches this epsilon: use fewer steps or a larger epsilon"
            )
        high, stride = min(high + stride, len(grid) - 1), 2 * stride
    low, stride = high, 1
    while low > 0 and fits(max(low - stride, 0)):
        low, stride = max(low - stride, 0), 2 * stride
    first = max(low - stride, 0)
    return grid[bisect_left(everything, True, lo=first, hi=low, key=fits)]
