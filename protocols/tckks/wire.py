"""Fixed-length, canonical bytes for public polynomials.

Spec: wire §1 (v1). A message is a 44-byte header and the residues, polynomial by polynomial and prime by prime, each
residue in the whole bytes of its prime, little endian. The reader knows every header field and the length from the
plan, so both are compared before anything is allocated; then every residue must be below its prime.
"""

import hashlib
import io
import struct
from collections.abc import Iterator
from enum import IntEnum
from importlib import import_module
from types import ModuleType
from typing import Final

import numpy as np

from ..arrays import Int64Array, UInt8Array, UInt64Array
from ..errors import DecodeError
from ..ring import engine
from ..suites import residue_bytes

__all__ = [
    "HEADER_BYTES",
    "Message",
    "WireKind",
    "accumulate",
    "check",
    "decode",
    "encode",
    "encoded_size",
    "hash_to_polynomial",
    "header",
    "read",
]

_MAGIC: Final = b"SBFL"
_VERSION: Final = 1
_DENSE: Final = 0  # mode byte: the dense digits of this version; other modes will have their own number
_HEADER: Final = struct.Struct("<4sBBBBI32s")
HEADER_BYTES: Final = _HEADER.size


class WireKind(IntEnum):
    """What the polynomials of a message are."""

    PUBLIC_PART = 1
    CIPHERTEXT = 2
    PARTIAL_DECRYPTION = 3


def encoded_size(polynomials: int, degree: int, primes: tuple[int, ...]) -> int:
    """The exact length of a message with this many polynomials."""
    return HEADER_BYTES + polynomials * degree * sum(residue_bytes(primes))


def header(kind: WireKind, polynomials: int, degree: int, context: bytes) -> bytes:
    """The header of a message; `context` is the digest of the key its polynomials belong to."""
    if len(context) != 32:
        raise ValueError("the context of a message is a 32-byte digest")
    log_degree = degree.bit_length() - 1
    return _HEADER.pack(_MAGIC, _VERSION, kind, _DENSE, log_degree, polynomials, context)


def _compiled() -> ModuleType | None:
    """The compiled readers and writers, where numba computes."""
    return import_module("protocols._wire_numba") if engine() == "numba" else None


def _widths(primes: tuple[int, ...]) -> Int64Array:
    return np.array(residue_bytes(primes), dtype=np.int64)


def encode(kind: WireKind, residues: UInt64Array, primes: tuple[int, ...], *, context: bytes) -> bytes:
    """The one encoding of polynomials uint64[P, K, N]; `context` is the digest of the key they belong to.

    Raises:
        ValueError: not as many rows as primes, a residue that is not below its prime, or a context of another length.
    """
    polynomials, count, degree = residues.shape
    if count != len(primes):
        raise ValueError(f"{count} residue rows for {len(primes)} primes")
    for most, q in zip(residues.max(axis=(0, 2), initial=0).tolist(), primes, strict=True):
        if most >= q:
            raise ValueError(f"a residue is not below its prime {q}")
    head = header(kind, polynomials, degree, context)
    compiled = _compiled()
    if compiled is None or degree % 8:
        parts = [head]
        for polynomial in residues:
            for row, width in zip(polynomial, residue_bytes(primes), strict=True):
                parts.append(row.astype("<u8").view(np.uint8).reshape(degree, 8)[:, :width].tobytes())
        return b"".join(parts)
    message = Message(encoded_size(polynomials, degree, primes), head)
    compiled.write(np.ascontiguousarray(residues), message.octets, HEADER_BYTES, _widths(primes))
    return message.finish()


class Message:
    """Bytes to be written in place, then taken as they are, without a copy."""

    __slots__ = ("_buffer", "octets")

    def __init__(self, size: int, head: bytes) -> None:
        self._buffer = io.BytesIO()
        self._buffer.seek(size - 1)
        self._buffer.write(b"\0")
        self.octets: UInt8Array = np.frombuffer(self._buffer.getbuffer(), dtype=np.uint8)
        self.octets[: len(head)] = np.frombuffer(head, dtype=np.uint8)

    def finish(self) -> bytes:
        """The message. Nothing can be written afterwards."""
        self.octets = np.empty(0, dtype=np.uint8)  # the buffer must not be looked at from elsewhere
        return self._buffer.getvalue()


