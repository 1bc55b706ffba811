"""Audits of the privacy that the code gives, on made-up records: see `privacy_audit`.

(`secure_bfl.auditor` is something else: it verifies ledgers.)
"""

from .canaries import Canaries
from .rehearsal import Rehearsal, ScoreLaw, rehearse
from .run import privacy_audit
from .settings import AuditSettings
from .structural import structural_violations

__all__ = [
    "AuditSettings",
    "Canaries",
    "Rehearsal",
    "ScoreLaw",
    "privacy_audit",
    "rehearse",
    "structural_violations",
]
