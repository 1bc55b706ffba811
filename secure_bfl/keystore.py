"""One encrypted file for each party's secrets.

scrypt (RFC 7914) turns the passphrase into a key, ChaCha20-Poly1305 (RFC 8439) encrypts a canonical CBOR list of named
secrets. The file is replaced as a whole and durably; a wrong passphrase and a damaged file give the same error.

Several processes may have one file open: a member that runs, and a person who rotates its key. The file is the truth.
Whoever changes it holds the lock `<path>.lock`, reads it again, and writes what is there with its one change; whoever
asks for a secret sees the file as it is now.
"""

import os
from collections.abc import Callable
from getpass import getpass
from pathlib import Path
from typing import Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from ledger import cbor
from ledger.errors import DecodeError, StoreError
from ledger.files import create_durably, read_bounded, write_durably
from ledger.locking import WriterLock

from .errors import KeystoreError

__all__ = ["PASSPHRASE_VARIABLE", "Keystore", "given_passphrase"]

PASSPHRASE_VARIABLE: Final = "SECURE_BFL_PASSPHRASE"
_MAGIC: Final = b"secure-bfl/keystore/v1\n"
_SALT, _NONCE, _TAG = 16, 12, 16
_SCRYPT: Final = {"n": 1 << 15, "r": 8, "p": 1}
_MAX_BYTES: Final = 65_535


class Keystore:
    """Named secrets, held open. `create` or `open` it; every `put` is durable when it returns."""

    __slots__ = ("_key", "_path", "_salt", "_secrets", "_stamp")

    def __init__(self, path: Path, salt: bytes, key: bytes, secrets: dict[str, bytes]) -> None:
        self._path, self._salt, self._key, self._secrets = path, salt, key, secrets
        self._stamp: tuple[int, ...] | None = None  # of the file as it was read last; None: read it again

    @classmethod
    def create(cls, path: Path, passphrase: str, secrets: dict[str, bytes]) -> "Keystore":
        """Make a new keystore.

        Raises:
            KeystoreError: the file exists already, or the passphrase is empty or not UTF-8 text.
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
            KeystoreError: it is missing, damaged, or the passphrase is wrong or not UTF-8 text.
        """
        salt, nonce, sealed = _split(path)
        key = _derive(passphrase, salt)
        return cls(path, salt, key, _decrypt(path, key, salt, nonce, sealed))

    def names(self) -> tuple[str, ...]:
        """The names of all secrets, in order. KeystoreError as for `get`."""
        return tuple(sorted(self._now()))

    def get(self, name: str) -> bytes | None:
        """A secret, or None.

        Raises:
            KeystoreError: the file is gone, or was replaced by one that this passphrase does not open.
        """
        return self._now().get(name)

    def put(self, name: str, secret: bytes) -> None:
        """Keep a secret durably; an existing one is never replaced by another.

        Raises:
            KeystoreError: another secret has this name; or the file is gone, or was replaced by another keystore.
            StoreError: it could not be written, or another process writes just now; and is not kept.
        """

        def add(secrets: dict[str, bytes]) -> dict[str, bytes]:
            if secrets.get(name, secret) != secret:
                raise KeystoreError(f"{self._path}: {name!r} is already kept with another value")
            return {**secrets, name: bytes(secret)}

        self._change(add)

    def discard(self, *names: str) -> None:
        """Forget secrets durably: the file is replaced by one without them. Copies made before still hold them.

        Raises:
            KeystoreError: the file is gone, or was replaced by another keystore.
            StoreError: it could not be written, or another process writes just now; and nothing is forgotten.
        """
        self._change(lambda secrets: {name: secret for name, secret in secrets.items() if name not in names})

    def _now(self) -> dict[str, bytes]:
        """The secrets that the file holds now. Read again only if the file was replaced since."""
        stamp = self._look()
        if stamp != self._stamp:
            self._secrets = self._read()
            self._stamp = stamp  # taken before the reading: a file replaced in between is read once more
        return self._secrets

    def _look(self) -> tuple[int, ...]:
        """What changes whenever the file is replaced."""
        try:
            found = self._path.stat()
        except OSError as exc:
            raise KeystoreError(f"{self._path} cannot be read any more: {exc.strerror}; bring it back") from exc
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def _read(self) -> dict[str, bytes]:
        salt, nonce, sealed = _split(self._path)
        if salt != self._salt:
            raise KeystoreError(f"{self._path} was replaced by another keystore while it was open; open it again")
        return _decrypt(self._path, self._key, salt, nonce, sealed)

    def _change(self, change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> None:
        """Read, change and write under the lock, so that nothing another process wrote or erased is undone."""
        now = self._now()
        if change(now) == now:
            return
        try:
            lock = WriterLock(self._path.with_name(self._path.name + ".lock"))
        except StoreError as exc:
            raise StoreError(f"{self._path} was not changed: {exc}; or do the same again") from exc
        try:
            after = change(self._read())
            write_durably(self._path, self._encrypt(after), mode=0o600)
            self._secrets, self._stamp = after, self._look()
        finally:
            lock.release()

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
    try:
        data = passphrase.encode()
    except UnicodeEncodeError:
        data = None
    if data is None:  # raised here, as the error above holds the passphrase
        raise KeystoreError("the passphrase is not UTF-8 text")
    return Scrypt(salt=salt, length=32, **_SCRYPT).derive(data)


def _split(path: Path) -> tuple[bytes, bytes, bytes]:
    """The salt, nonce and ciphertext in a file."""
    data = read_bounded(path, limit=_MAX_BYTES + 1024)
    if data is None:
        raise KeystoreError(f"{path} is missing")
    if not data.startswith(_MAGIC) or len(data) < len(_MAGIC) + _SALT + _NONCE + _TAG:
        raise KeystoreError(f"{path} is not a keystore of this version")
    at = len(_MAGIC)
    return data[at : at + _SALT], data[at + _SALT : at + _SALT + _NONCE], data[at + _SALT + _NONCE :]


def _decrypt(path: Path, key: bytes, salt: bytes, nonce: bytes, sealed: bytes) -> dict[str, bytes]:
    try:
        return _parse(cbor.decode(ChaCha20Poly1305(key).decrypt(nonce, sealed, _MAGIC + salt)))
    except (InvalidTag, DecodeError) as exc:
        raise KeystoreError(f"{path}: the passphrase is wrong or the file is damaged") from exc


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
