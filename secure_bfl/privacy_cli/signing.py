"""The identity of a party, from its keystore."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from ledger import read_bounded

from ..errors import KeystoreError
from ..layout import PrivateFolder

if TYPE_CHECKING:
    from ..board import Transcript
    from ..identity import Identity

__all__ = ["open_identity"]

_PASSPHRASE_LIMIT: Final = 1 << 12


def open_identity(name: str, transcript: "Transcript", place: Path, *, ask: bool) -> "Identity":
    """A party of a run, from its keystore: `place` is the file, or the folder it is in.

    The passphrase is asked for, or that of the environment, or the throw-away one beside the keystore.

    Raises:
        ValueError: no party of this run has that name.
        KeystoreError: the keystore is missing or another party's, or there is no passphrase for it.
    """
    from ..identity import Identity
    from ..keystore import PASSPHRASE_VARIABLE, Keystore, given_passphrase

    party = transcript.replay.party(name)
    if party is None:
        raise ValueError(f"--sign-as {name}: this run has no such party; its operator is called operator")
    path = PrivateFolder(place).keystore if place.is_dir() else place
    passphrase = given_passphrase(ask=ask)
    if passphrase is None:
        found = read_bounded(PrivateFolder(path.parent).passphrase, limit=_PASSPHRASE_LIMIT)
        if found is None:
            raise KeystoreError(f"no passphrase for {path}: set {PASSPHRASE_VARIABLE} or use --ask-passphrase")
        passphrase = found.decode(errors="replace").strip()
    identity = Identity(name, party.role, Keystore.open(path, passphrase))
    if identity.signing_in(transcript.replay).public != party.signing_key:
        raise KeystoreError(f"{path} does not hold the signing key that the ledger has for {name}")
    return identity
