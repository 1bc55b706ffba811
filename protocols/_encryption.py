"""The tables of the compiled encryption under one key, and its scratch memory. Only where numba computes."""

from contextlib import AbstractContextManager

import numpy as np

from ._fused_numba import encrypt_rows, scratch_doubles
from ._ntt_numba import forward, inverse
from ._ring_numba import centred_integer
from .arrays import Float64Array, Int64Array, UInt8Array, UInt64Array
from .digits import DigitLayout
from .errors import StateError
from .ring import Ring
from .suites import residue_bytes

__all__ = ["FusedEncryption"]

_EXACT_BITS = 48  # digits are joined to integers of so many bits


class FusedEncryption:
    """One block in one call. `full` is the ring of the data primes and, last, the special prime.

    Shapes: b, a uint64[K+1, N], NTT form. Delta * M is zero modulo all data primes but the first `kept`.
    """

    def __init__(self, full: Ring, b: UInt64Array, a: UInt64Array, layout: DigitLayout, scale: int, kept: int) -> None:
        kernels = full.compiled
        self._kernels, self._layout, self._n = kernels, layout, full.degree
        *data, p = full.primes
        factors = [pow(p, -1, q) for q in data] + [pow(full.degree, -1, p)]
        column = np.array(factors, dtype=np.uint64)[:, None]
        self._key = np.stack([kernels.signed(full.multiply(part, column)) for part in (b, a)])
        self._joined = max(1, _EXACT_BITS // layout.width)
        groups = -(-layout.per_coefficient // self._joined)
        step = layout.width * self._joined
        weights = [[centred_integer(scale << (step * g), q) for g in range(groups)] for q in data[:kept]]
        self._weights = np.array([weights], dtype=np.float64)
        self._weights_by_q = self._weights / np.array(data[:kept], dtype=np.float64)[None, :, None]
        self._special = np.array([centred_integer(pow(p, -1, q), q) for q in data], dtype=np.float64)
        self._special_by_q = self._special / np.array(data, dtype=np.float64)
        self._one = kernels.with_quotients(np.ones((len(full.primes), 1)))
        self._widths = np.array(residue_bytes(tuple(data)), dtype=np.int64)

    def scratch(self) -> AbstractContextManager[Float64Array]:
        """Memory for one thread, overwritten at the end: it holds randomness and messages."""
        return self._kernels.scratch(scratch_doubles(self._n, len(self._widths)))

    def write(self, digits: Int64Array, stream: bytes, out: UInt8Array, at: int, scratch: Float64Array) -> None:
        """Encrypt digits int64[k, N] with the block's stream and write the ciphertext's bytes to `out` from `at`.

        Raises:
            StateError: the stream yielded too few ternary coefficients (probability below 2^-1000).
        """
        kernels, verdict = self._kernels, np.zeros(1, dtype=np.int64)
        encrypt_rows(
            np.frombuffer(stream, dtype=np.uint8), np.ascontiguousarray(digits), self._layout.width, self._joined,
            out, at, self._widths, scratch, verdict,
            self._key, self._weights, self._weights_by_q, self._special, self._special_by_q,
            kernels.q, kernels.inverse_q,
            forward.address, kernels.forward, inverse.address, kernels.backward, self._one,
        )  # fmt: skip
        if verdict[0] < self._n:
            raise StateError("the encryption's stream ran out; draw another rand")
