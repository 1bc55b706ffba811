"""Every test that the pitfalls name exists, and every pitfall has one."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SEVERITIES = {"critical", "high", "medium"}


def test_every_pitfall_names_a_test() -> None:
    text = (ROOT / "docs" / "security" / "pitfalls.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|") and not line.startswith(("| pitfall", "|---"))]
    assert len(rows) > 70
    for row in rows:
        _, severity, _, test = (cell.strip() for cell in row.strip("|").split(" | "))
        named = re.fullmatch(r"`([\w/]+\.py)::(test_\w+)`", test)
        assert severity in SEVERITIES, row
        assert named, row
        assert re.search(rf"^def {named[2]}\(", (ROOT / named[1]).read_text(encoding="utf-8"), re.MULTILINE), row
