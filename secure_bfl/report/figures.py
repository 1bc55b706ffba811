"""The report's figures: each picture with its caption and the table of the same numbers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from . import plots
from .blocks import Figure, Table, rows_of, text
from .plots import Bound, GaugePoint, Point
from .wording import format_delta, percent_up, question

__all__ = ["gauge_figure", "profile_figure", "roc_figure", "spending_figure"]


_BOTH = frozenset({0, 1})


def _points(rows: Sequence[Mapping[str, Any]], x: str, y: str) -> list[Point]:
    return [Point(row[x], row[y]) for row in rows if row[y] != "unbounded"]


def spending_figure(report: Mapping[str, Any]) -> Figure:
    """Privacy spent over the rounds, with the budget and the rest of the plan."""
    accounting, delta = report["accounting"], report["guarantee"]["delta"]
    spent, ahead = accounting["series"], accounting["forecast"]
    lost = [row["rounds"] for row in spent if row["epsilon"] == "unbounded"]
    finite_ahead = [] if lost else _points(ahead, "rounds", "epsilon")
    svg = plots.epsilon_over_rounds(
        _points(spent, "rounds", "epsilon"),
        finite_ahead,
        Bound("budget", report["budget"]["total"]),
        delta=delta,
        unbounded=(lost[0], lost[-1]) if lost else None,
    )
    rows = [(*row, "spent") for row in rows_of(spent, "rounds", "round", "epsilon")]
    rows += [(*row, "forecast") for row in rows_of(ahead, "rounds", "round", "epsilon")]
    table = Table(
        f"Epsilon at delta {format_delta(delta)} after each round, most exposed client",
        ("rounds", "number on the ledger", "epsilon", "state"),
        tuple(rows),
        frozenset({0, 1, 2}),
    )
    caption = "Privacy spent by the most exposed client."
    if lost:
        caption += f" After {lost[0]} rounds it has no bound, which cannot be drawn as a point."
    elif ahead:
        caption += " Dashed: the rest of the plan, if that client takes part in every round."
        if len(finite_ahead) < len(ahead):
            caption += " The plan's last rounds have no bound and are not drawn."
    return Figure(svg, caption, table, f"Across: rounds. Up: ε at δ = {format_delta(delta)}.")


def _doubt(report: Mapping[str, Any]) -> str:
    if report["accounting"]["verdict"] == "agree":
        return ""
    return f" By {report['guarantee']['numerically_tight']['method']} alone: the accountants disagree."


def profile_figure(report: Mapping[str, Any]) -> Figure:
    """Epsilon for every delta."""
    guarantee = report["guarantee"]
    own = guarantee["numerically_tight"]["epsilon"]
    svg = plots.epsilon_profile(
        _points(guarantee["profile"], "delta", "epsilon"),
        delta=guarantee["delta"],
        epsilon=None if own == "unbounded" else own,
    )
    shown = [row for row in guarantee["profile"] if _is_decade(row["delta"]) or row["delta"] == guarantee["delta"]]
    rows = tuple((format_delta(row["delta"]), text(row["epsilon"])) for row in shown)
    table = Table("Epsilon for powers of ten of delta, most exposed client", ("delta", "epsilon"), rows, _BOTH)
    caption = "One run, every pair: a smaller delta costs a larger epsilon." + _doubt(report)
    return Figure(svg, caption, table, "Across: δ, the accepted probability of failure. Up: ε, privacy loss.")


def _is_decade(delta: float) -> bool:
    return math.isclose(math.log10(delta), round(math.log10(delta)), abs_tol=1e-9)


def roc_figure(report: Mapping[str, Any]) -> Figure:
    """The best an attacker can do."""
    guarantee = report["guarantee"]
    attacker, asked = guarantee["attacker"], question(report["unit"]["unit"])
    svg = plots.roc_bound(
        _points(guarantee["roc"], "false_positive_rate", "true_positive_rate"),
        Point(attacker["false_positive_rate"], attacker["true_positive_rate"]),
        about=f"whether {asked}",
    )
    rows = tuple(
        (f"{row['false_positive_rate']:.1%}", f"{percent_up(row['true_positive_rate'], 4)}%")
        for row in guarantee["roc"]
    )
    table = Table(
        f"Upper bound on detecting whether {asked}",
        ("false positive rate", "true positive rate, at most"),
        rows,
        _BOTH,
    )
    caption = f"The best that anyone can do who has everything published and wants to know whether {asked}."
    axes = "Across: false positive rate (false alarms). Up: true positive rate (detections), at most."
    return Figure(svg, caption + _doubt(report), table, axes)


def _read(value: float) -> str:
    return f"{value:.2g}"


def gauge_figure(report: Mapping[str, Any]) -> Figure | None:
    """The noise that the opened sums held, over the noise that was planned; None if no sum shows it."""
    gauge = report["evidence"]["sentinel_gauge"]
    if gauge is None:
        return None
    rows, band, total = gauge["rounds"], gauge["band"], gauge["cumulative"]
    svg = plots.sentinel_gauge(
        [GaugePoint(row["round"], row["ratio"], row["accounted"], row["holds"]) for row in rows],
        band["low"],
        band["high"],
        band["probability"],
    )
    cells = [
        (
            text(row["round"]),
            text(row["contributors"]),
            text(row["ratio"]),
            "-" if row["accounted"] is None else text(row["accounted"]),
            _read(row["p_too_small"]),
            _read(row["p_too_large"]),
            "holds" if row["holds"] else "FAILS",
        )
        for row in rows
    ]
    small, large = _read(total["p_too_small"]), _read(total["p_too_large"])
    holds = "holds" if total["holds"] else "FAILS"
    cells.append(("all together", "", text(total["ratio"]), "", small, large, holds))
    table = Table(
        f"Noise variance seen at {gauge['sentinels']} sentinel coordinates, over the planned one",
        ("round", "clients", "seen", "accounted", "p, too small", "p, too large", "result"),
        tuple(cells),
        frozenset({1, 2, 3, 4, 5}),
    )
    caption = (
        f"The noise in the opened sums, seen at {gauge['sentinels']} coordinates that hold nothing else. All rounds "
        f"together show {text(total['ratio'])} of the planned variance."
    )
    if any(row["accounted"] is not None for row in rows):
        caption += " Below the alarm line there was less noise than epsilon counts on."
    return Figure(svg, caption, table, "Across: round. Up: noise variance, seen over planned.")
