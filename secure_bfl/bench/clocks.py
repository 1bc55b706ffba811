"""CPU seconds and wall seconds of steps, and their medians."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["CpuClock", "cpu_seconds", "wall_seconds"]


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds, user and system, of all threads of this process while `work` runs."""
    began = time.process_time()
    work()
    return time.process_time() - began


def wall_seconds(work: Callable[[], object]) -> float:
    """Seconds that pass while `work` runs."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


class CpuClock:
    """CPU seconds by step, of all threads of this process; each step may be taken many times."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        """Count what happens inside as one execution of `step`."""
        began = time.process_time()
        yield
        self._seconds[step].append(time.process_time() - began)

    def take(self, other: "CpuClock") -> None:
        """Count what another clock has counted too."""
        for step, seconds in other._seconds.items():
            self._seconds[step] += seconds

    def median(self, step: str) -> float:
        """Seconds of one execution of the step.

        Raises:
            KeyError: the step never ran.
        """
        if step not in self._seconds:
            raise KeyError(step)
        return statistics.median(self._seconds[step])

    def total(self, *steps: str) -> float:
        """Seconds of all executions of these steps."""
        return sum(sum(self._seconds[step]) for step in steps)

    def milliseconds(self, step: str) -> float:
        """The median in milliseconds, to the microsecond."""
        return round(1000 * self.median(step), 3)
