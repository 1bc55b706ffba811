"""The options of `secure-bfl privacy …`, with the texts that `--help` prints."""

import argparse
import math
import textwrap
from pathlib import Path
from typing import Any, Final

from ..ledger_cli.options import digest

__all__ = ["MODES", "VARIED", "add_privacy", "add_report_options"]

MODES: Final = ("local", "distributed", "client")
VARIED: Final = ("rounds", "epsilon", "clients", "honest-min", "q", "sigma")
_EXAMPLES: Final = """\
examples:
  secure-bfl privacy plan --epsilon 2 --rounds 40 --clients 10      how much noise that needs, and what it protects
  secure-bfl privacy whatif --vary rounds 10,50,100 --epsilon 2     the same with more rounds, as a table
  secure-bfl privacy status out/private/client-1                    what a client has spent on its records
  secure-bfl privacy can-i-run out/private/client-1 --plan-of out   whether another run of this plan fits (0 or 3)
  secure-bfl privacy report out                                     write the privacy budget report, from the ledger
  secure-bfl privacy verify out                                     the report against the ledger: 0, 1, 4, 5 or 6
  secure-bfl privacy audit                                          attack the mechanism itself, in under a minute
  secure-bfl privacy selftest                                       known answers, sampler, sensitivity, randomness
  secure-bfl privacy export-registry out                            the fields of the public registry of deployments
exit codes: 0 fine; 1 a report differs from the ledger; 2 usage; 3 the budget would be exceeded; 4 accountants
disagree; 5 a chain is broken; 6 an audit found a violation
"""


