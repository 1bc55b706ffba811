"""An audit of the mechanism as a ledger entry, and back.

Spec: round §3.7 (v1).
"""

from protocols.dp.auditing import STRUCTURAL_SEPARATOR, AuditResult

from .messages import PrivacyAudit

__all__ = ["audit_entry", "evidence_of"]


_NUMBERS = tuple(name for name in PrivacyAudit.__slots__ if name != "structural")


def audit_entry(result: AuditResult) -> PrivacyAudit:
    """The entry that states a result. Run by: the party that audited."""
    failed = tuple(name for name in result.structural.split(STRUCTURAL_SEPARATOR) if name)
    return PrivacyAudit(**{name: getattr(result, name) for name in _NUMBERS}, structural=failed)


def evidence_of(entry: PrivacyAudit) -> AuditResult:
    """The result that an entry states.

    Raises:
        TypeError, ValueError: no audit gives such numbers.
    """
    numbers = {name: getattr(entry, name) for name in _NUMBERS}
    return AuditResult(**numbers, structural=STRUCTURAL_SEPARATOR.join(entry.structural))
