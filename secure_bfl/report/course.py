"""The course of spending: epsilon after each round so far, after the rounds still planned, and what else would fit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from protocols.dp.events import PrivacyEvent

from . import accounts
from .accounts import History
from .facts import ClientFacts, ReportFacts

__all__ = ["MAX_REMAINING_ROUNDS", "SeriesPoint", "forecast", "remaining_rounds", "round_numbers", "series"]

MAX_REMAINING_ROUNDS = 4096
_MAX_SERIES = 24
_MAX_FORECAST = 8


@dataclass(frozen=True, slots=True)
class SeriesPoint:
    """The most exposed client's epsilon after `rounds` rounds; `number` is the last one's number on the ledger."""

    rounds: int
    number: int
    epsilon: float


def _timeline(clients: Sequence[ClientFacts], ends: Sequence[int]) -> list[tuple[History, ...]]:
    """The histories up to and including each round of `ends`, which increase; one pass over each client's spends."""
    grouped: list[dict[tuple[PrivacyEvent, ...], list[str]]] = [{} for _ in ends]
    for client in clients:
        totals: dict[tuple[int, int], int] = {}
        at = 0
        for end, found in zip(ends, grouped, strict=True):
            while at < len(client.spends) and client.spends[at].round <= end:
                spend = client.spends[at]
                key = (spend.noise_multiplier_milli, spend.sampling_rate_ppm)
                totals[key] = totals.get(key, 0) + spend.steps
                at += 1
            found.setdefault(accounts.spelled(totals), []).append(client.name)
    return [tuple(History(tuple(names), events) for events, names in found.items()) for found in grouped]


def round_numbers(facts: ReportFacts) -> tuple[int, ...]:
    """Return every round the ledger knows of: with a model, void, or with a reservation in it."""
    reserved = {spend.round for client in facts.clients for spend in client.spends}
    return tuple(sorted(reserved | {e.number for e in facts.rounds} | {e.number for e in facts.void_rounds}))


def _spread(count: int, most: int) -> list[int]:
    """Return up to `most` positions of 1..count, evenly spaced, the last one always among them."""
    if count <= most:
        return list(range(1, count + 1))
    return sorted({math.ceil(count * i / most) for i in range(1, most + 1)})


def series(facts: ReportFacts) -> tuple[SeriesPoint, ...]:
    """Return the most exposed client's epsilon after each round; of more than 24, 24 with the last among them."""
    numbers = round_numbers(facts)
    positions = _spread(len(numbers), _MAX_SERIES)
    ends = [numbers[position - 1] for position in positions]
    return tuple(
        SeriesPoint(position, end, max(accounts.accounted_epsilon(h.events, facts) for h in accounts.frontier(found)))
        for position, end, found in zip(positions, ends, _timeline(facts.clients, ends), strict=True)
    )


def _after(events: Sequence[PrivacyEvent], facts: ReportFacts, rounds: int) -> float:
    ahead = accounts.planned_round(facts)
    more = accounts.one_mechanism(ahead.noise_multiplier_milli, ahead.sampling_rate_ppm, ahead.steps * rounds)
    return accounts.accounted_epsilon((*events, *more), facts)


def forecast(facts: ReportFacts) -> tuple[SeriesPoint, ...]:
    """Return the same series for the plan's remaining rounds, if the most exposed clients take part in all of them."""
    numbers = round_numbers(facts)
    left = facts.planned_rounds - len(numbers)
    edge = accounts.frontier(accounts.histories(facts.clients))
    last = numbers[-1] if numbers else 0
    return tuple(
        SeriesPoint(len(numbers) + more, last + more, max(_after(h.events, facts, more) for h in edge))
        for more in _spread(max(left, 0), _MAX_FORECAST)
    )


def remaining_rounds(facts: ReportFacts) -> int:
    """Return how many more rounds of the planned mechanism fit in the budget for the most exposed client.

    Computed by the accountant, not by dividing what is left: epsilon does not add up. Stops at 4096.
    """
    budget = facts.epsilon_milli / 1000
    edge = accounts.frontier(accounts.histories(facts.clients))

    def fits(rounds: int) -> bool:
        return all(_after(h.events, facts, rounds) <= budget for h in edge)

    low, high = 0, max(facts.planned_rounds - len(round_numbers(facts)), 0)
    if not fits(0):
        return 0
    while fits(high := min(max(high, low + 1), MAX_REMAINING_ROUNDS)):
        if high == MAX_REMAINING_ROUNDS:
            return high
        low, high = high, (high + 1 if low == 0 else 2 * high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
