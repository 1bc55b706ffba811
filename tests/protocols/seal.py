"""SEAL as an oracle: its transform, product, encryption and decryption, on arrays."""

import struct
import tempfile
from typing import Any

import numpy as np
import tenseal.sealapi as sealapi

from protocols import _seal
from protocols.arrays import UInt64Array
from protocols.suites import Suite


class SealRing:
    """SEAL's own arithmetic over the data primes of a suite."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        self._context = sealapi.SEALContext(
            _seal._parameters(suite.ring_degree, suite.key_primes), False, sealapi.SEC_LEVEL_TYPE.TC128
        )
        self._evaluator = sealapi.Evaluator(self._context)

    def _load(self, x: UInt64Array, *, ntt: bool) -> "sealapi.Ciphertext":
        return _seal.load_ciphertext(self._context, tuple(self._context.first_parms_id()), x, ntt=ntt)

    def ntt(self, x: UInt64Array) -> UInt64Array:
        """SEAL's transform of several polynomials, uint64[P, K, N]."""
        ciphertext = self._load(x, ntt=False)
        self._evaluator.transform_to_ntt_inplace(ciphertext)
        residues: UInt64Array = _seal.residues_of(ciphertext, (x.shape[0], x.shape[1], x.shape[2]))
        return residues

    def product(self, x: UInt64Array, y: UInt64Array) -> UInt64Array:
        """SEAL's product of two polynomials in NTT form: the last part of (x, x) times (y, y)."""
        result = self._load(np.stack([x, x]), ntt=True)
        self._evaluator.multiply_inplace(result, self._load(np.stack([y, y]), ntt=True))
        parts: UInt64Array = _seal.residues_of(result, (3, x.shape[0], x.shape[1]))
        last: UInt64Array = parts[2]
        return last

    def encryption_of_zero(self) -> tuple[UInt64Array, UInt64Array, UInt64Array]:
        """A secret key of SEAL's own, an encryption of zero under it, and what SEAL's decryptor makes of that."""
        shape = (len(self._suite.key_primes), self._suite.ring_degree)
        generator = sealapi.KeyGenerator(self._context)
        secret, public, ciphertext = generator.secret_key(), sealapi.PublicKey(), sealapi.Ciphertext()
        generator.create_public_key(public)
        sealapi.Encryptor(self._context, public).encrypt_zero(ciphertext)
        plaintext = sealapi.Plaintext()
        sealapi.Decryptor(self._context, secret).decrypt(ciphertext, plaintext)
        data = (shape[0] - 1, shape[1])
        return (
            _values(secret.data(), shape),
            _seal.residues_of(ciphertext, (2, *data)),
            _values(plaintext, data),
        )

    def public_key(self, b: UInt64Array, a: UInt64Array) -> "sealapi.PublicKey":
        """Our public key as SEAL's."""
        residues = np.ascontiguousarray(np.stack([b, a]), dtype="<u8").tobytes()
        array = _seal._seal_header(_seal._COUNT.pack(len(residues) // 8) + residues)
        meta = (*self._context.key_parms_id(), 1, 2, self._suite.ring_degree, len(self._suite.key_primes), 1.0, 1)
        return self._loaded(sealapi.PublicKey(), _seal._CIPHERTEXT.pack(*meta) + array)

    def _loaded(self, holder: Any, body: bytes) -> Any:
        with tempfile.NamedTemporaryFile() as file:
            file.write(_seal._seal_header(body))
            file.flush()
            holder.load(self._context, file.name)
        return holder

    def encrypted_zero(self, b: UInt64Array, a: UInt64Array) -> UInt64Array:
        """SEAL's own encryption of zero under our public key, uint64[2, K, N]."""
        ciphertext = sealapi.Ciphertext()
        sealapi.Encryptor(self._context, self.public_key(b, a)).encrypt_zero(ciphertext)
        shape = (2, len(self._suite.data_primes), self._suite.ring_degree)
        return _seal.residues_of(ciphertext, shape)

    def decrypted(self, secret: UInt64Array, ciphertext: UInt64Array) -> UInt64Array:
        """What SEAL's decryptor makes of our ciphertext uint64[2, K, N] under the secret uint64[K+1, N], NTT form."""
        residues = np.ascontiguousarray(secret, dtype="<u8").tobytes()
        array = _seal._seal_header(_seal._COUNT.pack(len(residues) // 8) + residues)
        meta = struct.pack("<4QQd", *self._context.key_parms_id(), len(residues) // 8, 1.0)
        key = self._loaded(sealapi.SecretKey(), meta + array)
        plaintext = sealapi.Plaintext()
        sealapi.Decryptor(self._context, key).decrypt(self._load(ciphertext, ntt=True), plaintext)
        return _values(plaintext, (len(self._suite.data_primes), self._suite.ring_degree))


def _values(plaintext: "sealapi.Plaintext", shape: tuple[int, int]) -> UInt64Array:
    count = shape[0] * shape[1]
    return np.fromiter((plaintext[i] for i in range(count)), dtype=np.uint64, count=count).reshape(shape)
