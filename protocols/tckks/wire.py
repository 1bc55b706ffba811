"""Fixed-length, canonical bytes for public polynomials.

Spec: wire §1 (v1). A message is a 44-byte header and the residues, polynomial by polynomial and prime by prime, each
residue in the whole bytes of its prime, little endian. The reader knows every header field and the length from the
plan, so both are compared before anything is allocated; then every residue must be below its prime.
"""

import hashlib
import struct
from enum import IntEnum
from typing import Final

import numpy as np

from ..arrays import UInt64Array
from ..errors import DecodeError
from ..suites import residue_bytes

__all__ = ["HEADER_BYTES", "WireKind", "decode", "encode", "encoded_size", "hash_to_polynomial"]

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


def _header(kind: WireKind, polynomials: int, degree: int, context: bytes) -> bytes:
    if len(context) != 32:
        raise ValueError("the context of a message is a 32-byte digest")
    log_degree = degree.bit_length() - 1
    return _HEADER.pack(_MAGIC, _VERSION, kind, _DENSE, log_degree, polynomials, context)


def encode(kind: WireKind, residues: UInt64Array, primes: tuple[int, ...], *, context: bytes) -> bytes:
    """The one encoding of polynomials uint64[P, K, N]; `context` is the digest of the key they belong to.

    Raises:
        ValueError: not as many rows as primes, a residue that is not below its prime, or a context of another length.
    """
    polynomials, count, degree = residues.shape
    if count != len(primes):
        raise ValueError(f"{count} residue rows for {len(primes)} primes")
    parts = [_header(kind, polynomials, degree, context)]
    for polynomial in residues:
        for row, q, width in zip(polynomial, primes, residue_bytes(primes), strict=True):
            if int(row.max()) >= q:
                raise ValueError(f"a residue is not below its prime {q}")
            parts.append(row.astype("<u8").view(np.uint8).reshape(degree, 8)[:, :width].tobytes())
    return b"".join(parts)


def decode(
    kind: WireKind, data: bytes, primes: tuple[int, ...], *, polynomials: int, degree: int, context: bytes
) -> UInt64Array:
    """Read what `encode` wrote, and nothing else. Run by: anyone, on bytes from anyone.

    Shapes: result uint64[polynomials, K, N].

    Raises:
        DecodeError: length, header or a residue is not what the plan calls for.
    """
    size = encoded_size(polynomials, degree, primes)
    if len(data) != size:
        raise DecodeError(f"{kind.name}: expected {size} bytes, got {len(data)}")
    if data[:HEADER_BYTES] != _header(kind, polynomials, degree, context):
        raise DecodeError(f"{kind.name}: the header is for another key, ring, version or kind")
    residues = np.empty((polynomials, len(primes), degree), dtype=np.uint64)
    at = HEADER_BYTES
    for polynomial in residues:
        for row, q, width in zip(polynomial, primes, residue_bytes(primes), strict=True):
            wide = np.zeros((degree, 8), dtype=np.uint8)
            wide[:, :width] = np.frombuffer(data, np.uint8, degree * width, at).reshape(degree, width)
            row[:] = wide.view("<u8")[:, 0]
            if int(row.max()) >= q:
                raise DecodeError(f"{kind.name}: a residue is not below its prime {q}")
            at += degree * width
    return residues


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
