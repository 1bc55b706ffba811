"""One audit, from fresh coins to the numbers that may stand on a ledger."""

import math
import os

from protocols.dp.auditing import (
    STRUCTURAL_SEPARATOR,
    AuditResult,
    noise_z_test,
    one_run_lower_bound,
    one_run_p_value,
    sentinel_reading,
)

from .canaries import Canaries
from .rehearsal import Draw, Progress, rehearse
from .settings import CLAIMED_DELTA_E12, CLAIMED_EPSILON_MILLI, AuditSettings
from .structural import structural_violations

__all__ = ["privacy_audit"]

_E12 = 10**12
_MOST_PPM = (1 << 63) - 1


def privacy_audit(
    settings: AuditSettings | None = None, *, progress: Progress | None = None, draw: Draw = os.urandom
) -> AuditResult:
    """Train on canaries by the code that clients run, and test the claim that the run is (1, 10^-6)-DP.

    Run by: anyone who has the code; on no real record. By default the audit of distributed mode; others by
    `AuditSettings.of_mode` and `AuditSettings.of_plan`. Takes seconds.

    Four kinds of evidence: the one-run audit of the final weights, a z-test of the canaries' scores, the sentinels, and
    structural checks of what the released model cannot show. The result passes unless one of them is beyond its level
    (`protocols.dp.auditing`).

    Raises:
        ValueError, CapacityError: there is no plan with these settings.
    """
    settings = AuditSettings() if settings is None else settings
    plan = settings.plan()
    canaries = Canaries.toss(settings.canaries, draw(-(-settings.canaries // 8)))
    rehearsal = rehearse(plan, canaries, draw=draw, progress=progress)
    scores, law = rehearsal.scores(), rehearsal.law()
    one_run = canaries.guess(scores, settings.guesses)
    sentinels = sentinel_reading(rehearsal.sentinel_rounds())
    noise = noise_z_test(
        scores,
        canaries.included,
        shift=law.shift,
        variance=law.variance,
        sampling_variance=law.sampling_variance,
    )
    epsilon, delta = CLAIMED_EPSILON_MILLI / 1000, CLAIMED_DELTA_E12 / _E12
    return AuditResult(
        claimed_epsilon_milli=CLAIMED_EPSILON_MILLI,
        delta_e12=CLAIMED_DELTA_E12,
        canaries=one_run.canaries,
        guesses=one_run.guesses,
        correct=one_run.correct,
        epsilon_lower_milli=math.floor(1000 * one_run_lower_bound(one_run, delta)),
        one_run_p_e12=_e12(one_run_p_value(one_run, epsilon, delta)),
        z_p_e12=_e12(noise.p_value),
        noise_ratio_ppm=min(round(1_000_000 * sentinels.ratio), _MOST_PPM),
        sentinel_p_e12=_e12(sentinels.p_too_small),
        structural=STRUCTURAL_SEPARATOR.join(structural_violations(rehearsal, draw=draw)),
    )


def _e12(p_value: float) -> int:
    """A p-value in units of 10^-12, rounded up."""
    return min(_E12, math.ceil(p_value * _E12))
