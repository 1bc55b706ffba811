"""What each client's history costs, by several accountants.

Clients with the same history cost the same, so each distinct history is accounted once. Composition does not depend
on order, so a history is a multiset of steps: equal mechanisms are merged and their steps added.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from protocols import dp
from protocols.dp.events import MAX_STEPS, PrivacyEvent

from .facts import ClientFacts, ReportFacts, Spend

__all__ = [
    "GROUP_SIZES",
    "LEAST_SMUDGING_BITS",
    "MARKED_RATE",
    "Check",
    "CurvePoint",
    "History",
    "accounted_epsilon",
    "cross_check",
    "epsilon_without_void",
    "formal_epsilon",
    "epsilons",
    "frontier",
    "group",
    "histories",
    "merge_spends",
    "one_mechanism",
    "opened_epsilon",
    "planned_round",
    "profile",
    "roc",
    "spelled",
    "with_others",
]

PRV_BELOW = 1e-3
PRV_ABOVE = 0.02
RDP_BELOW = 1e-3
LEAST_SMUDGING_BITS = 40
GROUP_SIZES = (1, 2, 4, 8)
MARKED_RATE = 0.01
_FEW_HISTORIES = 16
_ROC_RATES = (0.0, 0.001, 0.002, 0.005, MARKED_RATE, 0.02, 0.03, 0.04, 0.06, 0.08, *(i / 40 for i in range(4, 41)))
_PROFILE_DELTAS = (1e-10, 0.1)


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


def merge_spends(spends: Iterable[Spend | PrivacyEvent]) -> tuple[PrivacyEvent, ...]:
    """Merge spends into one event per mechanism, in canonical order; the steps of equal mechanisms add up."""
    return spelled(_totals(spends))


def spelled(totals: Mapping[tuple[int, int], int]) -> tuple[PrivacyEvent, ...]:
    """Spell steps by (noise multiplier, sampling rate) as events, in canonical order."""
    return tuple(
        event for (noise, rate), count in sorted(totals.items()) for event in one_mechanism(noise, rate, count)
    )


def with_others(client: ClientFacts) -> tuple[PrivacyEvent, ...]:
    """What a client has spent in this run and, as its last reservation states, in other runs on the same records."""
    return merge_spends((*client.spends, *client.others))


def one_mechanism(noise: int, rate: int, steps: int) -> list[PrivacyEvent]:
    """Spell `steps` steps as events: one, unless there are more steps than one event may hold."""
    whole, rest = divmod(steps, MAX_STEPS)
    counts = [MAX_STEPS] * whole + [rest] * (rest > 0)
    return [PrivacyEvent(noise_multiplier_milli=noise, sampling_rate_ppm=rate, steps=count) for count in counts]


def planned_round(facts: ReportFacts) -> Spend:
    """Return what one more round of the planned mechanism costs a client that takes part."""
    return Spend(0, facts.steps_per_round, facts.noise_multiplier_milli, facts.sampling_rate_ppm)


def histories(clients: Sequence[ClientFacts]) -> tuple[History, ...]:
    """Group the clients by what they have spent."""
    grouped: dict[tuple[PrivacyEvent, ...], list[str]] = {}
    for client in clients:
        grouped.setdefault(merge_spends(client.spends), []).append(client.name)
    return tuple(History(tuple(names), events) for events, names in grouped.items())


def _totals(events: Iterable[Spend | PrivacyEvent]) -> dict[tuple[int, int], int]:
    totals: dict[tuple[int, int], int] = {}
    for event in events:
        key = (event.noise_multiplier_milli, event.sampling_rate_ppm)
        totals[key] = totals.get(key, 0) + event.steps
    return totals


def _contains(larger: Mapping[tuple[int, int], int], smaller: Mapping[tuple[int, int], int]) -> bool:
    return all(larger.get(mechanism, 0) >= steps for mechanism, steps in smaller.items())


def frontier(candidates: Sequence[History]) -> tuple[History, ...]:
    """Keep the histories that no other contains: the largest epsilon is among them, by any sound accountant."""
    totals = [(history, _totals(history.events)) for history in candidates]
    # Whatever contains another has more steps, so it stands before it here.
    kept: list[tuple[History, Mapping[tuple[int, int], int]]] = []
    for history, own in sorted(totals, key=lambda pair: -sum(pair[1].values())):
        if not any(_contains(other, own) for _, other in kept):
            kept.append((history, own))
    edge = {id(history) for history, _ in kept}
    return tuple(history for history in candidates if id(history) in edge)


def accounted_epsilon(events: Sequence[PrivacyEvent], facts: ReportFacts) -> float:
    """Return epsilon at the plan's delta by privacy loss distributions (exact closed form at rate 1); 0 if no event."""
    return _bounded(dp.epsilon_pld(events, facts.delta, dim=facts.dim))


