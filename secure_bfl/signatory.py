"""Who signs a report, and whose signature a published one has.

Spec: round §6 (v1). The figures follow from the ledger and need no signature; it says who vouches for the rest.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ledger import SignatureError, read_bounded

from .board import Transcript
from .identity import Identity
from .layout import PublicFolder
from .replay import Replay
from .report import Signature, check_signature, sign

__all__ = ["ReportSigner", "published_report", "signer_of"]

_REPORT_LIMIT: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class ReportSigner:
    """Signs reports as one party. `replaced` is the report that is about to be replaced, empty if there is none."""

    identity: Identity
    replaced: Mapping[str, Any]
    controller: str | None = None
    purpose: str | None = None

    def __call__(self, report: dict[str, Any], transcript: Transcript) -> dict[str, Any]:
        """The report with this party's signature, with the key that is in force; it names the report it replaces."""
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


def signer_of(report: Mapping[str, Any], replay: Replay) -> str | None:
    """The party whose signature a report has, verified; None if it is not signed.

    Raises:
        SignatureError: the signature is not by the party that it names, or that party's key was revoked.
    """
    if report.get("signature") is None:
        return None
    name = Signature.of(report).signer
    party = replay.party(name)
    check_signature(report, {} if party is None else {name: party})
    if not replay.in_force(name):
        raise SignatureError(f"the report is signed with a key of {name} that was revoked", culprits=(name,))
    return name
