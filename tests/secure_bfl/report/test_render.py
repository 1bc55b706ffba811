"""The pages: self-contained, escaped, well-formed, accessible, and the same bytes every time."""

import re
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from secure_bfl.report import ClientFacts, build, html, markdown, sign
from tests.secure_bfl.report.made_up import (
    KEY,
    client_level,
    distributed,
    federation,
    full_batch,
    rounds_of,
    sampled,
    signed,
)

HOSTILE = "<script>alert(1)</script>&\"'|`*_[x](y)"
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Collects tags and text, and fails on tags that do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def svgs(page: str) -> list[str]:
    return re.findall(r"<svg.*?</svg>", page, re.DOTALL)


def hostile() -> dict[str, Any]:
    facts = federation(dataset=HOSTILE, origin=HOSTILE, suite=HOSTILE)
    clients = tuple(ClientFacts(f"{HOSTILE}{c.name}", c.spends, c.uploads) for c in facts.clients)
    facts = federation(
        dataset=HOSTILE, origin=HOSTILE, suite=HOSTILE, unit_text=HOSTILE, clients=clients, rounds=rounds_of(clients, 6)
    )
    texts = {"controller": HOSTILE, "purpose": HOSTILE}
    return sign(build(facts), KEY, signer=HOSTILE, role=HOSTILE, **texts)


@pytest.mark.parametrize("report", [full_batch, sampled, hostile, signed])
def test_page_fetches_nothing_and_runs_nothing(report: Any) -> None:
    page = html(report())
    parsed = Page(page)
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page
    assert "@import" not in page
    loads = {"src", "href", "srcset", "data", "action", "poster", "background", "xlink:href"}
    for tag, attributes in parsed.tags:
        assert tag not in {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
        assert not loads & attributes.keys()
        assert not [name for name in attributes if name.startswith("on")]


def test_every_string_is_escaped() -> None:
    report = hostile()
    page = html(report)
    assert "<script" not in page
    assert "alert(1)" in page
    assert HOSTILE in "".join(Page(page).words)
    text = markdown(report)
    assert "<script" not in text.replace("\\<", "")
    table_rows = [line for line in text.splitlines() if line.startswith("| \\<script")]
    assert len(table_rows) == 5
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 9 for line in table_rows)


@pytest.mark.parametrize("report", [full_batch, sampled, hostile, distributed, client_level])
def test_pictures_are_well_formed_and_described(report: Any) -> None:
    found = svgs(html(report()))
    assert len(found) == (3 if report in (full_batch, sampled, hostile) else 4)
    for text in found:
        svg = ElementTree.fromstring(text)  # noqa: S314  our own text
        title, description = svg.find("title"), svg.find("desc")
        assert title is not None
        assert title.text
        assert description is not None
        assert description.text
        assert svg.attrib["role"] == "img"
        assert svg.attrib["aria-labelledby"] == f"{title.attrib['id']} {description.attrib['id']}"
        assert not [text for text in svg.itertext() if "nan" in text.lower().split()]
        for element in svg.iter():
            for name in ("x", "x1", "x2", "cx"):
                assert 0 <= float(element.attrib.get(name, 0)) <= 640
            for name in ("y", "y1", "y2", "cy"):
                assert 0 <= float(element.attrib.get(name, 0)) <= 340


@pytest.mark.parametrize("report", [full_batch, signed])
def test_identifiers_are_unique_and_references_resolve(report: Any) -> None:
    parsed = Page(html(report()))
    names = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(names) == len(set(names))
    wanted = [str(attributes["aria-labelledby"]) for _, attributes in parsed.tags if "aria-labelledby" in attributes]
    assert {name for value in wanted for name in value.split()} <= set(names)


def test_each_picture_has_a_table_of_its_numbers() -> None:
    page = html(full_batch())
    figures = re.findall(r"<figure>.*?</figure>", page, re.DOTALL)
    assert len(figures) == 3
    assert all("<table>" in figure and "<figcaption>" in figure for figure in figures)
    for row in full_batch()["accounting"]["series"]:
        assert f"{row['epsilon']:.4g}" in figures[0]


