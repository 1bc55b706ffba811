"""The only importer of `tenseal`: SEAL behind three functions on bytes and arrays.

Spec: tckks §4 (v1). SEAL encrypts zero under the collective key; the message is added by `encrypt`. SEAL never sees a
peer's bytes: the public key it loads is assembled here from residues that were checked before. Nothing secret touches
a disk: the key is public, and the fresh ciphertext of zero is read back through an anonymous memory file, or, where
the platform has none, value by value.

Object layout: SEAL 4.1-4.3 `serialization.h`, `publickey.h`, `ciphertext.cpp` (uncompressed mode).
"""

import os
import struct
import tempfile
from typing import Final

import numpy as np
import tenseal.sealapi as seal
import zstandard

from ..arrays import UInt64Array
from ..suites import Suite

__all__ = ["HAS_MEMFD", "SEED_BYTES", "SealKey", "accepts", "max_modulus_bits", "version"]

SEED_BYTES: Final = 64  # SEAL's prng_seed_type: eight 64-bit words
HAS_MEMFD: Final = hasattr(os, "memfd_create")
_HEADER: Final = struct.Struct("<HBBBBHQ")  # magic, header size, major, minor, compression, reserved, total size
_MAGIC: Final = 0xA15E
_CIPHERTEXT: Final = struct.Struct("<4QBQQQdQ")  # parms_id, ntt, size, N, K, scale, correction factor
_COUNT: Final = struct.Struct("<Q")


def _parameters(suite: Suite) -> "seal.EncryptionParameters":
    parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
    parameters.set_poly_modulus_degree(suite.ring_degree)
    parameters.set_coeff_modulus([seal.Modulus(q) for q in suite.key_primes])
    return parameters


def accepts(suite: Suite) -> bool:
    """Whether SEAL itself accepts the suite at 128-bit security."""
    context = seal.SEALContext(_parameters(suite), False, seal.SEC_LEVEL_TYPE.TC128)
    return bool(context.parameters_set())


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


def _own_header() -> tuple[int, ...]:
    """The header of this SEAL build, read off an object it wrote, so that its version is never guessed."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "plaintext")
        seal.Plaintext(1).save(path)
        with open(path, "rb") as file:
            return _HEADER.unpack(file.read(_HEADER.size))


class SealKey:
    """The collective public key inside SEAL, ready to encrypt zero many times."""

    def __init__(self, suite: Suite, b: UInt64Array, a: UInt64Array) -> None:
        self._suite = suite
        parameters = _parameters(suite)
        context = seal.SEALContext(parameters, False, seal.SEC_LEVEL_TYPE.TC128)
        if not context.parameters_set():
            raise ValueError(f"SEAL refuses suite {suite.name}: {context.parameters_error_message()}")
        residues = np.ascontiguousarray(np.stack([b, a]), dtype="<u8").tobytes()
        array = _seal_header(_COUNT.pack(len(residues) // 8) + residues)
        meta = (*context.key_parms_id(), 1, 2, suite.ring_degree, len(suite.key_primes), 1.0, 1)
        blob = _seal_header(_CIPHERTEXT.pack(*meta) + array)
        self._key = seal.PublicKey()
        with tempfile.TemporaryDirectory() as folder:  # a public key: nothing secret is written
            path = os.path.join(folder, "public-key")
            with open(path, "wb") as file:
                file.write(blob)
            self._key.load(context, path)

    def encrypt_zero(self, seed: bytes, *, memory_file: bool = HAS_MEMFD) -> UInt64Array:
        """A fresh encryption of zero, in NTT form.

        Every call builds a context of its own around its seed: two encryptions under one seeded context would share
        their randomness and give away the difference of their messages.

        Shapes: result uint64[2, K, N], K data primes.
        """
        if len(seed) != SEED_BYTES:
            raise ValueError(f"the encryption seed must be {SEED_BYTES} bytes")
        parameters = _parameters(self._suite)
        parameters.set_random_generator(seal.Shake256PRNGFactory(list(struct.unpack("<8Q", seed))))
        context = seal.SEALContext(parameters, False, seal.SEC_LEVEL_TYPE.TC128)
        ciphertext = seal.Ciphertext()
        seal.Encryptor(context, self._key).encrypt_zero(ciphertext)
        shape = (2, len(self._suite.data_primes), self._suite.ring_degree)
        if not memory_file:
            size = shape[0] * shape[1] * shape[2]
            return np.fromiter((ciphertext[i] for i in range(size)), dtype=np.uint64, count=size).reshape(shape)
        return _residues_of(ciphertext, shape)


def _residues_of(ciphertext: "seal.Ciphertext", shape: tuple[int, int, int]) -> UInt64Array:
    """Read SEAL's own serialisation through an anonymous memory file."""
    handle = os.memfd_create("sealed", os.MFD_CLOEXEC)
    try:
        ciphertext.save(f"/proc/self/fd/{handle}")
        size = os.lseek(handle, 0, os.SEEK_END)
        raw = os.pread(handle, size, 0)
    finally:
        os.close(handle)
    count = shape[0] * shape[1] * shape[2]
    body = zstandard.ZstdDecompressor().decompressobj().decompress(raw[_HEADER.size :])
    tail = body[_CIPHERTEXT.size + _HEADER.size :]
    if _COUNT.unpack_from(tail)[0] != count or len(tail) != _COUNT.size + 8 * count:
        raise RuntimeError("this build of SEAL writes ciphertexts in an unknown layout")
    return np.frombuffer(tail, dtype="<u8", offset=_COUNT.size).astype(np.uint64).reshape(shape)
