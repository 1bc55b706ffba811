"""A keystream: the one place where `protocols` turns a 32-byte seed into random integers.

The stream is ChaCha20 (RFC 8439), which is what makes a run replayable in a test from its seed alone.
"""

from typing import NoReturn

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

__all__ = ["MAX_KEYSTREAM_BYTES", "SEED_BYTES", "Keystream"]

SEED_BYTES = 32
"""Length of a seed, the ChaCha20 key."""

MAX_KEYSTREAM_BYTES = 1 << 37
"""Half of what the 32-bit block counter can address, so that the counter never wraps."""

_PURPOSE_BYTES = 12
_WORD = 1 << 64


class Keystream:
    """Random bytes and integers from a seed; no byte is ever handed out twice.

    Run by: whoever holds the seed; the seed must come from the operating system and be used for one thing.

    `purpose` (at most 12 bytes) is the nonce. Two purposes under one seed give independent streams,
    so a caller who passes one seed to two functions of this package does not correlate them.

    Raises:
        TypeError: the seed or the purpose is not `bytes`.
        ValueError: a wrong length, or more than `MAX_KEYSTREAM_BYTES` asked for in all.
    """

    __slots__ = ("_left", "_stream")

    def __init__(self, seed: bytes, *, purpose: bytes = b"") -> None:
        if not isinstance(seed, bytes) or not isinstance(purpose, bytes):
            raise TypeError("seed and purpose must be bytes")
        if len(seed) != SEED_BYTES:
            raise ValueError(f"the seed must be {SEED_BYTES} bytes, got {len(seed)}")
        if len(purpose) > _PURPOSE_BYTES:
            raise ValueError(f"the purpose must be at most {_PURPOSE_BYTES} bytes, got {len(purpose)}")
        counter_and_nonce = bytes(4) + purpose.ljust(_PURPOSE_BYTES, b"\0")
        self._stream = Cipher(ChaCha20(seed, counter_and_nonce), mode=None).encryptor()
        self._left = MAX_KEYSTREAM_BYTES

    def __repr__(self) -> str:
        return "Keystream(<secret>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Keystream is secret: it cannot be pickled or copied")

    def read(self, n: int) -> bytes:
        """The next `n` bytes of the stream."""
        if n < 0:
            raise ValueError("cannot read a negative number of bytes")
        if n > self._left:
            raise ValueError(f"a keystream ends after {MAX_KEYSTREAM_BYTES} bytes: start one with a new seed")
        self._left -= n
        return self._stream.update(bytes(n))

    def uint64(self, n: int) -> npt.NDArray[np.uint64]:
        """The next `n` uniform 64-bit words (little-endian). Shapes: uint64[n], read-only."""
        return np.frombuffer(self.read(8 * n), dtype="<u8").astype(np.uint64, copy=False)

    def below(self, n: int, bound: int) -> npt.NDArray[np.uint64]:
        """`n` independent integers, exactly uniform in [0, bound), by rejection. Shapes: uint64[n].

        How many words are read depends on the seed only, never on anything the caller computes with the result.

        Raises:
            ValueError: `bound` is not in [1, 2^64] or `n` is negative.
        """
        if not 1 <= bound <= _WORD:
            raise ValueError("bound must be in [1, 2^64]")
        if n < 0:
            raise ValueError("cannot draw a negative number of integers")
        usable = _WORD - _WORD % bound
        result = self.uint64(n)
        if usable < _WORD:
            accepted = result[result < np.uint64(usable)]
            while accepted.size < n:
                more = self.uint64(n - accepted.size)
                accepted = np.concatenate([accepted, more[more < np.uint64(usable)]])
            result = accepted
        if bound < _WORD:
            result = result % np.uint64(bound)
        return result
