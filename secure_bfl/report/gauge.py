"""The sentinel gauge: the noise that the opened sums really held, beside the noise that was planned.

The sentinels are coordinates that every client leaves at zero before the noise, so an opened sum shows its noise there.
"""

import math
from dataclasses import dataclass
from typing import Any

from protocols.dp.auditing import SentinelReading, SentinelRound, sentinel_reading

from .facts import ReportFacts, RoundFacts
from .spelling import real

__all__ = ["BAND", "LEAST_P", "band", "gauge", "noise_holds"]

LEAST_P = 1e-9
"""Below this a reading is no accident: with a million honest rounds, one false alarm is a chance of 1 in 1000."""

BAND = 0.999
_Z = 3.290526731491926  # the normal quantile at (1 + BAND) / 2


@dataclass(frozen=True, slots=True)
class _Band:
    low: float
    high: float


def band(coordinates: int) -> _Band:
    """The range in which observed over planned noise variance lies with probability `BAND`, if the noise is right.

    Chi-squared quantiles over their degrees by Wilson and Hilferty (1931), for a picture: within 0.2 % from 256
    coordinates on, within 2 % from 30 on. The p-values beside it are exact.
    """
    spread = math.sqrt(2 / (9 * coordinates))
    middle = 1 - 2 / (9 * coordinates)
    return _Band(max(middle - _Z * spread, 0.0) ** 3, (middle + _Z * spread) ** 3)


def _reading(facts: ReportFacts, rounds: list[RoundFacts]) -> SentinelReading:
    return sentinel_reading([SentinelRound(facts.sentinels, r.sentinel_energy, r.sentinel_variance) for r in rounds])


def _needed(facts: ReportFacts, entry: RoundFacts) -> float:
    """The variance that epsilon rests on: with shares that of `honest_minimum` clients, else of all contributors."""
    if facts.mode == "local":
        return entry.sentinel_variance
    return (facts.noise_multiplier_milli * facts.clip_units / 1000) ** 2


def _accounted(facts: ReportFacts, entry: RoundFacts) -> float | str | None:
    """What epsilon rests on, over what was planned for this many contributors; None in local mode.

    With shares epsilon counts the noise of `honest_minimum` clients, whatever the number of contributors. In local mode
    each client's own noise counts, and a sum cannot show it.
    """
    if facts.mode == "local":
        return None
    return real(_needed(facts, entry) / entry.sentinel_variance)


def _row(facts: ReportFacts, entry: RoundFacts) -> dict[str, Any]:
    reading = _reading(facts, [entry])
    return {
        "round": entry.number,
        "contributors": len(entry.contributors),
        "ratio": real(reading.ratio),
        "accounted": _accounted(facts, entry),
        "p_too_small": real(reading.p_too_small),
        "p_too_large": real(reading.p_too_large),
        "holds": reading.p_too_small >= LEAST_P,
    }


def noise_holds(facts: ReportFacts) -> bool:
    """Whether no round, and not all together, show less noise than epsilon rests on. True without sentinels.

    Less than planned may be in order: clients that the plan tolerates as colluders leave theirs out.
    """
    if not facts.sentinels or not facts.rounds:
        return True
    seen = [SentinelRound(facts.sentinels, r.sentinel_energy, _needed(facts, r)) for r in facts.rounds]
    return min(sentinel_reading(part).p_too_small for part in (*([one] for one in seen), seen)) >= LEAST_P


def gauge(facts: ReportFacts) -> dict[str, Any] | None:
    """Read every round's sentinels, and all rounds' together; None if the plan has no sentinels or no round is done."""
    if not facts.sentinels or not facts.rounds:
        return None
    total = _reading(facts, list(facts.rounds))
    expected = band(facts.sentinels)
    return {
        "sentinels": facts.sentinels,
        "least_p": LEAST_P,
        "band": {"probability": BAND, "low": real(expected.low), "high": real(expected.high)},
        "rounds": [_row(facts, entry) for entry in facts.rounds],
        "cumulative": {
            "coordinates": total.coordinates,
            "ratio": real(total.ratio),
            "p_too_small": real(total.p_too_small),
            "p_too_large": real(total.p_too_large),
            "holds": total.p_too_small >= LEAST_P,
        },
    }
