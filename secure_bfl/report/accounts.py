"""The numbers of the privacy budget report: what each client's history costs, by several accountants.

Clients with the same history cost the same, so each distinct history is accounted once. Composition does not depend
on order, so a history is a multiset of steps: equal mechanisms are merged and their steps added.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from protocols import dp
from protocols.dp.events import MAX_STEPS, PrivacyEvent

from .facts import ClientFacts, ReportFacts, Spend

__all__ = [
    "GROUP_METHOD",
    "GROUP_SIZES",
    "LEAST_SMUDGING_BITS",
    "MAX_REMAINING_ROUNDS",
    "Check",
    "CurvePoint",
    "History",
    "SeriesPoint",
    "accounted_epsilon",
    "cross_check",
    "detection",
    "forecast",
    "formal_epsilon",
    "frontier",
    "group",
    "histories",
    "merge_spends",
    "opened_epsilon",
    "planned_round",
    "profile",
    "remaining_rounds",
    "roc",
    "round_numbers",
    "series",
]

PRV_BELOW = 1e-3
PRV_ABOVE = 0.02
RDP_BELOW = 1e-3
MAX_REMAINING_ROUNDS = 4096
LEAST_SMUDGING_BITS = 40
GROUP_SIZES = (1, 2, 4, 8)
GROUP_METHOD = (
    "For k records of one person at one client, added or removed together: a sampled step holds a binomial number of "
    "them, so a mixture of Gaussians bounds the step; at sampling rate 1 a Gaussian at k times the sensitivity."
)
_ROC_RATES = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, *(i / 40 for i in range(4, 41)))
_PROFILE_DELTAS = (1e-10, 0.1)
_MAX_SERIES = 40
_MAX_FORECAST = 8


@dataclass(frozen=True, slots=True)
class History:
    """What one or more clients have spent: `events` in canonical order, equal mechanisms merged."""

    clients: tuple[str, ...]
    events: tuple[PrivacyEvent, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """One accountant's answer and whether it lies in [low, high] around the report's own accountant."""

    accountant: str
    epsilon: float
    low: float
    high: float

    @property
    def holds(self) -> bool:
        """True if the answer is a number within the bracket, or the bracket and the answer are both unbounded."""
        return self.low <= self.epsilon <= self.high


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One point of a curve: (delta, epsilon) or (false positive rate, true positive rate)."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class SeriesPoint:
    """The most exposed client's epsilon after `rounds` rounds; `number` is the last one's number on the ledger."""

    rounds: int
    number: int
    epsilon: float


def merge_spends(spends: Iterable[Spend]) -> tuple[PrivacyEvent, ...]:
    """Merge spends into one event per mechanism, in canonical order; the steps of equal mechanisms add up."""
    steps: dict[tuple[int, int], int] = {}
    for spend in spends:
        key = (spend.noise_multiplier_milli, spend.sampling_rate_ppm)
        steps[key] = steps.get(key, 0) + spend.steps
    return tuple(event for (noise, rate), count in sorted(steps.items()) for event in _events(noise, rate, count))


def _events(noise: int, rate: int, steps: int) -> list[PrivacyEvent]:
    """Spell `steps` steps as events: one, unless there are more steps than one event may hold."""
    whole, rest = divmod(steps, MAX_STEPS)
    counts = [MAX_STEPS] * whole + [rest] * (rest > 0)
    return [PrivacyEvent(noise_multiplier_milli=noise, sampling_rate_ppm=rate, steps=count) for count in counts]


def planned_round(facts: ReportFacts) -> Spend:
    """Return what one more round of the planned mechanism costs a client that takes part."""
    return Spend(0, facts.local_steps, facts.noise_multiplier_milli, facts.sampling_rate_ppm)


def histories(clients: Sequence[ClientFacts], *, up_to: int | None = None) -> tuple[History, ...]:
    """Group clients by what they have spent, optionally counting only rounds numbered at most `up_to`."""
    grouped: dict[tuple[PrivacyEvent, ...], list[str]] = {}
    for client in clients:
        events = merge_spends(spend for spend in client.spends if up_to is None or spend.round <= up_to)
        grouped.setdefault(events, []).append(client.name)
    return tuple(History(tuple(names), events) for events, names in grouped.items())


def _totals(events: Sequence[PrivacyEvent]) -> Counter[tuple[int, int]]:
    totals: Counter[tuple[int, int]] = Counter()
    for event in events:
        totals[event.noise_multiplier_milli, event.sampling_rate_ppm] += event.steps
    return totals


def frontier(candidates: Sequence[History]) -> tuple[History, ...]:
    """Keep the histories that no other contains: the largest epsilon is among them, by any sound accountant."""
    return tuple(
        history
        for history in candidates
        if not any(_totals(history.events) <= _totals(other.events) for other in candidates if other is not history)
    )


def accounted_epsilon(events: Sequence[PrivacyEvent], facts: ReportFacts) -> float:
    """Return epsilon at the plan's delta by privacy loss distributions (exact closed form at rate 1); 0 if no event."""
    return _bounded(dp.epsilon_pld(events, facts.delta_e12 / 1e12, dim=facts.parameters))


