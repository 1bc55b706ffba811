"""What a reader can check beside the arithmetic: audits, the sentinel gauge, and the digests of every round."""

from typing import Any

from protocols.dp.auditing import OneRun, one_run_lower_bound, one_run_p_value

from .facts import AuditFacts, ReportFacts
from .gauge import gauge
from .spelling import real

__all__ = ["audit_agrees", "evidence"]

_CONFIDENCE = 0.95
_P_TOLERANCE = 1e-9
_EPSILON_TOLERANCE = 0.002


def _recomputed(audit: AuditFacts) -> tuple[float, float]:
    """The one-run p-value and the lower bound, from the audit's integers."""
    result = audit.result
    run = OneRun(result.canaries, result.guesses, result.correct)
    delta = result.delta_e12 / 1e12
    p_value = one_run_p_value(run, result.claimed_epsilon_milli / 1000, delta)
    return p_value, one_run_lower_bound(run, delta, _CONFIDENCE)


def audit_agrees(audit: AuditFacts) -> bool:
    """Whether the figures an audit states follow from its own counts, to the digits it states."""
    p_value, bound = _recomputed(audit)
    stated_p, stated_bound = audit.result.one_run_p_e12 / 1e12, audit.result.epsilon_lower_milli / 1000
    close = abs(stated_p - p_value) <= _P_TOLERANCE + 1e-6 * p_value
    return close and abs(stated_bound - bound) <= _EPSILON_TOLERANCE


def _audit(audit: AuditFacts) -> dict[str, Any]:
    result = audit.result
    p_value, bound = _recomputed(audit)
    return {
        "party": audit.party,
        "entry": audit.index,
        "claimed_epsilon": real(result.claimed_epsilon_milli / 1000),
        "claimed_delta": real(result.delta_e12 / 1e12),
        "canaries": result.canaries,
        "guesses": result.guesses,
        "correct": result.correct,
        "one_run_p": real(p_value),
        "epsilon_lower_bound": real(bound),
        "confidence": _CONFIDENCE,
        "follows_from_counts": audit_agrees(audit),
        "z_test_p": real(result.z_p_e12 / 1e12),
        "noise_ratio": real(result.noise_ratio_ppm / 1_000_000),
        "sentinel_p": real(result.sentinel_p_e12 / 1e12),
        "violations": list(result.violations),
        "passes": result.passes,
    }


def evidence(facts: ReportFacts) -> dict[str, Any]:
    """List the evidence; an audit's one-run figures are computed here from its counts, the others are its party's."""
    return {
        "certificate_quorum": facts.certificate_quorum,
        "key_digest": facts.key_digest.hex(),
        "audits": [_audit(audit) for audit in facts.audits],
        "sentinel_gauge": gauge(facts),
        "recompute": "Replay the published log and build this report again: all fields must be equal, epsilon to 1e-6.",
        "rounds": [
            {
                "round": entry.number,
                "contributors": list(entry.contributors),
                "absent": list(entry.absent),
                "aggregate_digest": entry.aggregate_digest.hex(),
                "model_digest": entry.model_digest.hex(),
            }
            for entry in facts.rounds
        ],
        "void_rounds": [{"round": entry.number, "reason": entry.reason} for entry in facts.void_rounds],
    }
