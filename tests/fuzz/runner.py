"""One input, and many: what a target did with it, and whether it was allowed to.

A finding is an input after which an error escapes that the target does not refuse with, an assertion about what was
accepted fails, the alarm rings, or the process needs too much memory. Memory is the peak of the resident set (VmHWM of
/proc/self/status, reset before the first input) over what it was when all seeds had been read.
"""

import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType

from tests.fuzz.limits import ACCEPTED, MEMORY, SECONDS, SECONDS_FIRST
from tests.fuzz.mutation import mutated
from tests.fuzz.target import Target

__all__ = ["Finding", "Result", "attempt", "campaign", "input_of", "resident_peak"]

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


class Alarm(BaseException):
    """An input took too long. Not an `Exception`, so that no reader can take it for bad data."""


@dataclass(frozen=True)
class Finding:
    """What an input did that it must not do."""

    target: str
    reason: str
    data: bytes


@dataclass
class Result:
    """The outcomes of many inputs: how many were accepted, how many refused by which error, and the findings."""

    target: str
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    peak: int = 0

    @property
    def inputs(self) -> int:
        """How many inputs there were."""
        return self.outcomes.total() + len(self.findings)


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raise `Alarm` if the block is not left in time."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attempt(target: Target, data: bytes, *, seconds: float = SECONDS) -> str | Finding:
    """Give one input to a target. Returns `ACCEPTED`, the name of the error it refused with, or a finding."""
    try:
        with alarm(seconds):
            target.run(data)
    except Alarm:
        return Finding(target.name, f"still running after {seconds} s", data)
    except Exception as exc:  # noqa: BLE001  # whatever else escapes is what this looks for
        if target.refuses_with(exc):
            return type(exc).__name__
        return Finding(target.name, f"{type(exc).__name__}: {exc!s:.200}", data)
    return ACCEPTED


def input_of(target: Target, seed: int, number: int, extra: Sequence[bytes] = ()) -> bytes:
    """The mutation with this number: it depends on nothing else."""
    rng = Random(f"{seed}/{target.name}/{number}")
    return mutated(rng, (*target.seeds, *extra), target.reshape)


def resident_peak() -> int:
    """Bytes of the largest resident set since the last reset; 0 where the system does not say."""
    if not _STATUS.exists():
        return 0
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def _reset_peak() -> None:
    if _CLEAR.exists():
        _CLEAR.write_text("5")


def campaign(
    target: Target,
    numbers: range,
    *,
    seed: int,
    extra: Sequence[bytes] = (),
    before: Callable[[int, bytes], None] = lambda number, data: None,
) -> Result:
    """Give many mutations to a target; `before` is told of each, so that it is known which one ended the process."""
    result = Result(target.name)
    for data in target.seeds:
        if (outcome := attempt(target, data, seconds=SECONDS_FIRST)) != ACCEPTED:
            reason = outcome.reason if isinstance(outcome, Finding) else outcome
            result.findings.append(Finding(target.name, f"a valid input is not accepted: {reason}", data))
    _reset_peak()
    baseline = reported = resident_peak()
    for number in numbers:
        data = input_of(target, seed, number, extra)
        before(number, data)
        outcome = attempt(target, data)
        peak = resident_peak()
        result.peak = max(result.peak, peak - baseline)
        if isinstance(outcome, str) and peak - baseline > MEMORY and peak > reported + MEMORY // 4:
            outcome = Finding(target.name, f"{(peak - baseline) >> 20} MiB of memory", data)
            reported = peak
        if isinstance(outcome, Finding):
            result.findings.append(outcome)
        else:
            result.outcomes[outcome] += 1
    return result
