"""Sealing a piece's seed to its holder: HPKE (RFC 9180), base mode, X25519, HKDF-SHA256, ChaCha20-Poly1305.

The sender is authenticated by the signed ledger entry that carries the sealed bytes.
"""

from typing import Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from protocols.errors import KeyGenerationError

__all__ = ["SealingKey", "seal"]

_SUITE: Final = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


class SealingKey:
    """A member's X25519 key, to which others seal."""

    __slots__ = ("_key",)

    def __init__(self, key: X25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def from_seed(cls, seed: bytes) -> "SealingKey":
        """From 32 random bytes."""
        return cls(X25519PrivateKey.from_private_bytes(seed))

    @property
    def public(self) -> bytes:
        """The 32-byte public key."""
        return self._key.public_key().public_bytes_raw()

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


def seal(plaintext: bytes, public: bytes, *, info: bytes) -> bytes:
    """Seal bytes to a public key; `info` binds them to one purpose."""
    return _SUITE.encrypt(plaintext, X25519PublicKey.from_public_bytes(public), info=info)
