"""ChaCha20 (RFC 8439, §2.3 and §2.4) in Python integers: all blocks of a stream side by side in one long integer.

The counter starts at 0; the 12 bytes of the nonce are the purpose of the stream, filled up with zeros.
"""

import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache

from .arithmetic import Rows

__all__ = ["below", "draws", "expand", "keystream", "words"]

_ROUNDS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15))
_DIAGONALS = ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))


@lru_cache(maxsize=64)
def keystream(key: bytes, purpose: bytes, size: int) -> bytes:
    """The first bytes of the stream."""
    lanes = -(-size // 64)
    mask = int.from_bytes(b"\xff\xff\xff\xff\0\0\0\0" * lanes, "little")
    start = struct.unpack("<16I", b"expand 32-byte k" + key + bytes(4) + purpose.ljust(12, b"\0"))
    state = [int.from_bytes(struct.pack("<Q", word) * lanes, "little") for word in start]
    state[12] = int.from_bytes(struct.pack(f"<{lanes}Q", *range(lanes)), "little")
    x = list(state)

    def turn(value: int, bits: int) -> int:
        return (value << bits & mask) | (value >> (32 - bits) & mask)

    for _ in range(10):
        for a, b, c, d in (*_ROUNDS, *_DIAGONALS):
            x[a] = (x[a] + x[b]) & mask
            x[d] = turn(x[d] ^ x[a], 16)
            x[c] = (x[c] + x[d]) & mask
            x[b] = turn(x[b] ^ x[c], 12)
            x[a] = (x[a] + x[b]) & mask
            x[d] = turn(x[d] ^ x[a], 8)
            x[c] = (x[c] + x[d]) & mask
            x[b] = turn(x[b] ^ x[c], 7)
    columns = [
        struct.unpack(f"<{lanes}Q", ((value + first) & mask).to_bytes(8 * lanes, "little"))
        for value, first in zip(x, state, strict=True)
    ]
    blocks = (word for block in zip(*columns, strict=True) for word in block)
    return struct.pack(f"<{16 * lanes}I", *blocks)[:size]


def words(data: bytes) -> tuple[int, ...]:
    """64-bit little-endian words."""
    return struct.unpack(f"<{len(data) // 8}Q", data)


def draws(key: bytes, purpose: bytes) -> Iterator[int]:
    """The words of a stream, without end."""
    done, size = 0, 16384
    while True:
        yield from words(keystream(key, purpose, size))[done:]
        done, size = size // 8, 2 * size


def below(stream: Iterator[int], count: int, bound: int) -> list[int]:
    """Uniform integers below the bound: words below the largest multiple of it, modulo it."""
    usable = (1 << 64) - (1 << 64) % bound
    found: list[int] = []
    while len(found) < count:
        if (word := next(stream)) < usable:
            found.append(word % bound)
    return found


def expand(seed: bytes, columns: int, primes: Sequence[int], purpose: bytes = b"sub-share") -> Rows:
    """The uniform residues that a seed stands for, prime after prime from one stream."""
    stream = draws(seed, purpose)
    return [below(stream, columns, q) for q in primes]