def add_privacy(commands: Any) -> None:
    """Add the command and its subcommands to the parser of `secure-bfl`."""
    privacy = commands.add_parser(
        "privacy",
        help="plan, watch, audit and report what a run costs its records",
        description="Differential privacy: how much a plan needs, what was spent, and evidence that it holds.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subjects = privacy.add_subparsers(dest="subject", required=True, metavar="SUBCOMMAND")
    _add_plan(subjects)
    _add_whatif(subjects)
    _add_status(subjects)
    _add_can_i_run(subjects)
    _add_report(subjects)
    _add_verify(subjects)
    _add_export(subjects)
    _add_audit(subjects)
    _add_selftest(subjects)


def _add(subjects: Any, name: str, brief: str, description: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subjects.add_parser(
        name,
        help=brief,
        description=textwrap.fill(description, 100),
        epilog=f"example:\n  secure-bfl privacy {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output, no progress")


def _add_shape(parser: argparse.ArgumentParser) -> None:
    """What a plan is made of, apart from its budget."""
    parser.add_argument("--delta", type=_number, default=1e-5, metavar="D", help="the budget's delta (default: 1e-5)")
    parser.add_argument(
        "--rounds", type=int, default=40, metavar="N", help="rounds of training (default: 40, or the plan's)"
    )
    parser.add_argument(
        "--q", type=_number, default=1.0, metavar="Q", help="chance of a record to be in a step (default: 1, all)"
    )
    parser.add_argument("--clients", type=int, default=10, metavar="N", help="data holders (default: 10)")
    parser.add_argument(
        "--honest-min",
        type=int,
        metavar="T",
        help="fewest honest clients in a sum: each adds 1/T of the noise (default: 7/10 of all, less colluders)",
    )
    parser.add_argument(
        "--colluders",
        type=int,
        metavar="K",
        help="clients that may tell each other their noise (default: 1, as each knows its own; 0 in local mode)",
    )
    parser.add_argument(
        "--mode",
        choices=MODES,
        default="distributed",
        help="local: each client adds all noise itself; distributed: a share each; client: the unit is a whole client",
    )
    parser.add_argument(
        "--steps", type=int, default=1, metavar="N", help="noisy steps a round, local mode (default: 1)"
    )
    parser.add_argument(
        "--parameters", type=int, default=1 << 24, metavar="N", help="size of the model (default: the largest there is)"
    )


def _add_plan(subjects: Any) -> None:
    plan = _add(
        subjects,
        "plan",
        "how much noise a budget needs, and what it then protects",
        "Find the least noise with which a whole run stays within epsilon at delta, and show: the noise of the opened "
        "sum, each client's share, the contributors without whom members refuse to open, epsilon as the accountants "
        "see it, what one share opened alone would cost, and what drop-outs do to a plan that divides the noise by "
        "all clients. Nothing is read or written.",
        "plan --epsilon 2 --rounds 40 --clients 10 --honest-min 5",
    )
    plan.add_argument("--epsilon", type=_number, required=True, metavar="E", help="the whole run's budget")
    _add_shape(plan)
    _add_json(plan)


def _add_whatif(subjects: Any) -> None:
    whatif = _add(
        subjects,
        "whatif",
        "vary one number of a plan, and see the others move",
        "Solve a plan once for each of some values of one number. With --epsilon the noise is what changes; with "
        "--sigma (or --vary sigma) the noise is given and epsilon changes.",
        "whatif --vary rounds 10,50,100,500 --epsilon 2 --svg rounds.svg",
    )
    whatif.add_argument(
        "--vary", nargs=2, required=True, metavar=("NAME", "VALUES"), help=f"{', '.join(VARIED)}; values by commas"
    )
    noise = whatif.add_mutually_exclusive_group()
    noise.add_argument("--epsilon", type=_number, metavar="E", help="the whole run's budget (default: 2)")
    noise.add_argument("--sigma", type=_number, metavar="S", help="noise of the opened sum over the clip norm")
    _add_shape(whatif)
    whatif.add_argument("--svg", type=Path, metavar="FILE", help="also draw the result, as an SVG picture")
    _add_json(whatif)


def _add_odometer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("odometer", type=Path, metavar="ODOMETER", help="the file, or the client's private folder")


def _add_status(subjects: Any) -> None:
    status = _add(
        subjects,
        "status",
        "what a client has spent on its records, of how much",
        "Read a client's odometer, without a lock: budget, epsilon spent and by which accountant, the runs that share "
        "it, and how many more rounds of the last mechanism fit. Exit code 5 if its chain is broken.",
        "status out/private/client-1",
    )
    _add_odometer(status)
    _add_json(status)


def _add_can_i_run(subjects: Any) -> None:
    fits = _add(
        subjects,
        "can-i-run",
        "whether another run fits into what is left of a budget",
        "Say how many rounds of a mechanism a client's odometer still lets pass, by the accountant that will guard "
        "them. Exit code 0 if all rounds asked for fit, 3 if not. Nothing is reserved.",
        "can-i-run out/private/client-1 --epsilon 1 --rounds 20",
    )
    _add_odometer(fits)
    what = fits.add_mutually_exclusive_group(required=True)
    what.add_argument("--plan-of", type=Path, metavar="DIR", help="another run of the plan of this run")
    what.add_argument("--epsilon", type=_number, metavar="E", help="a plan solved for this budget, as in `plan`")
    what.add_argument("--sigma", type=_number, metavar="S", help="a plan with this noise multiplier")
    _add_shape(fits)
    fits.set_defaults(rounds=None)
    _add_json(fits)


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """The options of `privacy report`, and of its short form `report`."""
    parser.add_argument("dir", type=Path, help="the run's folder (or its public folder)")
    parser.add_argument("--genesis", type=digest, help="refuse any other federation than this one (64 hex digits)")
    signed = parser.add_mutually_exclusive_group()
    signed.add_argument("--sign-as", metavar="PARTY", help="sign the report with this party's key, such as operator")
    signed.add_argument("--unsigned", action="store_true", help="put an unsigned report in the place of a signed one")
    parser.add_argument(
        "--keystore",
        type=Path,
        metavar="FILE",
        help="the signing party's keystore, or its folder (default: the one of a demo, DIR/private/PARTY)",
    )
    parser.add_argument("--ask-passphrase", action="store_true", help="ask for the keystore's passphrase")
    parser.add_argument("--controller", metavar="TEXT", help="who answers for the data; part of what is signed")
    parser.add_argument("--purpose", metavar="TEXT", help="what the model is for; part of what is signed")
    _add_json(parser)


def _add_report(subjects: Any) -> None:
    report = _add(
        subjects,
        "report",
        "write the privacy budget report of a verified run, signed if a key is given",
        "Verify a run, then write budget-report.json, .md and .html into its public folder. With --sign-as a party of "
        "the run signs it (passphrase: SECURE_BFL_PASSPHRASE, passphrase.txt of a demo, or --ask-passphrase). A signed "
        "report is not replaced by an unsigned one, except with --unsigned.",
        "report out --sign-as operator --controller 'St Elsewhere Hospital' --purpose 'triage of scans'",
    )
    add_report_options(report)


def _add_verify(subjects: Any) -> None:
    verify = _add(
        subjects,
        "verify",
        "check a published report against its ledger",
        "Verify the run, build its report again, compare every field (computed ones to 1e-6), check the signature, "
        "the accountants and the recorded audits. Exit codes: 1 something differs, 4 accountants disagree, 5 the "
        "ledger's chain is broken or was rolled back, 6 a recorded audit found a violation.",
        "verify out --genesis 4f2a…",
    )
    verify.add_argument("dir", type=Path, help="the run's folder (or its public folder)")
    verify.add_argument("--genesis", type=digest, help="refuse any other federation than this one (64 hex digits)")
    _add_json(verify)


def _add_export(subjects: Any) -> None:
    export = _add(
        subjects,
        "export-registry",
        "print a run in the fields of the public registry of deployments",
        "Verify a run, then print one JSON object with the field names of the registry of differential privacy "
        "deployments. The controller and the purpose are those that the report is signed with; what nobody stated is "
        "left out, and named on standard error.",
        "export-registry out --sector Healthcare --date 2026-11-22 > registry.json",
    )
    export.add_argument("dir", type=Path, help="the run's folder (or its public folder)")
    export.add_argument("--genesis", type=digest, help="refuse any other federation than this one (64 hex digits)")
    export.add_argument("--region", metavar="TEXT", help="where the records are from, in free words")
    export.add_argument("--sector", metavar="TEXT", help="such as Healthcare")
    export.add_argument("--date", metavar="DATE", help="when the model is or was published, YYYY-MM-DD")
    export.add_argument("--curator-type", choices=("Government", "Industry", "Nonprofit"), help="of the controller")
    export.add_argument("--author", metavar="NAME", help="of the entry (default: who signed the report)")
    export.add_argument("--json", action="store_true", help="on one line")


def _add_audit(subjects: Any) -> None:
    audit = _add(
        subjects,
        "audit",
        "attack the mechanism itself, through the real training path",
        "Train with made-up canaries, guess from the final weights which were there, and compare with what the claimed "
        "epsilon allows; test the noise, and check sampler, integers and norms. No data set is read. Takes under a "
        "minute. Exit code 6 if anything is violated. With --dir the evidence becomes an entry of a run of the demo, "
        "signed by its operator, and the report is written again.",
        "audit --mode distributed --dir out",
    )
    audit.add_argument("--mode", choices=MODES, help="the mode to audit (default: that of --dir, or distributed)")
    audit.add_argument(
        "--dataset",
        default="digits",
        metavar="NAME",
        help="whose settings are audited (default: digits)",
    )
    audit.add_argument("--dir", type=Path, metavar="RUN", help="record the evidence on the ledger of this run")
    audit.add_argument("--ask-passphrase", action="store_true", help="ask for the passphrase of the run's keystores")
    _add_json(audit)


def _add_selftest(subjects: Any) -> None:
    selftest = _add(
        subjects,
        "selftest",
        "known answers of the accountants, sampler, sensitivity, randomness",
        "Check in some seconds what all guarantees rest on, on this machine. Exit code 4 if an accountant is wrong, "
        "6 if anything else is.",
        "selftest",
    )
    _add_json(selftest)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError("expected a number") from exc
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError("expected a finite number")
    return value
