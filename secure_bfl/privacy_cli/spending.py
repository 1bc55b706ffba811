"""`secure-bfl privacy status | can-i-run`: what a client's odometer says, read without a lock."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ledger import read_published

from ..errors import OutputError
from ..exitcodes import ExitCode
from ..layout import PrivateFolder, PublicFolder
from ..ledger_cli.reading import print_result
from .planning import plan_of
from .tables import columns, pairs, real, shown

if TYPE_CHECKING:
    from protocols.dp import PrivacyEvent

    from ..odometer import OdometerStatus, RunStatus
    from ..plan import FederationPlan

__all__ = ["can_i_run", "print_status", "run_plan"]

_ROUNDS: Final = 40
_NOT_AFTER: Final = (
    "the first run's schedule does not fit the budget by it (epsilon {first}), so no other run may follow; raise the "
    "budget, or use other records"
)
_METHOD: Final = {"tight": "numerically tight", "renyi": "Rényi, as runs share these records"}


def _read(path: Path) -> "OdometerStatus":
    """Read the odometer at `path`, or the one in the folder `path`.

    Raises:
        OutputError: there is none, and none ever began there.
        ChainError: its chain is broken, or the file is gone.
        ValueError: the folder holds several.
    """
    from ..odometer.file import mark_of, read_odometer

    file = _file(path) if path.is_dir() else path
    if not file.exists() and not mark_of(file).exists():
        raise OutputError(f"{path} is no odometer: give its file, or the private folder of the client that keeps it")
    return read_odometer(file)


def _file(folder: Path) -> Path:
    usual = PrivateFolder(folder).odometer
    found = [] if usual.exists() else sorted(folder.glob("odometer-*.jsonl"))
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise ValueError(f"{folder} holds several odometers, one for each data set and unit: give one of {names}")
    return found[0] if found else usual


def run_plan(folder: Path) -> "FederationPlan":
    """The plan of a published run, as its genesis entry states it; the rest of the run is not looked at.

    Raises:
        OutputError: there is no ledger.
        LedgerError: it cannot be read, or does not begin with a genesis entry.
    """
    from ..replay import Replay

    public = PublicFolder.of(folder)
    if not public.ledger.is_dir():
        raise OutputError(f"{folder} holds no run: there is no ledger in it; give the folder that `demo` made")
    replay = Replay()
    for entry in read_published(public.ledger).entries[:1]:
        replay.apply(entry)
    if replay.roster is None:
        raise OutputError(f"{public.ledger} does not begin with the genesis entry of a run")
    return replay.roster.plan


def _event(event: "PrivacyEvent") -> dict[str, Any]:
    return {
        "noise_multiplier": event.noise_multiplier_milli / 1000,
        "sampling_rate": event.sampling_rate_ppm / 1_000_000,
        "steps": event.steps,
    }


def _words(event: "PrivacyEvent") -> str:
    steps = "1 step" if event.steps == 1 else f"{event.steps} steps"
    noise = f"noise {event.noise_multiplier_milli / 1000:g} times the clip norm"
    return f"{noise}, sampling rate {event.sampling_rate_ppm / 1_000_000:g}, {steps} a round"


def _newest(status: "OdometerStatus") -> "tuple[RunStatus, PrivacyEvent] | None":
    """The newest run that has reserved a round, and what one of its rounds is charged; None if there is none.

    A schedule alone does not tell its rounds: in local mode one round is many steps.
    """
    from dataclasses import replace

    run = next((run for run in reversed(status.runs) if run.reserved and run.spent), None)
    if run is None:
        return None
    event = run.spent[-1]
    return run, replace(event, steps=max(1, event.steps // run.reserved))


def print_status(options: argparse.Namespace) -> ExitCode:
    """Show an odometer's budget, spending and runs."""
    status = _read(options.odometer)
    budget, spent = status.budget, status.spent
    newest = _newest(status)
    run, event = (None, None) if newest is None else newest
    left = None if event is None else status.remaining(event)
    left_in_run = None if event is None or run is None else status.remaining(event, run.run)
    result: dict[str, Any] = {
        "dataset": status.dataset,
        "unit": status.unit,
        "epsilon_budget": budget.epsilon,
        "delta": budget.delta,
        "budgets": len(status.budgets),
        "epsilon": real(spent.epsilon),
        "method": spent.method,
        "runs": [_run(run) for run in status.runs],
        "last_mechanism": None if event is None else _event(event),
        "remaining_rounds_in_run": left_in_run,
        "remaining_rounds_of_another_run": left,
        "head": status.head.hex(),
    }
    changed = f", changed {len(status.budgets) - 1} times" if len(status.budgets) > 1 else ""
    rows = [
        ("records", f"{status.dataset}, unit {status.unit}"),
        ("budget", f"epsilon {shown(budget.epsilon)} at delta {budget.delta:g}{changed}"),
        ("spent", f"epsilon {shown(spent.epsilon)} ({_METHOD.get(spent.method, spent.method)})"),
    ]
    if event is not None and run is not None:
        rows += [
            ("mechanism", _words(event)),
            ("left", f"{left_in_run} rounds in run {run.run.hex()[:16]}, or {left} of another run"),
        ]
    rows.append(("chain", f"whole, head {status.head.hex()}"))
    lines = pairs(rows)
    if status.runs:
        table = [(r.run.hex()[:16], str(r.reserved), str(r.persisted), str(r.committed)) for r in status.runs]
        lines += ["", *columns(("run", "reserved", "persisted", "committed"), table)]
    print_result(options, result, lines)
    return ExitCode.OK


