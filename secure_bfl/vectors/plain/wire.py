"""Bytes of polynomials. Spec: wire §1 and §2 (v1)."""

import struct
from collections.abc import Sequence

from .arithmetic import ExpectedFailure, Rows, shake, width_of

__all__ = ["HEADER_BYTES", "header", "message", "pack_rows", "read", "uniform"]

HEADER_BYTES = 44


def uniform(label: bytes, degree: int, primes: Sequence[int]) -> Rows:
    """Uniform polynomials from a string: SHAKE-256 for each prime, with rejection."""
    rows = []
    for j, q in enumerate(primes):
        width, mask = width_of(q), (1 << q.bit_length()) - 1
        stream = shake(label + struct.pack("<BQ", j, q), 4 * degree * width)
        drawn = (int.from_bytes(stream[i : i + width], "little") & mask for i in range(0, len(stream), width))
        rows.append([d for d in drawn if d < q][:degree])
        if len(rows[-1]) < degree:
            raise ExpectedFailure("DecodeError")
    return rows


def header(kind: int, degree: int, polynomials: int, context: bytes) -> bytes:
    """The 44 bytes before the residues."""
    return b"SBFL" + bytes([1, kind, 0, degree.bit_length() - 1]) + struct.pack("<I", polynomials) + context


def pack_rows(rows: Rows, primes: Sequence[int]) -> bytes:
    """Residues in the whole bytes of their primes, little endian."""
    parts = []
    for row, q in zip(rows, primes, strict=True):
        width = width_of(q)
        parts += [value.to_bytes(width, "little") for value in row]
    return b"".join(parts)


def message(kind: int, polynomials: Sequence[Rows], primes: Sequence[int], context: bytes) -> bytes:
    """A whole message."""
    first = header(kind, len(polynomials[0][0]), len(polynomials), context)
    return first + b"".join(pack_rows(rows, primes) for rows in polynomials)


def read(data: bytes, kind: int, primes: Sequence[int], polynomials: int, degree: int, context: bytes) -> list[Rows]:
    """Read a message, and nothing else."""
    if len(data) != HEADER_BYTES + polynomials * degree * sum(map(width_of, primes)):
        raise ExpectedFailure("DecodeError")
    if data[:HEADER_BYTES] != header(kind, degree, polynomials, context):
        raise ExpectedFailure("DecodeError")
    result, at = [], HEADER_BYTES
    for _ in range(polynomials):
        rows = []
        for q in primes:
            width = width_of(q)
            rows.append([int.from_bytes(data[at + i * width : at + (i + 1) * width], "little") for i in range(degree)])
            at += degree * width
            if max(rows[-1]) >= q:
                raise ExpectedFailure("DecodeError")
        result.append(rows)
    return result
