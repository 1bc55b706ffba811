"""`secure-bfl privacy audit`: attack the mechanism through the real training path, and keep the evidence."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..errors import DatasetError, OutputError, StateError
from ..exitcodes import ExitCode
from ..ledger_cli.reading import print_result
from .spending import run_plan
from .tables import pairs

if TYPE_CHECKING:
    from ledger import CosigningWitness
    from protocols.dp.auditing import AuditResult

    from ..identity import Identity
    from ..plan import FederationPlan
    from ..signatory import ReportSigner

__all__ = ["audit_mechanism"]


def _plan(options: argparse.Namespace) -> "FederationPlan":
    """The plan whose mechanism is audited: of the run, or the usual one of a data set.

    Raises:
        DatasetError: the data set is unknown.
        ValueError: the run has another mode than the one asked for.
    """
    from protocols.dp import Mode

    from ..plan import FederationPlan
    from ..training import DATASETS

    if options.dir is not None:
        plan = run_plan(options.dir)
        mode = Mode(plan.mode).name.lower()
        if options.mode not in (None, mode):
            raise ValueError(f"the run in {options.dir} is in mode {mode}, not {options.mode}: leave --mode out")
        return plan
    if options.dataset not in DATASETS:
        raise DatasetError(f"unknown dataset {options.dataset!r}; choose one of {', '.join(sorted(DATASETS))}")
    return FederationPlan.create(options.dataset, mode=Mode[(options.mode or "distributed").upper()])


def audit_mechanism(options: argparse.Namespace) -> ExitCode:
    """Audit one mode; with a run's folder, put the result on its ledger."""
    from protocols.dp import Mode

    from ..auditing import AuditSettings, privacy_audit
    from ..progress import Progress

    plan = _plan(options)
    settings = AuditSettings.of_plan(plan)
    index: int | None = None
    with Progress(quiet=options.json) as progress:
        if options.dir is None:
            result = privacy_audit(settings, progress=progress)
        else:
            with _ledger(options, plan) as record:
                result = privacy_audit(settings, progress=progress)
                index = record(result)
    mode = Mode(plan.mode).name.lower()
    print_result(
        options,
        {
            "mode": mode,
            **asdict(result),
            "passes": result.passes,
            "violations": list(result.violations),
            "index": index,
        },
        _lines(mode, result, index),
    )
    return ExitCode.OK if result.passes else ExitCode.AUDIT


@contextmanager
def _ledger(options: argparse.Namespace, plan: "FederationPlan") -> "Iterator[Callable[[AuditResult], int]]":
    """The ledger of a finished run, held open: what it yields puts a result on it and returns the entry's index.

    Raises:
        OutputError: the folder lacks the private parts of a run of the demo.
        StateError: the run is not finished.
        StoreError: another process works in it.
    """
    from ledger import publish

    from ..evidence import audit_entry
    from ..keystore import given_passphrase
    from ..publication import write_report
    from ..roster import OPERATOR
    from ..signatory import published_report
    from ..workspace import Workspace

    if not (options.dir / "private").is_dir():
        raise OutputError(f"{options.dir} lacks the private folder of a demo: only its operator adds to its ledger")
    workspace = Workspace.claim(options.dir, plan, passphrase=given_passphrase(ask=options.ask_passphrase))
    try:
        operator = workspace.operator()
        board = workspace.board(operator)
        rounds = board.replay.rounds
        if len(rounds) < plan.rounds or not rounds[-1].finished:
            raise StateError(f"{options.dir}: the run is not finished; finish it with the same `demo` command first")
        members = [workspace.member(number, board.log.verifier) for number in range(1, plan.members + 1)]
        former = published_report(workspace.public)

        def record(result: "AuditResult") -> int:
            index = board.append(audit_entry(result), OPERATOR, operator.identity.signing_in(board.replay))
            witnesses: dict[str, CosigningWitness | None] = {member.name: member.witness for member in members}
            publish(board.log, board.certify(witnesses, now=int(time.time())), workspace.public.ledger)
            write_report(workspace.public, sign=_resign(former, operator.identity))
            return index

        yield record
    finally:
        workspace.close()


def _resign(former: Mapping[str, Any], identity: "Identity") -> "ReportSigner | None":
    """Sign the new report as the former one was, if that was by the same party."""
    from ..signatory import ReportSigner

    block = former.get("signature")
    if not isinstance(block, Mapping):
        return None
    if block.get("signer") != identity.name:
        sys.stderr.write("secure-bfl: another party had signed the report: the new one awaits its signature\n")
        return None
    return ReportSigner(identity, former, block.get("controller"), block.get("purpose"))


def _lines(mode: str, result: "AuditResult", index: int | None) -> list[str]:
    rows = [
        ("mode", mode),
        ("claim", f"epsilon {result.claimed_epsilon_milli / 1000:g} at delta {result.delta_e12 / 1e12:g}"),
        (
            "one run",
            f"{result.correct} of {result.guesses} guesses right, of {result.canaries} canaries: epsilon at least "
            f"{result.epsilon_lower_milli / 1000:g} (95 %), p of the claim {_p(result.one_run_p_e12)}",
        ),
        ("z-test", f"p {_p(result.z_p_e12)}"),
        (
            "noise",
            f"{result.noise_ratio_ppm / 1e6:.3f} of the planned variance, at the sentinels; "
            f"p {_p(result.sentinel_p_e12)}",
        ),
        ("structure", "all checks hold" if not result.structural else f"FAILED: {result.structural}"),
        (
            "verdict",
            "nothing speaks against the claim" if result.passes else f"VIOLATED: {', '.join(result.violations)}",
        ),
    ]
    if index is not None:
        rows.append(("ledger", f"entry {index}, signed by the operator; the report was written again"))
    return pairs(rows)


def _p(p_e12: int) -> str:
    return "below 1e-12" if p_e12 <= 1 else f"{p_e12 / 1e12:.2g}"
