"""Spell the report as Markdown or as one self-contained HTML page.

Both are pure functions of the report, with nothing added: no time, no version, no external resource, no script.
Every string of the report is escaped, for names come from other people.
"""

from collections.abc import Mapping
from html import escape
from typing import Any

from .blocks import Block, Figure, Items, Table, Words
from .page import Section, sections
from .stylesheet import STYLE
from .wording import budget_verdict, format_delta, number

__all__ = ["html", "markdown"]

_MARKDOWN_SPECIAL = frozenset("\\`*_{}[]<>|#~&$")


def _md(text: str) -> str:
    return "".join(f"\\{character}" if character in _MARKDOWN_SPECIAL else character for character in text)


def _md_table(table: Table) -> list[str]:
    rule = ["---:" if column in table.numeric else "---" for column in range(len(table.header))]
    lines = [table.header, *table.rows]
    spelled = [f"| {' | '.join(_md(cell) for cell in line)} |" for line in lines]
    return [f"**{_md(table.caption)}**", "", spelled[0], f"| {' | '.join(rule)} |", *spelled[1:], ""]


def _md_block(block: Block) -> list[str]:
    match block:
        case Words(text):
            return [_md(text), ""]
        case Items(texts):
            return [*(f"- {_md(text)}" for text in texts), ""]
        case Table():
            return _md_table(block)
        case Figure(_, caption, table, _):
            return [_md(caption), "", *_md_table(table)]


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown (CommonMark with tables); pictures become their tables.

    Run by: anyone, on a report made by `build`.
    """
    guarantee, identity, budget = report["guarantee"], report["identity"], report["budget"]
    within = budget_verdict(formal=guarantee["formal"]["epsilon"], formal_within=budget["formal_within_budget"])
    judged = "budget exceeded" if budget["exceeded"] else within
    lines = [
        f"# Privacy budget report: {_md(report['scope']['dataset'])}",
        "",
        f"**ε = {_md(number(guarantee['epsilon']))} at δ = {format_delta(guarantee['delta'])}**, "
        f"budget {number(budget['total'])} ({judged}), {_md(identity['origin'])}, "
        f"{number(identity['log_size'])} entries.",
        "",
    ]
    for section in sections(report):
        lines += [f"## {_md(section.title)}", ""]
        for block in section.blocks:
            lines += _md_block(block)
    return "\n".join(lines).rstrip("\n") + "\n"


def _cell(table: Table, column: int, words: str, tag: str = "td", more: str = "") -> str:
    sets = (("num", table.numeric), ("code", table.code), ("keep", table.keep))
    names = [name for name, columns in sets if column in columns]
    if table.cards and tag == "td":
        more += f' data-name="{escape(table.header[column])}"'
    if tag == "td" and words in ("holds", "FAILS"):
        names.append("good" if words == "holds" else "bad")
    css = f' class="{" ".join(names)}"' if names else ""
    return f"<{tag}{css}{more}>{escape(words)}</{tag}>"


def _html_table(table: Table) -> list[str]:
    head = "".join(_cell(table, i, words, "th", ' scope="col"') for i, words in enumerate(table.header))
    body = []
    for row in table.rows:
        first = _cell(table, 0, row[0], "th", ' scope="row"')
        body.append(f"<tr>{first}{''.join(_cell(table, i, words) for i, words in enumerate(row) if i)}</tr>")
    cards = ' class="cards"' if table.cards else ""
    return [
        f'<div class="wide"><table{cards}>',
        f"<caption>{escape(table.caption)}</caption>",
        f"<thead><tr>{head}</tr></thead>",
        f"<tbody>{''.join(body)}</tbody>",
        "</table></div>",
    ]


def _html_block(block: Block) -> list[str]:
    match block:
        case Words(text):
            return [f"<p>{escape(text)}</p>"]
        case Items(texts):
            return ["<ul>", *(f"<li>{escape(text)}</li>" for text in texts), "</ul>"]
        case Table():
            return _html_table(block)
        case Figure(svg, caption, table, axes):
            alternative = ["<details><summary>The same as a table</summary>", *_html_table(table), "</details>"]
            return [
                "<figure>",
                svg,
                f'<p class="axes">{escape(axes)}</p>',
                f"<figcaption>{escape(caption)}</figcaption>",
                *alternative,
                "</figure>",
            ]


def _html_section(section: Section) -> list[str]:
    name = f"{section.anchor}-heading"
    lines = [
        f'<section id="{section.anchor}" aria-labelledby="{name}">',
        f'<h2 id="{name}">{escape(section.title)}</h2>',
    ]
    for block in section.blocks:
        lines += _html_block(block)
    return [*lines, "</section>"]


def _verdict(good: bool, yes: str, no: str) -> str:
    return f'<li class="{"good" if good else "bad"}">{"✓" if good else "✗"} {escape(yes if good else no)}</li>'


def _hero(report: Mapping[str, Any]) -> list[str]:
    guarantee, budget = report["guarantee"], report["budget"]
    checks = report["assumptions"]["checked"]
    failed = sum(not check["holds"] for check in checks)
    exceeded = budget["exceeded"]
    formal = guarantee["formal"]["epsilon"]
    within = budget_verdict(formal=formal, formal_within=budget["formal_within_budget"])
    unbounded = budget["spent"] == "unbounded"
    share = 100.0 if exceeded or unbounded else min(100.0, 100 * budget["spent"] / budget["total"])
    rounds = number(budget["remaining_rounds"]) + ("+" if budget["remaining_rounds_is_minimum"] else "")
    spent = escape(number(budget["spent"]))
    return [
        '<div class="hero">',
        "<dl>",
        f"<div><dt>privacy spent, ε</dt><dd>{spent}<small>at δ = {format_delta(guarantee['delta'])}</small></dd></div>",
        f"<div><dt>budget, ε</dt><dd>{number(budget['total'])}"
        f"<small>{escape(number(budget['remaining']))} remaining</small></dd></div>",
        f"<div><dt>further rounds that fit</dt><dd>{rounds}"
        f"<small>{number(budget['planned_rounds_left'])} left in the plan</small></dd></div>",
        "</dl>",
        f'<div class="meter{" over" if exceeded else ""}" role="img" aria-label="{share:.0f} % of the budget is spent">'
        f'<span style="width:{share:.2f}%"></span></div>',
        '<ul class="verdicts">',
        _verdict(not exceeded, within, "budget exceeded"),
        _verdict(report["accounting"]["verdict"] == "agree", "accountants agree", "accountants disagree"),
        _verdict(not failed, f"{len(checks)} of {len(checks)} checks hold", f"{failed} of {len(checks)} checks fail"),
        "</ul>",
        "</div>",
    ]


def html(report: Mapping[str, Any]) -> str:
    """Return the report as one HTML page: styles and pictures inside, no script, nothing fetched from anywhere.

    Run by: anyone, on a report made by `build`. Readable in light and dark, on paper, and by a screen reader.
    """
    identity, scope = report["identity"], report["scope"]
    title = f"Privacy budget report: {scope['dataset']}"
    body: list[str] = []
    for section in sections(report):
        body += _html_section(section)
    clients = f"{number(scope['clients'])} clients"
    rounds = f"{number(scope['finished_rounds'])} of {number(scope['planned_rounds'])} rounds"
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            "<main>",
            "<header>",
            '<p class="kicker">Privacy budget report</p>',
            f"<h1>{escape(scope['dataset'])}</h1>",
            f'<p class="where">{escape(identity["origin"])} · {clients} · {rounds}</p>',
            *_hero(report),
            "</header>",
            *body,
            f"<footer>Report {escape(identity['id'])}, computed from the log {escape(identity['origin'])} at "
            f"{number(identity['log_size'])} entries, root {escape(identity['log_root'])}.</footer>",
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )
