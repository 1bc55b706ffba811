"""The privacy budget report: what a federation has spent, computed from its verified ledger alone.

    report = build(facts)                # facts come from replay of the verified log
    json_bytes = encode(report)
    page = html(report)                  # or markdown(report)
    differences = compare(report, json.loads(published))

`build` never raises because accountants disagree: read `report["accounting"]["verdict"]`.
"""

from .build import SCHEMA_ID, build, encode
from .compare import compare
from .facts import ClientFacts, ReportFacts, RoundFacts, Spend, VoidRound
from .render import html, markdown
from .schema import schema

__all__ = [
    "SCHEMA_ID",
    "ClientFacts",
    "ReportFacts",
    "RoundFacts",
    "Spend",
    "VoidRound",
    "build",
    "compare",
    "encode",
    "html",
    "markdown",
    "schema",
]
