"""One encrypted file for each party's secrets.

scrypt (RFC 7914) turns the passphrase into a key, ChaCha20-Poly1305 (RFC 8439) encrypts a canonical CBOR list of named
secrets. The file is replaced as a whole and durably; a wrong passphrase and a damaged file give the same error.
"""

import os
from getpass import getpass
from pathlib import Path
from typing import Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from ledger import cbor
from ledger.errors import DecodeError
from ledger.files import create_durably, read_bounded, write_durably

from .errors import KeystoreError

__all__ = ["PASSPHRASE_VARIABLE", "Keystore", "given_passphrase"]

PASSPHRASE_VARIABLE: Final = "SECURE_BFL_PASSPHRASE"
_MAGIC: Final = b"secure-bfl/keystore/v1\n"
_SALT, _NONCE, _TAG = 16, 12, 16
_SCRYPT: Final = {"n": 1 << 15, "r": 8, "p": 1}
_MAX_BYTES: Final = 65_535


class Keystore:
    """Named secrets, held open. `create` or `open` it; every `put` is durable when it returns."""

    __slots__ = ("_key", "_path", "_salt", "_secrets")

    def __init__(self, path: Path, salt: bytes, key: bytes, secrets: dict[str, bytes]) -> None:
        self._path, self._salt, self._key, self._secrets = path, salt, key, secrets

    @classmethod
    def create(cls, path: Path, passphrase: str, secrets: dict[str, bytes]) -> "Keystore":
        """Make a new keystore.

        Raises:
            KeystoreError: the file exists already, or the passphrase is empty.
        """
        if not passphrase:
            raise KeystoreError("the passphrase is empty")
        salt = os.urandom(_SALT)
        store = cls(path, salt, _derive(passphrase, salt), dict(secrets))
        if not create_durably(path, store._encrypt(store._secrets), mode=0o600):
            raise KeystoreError(f"{path} exists; a keystore is never overwritten by a new one")
        return store

    @classmethod
    def open(cls, path: Path, passphrase: str) -> "Keystore":
        """Open an existing keystore.

        Raises:
            KeystoreError: it is missing, damaged, or the passphrase is wrong.
        """
        data = read_bounded(path, limit=_MAX_BYTES + 1024)
        if data is None:
            raise KeystoreError(f"{path} is missing")
        if not data.startswith(_MAGIC) or len(data) < len(_MAGIC) + _SALT + _NONCE + _TAG:
            raise KeystoreError(f"{path} is not a keystore of this version")
        at = len(_MAGIC)
        salt, nonce, sealed = data[at : at + _SALT], data[at + _SALT : at + _SALT + _NONCE], data[at + _SALT + _NONCE :]
        key = _derive(passphrase, salt)
        try:
            plain = ChaCha20Poly1305(key).decrypt(nonce, sealed, _MAGIC + salt)
            secrets = _parse(cbor.decode(plain))
        except (InvalidTag, DecodeError) as exc:
            raise KeystoreError(f"{path}: the passphrase is wrong or the file is damaged") from exc
        return cls(path, salt, key, secrets)

    def names(self) -> tuple[str, ...]:
        """The names of all secrets, in order."""
        return tuple(sorted(self._secrets))

    def get(self, name: str) -> bytes | None:
        """A secret, or None."""
        return self._secrets.get(name)

    def put(self, name: str, secret: bytes) -> None:
        """Keep a secret durably; an existing one is never replaced by another.

        Raises:
            KeystoreError: another secret has this name.
            StoreError: it could not be written, and is not kept.
        """
        if self._secrets.get(name, secret) != secret:
            raise KeystoreError(f"{self._path}: {name!r} is already kept with another value")
        if name not in self._secrets:
            secrets = {**self._secrets, name: bytes(secret)}
            write_durably(self._path, self._encrypt(secrets), mode=0o600)
            self._secrets = secrets

    def discard(self, *names: str) -> None:
        """Forget secrets durably: the file is replaced by one without them. Copies made before still hold them.

        Raises:
            StoreError: it could not be written, and nothing is forgotten.
        """
        secrets = {name: secret for name, secret in self._secrets.items() if name not in names}
        if len(secrets) < len(self._secrets):
            write_durably(self._path, self._encrypt(secrets), mode=0o600)
            self._secrets = secrets

    def _encrypt(self, secrets: dict[str, bytes]) -> bytes:
        plain = cbor.encode([[name, secret] for name, secret in sorted(secrets.items())])
        if len(plain) > _MAX_BYTES:
            raise KeystoreError(f"{self._path}: more than {_MAX_BYTES} bytes of secrets")
        nonce = os.urandom(_NONCE)
        sealed = ChaCha20Poly1305(self._key).encrypt(nonce, plain, _MAGIC + self._salt)
        return _MAGIC + self._salt + nonce + sealed

    def __repr__(self) -> str:
        return f"Keystore({self._path}, <secret>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a keystore cannot be pickled or copied")


def given_passphrase(*, ask: bool) -> str | None:
    """The passphrase from the environment, or else from a prompt that does not echo, or else none.

    Raises:
        KeystoreError: the one asked for is empty, or was not typed the same way twice.
    """
    known = os.environ.get(PASSPHRASE_VARIABLE)
    if known is not None or not ask:
        return known
    typed = getpass("passphrase of the keystores: ")
    if not typed:
        raise KeystoreError("the passphrase is empty")
    if getpass("once more: ") != typed:
        raise KeystoreError("the two passphrases differ; nothing was done")
    return typed


def _derive(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, **_SCRYPT).derive(passphrase.encode())


def _parse(value: object) -> dict[str, bytes]:
    if not isinstance(value, list):
        raise DecodeError("a keystore holds a list of named secrets")
    secrets: dict[str, bytes] = {}
    for item in value:
        match item:
            case [str(name), bytes(secret)]:
                secrets[name] = secret
            case _:
                raise DecodeError("a keystore holds a list of named secrets")
    return secrets
