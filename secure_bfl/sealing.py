"""Sealing a secret of the key to its holder: HPKE (RFC 9180), base mode, with a hybrid key encapsulation.

The KEM is X25519 with ML-KEM-768 (FIPS 203; draft-ietf-hpke-pq), because the sealed secrets stay on a public ledger for
ever: the key they carry protects ciphertexts whose own hardness is a lattice problem, and must not fall to whoever
builds a quantum computer later. KDF HKDF-SHA256, AEAD ChaCha20-Poly1305. The sender is authenticated by the signed
ledger entry that carries the sealed bytes.
"""

import hashlib
from typing import Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from protocols.errors import KeyGenerationError

__all__ = ["OVERHEAD_BYTES", "PUBLIC_KEY_BYTES", "SealingKey", "check_public_key", "seal"]

_MLKEM_BYTES: Final = 1184
PUBLIC_KEY_BYTES: Final = _MLKEM_BYTES + 32
OVERHEAD_BYTES: Final = 1088 + 32 + 16  # the two encapsulations and the tag
_SUITE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


class SealingKey:
    """A member's hybrid key, to which others seal."""

    __slots__ = ("_key", "public")

    def __init__(self, mlkem: MLKEM768PrivateKey, x25519: X25519PrivateKey) -> None:
        self._key = hpke.MLKEM768X25519PrivateKey(mlkem, x25519)
        self.public: Final = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()

    @classmethod
    def from_seed(cls, seed: bytes) -> "SealingKey":
        """From 32 random bytes.

        Raises:
            ValueError: the seed is not 32 bytes.
        """
        if len(seed) != 32:
            raise ValueError("a sealing key's seed is 32 bytes")
        stream = hashlib.shake_256(b"secure-bfl/sealing-key/v1" + seed).digest(64 + 32)
        return cls(MLKEM768PrivateKey.from_seed_bytes(stream[:64]), X25519PrivateKey.from_private_bytes(stream[64:]))

    def open(self, sealed: bytes, *, info: bytes, sender: str) -> bytes:
        """Open what was sealed to this key for this purpose.

        Raises:
            KeyGenerationError: it does not open; `culprits` names the sender.
        """
        try:
            return _SUITE.decrypt(sealed, self._key, info=info)
        except (InvalidTag, ValueError) as exc:
            raise KeyGenerationError(f"{sender} sealed something that does not open", culprits=(sender,)) from exc

    def __repr__(self) -> str:
        return "SealingKey(<secret>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a sealing key cannot be pickled or copied")


def check_public_key(public: bytes) -> None:
    """Refuse bytes to which nothing can be sealed.

    Raises:
        ValueError: a wrong length, not a public key of the two schemes, or an X25519 point of low order.
    """
    seal(b"", public, info=b"")


def seal(plaintext: bytes, public: bytes, *, info: bytes) -> bytes:
    """Seal bytes to a public key; `info` binds them to one purpose. `OVERHEAD_BYTES` longer than the plaintext."""
    return _SUITE.encrypt(plaintext, _public_key(public), info=info)


def _public_key(public: bytes) -> hpke.MLKEM768X25519PublicKey:
    if len(public) != PUBLIC_KEY_BYTES:
        raise ValueError(f"a sealing key is {PUBLIC_KEY_BYTES} bytes, not {len(public)}")
    mlkem = MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_BYTES])
    return hpke.MLKEM768X25519PublicKey(mlkem, X25519PublicKey.from_public_bytes(public[_MLKEM_BYTES:]))
