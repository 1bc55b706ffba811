"""The privacy budget report: what a federation has spent, computed from its verified ledger alone.

    report = build(facts)                # facts come from replay of the verified log
    json_bytes = encode(report)
    page = html(report)                  # or markdown(report)
    differences = compare(report, json.loads(published))
    signed = sign(report, key, signer="operator", role="operator")
    check_signature(signed, parties)     # raises

`build` never raises because accountants disagree: read `report["accounting"]["verdict"]`.
"""

from .assessment import AUDIT_CLAIMS
from .build import SCHEMA_ID, build
from .compare import compare
from .facts import AuditFacts, ClientFacts, ReportFacts, RoundFacts, Spend, VoidRound
from .registry import missing_fields, registry_entry
from .render import html, markdown
from .schema import schema
from .signature import Signatory, Signature, check_signature, sign
from .spelling import encode

__all__ = [
    "AUDIT_CLAIMS",
    "SCHEMA_ID",
    "AuditFacts",
    "ClientFacts",
    "ReportFacts",
    "RoundFacts",
    "Signatory",
    "Signature",
    "Spend",
    "VoidRound",
    "build",
    "check_signature",
    "compare",
    "encode",
    "html",
    "markdown",
    "missing_fields",
    "registry_entry",
    "schema",
    "sign",
]