def _run(run: "RunStatus") -> dict[str, Any]:
    return {
        "run": run.run.hex(),
        "schedule": [_event(event) for event in run.schedule],
        "spent": [_event(event) for event in run.spent],
        "reserved": run.reserved,
        "persisted": run.persisted,
        "committed": run.committed,
    }


def _counting(status: "OdometerStatus") -> tuple[str, float, float]:
    """What counts for another run: the accountant, epsilon spent by it, and that of the first run's whole schedule.

    Once any run has reserved, the Rényi value counts, as what comes later may depend on what came out before.
    """
    from protocols.dp import epsilon_rdp

    if not status.events:
        return "tight", 0.0, 0.0
    dim, delta = max(run.dim for run in status.runs), status.budget.delta
    first = next((run.schedule for run in status.runs if run.run == status.first), ())
    return "renyi", epsilon_rdp(status.events, delta, dim=dim), epsilon_rdp(first, delta, dim=dim)


def can_i_run(options: argparse.Namespace) -> ExitCode:
    """Say how many rounds of a mechanism still fit."""
    status = _read(options.odometer)
    if options.plan_of is not None:
        plan = run_plan(options.plan_of)
        unit, event = plan.unit_of_privacy, plan.round_event
        asked = plan.rounds if options.rounds is None else options.rounds
    else:
        asked = options.rounds = _ROUNDS if options.rounds is None else options.rounds
        unit, event = ("client" if options.mode == "client" else "record"), plan_of(options).round_event
    if asked < 1:
        raise ValueError(f"--rounds must be at least 1, not {asked}")
    if unit != status.unit:
        raise ValueError(
            f"the odometer counts for the unit {status.unit}, the plan for {unit}: what one spends says nothing of the "
            "other; give a plan of the same unit"
        )
    left = status.remaining(event)
    fits = left >= asked
    method, spent, first = _counting(status)
    reason = _NOT_AFTER.format(first=shown(first)) if left == 0 and first > status.budget.epsilon else None
    result = {
        "fits": fits,
        "rounds": asked,
        "remaining_rounds": left,
        "mechanism": _event(event),
        "epsilon_budget": status.budget.epsilon,
        "delta": status.budget.delta,
        "epsilon": real(spent),
        "method": method,
        "reason": reason,
    }
    answer = f"yes: {asked} rounds fit" if fits else f"no: {left} of {asked} rounds fit"
    rows = [
        ("mechanism", _words(event)),
        ("budget", f"epsilon {shown(status.budget.epsilon)} at delta {status.budget.delta:g}"),
        ("spent", f"epsilon {shown(spent)} ({_METHOD[method]})"),
        ("answer", answer if fits else f"{answer}: {reason or 'fewer rounds, more noise, or other records'}"),
    ]
    print_result(options, result, pairs(rows))
    return ExitCode.OK if fits else ExitCode.BUDGET