def check(
    kind: WireKind,
    data: bytes,
    primes: tuple[int, ...],
    *,
    polynomials: int,
    degree: int,
    context: bytes,
    transparent: int | None = None,
) -> None:
    """Check what `encode` wrote, without reading it into an array. Run by: anyone, on bytes from anyone.

    With `transparent` 0 or 1, no polynomial of that parity may be zero modulo any prime.

    Raises:
        DecodeError: length, header or a residue is not what the plan calls for.
    """
    size = encoded_size(polynomials, degree, primes)
    if len(data) != size:
        raise DecodeError(f"{kind.name}: expected {size} bytes, got {len(data)}")
    if data[:HEADER_BYTES] != header(kind, polynomials, degree, context):
        raise DecodeError(f"{kind.name}: the header is for another key, ring, version or kind")
    compiled = _compiled()
    found = 0
    if compiled is None or degree % 8:
        for polynomial, _, q, row in _rows(data, primes, polynomials, degree):
            if int(row.max()) >= q:
                found = 2 + primes.index(q)
                break
            if transparent is not None and polynomial % 2 == transparent and not row.any():
                found = 1
    else:
        verdict = np.zeros(1, dtype=np.int64)
        moduli, parity = np.array(primes, dtype=np.uint64), -1 if transparent is None else transparent
        octets = np.frombuffer(data, dtype=np.uint8)
        compiled.check(octets, HEADER_BYTES, polynomials, moduli, _widths(primes), degree, parity, verdict)
        found = int(verdict[0])
    if found > 1:
        raise DecodeError(f"{kind.name}: a residue is not below its prime {primes[found - 2]}")
    if found:
        raise DecodeError(f"{kind.name}: a ciphertext is transparent: its second polynomial is zero modulo a prime")


def _rows(
    data: bytes, primes: tuple[int, ...], polynomials: int, degree: int
) -> Iterator[tuple[int, int, int, UInt64Array]]:
    """Polynomial, row, prime and the residues, one row after the other."""
    at = HEADER_BYTES
    for polynomial in range(polynomials):
        for j, (q, width) in enumerate(zip(primes, residue_bytes(primes), strict=True)):
            wide = np.zeros((degree, 8), dtype=np.uint8)
            wide[:, :width] = np.frombuffer(data, np.uint8, degree * width, at).reshape(degree, width)
            yield polynomial, j, q, wide.view("<u8")[:, 0]
            at += degree * width


def read(data: bytes, primes: tuple[int, ...], *, polynomials: int, degree: int) -> UInt64Array:
    """The residues uint64[polynomials, K, N] of a message that `check` passed."""
    residues = np.zeros((polynomials, len(primes), degree), dtype=np.uint64)
    accumulate(data, primes, residues)
    return residues


def accumulate(data: bytes, primes: tuple[int, ...], total: UInt64Array) -> None:
    """Add the residues of a message that `check` passed to `total` uint64[P, K, N], without reduction."""
    polynomials, _, degree = total.shape
    compiled = _compiled()
    if compiled is None or degree % 8:
        for polynomial, j, _, row in _rows(data, primes, polynomials, degree):
            total[polynomial, j] += row
    else:
        compiled.accumulate(np.frombuffer(data, dtype=np.uint8), HEADER_BYTES, total, _widths(primes))


def decode(
    kind: WireKind, data: bytes, primes: tuple[int, ...], *, polynomials: int, degree: int, context: bytes
) -> UInt64Array:
    """Read what `encode` wrote, and nothing else. Run by: anyone, on bytes from anyone.

    Shapes: result uint64[polynomials, K, N].

    Raises:
        DecodeError: length, header or a residue is not what the plan calls for.
    """
    check(kind, data, primes, polynomials=polynomials, degree=degree, context=context)
    return read(data, primes, polynomials=polynomials, degree=degree)


def hash_to_polynomial(label: bytes, degree: int, primes: tuple[int, ...]) -> UInt64Array:
    """Uniform residues from a public string: SHAKE-256 per prime, with rejection. Spec: wire §2 (v1).

    Shapes: result uint64[K, N].
    """
    result = np.empty((len(primes), degree), dtype=np.uint64)
    for j, (q, width) in enumerate(zip(primes, residue_bytes(primes), strict=True)):
        mask = np.uint64((1 << q.bit_length()) - 1)
        draws = 4 * degree  # acceptance is at least one half, so 4N draws fall short with probability below 2^-1000
        stream = hashlib.shake_256(label + struct.pack("<BQ", j, q)).digest(draws * width)
        wide = np.zeros((draws, 8), dtype=np.uint8)
        wide[:, :width] = np.frombuffer(stream, np.uint8).reshape(draws, width)
        values = wide.view("<u8")[:, 0] & mask
        accepted = values[values < q]
        if len(accepted) < degree:
            raise DecodeError("the hash stream ran out of values below the prime")
        result[j] = accepted[:degree]
    return result
