"""ML-DSA-44 (FIPS 204): signatures that stay good when quantum computers come, and the message they sign here.

Spec: C2SP tlog-cosignature, type 0x06 (`subtree/v1`), for whole checkpoints: the subtree [0, size). An importer of
`cryptography` beside `ledger.signing`. Signing is hedged (FIPS 204 §3.4): OpenSSL mixes in fresh randomness of its own,
so that two signatures of one message differ; verification does not depend on it.
"""

from __future__ import annotations

from typing import Final, NoReturn

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from .errors import SignatureError
from .octets import is_octets

__all__ = [
    "MAX_NAME",
    "MLDSA44_PUBLIC_SIZE",
    "MLDSA44_SEED_SIZE",
    "MLDSA44_SIGNATURE_SIZE",
    "MlDsaKey",
    "subtree_message",
    "verify_mldsa44",
]

MLDSA44_SEED_SIZE: Final = 32
MLDSA44_PUBLIC_SIZE: Final = 1312
MLDSA44_SIGNATURE_SIZE: Final = 2420
MAX_NAME: Final = 255
"""Bytes that a cosigner's name and a log's origin may have in the signed message."""
_LABEL: Final = b"subtree/v1\n\0"
_HASH_SIZE: Final = 32


class MlDsaKey:
    """An ML-DSA-44 private key. It never prints, pickles or copies."""

    __slots__ = ("_key", "_public")

    def __init__(self, key: MLDSA44PrivateKey) -> None:
        self._key = key
        self._public = key.public_key().public_bytes_raw()

    @classmethod
    def from_seed(cls, seed: bytes) -> MlDsaKey:
        """Make the key of a 32-byte secret seed (FIPS 204 algorithm 6, ML-DSA.KeyGen_internal).

        Raises:
            ValueError: the seed is not 32 bytes.
        """
        if not is_octets(seed, MLDSA44_SEED_SIZE):
            raise ValueError(f"an ML-DSA-44 seed is {MLDSA44_SEED_SIZE} bytes")
        return cls(MLDSA44PrivateKey.from_seed_bytes(seed))

    @property
    def public(self) -> bytes:
        """The 1312-byte public key."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """Sign with an empty context; hedged, 2420 bytes (FIPS 204 algorithm 2)."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"MlDsaKey(public={self._public[:8].hex()}…, <secret>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an MlDsaKey does not pickle or copy")


def verify_mldsa44(public: bytes, signature: bytes, message: bytes) -> None:
    """Verify an ML-DSA-44 signature with an empty context (FIPS 204 algorithm 3).

    Run by: anyone.  Shapes: public 1312 bytes, signature 2420 bytes.

    Raises:
        SignatureError: a size is wrong, the signature is not by this key, or this build cannot verify ML-DSA.
    """
    if not is_octets(public, MLDSA44_PUBLIC_SIZE) or not is_octets(signature, MLDSA44_SIGNATURE_SIZE):
        raise SignatureError(
            f"an ML-DSA-44 public key is {MLDSA44_PUBLIC_SIZE} bytes and a signature {MLDSA44_SIGNATURE_SIZE}"
        )
    try:
        MLDSA44PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError) as exc:
        raise SignatureError("the ML-DSA-44 signature does not verify") from exc
    except UnsupportedAlgorithm as exc:
        raise SignatureError("this build of the package cryptography cannot verify ML-DSA-44: install a wheel") from exc


def subtree_message(cosigner: str, time: int, origin: str, size: int, root: bytes) -> bytes:
    """The `cosigned_message` of a whole checkpoint, in the encoding of RFC 8446 §3.

    Spec: C2SP tlog-cosignature, "ML-DSA-44 signed message", with start 0 and end `size`.  Shapes: root 32 bytes.
    Units: time in POSIX seconds; 0 states none.

    Raises:
        ValueError: a name or origin of no or more than `MAX_NAME` bytes, a root of another size, or a negative number.
    """
    names = (cosigner.encode("utf-8"), origin.encode("utf-8"))
    if not all(1 <= len(name) <= MAX_NAME for name in names):
        raise ValueError(f"a cosigner's name and a log's origin are 1 to {MAX_NAME} bytes each under ML-DSA-44")
    if not is_octets(root, _HASH_SIZE) or not 0 <= time < 2**63 or not 0 <= size < 2**63:
        raise ValueError("a cosigned message has a time and a size below 2^63 and a root of 32 bytes")
    name, log = (bytes([len(item)]) + item for item in names)
    return b"".join(
        (_LABEL, name, time.to_bytes(8, "big"), log, bytes(8), size.to_bytes(8, "big"), root),
    )
