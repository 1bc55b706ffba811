"""Build the privacy budget report from verified facts.

A pure function: the same facts give the same report, and anyone with the ledger can compute it again. The report
states no library version and no time, for these are not on the ledger.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from protocols.dp.events import PrivacyEvent

from . import accounts, wording
from .accounts import Check, SeriesPoint
from .assessment import Assessment, all_as_planned, checked_claims, method_of
from .facts import ReportFacts

__all__ = ["SCHEMA_ID", "build", "encode"]

SCHEMA_ID = "urn:secure-bfl:privacy-budget-report:1"
_ID_CONTEXT = b"secure-bfl privacy budget report v1\n"
_DIGITS = 9


def _real(value: float) -> float | str:
    """Round to 9 significant digits; what is not a usable bound (infinite, NaN) is `unbounded`."""
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else "unbounded"


def _events(events: Sequence[PrivacyEvent]) -> list[dict[str, Any]]:
    return [
        {
            "noise_multiplier": _real(event.noise_multiplier_milli / 1000),
            "sampling_rate": _real(event.sampling_rate_ppm / 1_000_000),
            "steps": event.steps,
        }
        for event in events
    ]


def _check(check: Check) -> dict[str, Any]:
    return {
        "accountant": check.accountant,
        "epsilon": _real(check.epsilon),
        "low": _real(check.low),
        "high": _real(check.high),
        "holds": check.holds,
    }


def _identity(facts: ReportFacts) -> dict[str, Any]:
    head = facts.genesis + facts.log_size.to_bytes(8, "big") + facts.log_root
    return {
        "id": hashlib.sha256(_ID_CONTEXT + head).hexdigest()[:32],
        "version": 1,
        "mode": "local",
        "origin": facts.origin,
        "log_size": facts.log_size,
        "log_root": facts.log_root.hex(),
        "genesis": facts.genesis.hex(),
    }


def _scope(facts: ReportFacts) -> dict[str, Any]:
    return {
        "dataset": facts.dataset,
        "parameters": facts.parameters,
        "clients": len(facts.clients),
        "planned_rounds": facts.planned_rounds,
        "finished_rounds": len(facts.rounds),
        "release": wording.release(),
        "runs_included": [facts.genesis.hex()],
        "runs_not_included": wording.RUNS_NOT_INCLUDED,
    }


def _unit(seen: Assessment) -> dict[str, Any]:
    return {
        "unit": "record",
        "adjacency": "add or remove one record",
        "records_per_person": 1,
        "groups": [
            {"records": size, "epsilon": _real(accounts.group(seen.worst.events, seen.facts, size))}
            for size in accounts.GROUP_SIZES
        ],
        "group_method": accounts.GROUP_METHOD,
    }


def _guarantee(seen: Assessment) -> dict[str, Any]:
    curve = accounts.roc(seen.worst.events, seen.facts)
    return {
        "epsilon": _real(seen.headline),
        "delta": _real(seen.delta),
        "method": seen.method,
        "numerically_tight": {"epsilon": _real(seen.own[seen.worst.events]), "method": method_of(seen.worst.events)},
        "formal": {"epsilon": _real(seen.formal), "method": "dp-accounting RDP"},
        "holds_for": "every client",
        "worst_clients": sorted(seen.worst.clients),
        "attacker": {
            "false_positive_rate": 0.01,
            "true_positive_rate": _real(accounts.detection(seen.worst.events, seen.facts, 0.01)),
        },
        "profile": [
            {"delta": _real(point.x), "epsilon": _real(point.y)}
            for point in accounts.profile(seen.worst.events, seen.facts)
        ],
        "roc": [{"false_positive_rate": _real(point.x), "true_positive_rate": _real(point.y)} for point in curve],
    }


def _trust(seen: Assessment) -> dict[str, Any]:
    facts = seen.facts
    return {
        "statement": "Nobody has to be trusted for this epsilon: each client adds all the noise its own records need "
        "before anything leaves it.",
        "variants": wording.trust(facts.threshold, facts.members, _real(seen.headline)),
        "encryption": {
            "adds": "Single updates stay hidden, and only sums are opened, unless the threshold of members work "
            "together. No smaller epsilon is claimed for it.",
            "members": facts.members,
            "threshold": facts.threshold,
            "minimum_clients": facts.minimum_clients,
            "suite": facts.suite,
            "ring_degree": facts.ring_degree,
            "smudging_bits": facts.smudging_lambda,
        },
    }


def _budget(seen: Assessment) -> dict[str, Any]:
    facts = seen.facts
    total = facts.epsilon_milli / 1000
    opened = accounts.opened_epsilon(facts, seen.worst)
    left = accounts.remaining_rounds(facts) if seen.headline <= total else 0
    return {
        "unit": f"epsilon at delta {wording.format_delta(seen.delta)}",
        "total": _real(total),
        "spent": _real(seen.headline),
        "spent_on_opened_rounds": _real(opened),
        "reserved_without_upload": _real(max(seen.headline - opened, 0.0)),
        "rounds_reserved_without_upload": sum(len(c.rounds_reserved_without_upload) for c in facts.clients),
        "remaining": _real(max(total - seen.headline, 0.0)),
        "exceeded": not seen.headline <= total,
        "remaining_rounds": left,
        "remaining_rounds_is_minimum": left >= accounts.MAX_REMAINING_ROUNDS,
        "planned_rounds_left": max(facts.planned_rounds - len(accounts.round_numbers(facts)), 0),
    }


def _mechanism(facts: ReportFacts) -> dict[str, Any]:
    sigma = facts.noise_multiplier_milli / 1000
    return {
        "name": "noisy sums of clipped per-record gradients (DP-SGD)",
        "noise_law": "discrete Gaussian on the integers",
        "noise_multiplier": _real(sigma),
        "noise_std_units": _real(sigma * facts.clip_units),
        "clip_norm": _real(facts.clip_norm_micro / 1_000_000),
        "clip_units": facts.clip_units,
        "rounding": "each record's clipped gradient toward zero, so that rounding never raises its norm",
        "sampling_rate": _real(facts.sampling_rate_ppm / 1_000_000),
        "sampler": "every record in every step"
        if facts.sampling_rate_ppm == 1_000_000
        else "Poisson: every record independently in each step",
        "local_steps": facts.local_steps,
        "all_spends_as_planned": all_as_planned(facts),
    }


def _series(points: Sequence[SeriesPoint]) -> list[dict[str, Any]]:
    return [{"rounds": point.rounds, "round": point.number, "epsilon": _real(point.epsilon)} for point in points]


def _accounting(seen: Assessment) -> dict[str, Any]:
    outside = sorted({check.accountant for checks in seen.checks.values() for check in checks if not check.holds})
    return {
        "accountant": method_of(seen.worst.events),
        "events": _events(seen.worst.events),
        "composition": "sequential over a client's steps; parallel over clients, whose records are disjoint",
        "cross_checks": [
            {"clients": sorted(h.clients), "own": _real(seen.own[h.events]), **_check(check)}
            for h in seen.frontier
            for check in seen.checks[h.events]
        ],
        "verdict": "agree" if seen.agree else "disagree",
        "explanation": "All accountants lie in their brackets."
        if seen.agree
        else f"Outside the bracket: {', '.join(outside)}. The largest figure is the headline.",
        "series": _series(accounts.series(seen.facts)),
        "forecast": _series(accounts.forecast(seen.facts)),
    }


def _evidence(facts: ReportFacts) -> dict[str, Any]:
    return {
        "certificate_quorum": facts.certificate_quorum,
        "key_digest": facts.key_digest.hex(),
        "audits": "none is recorded on this ledger",
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


def _clients(seen: Assessment) -> list[dict[str, Any]]:
    total = seen.facts.epsilon_milli / 1000
    formal = {h.events: accounts.formal_epsilon(h.events, seen.facts) for h in seen.histories}
    rows = []
    for client in seen.facts.clients:
        events = seen.client(client.name).events
        rows.append(
            {
                "name": client.name,
                "epsilon": _real(seen.own[events]),
                "epsilon_formal": _real(formal[events]),
                "remaining": _real(max(total - seen.own[events], 0.0)),
                "steps": sum(event.steps for event in events),
                "rounds_reserved": [spend.round for spend in client.spends],
                "rounds_uploaded": list(client.uploads),
                "rounds_reserved_without_upload": list(client.rounds_reserved_without_upload),
                "events": _events(events),
            }
        )
    return rows


def build(facts: ReportFacts) -> dict[str, Any]:
    """Build the report: a JSON-able dict that `schema.json` describes.

    Run by: anyone who holds verified facts.

    Units: epsilon is a real number or `"unbounded"`; delta, rates and shares are fractions of 1; digests are hex.
    Guarantees: deterministic; no NaN or infinity; every reservation is counted, with or without an upload; if the
    accountants disagree, the headline is the largest answer and `accounting.verdict` is `"disagree"` (no error is
    raised: a report about a disagreement must be readable).
    """
    seen = Assessment(facts)
    report: dict[str, Any] = {
        "schema": SCHEMA_ID,
        "identity": _identity(facts),
        "scope": _scope(facts),
        "unit": _unit(seen),
        "guarantee": _guarantee(seen),
        "trust": _trust(seen),
        "budget": _budget(seen),
        "mechanism": _mechanism(facts),
        "accounting": _accounting(seen),
        "assumptions": {
            "checked": [{"claim": claim.text, "holds": claim.holds} for claim in checked_claims(seen)],
            "made": list(wording.ASSUMPTIONS_MADE),
        },
        "not_covered": list(wording.NOT_COVERED),
        "evidence": _evidence(facts),
        "utility": {
            "accuracy": None if facts.accuracy_ppm is None else _real(facts.accuracy_ppm / 1_000_000),
            "source": "stated by the operator on public held-out data; not verified",
        },
        "clients": _clients(seen),
    }
    report["plain_words"] = wording.plain_words(report)
    return report


def encode(report: Mapping[str, Any]) -> bytes:
    """Encode a report as canonical JSON: sorted keys, UTF-8, two-space indent, one newline at the end.

    Raises:
        ValueError: the report holds NaN or an infinity.
    """
    text = json.dumps(report, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=2)
    return text.encode("utf-8") + b"\n"
