"""The only importer of `tenseal`: SEAL as a judge of parameters, and as an engine of transforms where numba is missing.

No key is ever loaded into SEAL, public or secret, and no peer's bytes as they came: the ciphertext objects that it
transforms are assembled here from residues that were made here or checked before, at a level of a context without any
key. They pass through anonymous memory files, so they touch no disk; or, sooner, through the memory of one object,
where a trial shows that it lies as expected. One constant goes through a temporary file, to read SEAL's version off it.

Object layout: SEAL 4.1-4.3 `serialization.h`, `ciphertext.cpp` (uncompressed mode); in memory `ciphertext.h` and
`dynarray.h`.
"""

import ctypes
import os
import struct
import tempfile
from contextlib import suppress
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Final

import numpy as np
import tenseal.sealapi as seal
import zstandard

from .arrays import UInt64Array

if TYPE_CHECKING:
    from .suites import Suite

__all__ = ["HAS_MEMFD", "SealTransforms", "accepts", "version"]

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


# A Ciphertext in memory, in words of 64 bits: 4 of parms_id; ntt flag, size, N, K; scale and correction factor; 2 of a
# memory pool; capacity, count and address of the residues.
_WORDS: Final = 15
_NTT, _SIZES, _COUNTS, _DATA = 4, slice(5, 8), slice(12, 14), 14
_SIMPLE_INSTANCE: Final = object.__basicsize__  # where pybind11 keeps the address of the one C++ object


def _words_of(ciphertext: "seal.Ciphertext") -> "ctypes.Array[ctypes.c_uint64] | None":
    """The words of the object itself, if they say what SEAL's own accessors say; else None."""
    place = ctypes.c_void_p.from_address(id(ciphertext) + _SIMPLE_INSTANCE).value
    if not place or place % 8:
        return None
    words = (ctypes.c_uint64 * _WORDS).from_address(place)
    sizes = [ciphertext.size(), ciphertext.poly_modulus_degree(), ciphertext.coeff_modulus_size()]
    count = sizes[0] * sizes[1] * sizes[2]
    right = words[:4] == list(ciphertext.parms_id()) and words[_SIZES] == sizes and words[_COUNTS] == [count, count]
    return words if right and words[_DATA] else None


class _InPlace:
    """One ciphertext object, whose residues are written and read where they lie. For one thread at a time.

    Raises:
        OSError: the object does not lie in memory as expected; nothing can be written in place then.
    """

    def __init__(self, context: "seal.SEALContext", level: tuple[int, ...], shape: tuple[int, int, int]) -> None:
        trial = (np.arange(shape[0] * shape[1] * shape[2], dtype=np.uint64) % np.uint64(shape[2]) + 1).reshape(shape)
        self.ciphertext = load_ciphertext(context, level, trial, ntt=False)
        words = _words_of(self.ciphertext)
        if words is None:
            raise OSError("a ciphertext of this SEAL lies in memory in an unknown way")
        self._words = words
        values = (ctypes.c_uint64 * trial.size).from_address(words[_DATA])
        self.residues: UInt64Array = np.frombuffer(memoryview(values), dtype=np.uint64).reshape(shape)
        if not np.array_equal(self.residues, trial):
            raise OSError("the residues of this SEAL lie in memory in an unknown way")
        self.residues[...] = trial[::-1, ::-1, ::-1]
        for ntt in (True, False):
            self.set_form(ntt=ntt)
            if self.ciphertext.is_ntt_form() is not ntt:
                raise OSError("the form of this SEAL's ciphertexts lies in memory in an unknown way")
        if not np.array_equal(residues_of(self.ciphertext, shape), trial[::-1, ::-1, ::-1]):
            raise OSError("this SEAL does not take residues that were written in place")
        self.residues[...] = 0

    def set_form(self, *, ntt: bool) -> None:
        """Say in which form the residues are."""
        self._words[_NTT] = (self._words[_NTT] & ~0xFF) | int(ntt)


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
        self._evaluator, self._lock = seal.Evaluator(self._context), Lock()
        self._place: _InPlace | None = None
        with suppress(OSError):  # then through memory files
            self._place = _InPlace(self._context, self._level, self._shape)

    @property
    def in_place(self) -> bool:
        """Whether residues are written and read where SEAL keeps them."""
        return self._place is not None

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
            if self._place is not None:
                with self._lock:
                    self._transform_in_place(self._place, flat, out, chosen, forward=forward)
                continue
            pair = np.zeros(self._shape, dtype=np.uint64)
            pair[2 - len(chosen) :] = flat[chosen]  # the second is never zero
            ciphertext = load_ciphertext(self._context, self._level, pair, ntt=not forward)
            if forward:
                self._evaluator.transform_to_ntt_inplace(ciphertext)
            else:
                self._evaluator.transform_from_ntt_inplace(ciphertext)
            out[chosen] = residues_of(ciphertext, self._shape)[2 - len(chosen) :]
        return out.reshape(x.shape)

    def _transform_in_place(
        self, place: _InPlace, flat: UInt64Array, out: UInt64Array, chosen: list[int], *, forward: bool
    ) -> None:
        for row, i in enumerate(chosen, start=2 - len(chosen)):  # the second is never zero
            place.residues[row] = flat[i]
        place.set_form(ntt=not forward)
        if forward:
            self._evaluator.transform_to_ntt_inplace(place.ciphertext)
        else:
            self._evaluator.transform_from_ntt_inplace(place.ciphertext)
        for row, i in enumerate(chosen, start=2 - len(chosen)):
            out[i] = place.residues[row]
        place.residues[...] = 0  # it may have been a secret
