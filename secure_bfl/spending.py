"""Whose spending exceeds the policy: the budget of the plan holds for all runs on the same records.

Spec: dp §5.7 (v1). A client's odometer refuses first. This is for the committee, which sees what the spends state.
"""

from collections.abc import Iterable

from protocols.dp import PrivacyEvent, epsilon_pld, epsilon_rdp

from .board import Transcript
from .messages import BudgetSpend

__all__ = ["others_of", "overspent", "total_spent"]


def _events(transcript: Transcript, name: str) -> tuple[list[PrivacyEvent], list[PrivacyEvent]]:
    """What a client spent in this run, and the most that its spends state of other runs, by mechanism."""
    spends = [state.spends[name] for state in transcript.replay.rounds if name in state.spends]
    own = [PrivacyEvent(s.noise_multiplier_milli, s.sampling_rate_ppm, s.steps) for s in spends]
    return own, list(others_of(spends))


def others_of(spends: Iterable[BudgetSpend]) -> tuple[PrivacyEvent, ...]:
    """The most that any of a client's spends states of each mechanism of other runs: what was spent stays spent."""
    most: dict[tuple[int, int], int] = {}
    for spend in spends:
        for other in spend.others:
            mechanism = (other.noise_multiplier_milli, other.sampling_rate_ppm)
            most[mechanism] = max(other.steps, most.get(mechanism, 0))
    return tuple(PrivacyEvent(*mechanism, steps) for mechanism, steps in sorted(most.items()))


def total_spent(transcript: Transcript, name: str) -> float:
    """Epsilon of all runs on a client's records, at the plan's delta, as far as the ledger states them.

    The tight value while this run is the only one: its schedule was fixed before the first round. With others the Renyi
    value, since which run came next, and with what noise, may have depended on what the ones before released.
    """
    plan = transcript.roster.plan
    own, others = _events(transcript, name)
    account = epsilon_rdp if others else epsilon_pld
    return account([*own, *others], plan.delta, dim=plan.values)


def overspent(transcript: Transcript, number: int) -> dict[str, float]:
    """The clients with a spend in this round whose total of all runs is above the plan's epsilon, and that total.

    The plan's epsilon is the budget that its committee enforces for all runs on a client's records together, not for
    this one alone. A client's odometer has the data set's budget; the committee cannot see that one. So a second run on
    the same records needs a plan whose epsilon is the data set's budget: with less, its clients are left out.
    """
    plan, state = transcript.roster.plan, transcript.round(number)
    rounds = transcript.replay.rounds  # the plan alone fits: members checked it
    stated = [name for name in state.spends if any(name in s.spends and s.spends[name].others for s in rounds)]
    totals = {name: total_spent(transcript, name) for name in stated}
    return {name: total for name, total in totals.items() if not 0 <= total <= plan.epsilon}
