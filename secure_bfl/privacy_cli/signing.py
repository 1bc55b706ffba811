"""Who signs a report, and whose signature a published one has."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ledger import SignatureError, read_bounded

from ..errors import KeystoreError
from ..layout import PrivateFolder, PublicFolder

if TYPE_CHECKING:
    from ..board import Transcript
    from ..identity import Identity
    from ..replay import Replay

__all__ = ["ReportSigner", "open_identity", "published_report", "signer_of"]

_REPORT_LIMIT: Final = 16 << 20
_PASSPHRASE_LIMIT: Final = 1 << 12


@dataclass(frozen=True, slots=True)
class ReportSigner:
    """Signs reports as one party. `replaced` is the report that is about to be replaced, if there is one."""

    identity: "Identity"
    replaced: Mapping[str, Any]
    controller: str | None = None
    purpose: str | None = None

    def __call__(self, report: dict[str, Any], transcript: "Transcript") -> dict[str, Any]:
        """The report with this party's signature, with the key that is in force; it names the report it replaces."""
        from ..report import sign

        return sign(
            report,
            self.identity.signing_in(transcript.replay),
            signer=self.identity.name,
            role=self.identity.role.name.lower(),
            supersedes=self._supersedes(report),
            controller=self.controller,
            purpose=self.purpose,
        )

    def _supersedes(self, report: Mapping[str, Any]) -> str | None:
        """The id of the report before; one of the same ledger head has the same id, and is not another report."""
        identity = self.replaced.get("identity")
        former = identity.get("id") if isinstance(identity, Mapping) else None
        return former if isinstance(former, str) and former != report["identity"]["id"] else None


def published_report(folder: PublicFolder) -> dict[str, Any]:
    """The published report as it is, checked by nobody; empty if there is none that can be read."""
    try:
        report = json.loads(read_bounded(folder.report_json, limit=_REPORT_LIMIT) or b"{}")
    except (ValueError, RecursionError):
        return {}
    return report if isinstance(report, dict) else {}


def signer_of(report: Mapping[str, Any], replay: "Replay") -> str | None:
    """The party whose signature a report has, verified; None if it is not signed.

    Raises:
        SignatureError: the signature is not by the party that it names, or that party's key was revoked.
    """
    from ..report import Signature, check_signature

    if report.get("signature") is None:
        return None
    name = Signature.of(report).signer
    party = replay.party(name)
    check_signature(report, {} if party is None else {name: party})
    if not replay.in_force(name):
        raise SignatureError(f"the report is signed with a key of {name} that was revoked", culprits=(name,))
    return name


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