def epsilons(candidates: Sequence[History], facts: ReportFacts) -> dict[tuple[PrivacyEvent, ...], float]:
    """Return each history's epsilon: exact where it can be the largest, and for all if there are few.

    With more than 16 different histories, the steps of one that another contains are rounded up by at most 1 %: that
    bounds its epsilon from above, as does the epsilon of each history that contains it. The smaller of the two counts.
    """
    edge = [(_totals(h.events), h) for h in frontier(candidates)]
    own = {history.events: accounted_epsilon(history.events, facts) for _, history in edge}
    for history in candidates:
        if history.events in own:
            continue
        if len(candidates) <= _FEW_HISTORIES:
            own[history.events] = accounted_epsilon(history.events, facts)
            continue
        mine = _totals(history.events)
        above = min(own[larger.events] for totals, larger in edge if _contains(totals, mine))
        rounded = spelled({mechanism: _round_up(steps) for mechanism, steps in mine.items()})
        own[history.events] = min(above, accounted_epsilon(rounded, facts))
    return own


def _round_up(steps: int) -> int:
    """The next number of steps on a grid whose neighbours differ by at most 1 %."""
    spacing = 1
    while spacing * 200 <= steps:
        spacing *= 2
    return -(-steps // spacing) * spacing


def formal_epsilon(events: Sequence[PrivacyEvent], facts: ReportFacts) -> float:
    """Return epsilon at the plan's delta by Renyi accounting: looser, and proven without numerical error terms."""
    return _bounded(dp.epsilon_rdp(events, facts.delta, dim=facts.dim))


def _bounded(epsilon: float) -> float:
    """Return what is no usable bound (NaN, negative, or above the largest reported epsilon) as infinite."""
    return epsilon if 0 <= epsilon <= dp.MAX_EPSILON else math.inf


def cross_check(events: Sequence[PrivacyEvent], facts: ReportFacts) -> tuple[Check, ...]:
    """Ask every other accountant about the same events; the first answer is the formal one.

    The Opacus PRV accountant must lie within [PLD - 0.001, PLD + 0.02]; a Renyi (RDP) accountant gives an upper
    bound and must not lie below PLD - 0.001. There is no bracket around an unbounded epsilon: PRV is not asked then.
    """
    own = accounted_epsilon(events, facts)
    formal = Check("dp-accounting RDP", formal_epsilon(events, facts), own - RDP_BELOW, math.inf)
    renyi = 0.0
    prv: float | None = 0.0
    if events:
        from ..adapters import opacus  # imports torch, which takes seconds; only this check needs it

        # At sampling rate 1 Opacus takes log(0) on purpose; what overflows comes out as no number, hence as unbounded.
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            renyi = _bounded(opacus.rdp_epsilon(events, facts.delta))
            prv = _bounded(opacus.prv_epsilon(events, facts.delta)) if math.isfinite(own) else None
    checks = (formal, Check("Opacus RDP", renyi, own - RDP_BELOW, math.inf))
    return checks if prv is None else (*checks, Check("Opacus PRV", prv, own - PRV_BELOW, own + PRV_ABOVE))


def group(events: Sequence[PrivacyEvent], facts: ReportFacts, size: int) -> float:
    """Return epsilon at the plan's delta for `size` records of one client at once."""
    return dp.group_epsilon(events, facts.delta, size, dim=facts.dim)


def profile(events: Sequence[PrivacyEvent], facts: ReportFacts) -> tuple[CurvePoint, ...]:
    """Return (delta, epsilon) pairs for delta from 1e-10 to 0.1, increasing; none if epsilon at 1e-10 is unbounded."""
    curve = dp.profile(events, dim=facts.dim)
    low, high = _PROFILE_DELTAS
    lowest: dict[float, float] = {}
    for epsilon, delta in zip(curve.epsilons, curve.deltas, strict=True):
        if low <= delta <= high:
            lowest[delta] = min(epsilon, lowest.get(delta, math.inf))
    return tuple(CurvePoint(delta, lowest[delta]) for delta in sorted(lowest))


def roc(events: Sequence[PrivacyEvent], facts: ReportFacts) -> tuple[CurvePoint, ...]:
    """Return the attacker's largest true positive rate at fixed false positive rates from 0 to 1."""
    bound = dp.roc_bound(events, _ROC_RATES, dim=facts.dim)
    return tuple(CurvePoint(x, y) for x, y in zip(bound.false_positive_rates, bound.true_positive_rates, strict=True))


def _largest(parts: Iterable[Iterable[Spend]], facts: ReportFacts) -> float:
    return max(accounted_epsilon(events, facts) for events in {merge_spends(spends) for spends in parts})


def opened_epsilon(facts: ReportFacts, history: History) -> float:
    """Return the part of a history's epsilon that rounds with an upload account for (the largest of its clients)."""
    clients = [client for client in facts.clients if client.name in history.clients]
    uploads = [set(client.uploads) for client in clients]
    return _largest(
        ([s for s in client.spends if s.round in own] for client, own in zip(clients, uploads, strict=True)), facts
    )


def epsilon_without_void(facts: ReportFacts, history: History) -> float:
    """Return a history's epsilon without the rounds that ended void (the largest of its clients)."""
    void = {entry.number for entry in facts.void_rounds}
    clients = [client for client in facts.clients if client.name in history.clients]
    return _largest(([s for s in client.spends if s.round not in void] for client in clients), facts)
