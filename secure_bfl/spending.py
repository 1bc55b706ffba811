"""Whose spending exceeds the policy: the budget of the plan holds for all runs on the same records.

Spec: dp §5.8 (v1). A client's odometer refuses first. This is for the committee, which sees what the spends state.
"""

from protocols.dp import PrivacyEvent, epsilon_pld, epsilon_rdp

from .board import Transcript

__all__ = ["overspent", "total_spent"]


def _events(transcript: Transcript, name: str) -> tuple[list[PrivacyEvent], list[PrivacyEvent]]:
    """What a client spent in this run, and what its last spend states of others."""
    spends = [state.spends[name] for state in transcript.replay.rounds if name in state.spends]
    own = [PrivacyEvent(s.noise_multiplier_milli, s.sampling_rate_ppm, s.steps) for s in spends]
    return own, [other.event for other in spends[-1].others] if spends else []


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
    """The clients with a spend in this round whose total is above the plan's budget, and that total."""
    plan, state = transcript.roster.plan, transcript.round(number)
    stated = [name for name, spend in state.spends.items() if spend.others]  # the plan alone fits: members checked it
    totals = {name: total_spent(transcript, name) for name in stated}
    return {name: total for name, total in totals.items() if not 0 <= total <= plan.epsilon}
