"""The report's text and tables in reading order, before any markup: Markdown and HTML are two spellings of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .blocks import Block, Items, Table, Words, rows_of, text
from .figures import profile_figure, roc_figure, spending_figure
from .wording import format_delta, number

__all__ = ["Section", "sections"]


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what is under it; `anchor` is its name in links."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


def _pairs(caption: str, rows: Iterable[tuple[str, Any]], *, code: bool = False) -> Table:
    cells = tuple((name, text(value)) for name, value in rows)
    return Table(caption, ("what", "value"), cells, code=frozenset({1}) if code else frozenset())


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
    groups = rows_of(unit["groups"], "records", "epsilon")
    return Section(
        "guarantee",
        "What is guaranteed",
        (
            Words(
                f"Unit: one {unit['unit']}. Neighbours: {unit['adjacency']}. Holds for {guarantee['holds_for']}; most "
                f"exposed: {text(guarantee['worst_clients'])}."
            ),
            Table(f"Epsilon at delta {_delta(report)}", ("value", "epsilon", "accountant"), rows, frozenset({1})),
            Table("Groups of records of one person", ("records", "epsilon"), groups, frozenset({1})),
            Words(unit["group_method"]),
            profile_figure(report),
            roc_figure(report),
        ),
    )


def _budget(report: Mapping[str, Any]) -> Section:
    budget = report["budget"]
    rounds = number(budget["remaining_rounds"]) + (" or more" if budget["remaining_rounds_is_minimum"] else "")
    table = _pairs(
        f"Budget, {budget['unit']}",
        (
            ("total", budget["total"]),
            ("spent by the most exposed client", budget["spent"]),
            ("of this: rounds in an opened sum", budget["spent_on_opened_rounds"]),
            ("of this: reserved, but no update arrived", budget["reserved_without_upload"]),
            ("remaining", budget["remaining"]),
            ("further rounds of the planned mechanism that fit", rounds),
            ("rounds left in the plan", budget["planned_rounds_left"]),
            ("reservations without an update, all clients", budget["rounds_reserved_without_upload"]),
            ("exceeded", budget["exceeded"]),
        ),
    )
    return Section("budget", "The budget", (spending_figure(report), table))


def _clients(report: Mapping[str, Any]) -> Section:
    rows = tuple(
        (
            row["name"],
            text(row["epsilon"]),
            text(row["epsilon_formal"]),
            text(row["remaining"]),
            text(row["steps"]),
            text(len(row["rounds_uploaded"])),
            text(row["rounds_reserved_without_upload"]),
        )
        for row in report["clients"]
    )
    header = ("client", "epsilon", "formal", "remaining", "steps", "updates", "reserved without update: rounds")
    table = Table(f"Each client's spending at delta {_delta(report)}", header, rows, frozenset({1, 2, 3, 4, 5}))
    return Section("clients", "Client by client", (table,))


def _trust(report: Mapping[str, Any]) -> Section:
    trust = report["trust"]
    encryption = trust["encryption"]
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
            ),
            Words(encryption["adds"]),
            _pairs(
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


def _bracket(check: Mapping[str, Any]) -> str:
    low = text(check["low"])
    return f"at least {low}" if check["high"] == "unbounded" else f"{low} to {text(check['high'])}"


def _mechanism(report: Mapping[str, Any]) -> Section:
    mechanism, accounting = report["mechanism"], report["accounting"]
    names = {key: key.replace("_", " ") for key in mechanism}
    order = [
        "name",
        "noise_law",
        "noise_multiplier",
        "noise_std_units",
        "clip_norm",
        "clip_units",
        "rounding",
        "sampling_rate",
        "sampler",
    ]
    order += ["local_steps", "all_spends_as_planned"]
    brackets = tuple(
        (
            check["accountant"],
            text(check["epsilon"]),
            _bracket(check),
            "holds" if check["holds"] else "FAILS",
            text(check["clients"]),
        )
        for check in accounting["cross_checks"]
    )
    return Section(
        "accounting",
        "Mechanism and accounting",
        (
            _pairs("Mechanism", ((names[key], mechanism[key]) for key in order)),
            Words(f"Accountant: {accounting['accountant']}. Composition: {accounting['composition']}."),
            Table(
                "Events of the most exposed client",
                ("noise multiplier", "sampling rate", "steps"),
                rows_of(accounting["events"], "noise_multiplier", "sampling_rate", "steps"),
                frozenset({1, 2}),
            ),
            Table(
                "Cross-checks",
                ("accountant", "epsilon", "bracket", "result", "clients"),
                brackets,
                frozenset({1, 2}),
            ),
            Words(f"Verdict: the accountants {accounting['verdict']}. {accounting['explanation']}"),
        ),
    )


def _assumptions(report: Mapping[str, Any]) -> Section:
    checked = report["assumptions"]["checked"]
    rows = tuple((row["claim"], "holds" if row["holds"] else "FAILS") for row in checked)
    return Section(
        "assumptions",
        "Checked, assumed, not covered",
        (
            Table("Checked on the ledger", ("claim", "result"), rows),
            Words("Assumed, not checkable on a ledger:"),
            Items(tuple(report["assumptions"]["made"])),
            Words("Not covered by this report:"),
            Items(tuple(report["not_covered"])),
        ),
    )


def _scope(report: Mapping[str, Any]) -> Section:
    scope, utility = report["scope"], report["utility"]
    accuracy = None if utility["accuracy"] is None else f"{utility['accuracy']:.2%}"
    return Section(
        "scope",
        "Scope and utility",
        (
            _pairs(
                "Scope",
                (
                    ("data set", scope["dataset"]),
                    ("model parameters", scope["parameters"]),
                    ("clients", scope["clients"]),
                    ("rounds finished", f"{scope['finished_rounds']} of {scope['planned_rounds']}"),
                    (f"accuracy ({utility['source']})", accuracy),
                ),
            ),
            Table("What is released", ("what", "to whom"), rows_of(scope["release"], "what", "to")),
            Words(f"Not included: {scope['runs_not_included']}"),
        ),
    )


def _evidence(report: Mapping[str, Any]) -> Section:
    identity, evidence = report["identity"], report["evidence"]
    rounds = Table(
        "Rounds",
        ("round", "updates", "absent", "aggregate (SHA-256)", "model (SHA-256)"),
        tuple(
            (
                text(row["round"]),
                text(len(row["contributors"])),
                text(row["absent"]),
                row["aggregate_digest"],
                row["model_digest"],
            )
            for row in evidence["rounds"]
        ),
        frozenset({0, 1}),
        frozenset({3, 4}),
    )
    void = Table(
        "Void rounds: no model came of them, and what was spent in them stays spent",
        ("round", "the operator's reason"),
        tuple((text(row["round"]), row["reason"]) for row in evidence["void_rounds"]),
        frozenset({0}),
        frozenset(),
    )
    head = (
        ("report", identity["id"]),
        ("log", identity["origin"]),
        ("log size", identity["log_size"]),
        ("log root", identity["log_root"]),
        ("genesis", identity["genesis"]),
        ("encryption key (SHA-256)", evidence["key_digest"]),
        ("cosignatures on the log's head, at least", evidence["certificate_quorum"]),
        ("audits", evidence["audits"]),
        ("runs included", report["scope"]["runs_included"]),
    )
    blocks = (Words(evidence["recompute"]), _pairs("Identity", head, code=True), rounds)
    return Section("evidence", "Evidence", (*blocks, void) if evidence["void_rounds"] else blocks)


def sections(report: Mapping[str, Any]) -> tuple[Section, ...]:
    """Return the report's sections in reading order: first what everybody needs, last what a verifier needs."""
    return (
        Section("plain-words", "In plain words", (Items(tuple(report["plain_words"])),)),
        _budget(report),
        _guarantee(report),
        _clients(report),
        _trust(report),
        _assumptions(report),
        _mechanism(report),
        _scope(report),
        _evidence(report),
    )
