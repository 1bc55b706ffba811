"""The page of figures quotes the measurements that lie beside it, and the charts are drawn from them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench.charts import log_log
from bench.curves import Job, charts
from bench.ledger_page import MARKED, chart, tables

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "explanation"


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return found


def test_the_tables_quote_the_measurement() -> None:
    measured = load("performance-crypto.json")
    quoted = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", (FOLDER / "performance.md").read_text(encoding="utf-8"), re.M)
    figures = {**measured, **{f"ratio {name}": ratio for name, ratio in measured["ratios_to_seal_ntt"].items()}}
    assert len(quoted) > 20
    seen = set()
    for name, value in quoted:
        key = f"ratio {name}" if name in seen else name
        seen.add(name)
        options = {figures.get(key), figures.get(f"ratio {name}")}
        assert float(value) in options, name


def test_the_measurement_is_of_the_published_setting() -> None:
    measured = load("performance-crypto.json")
    setting = measured["setting"]
    assert (setting["values"], setting["clients"], setting["degree"], setting["head_room"]) == (10**6, 10, 16384, 128)
    assert setting["runs"] >= 7
    assert measured["engine"] == "numba"
    assert measured["missing"] == {}


@pytest.mark.parametrize("name", ["parameters", "clients", "round"])
def test_the_charts_are_drawn_from_the_measurement(name: str) -> None:
    jobs = load("performance-curves.json")["jobs"]
    drawn = charts([Job(**{k: v for k, v in job.items() if k != "measured"}) for job in jobs], 10**6)
    title, lines, x_name = drawn[name]
    expected = log_log(title, lines, x_name=x_name, y_name="CPU seconds")
    assert (FOLDER / f"performance-{name}.svg").read_text(encoding="utf-8") == expected


def test_the_curves_reach_as_far_as_the_page_says() -> None:
    jobs = load("performance-curves.json")["jobs"]
    assert {job["clients"] for job in jobs} == {10, 100, 1000}
    assert {job["parameters"] for job in jobs} == {10**5, 10**6, 10**7, 10**8}
    assert all(job["measured"] == (job["ciphertexts"] == job["measured_ciphertexts"]) for job in jobs)
    assert all(job["measured"] for job in jobs if job["clients"] == 10)


def test_the_ledger_page_says_what_was_measured() -> None:
    found = load("ledger-performance.json")
    page = (FOLDER / "ledger-performance.md").read_text(encoding="utf-8")
    assert {match[2]: match[0] for match in MARKED.finditer(page)} == {
        name: f"<!-- figures: {name} -->\n\n{text}\n<!-- end figures -->" for name, text in tables(found).items()
    }
    assert (FOLDER / "ledger-append.svg").read_text(encoding="utf-8") == chart(found)
    assert found["setting"]["large"] == 10**7
    assert [size for size, _ in found["append_curve"]] == [10**n for n in range(3, 8)]
