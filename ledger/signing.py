"""Ed25519 with one verification rule for everybody.

Libraries disagree on signatures with low-order points, and a committee whose members use different ones would split.
The rule: RFC 8032 verification without cofactor, as OpenSSL does it; the 14 encodings of low-order points are refused
as public key and as R; and public keys that are not canonical (RFC 8032 §5.1.3) are refused. It decides all 914 cases
of the C2SP/CCTV Ed25519 vectors as libsodium does, and where PyNaCl is installed (the extra `fast`) it is libsodium
that decides, after the same checks: the signatures accepted are the same.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Final, Literal, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from .errors import SignatureError
from .octets import is_octets

__all__ = [
    "LOW_ORDER_ENCODINGS",
    "PUBLIC_SIZE",
    "SEED_SIZE",
    "SIGNATURE_SIZE",
    "SigningKey",
    "Verifier",
    "verifier",
    "verify_strict",
    "weak",
]

Verifier = Literal["libsodium", "openssl"]
SEED_SIZE: Final = 32
PUBLIC_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64

_P: Final = 2**255 - 19
_ORDER_8_Y: Final = 2707385501144840649318225287225658788936804267575313519463743609750303402022
# the y coordinates of the eight low-order points, with the two that have a second spelling below 2^255
_LOW_ORDER_Y: Final = (0, 1, _ORDER_8_Y, _P - _ORDER_8_Y, _P - 1, _P, _P + 1)

LOW_ORDER_ENCODINGS: Final[frozenset[bytes]] = frozenset(
    (y | sign << 255).to_bytes(32, "little") for y in _LOW_ORDER_Y for sign in (0, 1)
)
"""The 14 encodings that decode to a point of order 1, 2, 4 or 8."""


class SigningKey:
    """An Ed25519 private key. It never prints, pickles or copies."""

    __slots__ = ("_key", "_public")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._public = key.public_key().public_bytes_raw()

    @classmethod
    def from_seed(cls, seed: bytes) -> SigningKey:
        """Make the key of a 32-byte secret seed (RFC 8032 §5.1.5).

        Raises:
            ValueError: the seed is not 32 bytes.
        """
        if not is_octets(seed, SEED_SIZE):
            raise ValueError(f"an Ed25519 seed is {SEED_SIZE} bytes")
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def public(self) -> bytes:
        """The 32-byte public key."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """Sign; deterministic, 64 bytes (RFC 8032 §5.1.6)."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"SigningKey(public={self._public.hex()}, <secret>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a SigningKey does not pickle or copy")


def weak(public: bytes) -> bool:
    """Whether a 32-byte public key is of low order or not canonical, so that `verify_strict` refuses it always."""
    if public in LOW_ORDER_ENCODINGS:
        return True
    # Only a y whose highest seven bits are all set can be 2^255 - 19 or more.
    return public[31] & 0x7F == 0x7F and int.from_bytes(public, "little") & (2**255 - 1) >= _P


def verify_strict(public: bytes, signature: bytes, message: bytes) -> None:
    """Verify an Ed25519 signature by the strict rule of this module.

    Run by: anyone.  Shapes: public 32 bytes, signature 64 bytes.

    Raises:
        SignatureError: a size is wrong, the key is weak, R is of low order, or the signature is not by this key.
    """
    if not is_octets(public, PUBLIC_SIZE) or not is_octets(signature, SIGNATURE_SIZE):
        raise SignatureError(f"an Ed25519 public key is {PUBLIC_SIZE} bytes and a signature {SIGNATURE_SIZE}")
    if weak(public):
        raise SignatureError("the Ed25519 public key is of low order or not canonical")
    if signature[:32] in LOW_ORDER_ENCODINGS:
        raise SignatureError("the Ed25519 signature has an R of low order")
    if not (_by_libsodium if verifier() == "libsodium" else _by_openssl)(public, signature, message):
        raise SignatureError("the Ed25519 signature does not verify")


@lru_cache(maxsize=1)
def verifier() -> Verifier:
    """The library that `verify_strict` asks here: libsodium where it is installed and keeps the rule, else OpenSSL."""
    try:
        from . import _sodium
    except ImportError:
        return "openssl"
    return "libsodium" if _sodium.agrees() else "openssl"


def _by_libsodium(public: bytes, signature: bytes, message: bytes) -> bool:
    verdict: bool = _libsodium().verifies(public, signature, message)
    return verdict


@lru_cache(maxsize=1)
def _libsodium() -> ModuleType:
    from . import _sodium

    return _sodium


def _by_openssl(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        _openssl_key(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=1024)
def _openssl_key(public: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(public)