def test_the_table_of_the_curve_has_the_decades_and_the_reported_pair() -> None:
    for report in (full_batch(), build(federation(delta_e12=25_000_000, done=1))):
        table = (
            markdown(report).partition("**Epsilon for powers of ten of delta")[2].partition("**")[2].partition("**")[0]
        )
        deltas = re.findall(r"^\| ([\d.]+e-\d+) \|", table, re.MULTILINE)
        decades = [f"1e-{power}" for power in range(10, 2, -1)]
        assert [delta for delta in deltas if delta in decades] == decades
        assert len(deltas) <= 9


def test_rates_in_the_table_are_bounds() -> None:
    table = markdown(sampled()).partition("**Upper bound on detecting")[2].partition("\n##")[0]
    stated = [float(found) for found in re.findall(r"\| ([\d.]+)% \|$", table, re.MULTILINE)]
    rates = [row["true_positive_rate"] * 100 for row in sampled()["guarantee"]["roc"]]
    assert len(stated) == len(rates)
    assert all(rate - 1e-9 <= bound <= rate + 1e-4 for bound, rate in zip(stated, rates, strict=True))


def test_page_serves_light_dark_and_paper() -> None:
    page = html(full_batch())
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert 'lang="en"' in page
    assert 'name="viewport"' in page


@pytest.mark.parametrize("spell", [html, markdown])
def test_same_report_same_text(spell: Any) -> None:
    assert spell(full_batch()) == spell(build(federation()))


@pytest.mark.parametrize("spell", [html, markdown])
def test_both_pages_say_what_matters(spell: Any) -> None:
    report = full_batch()
    page = spell(report)
    assert f"{report['guarantee']['epsilon']:.4g}" in page
    for name in ("ana", "bo", "cleo", "dee", "eli"):
        assert name in page
    for digest in (report["identity"]["log_root"], report["evidence"]["rounds"][0]["model_digest"]):
        assert digest in page
    assert "Timing and traffic" in page
    assert "numerically tight" in page


def test_failures_are_words_not_only_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    from secure_bfl.adapters import opacus

    good = html(full_batch())
    assert "within the budget" in good
    assert "accountants agree" in good
    assert "FAILS" not in good
    monkeypatch.setattr(opacus, "prv_epsilon", lambda events, delta: 1.0)
    bad = html(build(federation(epsilon_milli=2_000)))
    assert "budget exceeded" in bad
    assert "accountants disagree" in bad
    assert "2 of 7 checks fail" in bad
    assert "FAILS" in bad


def test_an_unbounded_epsilon_is_drawn_as_such() -> None:
    report = build(federation(noise=1_000, steps=300, done=2, planned_rounds=3))
    page = html(report)
    assert "unbounded after 1 rounds" in page
    assert "spent 0.00" not in page
    assert 'class="forecast"' not in page
    assert "unbounded" in markdown(report)


def test_a_fresh_federation_renders() -> None:
    report = build(federation(done=0))
    assert len(svgs(html(report))) == 3
    assert "whole plan" in html(report)
    assert markdown(report).endswith("\n")


def test_markdown_tables_are_rectangular() -> None:
    width = None
    for line in markdown(full_batch()).splitlines():
        if not line.startswith("|"):
            width = None
            continue
        bars = len(re.findall(r"(?<!\\)\|", line))
        assert width in (None, bars)
        width = bars


@pytest.mark.parametrize("spell", [html, markdown])
def test_the_pages_of_a_mode_with_shares_show_its_evidence(spell: Any) -> None:
    page = spell(distributed())
    for words in ("Noise variance seen", "Audits of the mechanism", "Clients behind the noise", "all together"):
        assert words in page
    assert "Other runs on the same records, stated by bo" in page
    assert "No audit of the mechanism is recorded" in spell(full_batch())


@pytest.mark.parametrize("spell", [html, markdown])
def test_a_signed_report_says_who_signed_and_what_for(spell: Any) -> None:
    page = spell(signed())
    for words in ("triage of scans", "St. Anna hospital, Ghent", KEY.public.hex(), signed()["signature"]["value"]):
        assert words in page
    assert "triage" not in spell(distributed())
