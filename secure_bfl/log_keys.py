"""The key of a log, or of a witness, in a folder of its own: an encrypted seed, and the public key beside it."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Final

from ledger import DecodeError, SigningKey, VerifierKey, create_durably, parse_vkey, read_bounded
from ledger.cosign import CosigningKey, cosigner
from ledger.mldsa import MlDsaKey
from ledger.note import ED25519, MLDSA44

from .errors import KeystoreError
from .keystore import Keystore

__all__ = ["KeyKind", "create_key", "open_key", "public_key"]

_SEED: Final = "seed"
_SEED_SIZE: Final = 32
_VKEY_LIMIT: Final = 1 << 13


class KeyKind(StrEnum):
    """What a key is for."""

    LOG = "log"
    WITNESS = "witness"
    WITNESS_ML_DSA = "witness-ml-dsa"


def create_key(folder: Path, name: str, kind: KeyKind, passphrase: str) -> VerifierKey:
    """Make a new key in a folder and return its public side, which is also written there, into `vkey`.

    The file `vkey` is made first, and by one caller only: what is returned is what the folder holds.

    Raises:
        KeystoreError: the folder has a key already, or the passphrase is empty or not UTF-8 text.
        ValueError: the name is no key name.
        StoreError: it could not be written.
    """
    seed = os.urandom(_SEED_SIZE)
    public = _public(name, kind, _key(kind is KeyKind.WITNESS_ML_DSA, seed))
    path = folder / "vkey"
    if not create_durably(path, f"{public.to_vkey()}\n".encode()):
        raise KeystoreError(f"{path} exists: a key is never replaced; choose another folder")
    try:
        Keystore.create(folder / "keystore", passphrase, {_SEED: seed})
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return public


def public_key(folder: Path) -> VerifierKey:
    """The public key in a folder; needs no passphrase.

    Raises:
        KeystoreError: there is none, or it is damaged.
    """
    data = read_bounded(folder / "vkey", limit=_VKEY_LIMIT)
    if data is None:
        raise KeystoreError(f"{folder} has no key: make one with `secure-bfl ledger keygen`")
    try:
        return parse_vkey(data.decode("utf-8").removesuffix("\n"))
    except (ValueError, DecodeError) as exc:
        raise KeystoreError(f"{folder / 'vkey'} is damaged: {exc}") from exc


def open_key(folder: Path, passphrase: str) -> tuple[VerifierKey, CosigningKey]:
    """The public key in a folder, and the secret one that belongs to it.

    Raises:
        KeystoreError: there is none, the passphrase is wrong, or the two do not belong together.
    """
    public = public_key(folder)
    seed = Keystore.open(folder / "keystore", passphrase).get(_SEED)
    if seed is None:
        raise KeystoreError(f"{folder / 'keystore'} holds no key of a log or a witness")
    key = _key(public.kind == MLDSA44, seed)
    if key.public != public.public:
        raise KeystoreError(f"{folder / 'vkey'} is not the public side of the key in the keystore")
    return public, key


def _key(ml_dsa: bool, seed: bytes) -> CosigningKey:
    return MlDsaKey.from_seed(seed) if ml_dsa else SigningKey.from_seed(seed)


def _public(name: str, kind: KeyKind, key: CosigningKey) -> VerifierKey:
    return VerifierKey(name, ED25519, key.public) if kind is KeyKind.LOG else cosigner(name, key)
