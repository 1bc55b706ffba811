"""The mechanisms a report can be about: their names, what they protect, and what they do to the data.

A report that names any other mechanism or noise law is not one of this version (`compare` says so).
"""

from dataclasses import dataclass
from typing import Any

from .assessment import all_as_planned
from .facts import ReportFacts
from .spelling import real

__all__ = ["NAMES", "NOISE_LAWS", "Protected", "mechanism", "protected"]

NOISE_LAW = "discrete Gaussian on the integers"
NOISE_LAWS = (NOISE_LAW,)

_NAME = {
    "local": "noisy sums of clipped per-record gradients (DP-SGD), all noise added by each client itself",
    "distributed": "one noisy sum of clipped per-record gradients over all clients, each adding a share of the noise",
    "client": "one noisy sum of the clients' clipped updates, each adding a share of the noise",
}
NAMES = tuple(_NAME.values())

_ROUNDING = {
    "local": "each record's clipped gradient toward zero, so that rounding never raises its norm",
    "distributed": "each record's clipped gradient toward zero, so that rounding never raises its norm; each "
    "coordinate of a client's sum is then kept within fixed limits before the noise, which brings no two sums further "
    "apart",
    "client": "the clipped update toward zero, so that rounding never raises its norm",
}


@dataclass(frozen=True, slots=True)
class Protected:
    """What one unit is, when two data sets are neighbours, and how groups of units are accounted."""

    unit: str
    adjacency: str
    one: str
    group: str


_RECORD = (
    "For k records of one person at one client, added or removed together: a sampled step holds a binomial number of "
    "them, so a mixture of Gaussians bounds the step; at sampling rate 1 a Gaussian at k times the sensitivity."
)
_CLIENT = "For k clients of one owner, replaced by zero together: a Gaussian at k times the sensitivity."


def protected(facts: ReportFacts) -> Protected:
    """Return the unit of protection of the facts' mode."""
    if facts.mode == "client":
        one = facts.unit_text or f"one client with all its records of {facts.dataset}"
        return Protected("client", "the update of one client is replaced by zero (zero-out)", one, _CLIENT)
    one = facts.unit_text or f"one record of {facts.dataset}"
    return Protected("record", "add or remove one record", one, _RECORD)


def _sampler(facts: ReportFacts) -> str:
    if facts.mode == "client":
        return "none: every client that takes part counts in full"
    if facts.sampling_rate_ppm == 1_000_000:
        return "every record in every step"
    return "Poisson: every record independently in each step"


def mechanism(facts: ReportFacts) -> dict[str, Any]:
    """Describe the planned mechanism; `noise_*` is what epsilon is computed from, `share_*` what one client adds."""
    sigma = facts.noise_multiplier_milli / 1000
    share = sigma / facts.honest_minimum**0.5
    return {
        "name": _NAME[facts.mode],
        "noise_law": NOISE_LAW,
        "noise_multiplier": real(sigma),
        "noise_std_units": real(sigma * facts.clip_units),
        "shares": facts.honest_minimum,
        "share_noise_multiplier": real(share),
        "share_std_units": real(share * facts.clip_units),
        "clip_norm": real(facts.clip_norm_micro / 1_000_000),
        "clip_units": facts.clip_units,
        "rounding": _ROUNDING[facts.mode],
        "sampling_rate": real(facts.sampling_rate_ppm / 1_000_000),
        "sampler": _sampler(facts),
        "steps_per_round": facts.steps_per_round,
        "local_steps": facts.local_steps,
        "sentinels": facts.sentinels,
        "all_spends_as_planned": all_as_planned(facts),
    }
