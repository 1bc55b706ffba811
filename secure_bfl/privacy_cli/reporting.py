"""`secure-bfl privacy report | verify | export-registry`: a run's privacy budget report, written and checked."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from ledger import SignatureError

from ..errors import OutputError, UnverifiedError
from ..exitcodes import ExitCode
from ..layout import PublicFolder
from ..ledger_cli.reading import print_result
from .signing import open_identity

if TYPE_CHECKING:
    from ..auditor import Verdict
    from ..board import Transcript

__all__ = ["export_registry", "verify_report", "write_signed_report"]


def _folder(options: argparse.Namespace) -> PublicFolder:
    folder = PublicFolder.of(options.dir)
    if not folder.ledger.is_dir():
        raise OutputError(f"{options.dir} holds no run: there is no ledger in it; give the folder that `demo` made")
    return folder


def write_signed_report(options: argparse.Namespace) -> ExitCode:
    """Write the report of a verified run, signed if a party is named."""
    from ..publication import write_report
    from ..signatory import ReportSigner, published_report

    if options.sign_as is None and (options.controller, options.purpose, options.keystore) != (None, None, None):
        raise ValueError("--controller, --purpose and --keystore belong to a signature: give --sign-as PARTY too")
    folder = _folder(options)
    former = published_report(folder)
    if options.sign_as is None and not options.unsigned and former.get("signature") is not None:
        raise OutputError(
            f"{folder.report_json} is signed: --sign-as PARTY signs the new report too, --unsigned puts one without a "
            "signature in its place"
        )

    def sign(report: dict[str, Any], transcript: "Transcript") -> dict[str, Any]:
        place = folder.path.parent / "private" / options.sign_as if options.keystore is None else options.keystore
        identity = open_identity(options.sign_as, transcript, place, ask=options.ask_passphrase)
        return ReportSigner(identity, former, options.controller, options.purpose)(report, transcript)

    report = write_report(folder, genesis=options.genesis, sign=None if options.sign_as is None else sign)
    verdict = report["accounting"]["verdict"]
    result = {"path": str(folder.report_html), "verdict": verdict, "signer": options.sign_as}
    print_result(options, result, [str(folder.report_html)])
    return ExitCode.OK if verdict == "agree" else ExitCode.ACCOUNTANTS


def verify_report(options: argparse.Namespace) -> ExitCode:
    """Verify a run, and its published report against it."""
    from ..auditor import Auditor, Finding
    from ..progress import Progress
    from ..signatory import published_report, signer_of

    folder = _folder(options)
    with Progress(quiet=options.json) as progress:
        verdict = Auditor(folder, genesis=options.genesis).verify(progress)
    report = published_report(folder)
    chain = _broken_chain(report, verdict)
    signer, accounts, findings = None, None, list(verdict.findings)
    if verdict.transcript is not None:
        try:
            signer = signer_of(report, verdict.transcript.replay)
        except SignatureError as exc:
            findings.append(Finding("error", "signature", str(exc)))
        accounts = _accounts(verdict)
    violations = () if chain is not None else _violations(verdict)
    # An accountant that is off the others may also put epsilon above the budget: then the disagreement is the finding.
    explained = ("audit", "budget") if accounts == "disagree" else ("audit",)
    if chain is not None:
        code = ExitCode.CHAIN
    elif any(finding.level == "error" and finding.where not in explained for finding in findings):
        code = ExitCode.FINDINGS
    elif violations:
        code = ExitCode.AUDIT
    else:
        code = ExitCode.OK if accounts == "agree" else ExitCode.ACCOUNTANTS
    result = {
        "ok": code is ExitCode.OK,
        "chain": chain,
        "signer": signer,
        "verdict": accounts,
        "violations": list(violations),
        "findings": [{"level": f.level, "where": f.where, "what": f.what} for f in findings],
    }
    lines = [f"{finding.level}: {finding}" for finding in findings]
    lines += [f"violation: {violation}" for violation in violations]
    lines += [f"broken chain: {chain}"] * (chain is not None)
    lines += ["the accountants disagree: do not rely on the report's epsilon"] * (code is ExitCode.ACCOUNTANTS)
    signed = "not signed" if signer is None else f"signed by {signer}"
    fine = f"verified: {folder.report_json.name} follows from the ledger; {signed}"
    print_result(options, result, [*lines, fine if code is ExitCode.OK else "not verified"])
    return code


def _accounts(verdict: "Verdict") -> str | None:
    """Whether the accountants agree about a run that is complete; None if it is not."""
    from ..report import build
    from ..results import report_facts

    transcript, certificate = verdict.transcript, verdict.certificate
    if transcript is None or certificate is None or verdict.rounds < transcript.roster.plan.rounds:
        return None
    return str(build(report_facts(transcript, certificate))["accounting"]["verdict"])


def _violations(verdict: "Verdict") -> tuple[str, ...]:
    """What the audits on the ledger found against the mechanism."""
    if verdict.transcript is None:
        return ()
    from ..evidence import evidence_of

    found = []
    for audit in verdict.transcript.replay.audits:
        result = evidence_of(audit.evidence)
        if not result.passes:
            found.append(f"{audit.sender}, entry {audit.index}: {', '.join(result.violations)}")
    return tuple(found)


def _broken_chain(report: dict[str, Any], verdict: "Verdict") -> str | None:
    """Why the ledger cannot be relied on: it does not verify, or the report tells of a longer one. None if it can."""
    if verdict.certificate is None:
        if any("another federation" in finding.what for finding in verdict.findings):
            return None
        return "; ".join(finding.what for finding in verdict.findings if finding.where == "ledger") or None
    identity = report.get("identity")
    reported = identity.get("log_size") if isinstance(identity, dict) else None
    size = verdict.certificate.checkpoint.size
    if type(reported) is int and reported > size:
        return f"the report is about a ledger of {reported} entries, here are {size}: the ledger was rolled back"
    return None


def export_registry(options: argparse.Namespace) -> ExitCode:
    """Print a verified run in the registry's field names; what is missing is said on standard error."""
    from ..auditor import Auditor
    from ..report import missing_fields, registry_entry
    from ..signatory import published_report, signer_of

    folder = _folder(options)
    verdict = Auditor(folder, genesis=options.genesis).verify()
    report = published_report(folder)
    if not verdict.ok or verdict.transcript is None:
        wrong = "; ".join(str(finding) for finding in verdict.findings if finding.level == "error")
        raise UnverifiedError(f"{folder.path} does not verify, so nothing is exported: {wrong}")
    signer_of(report, verdict.transcript.replay)
    entry = registry_entry(
        report,
        region=options.region,
        sector=options.sector,
        publication_date=options.date,
        curator_type=options.curator_type,
        author=options.author,
    )
    print_result(options, entry, json.dumps(entry, indent=2, sort_keys=True).splitlines())
    if missing := missing_fields(entry):
        sys.stderr.write(f"secure-bfl: the registry also requires {', '.join(missing)}\n")
    return ExitCode.OK
