"""What the tutorial says of its ledger is what such a run writes."""

import re
from collections import Counter
from pathlib import Path

from ledger import MemoryBlobs, parse_entry
from secure_bfl import FederationPlan, run_round
from secure_bfl.datasets import load
from secure_bfl.local_training import Learner
from secure_bfl.messages import Kind

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "tutorial" / "first-federation.md"
ROUNDS = 10
ONCE = {kind for kind in Kind if kind is Kind.GENESIS or kind.name.startswith("KEY_")}


def stated(text: str) -> Counter[str]:
    """Kinds and counts of the tutorial's table."""
    found: Counter[str] = Counter()
    for counts, kinds in re.findall(r"^\| ([\d +]+) \| ([`A-Z_, ]+) \|", text, re.MULTILINE):
        for count, kind in zip(counts.split(" + "), kinds.split(", "), strict=True):
            found[kind.strip("`")] += int(count)
    return found


def test_the_entries_of_the_tutorial() -> None:
    """One round of its federation: what happens once stands there once, what happens in a round ten times."""
    plan = FederationPlan.create("digits", clients=10, members=5, threshold=3, rounds=1)
    learners = [Learner(records) for records in load("digits", plan.clients).shares]
    outcome = run_round(plan, learners, blobs=MemoryBlobs(), now=1_700_000_000)
    kinds = Counter(Kind(parse_entry(data).kind) for data in outcome.board.log.entries())
    expected = Counter({kind.name: count * (1 if kind in ONCE else ROUNDS) for kind, count in kinds.items()})
    text = TUTORIAL.read_text(encoding="utf-8")
    assert stated(text) == expected
    sizes = re.findall(r"(?:has |, |^)(\d+)(?: entries|\n[\w+/]{43}=$)", text, re.MULTILINE)
    assert sizes == [str(expected.total())] * 3
