"""A campaign in a process of its own: one that dies, or that no alarm reaches, is a finding with the input at fault."""

import mmap
import os
import pickle
import resource
import signal
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.fuzz.folder import scratch
from tests.fuzz.limits import SECONDS, SECONDS_FIRST
from tests.fuzz.runner import Finding, Result, attempt, campaign
from tests.fuzz.target import Target

__all__ = ["ADDRESS_SPACE", "isolated"]

ADDRESS_SPACE = 4 << 30
"""Bytes of address space that the process may take beyond what it has: the machine survives what asks for more."""
_NOTE = struct.Struct("<QQ")  # number of the mutation, counted from 1, and the length of its input
_LARGEST = 4 << 20
_POLL = 0.02


def _limit_address_space() -> None:
    statm = Path("/proc/self/statm")
    if statm.exists():
        size = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESS_SPACE, resource.RLIM_INFINITY))


def isolated(
    target: Target,
    numbers: range,
    *,
    seed: int,
    extra: Sequence[bytes] = (),
    progress: Callable[[int], None] = lambda done: None,
    patience: float = 3 * SECONDS,
) -> Result:
    """As `campaign`, in forked processes. A process that says nothing for `patience` seconds is killed."""
    scratch("before")  # the folders of the processes go when this one ends
    attempt(target, target.seeds[0], seconds=SECONDS_FIRST)  # compiled once, here, and not in every process
    total, start, deaths = Result(target.name), numbers.start, 0
    while start < numbers.stop:
        part, died = _one_process(target, range(start, numbers.stop), seed, extra, progress, patience)
        if part is not None:
            total.outcomes += part.outcomes
            total.findings += part.findings
            total.peak = max(total.peak, part.peak)
        if died is None:
            break
        number, finding = died
        total.findings.append(finding)
        total.outcomes["before a death"] += max(0, number - 1 - start)
        start, deaths = number, deaths + 1
        if deaths == 5:
            break
    return total


def _one_process(
    target: Target,
    numbers: range,
    seed: int,
    extra: Sequence[bytes],
    progress: Callable[[int], None],
    patience: float,
) -> tuple[Result | None, tuple[int, Finding] | None]:
    shared = mmap.mmap(-1, _NOTE.size + _LARGEST)
    shared[: _NOTE.size] = _NOTE.pack(numbers.start, 0)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _in_child(target, numbers, seed, extra, shared, reading, writing)
    os.close(writing)
    os.set_blocking(reading, False)
    answer, status, number, changed = b"", None, numbers.start, time.monotonic()
    while status is None:
        time.sleep(_POLL)
        answer += _available(reading)
        ended, code = os.waitpid(child, os.WNOHANG)
        status = code if ended else None
        current = _NOTE.unpack_from(shared)[0]
        if current != number:
            number, changed = current, time.monotonic()
            progress(number)
        elif time.monotonic() - changed > patience:
            os.kill(child, signal.SIGKILL)
            status = os.waitpid(child, 0)[1]
    answer += _available(reading)
    os.close(reading)
    number, size = _NOTE.unpack_from(shared)
    data = bytes(shared[_NOTE.size : _NOTE.size + size])
    shared.close()
    if status == 0:
        result: Result = pickle.loads(answer)
        return result, None
    reason = f"the process ended by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "the process ended"
    return None, (max(number, numbers.start + 1), Finding(target.name, reason, data))


def _available(reading: int) -> bytes:
    data = b""
    try:
        while more := os.read(reading, 1 << 16):
            data += more
    except BlockingIOError:
        pass
    return data


def _in_child(
    target: Target,
    numbers: range,
    seed: int,
    extra: Sequence[bytes],
    shared: mmap.mmap,
    reading: int,
    writing: int,
) -> None:
    """Never returns."""

    def note(number: int, data: bytes) -> None:
        shared[_NOTE.size : _NOTE.size + len(data)] = data
        shared[: _NOTE.size] = _NOTE.pack(number + 1, len(data))

    status = 1
    try:
        os.close(reading)
        _limit_address_space()
        answer = memoryview(pickle.dumps(campaign(target, numbers, seed=seed, extra=extra, before=note)))
        while answer:
            answer = answer[os.write(writing, answer) :]
        status = 0
    finally:
        os._exit(status)
