"""No reader looks beyond the last byte of a message: it stands before a page that nobody may read."""

import ctypes
import mmap
import os
import signal
import sys

import numpy as np
import pytest

from protocols.errors import DecodeError
from protocols.suites import residue_bytes
from protocols.tckks.wire import HEADER_BYTES, WireKind, accumulate, check, read
from tests.fuzz.tckks_targets import BLOCKS, CONTEXT, DEGREE, PRIMES, polynomial_seeds

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pages are protected through Linux's libc")


class Guarded:
    """Bytes at the end of a page, with a page behind it that ends the process that reads it."""

    def __init__(self, data: bytes) -> None:
        pages = -(-len(data) // mmap.PAGESIZE)
        self._map = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
        end = pages * mmap.PAGESIZE
        self._map[end - len(data) : end] = data
        behind = ctypes.addressof(ctypes.c_char.from_buffer(self._map, end))
        if ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(behind), mmap.PAGESIZE, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
        self.data = memoryview(self._map)[end - len(data) : end]
        self.beyond = memoryview(self._map)[end : end + 1]


def ends_by(action: "object") -> int:
    """The status of a process that does something and ends: 0, or the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGSEGV, signal.SIG_DFL)
            assert callable(action)
            action()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


def test_the_page_behind_cannot_be_read() -> None:
    guarded = Guarded(b"message")
    assert bytes(guarded.data) == b"message"
    assert ends_by(lambda: guarded.beyond[0]) == signal.SIGSEGV


@pytest.mark.parametrize("rows", range(1, len(PRIMES) + 1))
def test_checks_reads_and_sums_end_with_the_message(rows: int) -> None:
    """With fewer rows, so that a row of every width is the last."""
    primes = PRIMES[:rows]
    whole, size = polynomial_seeds()[2], DEGREE * sum(residue_bytes(PRIMES))
    kept = DEGREE * sum(residue_bytes(primes))
    parts = [whole[HEADER_BYTES + i * size : HEADER_BYTES + i * size + kept] for i in range(BLOCKS)]
    message = whole[:HEADER_BYTES] + b"".join(parts)
    guarded = Guarded(message)
    data: bytes = guarded.data  # type: ignore[assignment]  # it reads the same

    def everything() -> None:
        kind = WireKind.PUBLIC_PART
        check(kind, data, primes, polynomials=BLOCKS, degree=DEGREE, context=CONTEXT, transparent=1)
        residues = read(data, primes, polynomials=BLOCKS, degree=DEGREE)
        total = residues.copy()
        accumulate(data, primes, total)
        assert np.array_equal(total, 2 * residues)
        with pytest.raises(DecodeError, match="expected"):
            check(kind, data[:-1], primes, polynomials=BLOCKS, degree=DEGREE, context=CONTEXT)

    everything_once_unguarded(message, primes)
    assert ends_by(everything) == 0


def everything_once_unguarded(message: bytes, primes: tuple[int, ...]) -> None:
    """Compiles what there is to compile, before the process forks."""
    check(WireKind.PUBLIC_PART, message, primes, polynomials=BLOCKS, degree=DEGREE, context=CONTEXT, transparent=1)
    accumulate(message, primes, read(message, primes, polynomials=BLOCKS, degree=DEGREE))
