"""Every test that the pitfalls name exists, and every pitfall has one."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SEVERITIES = {"critical", "high", "medium"}
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def faults(text: str) -> list[str]:
    """Rows without a severity, or without a test that is there."""
    found = []
    for row in text.splitlines():
        if not row.startswith("|") or row.startswith(("| pitfall", "|---")):
            continue
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        named = NAMED.fullmatch(cells[-1])
        file = ROOT / named[1] if named else ROOT
        there = named and file.is_file() and f"\ndef {named[2]}(" in file.read_text(encoding="utf-8")
        if len(cells) != 4 or cells[1] not in SEVERITIES or not there:
            found.append(row)
    return found


def test_every_pitfall_names_a_test_that_is_there() -> None:
    text = (ROOT / "docs" / "security" / "pitfalls.md").read_text(encoding="utf-8")
    assert text.count("\n|") > 70
    assert faults(text) == []


def test_the_check_sees_what_is_missing() -> None:
    here = "`tests/docs/test_pitfalls.py::test_every_pitfall_names_a_test_that_is_there`"
    assert faults(f"| pitfall | severity |\n|---|\n| a | high | b | {here} |\n") == []
    for row in (
        f"| a | grave | b | {here} |",
        f"| a | high | {here} |",
        "| a | high | b | none |",
        f"| a | high | b | {here[:-1]}_no` |",
        "| a | high | b | `tests/docs/no_such.py::test_x` |",
    ):
        assert faults(row) == [row]
