"""The figures of the page on units of privacy are those of the accountants."""

import math
from pathlib import Path

import pytest

from protocols.dp import PrivacyEvent, PrivacyPlan, epsilon_pld, group_epsilon, roc_bound

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "privacy-units.md"
DELTA = 1e-5
STEPS = 40


def table(heading: str) -> list[list[str]]:
    """The rows below the table's first cell."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def full_batch(epsilon: float) -> PrivacyEvent:
    """The least noise for this epsilon, to a thousandth."""
    low, high = 100, 1_000_000
    while low < high:
        middle = (low + high) // 2
        if epsilon_pld([PrivacyEvent(middle, 1_000_000, STEPS)], DELTA) <= epsilon:
            high = middle
        else:
            low = middle + 1
    return PrivacyEvent(low, 1_000_000, STEPS)


def up(value: float) -> str:
    """One decimal, rounded up."""
    return f"{math.ceil(10 * value - 1e-9) / 10:.1f}" if math.isfinite(value) else "unbounded"


@pytest.mark.parametrize("row", table("ε for one record"), ids=lambda row: row[0])
def test_epsilon_of_groups(row: list[str]) -> None:
    event = full_batch(float(row[0]))
    assert row[1:] == [up(group_epsilon([event], DELTA, records)) for records in (2, 4, 8)]


@pytest.mark.parametrize("row", table("ε")[1:], ids=lambda row: row[0])
def test_true_positives(row: list[str]) -> None:
    bound = roc_bound([full_batch(float(row[0]))], (0.001, 0.01, 0.1))
    assert row[1:] == [f"{up(100 * rate)} %" for rate in bound.true_positive_rates]


@pytest.mark.parametrize("row", table("clients"), ids=lambda row: row[0])
def test_one_share_alone(row: list[str]) -> None:
    clients, shares = int(row[0]), int(row[1])
    assert 2 * shares == clients
    plan = PrivacyPlan.solve(epsilon=2.0, delta=DELTA, rounds=STEPS, clients=clients, honest_min=shares)
    assert row[2:] == [up(plan.naive_epsilon(1, 1)), up(plan.naive_epsilon(1))]
