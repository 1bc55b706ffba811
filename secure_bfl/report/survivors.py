"""How much noise was in the opened sums, from the number of clients in them: the modes with shares of noise.

Epsilon counts the noise of `honest_minimum` clients. A sum of more clients holds more noise; a share alone holds less.
"""

import math

from protocols.dp.events import MAX_NOISE_MULTIPLIER_MILLI, MIN_NOISE_MULTIPLIER_MILLI, PrivacyEvent

from . import accounts
from .accounts import History
from .facts import ClientFacts, ReportFacts

__all__ = ["fewest", "is_thin", "shares_epsilon", "survivors_epsilon"]


def fewest(facts: ReportFacts) -> int | None:
    """The fewest clients in an opened sum; None if there is none yet."""
    return min((len(entry.contributors) for entry in facts.rounds), default=None)


def is_thin(facts: ReportFacts) -> bool:
    """Whether an opened sum holds fewer clients than the noise was planned for. Members do not open such a sum."""
    least = fewest(facts)
    return facts.mode != "local" and least is not None and least < facts.honest_minimum + facts.colluders


def _scaled(event: PrivacyEvent, numerator: int, denominator: int) -> PrivacyEvent | None:
    """The event with `numerator` / `denominator` of its noise variance, rounded down; None if no event is so weak."""
    milli = math.isqrt(event.noise_multiplier_milli**2 * numerator // denominator)
    if milli < MIN_NOISE_MULTIPLIER_MILLI:
        return None
    return PrivacyEvent(min(milli, MAX_NOISE_MULTIPLIER_MILLI), event.sampling_rate_ppm, event.steps)


def shares_epsilon(facts: ReportFacts, history: History, present: int) -> float:
    """Epsilon if each opened sum held the noise of `present` clients only: infinite if that protects nothing.

    One share is what a client's contribution holds that is decrypted alone.
    """
    try:
        events = [event.with_shares(present, facts.honest_minimum) for event in history.events]
    except ValueError:
        return math.inf
    return accounts.accounted_epsilon(events, facts)


def survivors_epsilon(facts: ReportFacts) -> float:
    """Epsilon from the noise that was there if all contributors but `colluders` added their share.

    Every opened sum is taken to hold as many contributors as the one that held the fewest, which over-states epsilon.
    A reservation whose update is in no opened sum counts as planned.
    """
    least = fewest(facts)
    honest = facts.honest_minimum if facts.mode == "local" or least is None else least - facts.colluders
    spent: dict[tuple[PrivacyEvent, ...], None] = {}
    for client in facts.clients:
        events = _with_noise_of(client, facts, honest)
        if events is None:
            return math.inf
        spent[events] = None
    edge = accounts.frontier([History((), events) for events in spent])
    return max(accounts.accounted_epsilon(history.events, facts) for history in edge)


def _with_noise_of(client: ClientFacts, facts: ReportFacts, honest: int) -> tuple[PrivacyEvent, ...] | None:
    uploads = set(client.uploads)
    opened = accounts.merge_spends(spend for spend in client.spends if spend.round in uploads)
    if opened and honest < 1:
        return None
    events = list(accounts.merge_spends(spend for spend in client.spends if spend.round not in uploads))
    for event in opened:
        more = _scaled(event, honest, facts.honest_minimum)
        if more is None:
            return None
        events.append(more)
    return accounts.merge_spends(events)
