"""`secure-bfl privacy plan | whatif`: what a budget needs, before anything runs."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ..exitcodes import ExitCode
from ..ledger_cli.reading import print_result
from .options import VARIED
from .tables import columns, pairs, real, shown

if TYPE_CHECKING:
    from protocols.dp import PrivacyPlan

__all__ = ["plan_of", "print_plan", "print_whatif"]

_DEFAULT_EPSILON: Final = 2.0
_MOST_VALUES: Final = 64
_DROP_OUT: Final = 0.3
_UNIT: Final = {
    "local": "one record, added or removed; each client adds all the noise itself",
    "distributed": "one record, added or removed; each client adds a share of the noise",
    "client": "one whole client, whose update is replaced by zero; each client adds a share of the noise",
}


def plan_of(options: argparse.Namespace) -> "PrivacyPlan":
    """The plan that options ask for: solved for `--epsilon`, or with the noise of `--sigma`.

    Raises:
        ValueError: there is no such plan; the message says which number to change.
    """
    from protocols.dp import MAX_EPSILON, Mode, PrivacyPlan

    from ..feasibility import check_clients, check_minimum

    mode = Mode[options.mode.upper()]
    colluders = options.colluders
    if colluders is None:
        colluders = 0 if mode is Mode.LOCAL else 1
    check_clients(options.clients)
    _check_numbers(options, colluders, local=mode is Mode.LOCAL)
    plan = PrivacyPlan.solve(
        epsilon=options.epsilon if options.sigma is None else MAX_EPSILON,
        delta=options.delta,
        rounds=options.rounds,
        q=options.q,
        clients=options.clients,
        honest_min=options.honest_min,
        colluders=colluders,
        mode=mode,
        steps=options.steps,
        dim=options.parameters,
    )
    if mode is not Mode.LOCAL:
        check_minimum(plan.minimum_contributors, plan.clients)
    if options.sigma is None:
        return plan
    return replace(plan, noise_multiplier_milli=round(options.sigma * 1000))


def _check_numbers(options: argparse.Namespace, colluders: int, *, local: bool) -> None:
    """Refuse numbers out of range by the names that the options have. Raises ValueError."""
    from protocols.dp import MAX_DIM
    from protocols.dp.events import MAX_NOISE_MULTIPLIER_MILLI, MAX_STEPS, MIN_NOISE_MULTIPLIER_MILLI

    if local and (options.honest_min not in (None, 1) or colluders != 0):
        raise ValueError("in local mode each client adds all the noise: leave --honest-min and --colluders out")
    most = max(1, options.clients - max(colluders, 0))
    for name, value, low, high in (
        ("rounds", options.rounds, 1, MAX_STEPS),
        ("steps", options.steps, 1, MAX_STEPS),
        ("parameters", options.parameters, 1, MAX_DIM),
        ("colluders", colluders, 0, options.clients - 1),
        ("honest-min", options.honest_min, 1, most),
    ):
        if value is not None and not low <= value <= high:
            raise ValueError(f"--{name} must be {low} to {high}, not {value}")
    least, largest = MIN_NOISE_MULTIPLIER_MILLI / 1000, MAX_NOISE_MULTIPLIER_MILLI / 1000
    if options.sigma is not None and not least <= options.sigma <= largest:
        raise ValueError(f"--sigma must be {least:g} to {largest:g} times the clip norm, not {options.sigma:g}")


def _after(plan: "PrivacyPlan") -> list[int]:
    """The rounds after which the table tells epsilon: a quarter, a half, three quarters, all."""
    return sorted({-(-plan.rounds * quarter // 4) for quarter in (1, 2, 3, 4)})


def _naive(plan: "PrivacyPlan") -> tuple[int, float]:
    """Survivors, and epsilon, if 30 % of the clients drop out of a plan that divides the noise by all clients."""
    survivors = max(1, plan.clients - round(_DROP_OUT * plan.clients))
    return survivors, replace(plan, honest_minimum=plan.clients, colluders=0).naive_epsilon(survivors)


def print_plan(options: argparse.Namespace) -> ExitCode:
    """Solve a plan and show what it gives."""
    from protocols.dp import Mode

    options.sigma = None
    plan = plan_of(options)
    has_shares = plan.mode is not Mode.LOCAL
    sigma, share = plan.noise_multiplier_milli / 1000, plan.share_noise_multiplier
    tight, formal, alone = plan.spent(), plan.spent_formal(), plan.naive_epsilon(1)
    table = [(rounds, plan.spent(rounds), plan.spent_formal(rounds)) for rounds in _after(plan)]
    result: dict[str, Any] = {
        "mode": options.mode,
        "epsilon_budget": plan.epsilon,
        "delta": plan.delta,
        "rounds": plan.rounds,
        "steps": plan.steps,
        "sampling_rate": plan.sampling_rate_ppm / 1_000_000,
        "clients": plan.clients,
        "honest_minimum": plan.honest_minimum,
        "colluders": plan.colluders,
        "minimum_contributors": plan.minimum_contributors,
        "parameters": plan.dim,
        "noise_multiplier": sigma,
        "share_noise_multiplier": real(share),
        "epsilon": real(tight),
        "epsilon_formal": real(formal),
        "formal_within_budget": formal <= plan.epsilon,
        "one_share_epsilon": real(alone),
        "naive_drop_out": None,
        "after": [{"rounds": n, "epsilon": real(t), "epsilon_formal": real(f)} for n, t, f in table],
    }
    above = "" if formal <= plan.epsilon else f"; the formal value is above {shown(plan.epsilon)}"
    rows = [
        ("unit", _UNIT[options.mode]),
        ("budget", f"epsilon {shown(plan.epsilon)} at delta {plan.delta:g}, over {plan.rounds} rounds"),
        ("noise", f"{shown(sigma)} times the clip norm, on {'the opened sum' if has_shares else 'each client'}"),
        ("epsilon", f"{shown(tight)} numerically tight, {shown(formal)} formal (Rényi){above}"),
    ]
    if has_shares:
        survivors, naive = _naive(plan)
        result["naive_drop_out"] = {"survivors": survivors, "epsilon": real(naive)}
        rows += [
            ("share", f"{shown(share)} times the clip norm, from each client: 1/{plan.shares} of the variance"),
            (
                "contributors",
                f"at least {plan.minimum_contributors} of {plan.clients} ({plan.honest_minimum} honest, "
                f"{plan.colluders} colluding), or members refuse to open the round",
            ),
            ("one share", f"epsilon {shown(alone)} if a single client's share were opened alone, every round"),
            (
                "drop-out",
                f"epsilon {shown(naive)} if the noise were divided by all {plan.clients} clients and only {survivors} "
                f"came; here {shown(tight)}, whoever comes",
            ),
        ]
    lines = [*pairs(rows), "", *columns(("after round", "epsilon", "formal"), [_row(*entry) for entry in table])]
    print_result(options, result, lines)
    return ExitCode.OK


def _row(rounds: int, tight: float, formal: float) -> tuple[str, str, str]:
    return str(rounds), shown(tight), shown(formal)


def _values(name: str, text: str) -> list[float]:
    """The values to try, in the order given.

    Raises:
        ValueError: no such name, or no such values.
    """
    if name not in VARIED:
        raise ValueError(f"--vary takes one of {', '.join(VARIED)}, not {name!r}")
    words = [word for word in text.split(",") if word]
    if not 1 <= len(words) <= _MOST_VALUES:
        raise ValueError(f"--vary {name} takes 1 to {_MOST_VALUES} values, separated by commas")
    try:
        return [int(word) if name in ("rounds", "clients", "honest-min") else float(word) for word in words]
    except ValueError as exc:
        raise ValueError(f"--vary {name} takes numbers separated by commas, not {text!r}") from exc


def _varied(options: argparse.Namespace, name: str, value: float) -> argparse.Namespace:
    changed = argparse.Namespace(**vars(options))
    setattr(changed, name.replace("-", "_"), value)
    if name == "sigma":
        changed.epsilon = None
    return changed


def print_whatif(options: argparse.Namespace) -> ExitCode:
    """Solve a plan for each value of one number, and show what moves."""
    name, text = options.vary
    values = _values(name, text)
    if name in ("epsilon", "sigma") and (options.epsilon, options.sigma) != (None, None):
        raise ValueError(f"with --vary {name} neither --epsilon nor --sigma can be given")
    if options.sigma is None and options.epsilon is None:
        options.epsilon = _DEFAULT_EPSILON
    found: list[tuple[float, PrivacyPlan]] = []
    refused: list[tuple[float, str]] = []
    for value in values:
        try:
            plan = plan_of(_varied(options, name, value))
        except ValueError as exc:
            refused.append((value, str(exc)))
            continue
        found.append((value, plan))
    if not found:
        raise ValueError(f"no value of {name} gives a plan: {refused[0][1]}")
    rows = [_whatif_row(value, plan) for value, plan in found]
    fixed = options.sigma is not None or name == "sigma"
    if options.svg is not None:
        from ledger import write_durably

        from .curve import Curve, draw

        key, label = ("epsilon", "epsilon") if fixed else ("noise_multiplier", "noise multiplier")
        points = tuple((float(row["value"]), row[key]) for row in rows if not isinstance(row[key], str))
        write_durably(options.svg, draw(Curve(f"{label} against {name}", name, label, points)).encode())
    head = (name, "sigma", "epsilon", "formal", "share", "contributors", "one share")
    table = [(f"{value:g}", *map(_cell, list(row.values())[1:])) for (value, _), row in zip(found, rows, strict=True)]
    lines = [*columns(head, table), *(f"{value:g}: {reason}" for value, reason in refused)]
    impossible = [{"value": value, "reason": reason} for value, reason in refused]
    print_result(options, {"vary": name, "rows": rows, "impossible": impossible}, lines)
    return ExitCode.OK


def _cell(value: Any) -> str:
    return shown(value) if isinstance(value, float) else str(value)


def _whatif_row(value: float, plan: "PrivacyPlan") -> dict[str, Any]:
    return {
        "value": value,
        "noise_multiplier": plan.noise_multiplier_milli / 1000,
        "epsilon": real(plan.spent()),
        "epsilon_formal": real(plan.spent_formal()),
        "share_noise_multiplier": real(plan.share_noise_multiplier),
        "minimum_contributors": plan.minimum_contributors,
        "one_share_epsilon": real(plan.naive_epsilon(1)),
    }
