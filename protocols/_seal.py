"""The only importer of `tenseal`: SEAL as a judge of parameters, and as an engine of transforms where numba is missing.

SEAL never sees a key or a peer's bytes as they came: the ciphertext objects that it transforms are assembled here from
residues that were checked before, at a level of a context without any key. They pass through anonymous memory files, so
nothing touches a disk.

Object layout: SEAL 4.1-4.3 `serialization.h`, `ciphertext.cpp` (uncompressed mode).
"""

import os
import struct
import tempfile
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import tenseal.sealapi as seal
import zstandard

from .arrays import UInt64Array

if TYPE_CHECKING:
    from .suites import Suite

__all__ = ["HAS_MEMFD", "SealTransforms", "accepts", "max_modulus_bits", "version"]

HAS_MEMFD: Final = hasattr(os, "memfd_create")
_HEADER: Final = struct.Struct("<HBBBBHQ")  # magic, header size, major, minor, compression, reserved, total size
_MAGIC: Final = 0xA15E
_CIPHERTEXT: Final = struct.Struct("<4QBQQQdQ")  # parms_id, ntt, size, N, K, scale, correction factor
_COUNT: Final = struct.Struct("<Q")


def _parameters(ring_degree: int, primes: tuple[int, ...]) -> "seal.EncryptionParameters":
    parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
    parameters.set_poly_modulus_degree(ring_degree)
    parameters.set_coeff_modulus([seal.Modulus(q) for q in primes])
    return parameters


def accepts(suite: "Suite") -> bool:
    """Whether SEAL itself accepts the suite at 128-bit security."""
    parameters = _parameters(suite.ring_degree, suite.key_primes)
    return bool(seal.SEALContext(parameters, False, seal.SEC_LEVEL_TYPE.TC128).parameters_set())


def max_modulus_bits(ring_degree: int) -> int:
    """SEAL's own bound on the modulus at 128-bit security."""
    return int(seal.CoeffModulus.MaxBitCount(ring_degree, seal.SEC_LEVEL_TYPE.TC128))


def version() -> str:
    """Major and minor version of this SEAL, as it writes them into its objects."""
    _, _, major, minor, *_ = _own_header()
    return f"{major}.{minor}"


def _seal_header(body: bytes) -> bytes:
    _, size, major, minor, _, _, _ = _own_header()
    return _HEADER.pack(_MAGIC, size, major, minor, 0, 0, _HEADER.size + len(body)) + body


@lru_cache(maxsize=1)
def _own_header() -> tuple[int, ...]:
    """The header of this SEAL build, read off an object it wrote, so that its version is never guessed."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "plaintext")
        seal.Plaintext(1).save(path)
        with open(path, "rb") as file:
            return _HEADER.unpack(file.read(_HEADER.size))


def load_ciphertext(
    context: "seal.SEALContext", level: tuple[int, ...], x: UInt64Array, *, ntt: bool
) -> "seal.Ciphertext":
    """A ciphertext object that holds polynomials uint64[P, K, N], through an anonymous memory file."""
    residues = np.ascontiguousarray(x, dtype="<u8").tobytes()
    array = _seal_header(_COUNT.pack(len(residues) // 8) + residues)
    meta = _CIPHERTEXT.pack(*level, int(ntt), len(x), x.shape[2], x.shape[1], 1.0, 1)
    handle = os.memfd_create("polynomials", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(handle), "wb") as file:
            file.write(_seal_header(meta + array))
        ciphertext = seal.Ciphertext()
        ciphertext.load(context, f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)
    return ciphertext


def residues_of(ciphertext: "seal.Ciphertext", shape: tuple[int, int, int]) -> UInt64Array:
    """Read SEAL's own serialisation through an anonymous memory file."""
    handle = os.memfd_create("polynomials", os.MFD_CLOEXEC)
    try:
        ciphertext.save(f"/proc/self/fd/{handle}")
        size = os.lseek(handle, 0, os.SEEK_END)
        raw = os.pread(handle, size, 0)
    finally:
        os.close(handle)
    count = shape[0] * shape[1] * shape[2]
    body = zstandard.ZstdDecompressor().decompressobj().decompress(raw[_HEADER.size :])
    tail = body[_CIPHERTEXT.size + _HEADER.size :]
    if len(tail) != _COUNT.size + 8 * count or _COUNT.unpack_from(tail)[0] != count:
        raise RuntimeError("this build of SEAL writes ciphertexts in an unknown layout")
    return np.frombuffer(tail, dtype="<u8", offset=_COUNT.size).astype(np.uint64).reshape(shape)


class SealTransforms:
    """SEAL's number-theoretic transforms for one ring, two polynomials a call.

    SEAL transforms the polynomials of a ciphertext only, below the level of keys, and refuses one whose second
    polynomial is zero. `spare` is one more prime, which SEAL takes for the special one and nothing uses.
    """

    def __init__(self, degree: int, primes: tuple[int, ...], spare: int) -> None:
        if not HAS_MEMFD:
            raise OSError("this platform has no anonymous memory files")
        self._shape = (2, len(primes), degree)
        self._context = seal.SEALContext(_parameters(degree, (*primes, spare)), False, seal.SEC_LEVEL_TYPE.NONE)
        if not self._context.parameters_set():
            raise OSError(f"SEAL refuses the ring: {self._context.parameters_error_message()}")
        self._level = tuple(self._context.first_parms_id())
        self._evaluator = seal.Evaluator(self._context)

    def ntt(self, x: UInt64Array) -> UInt64Array:
        """As `Ring.ntt`."""
        return self._transformed(x, forward=True)

    def inverse_ntt(self, x: UInt64Array) -> UInt64Array:
        """As `Ring.inverse_ntt`."""
        return self._transformed(x, forward=False)

    def _transformed(self, x: UInt64Array, *, forward: bool) -> UInt64Array:
        flat = x.reshape(-1, *self._shape[1:])
        out = np.zeros(flat.shape, dtype=np.uint64)
        there = [i for i, polynomial in enumerate(flat) if polynomial.any()]  # the transform of zero is zero
        for first in range(0, len(there), 2):
            chosen = there[first : first + 2]
            pair = np.zeros(self._shape, dtype=np.uint64)
            pair[2 - len(chosen) :] = flat[chosen]  # the second is never zero
            ciphertext = load_ciphertext(self._context, self._level, pair, ntt=not forward)
            if forward:
                self._evaluator.transform_to_ntt_inplace(ciphertext)
            else:
                self._evaluator.transform_from_ntt_inplace(ciphertext)
            out[chosen] = residues_of(ciphertext, self._shape)[2 - len(chosen) :]
        return out.reshape(x.shape)
