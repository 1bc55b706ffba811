"""Putting a finished run into a public folder: ledger, model, privacy budget report.

Spec: round §6.1 (v1). The blobs are there already; the report is written last, and only from a run that verifies.
"""

from collections.abc import Callable
from typing import Any

from ledger import Certificate, publish, write_durably

from .auditor import Auditor
from .board import Board, Transcript
from .errors import UnverifiedError
from .layout import PublicFolder
from .model import GlobalModel
from .report import encode, html, markdown

__all__ = ["Signer", "publish_run", "write_report"]

Signer = Callable[[dict[str, Any], Transcript], dict[str, Any]]
"""Signs a report about a verified transcript, and returns it with its signature."""


def publish_run(
    board: Board, certificate: Certificate, model: GlobalModel, folder: PublicFolder, *, sign: Signer | None = None
) -> dict[str, Any]:
    """Write the certified ledger and the model to use, verify them from the files, and write the report.

    Run by: the operator, when the last round is finished. Returns the report.

    Raises:
        StoreError: the disk is full or fails.
        UnverifiedError: the run does not verify.
    """
    publish(board.log, certificate, folder.ledger)
    write_durably(folder.model, model.encode())
    return write_report(folder, sign=sign)


def write_report(folder: PublicFolder, *, genesis: bytes | None = None, sign: Signer | None = None) -> dict[str, Any]:
    """Verify a public folder's run, then write its privacy budget report in all three forms, signed if `sign` is given.

    Raises:
        UnverifiedError: the run does not verify; the findings are in the message.
    """
    verdict = Auditor(folder, genesis=genesis).verify(with_report=False)
    if not verdict.ok or verdict.transcript is None:
        raise UnverifiedError(
            f"{folder.path} does not verify, so no report is written: {'; '.join(map(str, verdict.findings))}"
        )
    report = verdict.build_report()
    if sign is not None:
        report = sign(report, verdict.transcript)
    write_durably(folder.report_markdown, markdown(report).encode())
    write_durably(folder.report_html, html(report).encode())
    write_durably(folder.report_json, encode(report))
    return report