def formal_epsilon(events: Sequence[PrivacyEvent], facts: ReportFacts) -> float:
    """Return epsilon at the plan's delta by Renyi accounting: looser, and proven without numerical error terms."""
    return _bounded(dp.epsilon_rdp(events, facts.delta_e12 / 1e12, dim=facts.parameters))


def _bounded(epsilon: float) -> float:
    """Return what is no usable bound (NaN, negative, or above the largest reported epsilon) as infinite."""
    return epsilon if 0 <= epsilon <= dp.MAX_EPSILON else math.inf


def cross_check(events: Sequence[PrivacyEvent], facts: ReportFacts) -> tuple[Check, ...]:
    """Ask every other accountant about the same events; the first answer is the formal one.

    The Opacus PRV accountant must lie within [PLD - 0.001, PLD + 0.02]; a Renyi (RDP) accountant gives an upper
    bound and must not lie below PLD - 0.001. There is no bracket around an unbounded epsilon: PRV is not asked then.
    """
    own = accounted_epsilon(events, facts)
    delta = facts.delta_e12 / 1e12
    formal = Check("dp-accounting RDP", formal_epsilon(events, facts), own - RDP_BELOW, math.inf)
    renyi = 0.0
    prv: float | None = 0.0
    if events:
        from ..adapters import opacus  # imports torch, which takes seconds; only this check needs it

        # At sampling rate 1 Opacus takes log(0) on purpose; what overflows comes out as no number, hence as unbounded.
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            renyi = _bounded(opacus.rdp_epsilon(events, delta))
            prv = _bounded(opacus.prv_epsilon(events, delta)) if math.isfinite(own) else None
    checks = (formal, Check("Opacus RDP", renyi, own - RDP_BELOW, math.inf))
    return checks if prv is None else (*checks, Check("Opacus PRV", prv, own - PRV_BELOW, own + PRV_ABOVE))


def group(events: Sequence[PrivacyEvent], facts: ReportFacts, size: int) -> float:
    """Return epsilon at the plan's delta for `size` records of one client at once."""
    return dp.group_epsilon(events, facts.delta_e12 / 1e12, size, dim=facts.parameters)


def profile(events: Sequence[PrivacyEvent], facts: ReportFacts) -> tuple[CurvePoint, ...]:
    """Return (delta, epsilon) pairs for delta from 1e-10 to 0.1, increasing; none if epsilon at 1e-10 is unbounded."""
    curve = dp.profile(events, dim=facts.parameters)
    low, high = _PROFILE_DELTAS
    lowest: dict[float, float] = {}
    for epsilon, delta in zip(curve.epsilons, curve.deltas, strict=True):
        if low <= delta <= high:
            lowest[delta] = min(epsilon, lowest.get(delta, math.inf))
    return tuple(CurvePoint(delta, lowest[delta]) for delta in sorted(lowest))


def roc(events: Sequence[PrivacyEvent], facts: ReportFacts) -> tuple[CurvePoint, ...]:
    """Return the attacker's largest true positive rate at fixed false positive rates from 0 to 1."""
    bound = dp.roc_bound(events, _ROC_RATES, dim=facts.parameters)
    return tuple(CurvePoint(x, y) for x, y in zip(bound.false_positive_rates, bound.true_positive_rates, strict=True))


def detection(events: Sequence[PrivacyEvent], facts: ReportFacts, false_positive_rate: float) -> float:
    """Return the attacker's largest true positive rate at one false positive rate."""
    return dp.roc_bound(events, [false_positive_rate], dim=facts.parameters).true_positive_rates[0]


def opened_epsilon(facts: ReportFacts, history: History) -> float:
    """Return the part of a history's epsilon that rounds with an upload account for (the largest of its clients)."""
    clients = [client for client in facts.clients if client.name in history.clients]
    return max(
        accounted_epsilon(merge_spends(s for s in client.spends if s.round in client.uploads), facts)
        for client in clients
    )


def _worst(clients: Sequence[ClientFacts], facts: ReportFacts, up_to: int) -> float:
    return max(accounted_epsilon(h.events, facts) for h in frontier(histories(clients, up_to=up_to)))


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
    """Return the most exposed client's epsilon after each round; of more than 40, 40 with the last among them."""
    numbers = round_numbers(facts)
    positions = _spread(len(numbers), _MAX_SERIES)
    return tuple(
        SeriesPoint(position, numbers[position - 1], _worst(facts.clients, facts, numbers[position - 1]))
        for position in positions
    )


def _after(events: Sequence[PrivacyEvent], facts: ReportFacts, rounds: int) -> float:
    ahead = planned_round(facts)
    more = _events(ahead.noise_multiplier_milli, ahead.sampling_rate_ppm, ahead.steps * rounds)
    return accounted_epsilon((*events, *more), facts)


def forecast(facts: ReportFacts) -> tuple[SeriesPoint, ...]:
    """Return the same series for the plan's remaining rounds, if the most exposed clients take part in all of them."""
    numbers = round_numbers(facts)
    left = facts.planned_rounds - len(numbers)
    edge = frontier(histories(facts.clients))
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
    edge = frontier(histories(facts.clients))

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
