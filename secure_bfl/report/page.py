"""The report's text and tables in reading order, before any markup: Markdown and HTML are two spellings of it."""

from collections.abc import Mapping
from typing import Any

from . import appendix
from .blocks import Items, Section, Table, Words, pairs, rows_of, text
from .figures import profile_figure, roc_figure, spending_figure
from .wording import format_delta, number

__all__ = ["Section", "sections"]


def _delta(report: Mapping[str, Any]) -> str:
    return format_delta(report["guarantee"]["delta"])


def _guarantee(report: Mapping[str, Any]) -> Section:
    guarantee, unit = report["guarantee"], report["unit"]
    rows = (
        ("headline", text(guarantee["epsilon"]), guarantee["method"]),
        (
            "numerically tight",
            text(guarantee["numerically_tight"]["epsilon"]),
            guarantee["numerically_tight"]["method"],
        ),
        ("formal", text(guarantee["formal"]["epsilon"]), guarantee["formal"]["method"]),
    )
    groups = rows_of(unit["groups"], "units", "epsilon")
    low, high = guarantee["bracket"]["low"], guarantee["bracket"]["high"]
    mu = "none is exact with sampling" if guarantee["mu"] is None else guarantee["mu"]
    return Section(
        "guarantee",
        "What is guaranteed",
        (
            Words(
                f"Unit: {unit['one']}. Neighbours: {unit['adjacency']}. Holds for {guarantee['holds_for']}; most "
                f"exposed: {text(guarantee['worst_clients'])}."
            ),
            Table(f"Epsilon at delta {_delta(report)}", ("value", "epsilon", "accountant"), rows, frozenset({1})),
            pairs(
                "Range",
                (("lowest and highest answer of any accountant", f"{text(low)} to {text(high)}"), ("mu", mu)),
            ),
            Table(f"Groups of {unit['unit']}s of one person", (f"{unit['unit']}s", "epsilon"), groups, frozenset({1})),
            Words(unit["group_method"]),
            profile_figure(report),
            roc_figure(report),
        ),
    )


def _budget(report: Mapping[str, Any]) -> Section:
    budget = report["budget"]
    rounds = number(budget["remaining_rounds"]) + (" or more" if budget["remaining_rounds_is_minimum"] else "")
    table = pairs(
        f"Budget, {budget['unit']}",
        (
            ("total", budget["total"]),
            ("spent by the most exposed client", budget["spent"]),
            ("of this: rounds in an opened sum", budget["spent_on_opened_rounds"]),
            ("of this: reserved, but no update arrived", budget["reserved_without_upload"]),
            ("of this: rounds that ended void", budget["voided"]),
            ("remaining", budget["remaining"]),
            ("further rounds of the planned mechanism that fit", rounds),
            ("rounds left in the plan", budget["planned_rounds_left"]),
            ("spent at the end of the plan, if it is carried out", budget["whole_plan"]),
            ("reservations without an update, all clients", budget["rounds_reserved_without_upload"]),
            ("reservations in void rounds, all clients", budget["rounds_voided"]),
            ("exceeded", budget["exceeded"]),
            ("the formal value, too, is within the budget", budget["formal_within_budget"]),
        ),
    )
    runs, others = budget["all_runs"], report["scope"]["clients_with_other_runs"]
    stated = (
        f"Other runs on the same records, stated by {text(others)}: with them, epsilon is {text(runs['epsilon'])} for "
        f"{text(runs['worst_clients'])}, by {runs['method']}."
        if others
        else f"No client states another run on its records. By {runs['method']}, epsilon is {text(runs['epsilon'])}."
    )
    return Section("budget", "The budget", (spending_figure(report), table, Words(stated)))


def _clients(report: Mapping[str, Any]) -> Section:
    rows = tuple(
        (
            row["name"],
            text(row["epsilon"]),
            text(row["epsilon_formal"]),
            text(row["epsilon_all_runs"]),
            text(row["remaining"]),
            text(row["steps"]),
            text(len(row["rounds_uploaded"])),
            text(row["rounds_reserved_without_upload"]),
        )
        for row in report["clients"]
    )
    header = ("client", "epsilon", "formal", "all runs", "remaining", "steps", "updates", "reserved without update")
    caption = f"Each client's spending at delta {_delta(report)}"
    table = Table(caption, header, rows, frozenset({1, 2, 3, 4, 5, 6}), keep=frozenset({0}))
    return Section("clients", "Client by client", (table,))


def _trust(report: Mapping[str, Any]) -> Section:
    trust = report["trust"]
    encryption, survivors = trust["encryption"], trust["survivors"]
    seen = "no sum is opened yet" if survivors["fewest_seen"] is None else survivors["fewest_seen"]
    return Section(
        "trust",
        "Who must be trusted",
        (
            Words(trust["statement"]),
            Table(
                "Observers",
                ("observer", "sees", "epsilon", "trust needed in"),
                rows_of(trust["variants"], "observer", "sees", "epsilon", "trusts"),
                frozenset({2}),
                cards=True,
            ),
            pairs(
                "Clients behind the noise",
                (
                    ("honest clients whose noise epsilon counts", survivors["honest_minimum"]),
                    ("dishonest clients a sum may hold", survivors["colluders"]),
                    ("fewest clients that members open a sum of", survivors["required"]),
                    ("fewest clients seen in an opened sum", seen),
                    ("epsilon if all but the dishonest were honest", survivors["epsilon_if_the_rest_is_honest"]),
                ),
            ),
            Words(encryption["adds"]),
            pairs(
                "Encryption",
                (
                    ("members needed to decrypt", f"{encryption['threshold']} of {encryption['members']}"),
                    ("fewest clients in an opened sum", encryption["minimum_clients"]),
                    ("suite", encryption["suite"]),
                    ("ring degree", encryption["ring_degree"]),
                    ("smudging, statistical bits", encryption["smudging_bits"]),
                ),
            ),
        ),
    )


def sections(report: Mapping[str, Any]) -> tuple[Section, ...]:
    """Return the report's sections in reading order: first what everybody needs, last what a verifier needs."""
    return (
        Section("plain-words", "In plain words", (Items(tuple(report["plain_words"])),)),
        _budget(report),
        _guarantee(report),
        _clients(report),
        _trust(report),
        appendix.assumptions(report),
        appendix.mechanism(report),
        appendix.scope(report),
        appendix.evidence(report),
        *(() if "signature" not in report else (appendix.signature(report["signature"]),)),
    )
