"""Build the privacy budget report from verified facts.

A pure function: the same facts give the same report, and anyone with the ledger can compute it again. The report
states no library version and no time, for these are not on the ledger.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

from . import accounts, course, wording
from .accounts import Check
from .assessment import Assessment, checked_claims, method_of
from .course import SeriesPoint
from .evidence import evidence
from .facts import ReportFacts
from .mechanisms import mechanism, protected
from .spelling import events, real
from .trust import trust

__all__ = ["SCHEMA_ID", "build"]

SCHEMA_ID = "urn:secure-bfl:privacy-budget-report:1"
_ID_CONTEXT = b"secure-bfl privacy budget report v1\n"


def _check(check: Check) -> dict[str, Any]:
    return {
        "accountant": check.accountant,
        "epsilon": real(check.epsilon),
        "low": real(check.low),
        "high": real(check.high),
        "holds": check.holds,
    }


def _identity(facts: ReportFacts) -> dict[str, Any]:
    head = facts.genesis + facts.log_size.to_bytes(8, "big") + facts.log_root
    return {
        "id": hashlib.sha256(_ID_CONTEXT + head).hexdigest()[:32],
        "version": 1,
        "mode": facts.mode,
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
        "release": wording.release(facts.mode),
        "runs_included": [facts.genesis.hex()],
        "runs_not_included": wording.RUNS_NOT_INCLUDED,
        "clients_with_other_runs": sorted(client.name for client in facts.clients if client.others),
    }


def _unit(seen: Assessment) -> dict[str, Any]:
    described = protected(seen.facts)
    return {
        "unit": described.unit,
        "one": described.one,
        "adjacency": described.adjacency,
        "units_per_person": 1,
        "groups": [
            {"units": size, "epsilon": real(accounts.group(seen.worst.events, seen.facts, size))}
            for size in accounts.GROUP_SIZES
        ],
        "group_method": described.group,
    }


def _bracket(seen: Assessment) -> dict[str, Any]:
    """The lowest and the highest answer of any accountant for the most exposed client."""
    own = seen.own[seen.worst.events]
    answers = [own, *(check.epsilon for check in seen.checks[seen.worst.events])]
    return {"low": real(min(answers)), "high": real(max(answers))}


def _mu(seen: Assessment) -> float | str | None:
    """The exact mu of Gaussian DP where every step takes every unit; with sampling there is none, and none is made up.

    Source: Dong, Roth, Su, "Gaussian differential privacy", 2019, corollary 2.1.
    """
    charged = seen.worst.events
    if any(event.sampling_rate_ppm != 1_000_000 for event in charged):
        return None
    return real(math.sqrt(math.fsum(e.steps / e.accounted_noise_multiplier**2 for e in charged)))


def _guarantee(seen: Assessment) -> dict[str, Any]:
    curve = accounts.roc(seen.worst.events, seen.facts)
    return {
        "epsilon": real(seen.headline),
        "delta": real(seen.delta),
        "method": seen.method,
        "numerically_tight": {"epsilon": real(seen.own[seen.worst.events]), "method": method_of(seen.worst.events)},
        "formal": {"epsilon": real(seen.formal), "method": "dp-accounting RDP"},
        "bracket": _bracket(seen),
        "mu": _mu(seen),
        "holds_for": "every client",
        "worst_clients": sorted(seen.worst.clients),
        "attacker": {
            "false_positive_rate": accounts.MARKED_RATE,
            "true_positive_rate": real(next(point.y for point in curve if point.x == accounts.MARKED_RATE)),
        },
        "profile": [
            {"delta": real(point.x), "epsilon": real(point.y)}
            for point in accounts.profile(seen.worst.events, seen.facts)
        ],
        "roc": [{"false_positive_rate": real(point.x), "true_positive_rate": real(point.y)} for point in curve],
    }


def _all_runs(facts: ReportFacts) -> dict[str, Any]:
    """This run and the others that clients state, together: by Renyi accounting, for one may depend on another."""
    spent = {client.name: accounts.with_others(client) for client in facts.clients}
    epsilons = {charged: accounts.formal_epsilon(charged, facts) for charged in set(spent.values())}
    largest = max(epsilons.values())
    return {
        "epsilon": real(largest),
        "method": "dp-accounting RDP, which holds for runs that were planned after seeing other runs' results",
        "worst_clients": sorted(name for name, charged in spent.items() if epsilons[charged] == largest),
    }


def _budget(seen: Assessment, ahead: Sequence[SeriesPoint]) -> dict[str, Any]:
    facts = seen.facts
    total = facts.epsilon_milli / 1000
    opened = accounts.opened_epsilon(facts, seen.worst)
    without_void = accounts.epsilon_without_void(facts, seen.worst)
    left = course.remaining_rounds(facts) if seen.headline <= total else 0
    void = {entry.number for entry in facts.void_rounds}
    return {
        "unit": f"epsilon at delta {wording.format_delta(seen.delta)}",
        "total": real(total),
        "spent": real(seen.headline),
        "spent_on_opened_rounds": real(opened),
        "reserved_without_upload": real(_above(seen.headline, opened)),
        "rounds_reserved_without_upload": sum(len(c.rounds_reserved_without_upload) for c in facts.clients),
        "voided": real(_above(seen.headline, without_void)),
        "rounds_voided": sum(len({s.round for s in c.spends} & void) for c in facts.clients),
        "remaining": real(max(total - seen.headline, 0.0)),
        "exceeded": not seen.headline <= total,
        "formal_within_budget": seen.formal_within_budget,
        "remaining_rounds": left,
        "remaining_rounds_is_minimum": left >= course.MAX_REMAINING_ROUNDS,
        "planned_rounds_left": max(facts.planned_rounds - len(course.round_numbers(facts)), 0),
        "whole_plan": real(max(ahead[-1].epsilon, seen.headline) if ahead else seen.headline),
        "all_runs": _all_runs(facts),
    }


def _above(whole: float, part: float) -> float:
    return max(whole - part, 0.0) if math.isfinite(whole) else math.inf


def _series(points: Sequence[SeriesPoint]) -> list[dict[str, Any]]:
    return [{"rounds": point.rounds, "round": point.number, "epsilon": real(point.epsilon)} for point in points]


def _accounting(seen: Assessment, ahead: Sequence[SeriesPoint]) -> dict[str, Any]:
    outside = sorted({check.accountant for checks in seen.checks.values() for check in checks if not check.holds})
    return {
        "accountant": method_of(seen.worst.events),
        "events": events(seen.worst.events),
        "composition": "sequential over a client's steps; parallel over clients, whose records are disjoint",
        "cross_checks": [
            {"clients": sorted(h.clients), "own": real(seen.own[h.events]), **_check(check)}
            for h in seen.frontier
            for check in seen.checks[h.events]
        ],
        "verdict": "agree" if seen.agree else "disagree",
        "explanation": "All accountants lie in their brackets."
        if seen.agree
        else f"Outside the bracket: {', '.join(outside)}. The largest figure is the headline.",
        "series": _series(course.series(seen.facts)),
        "forecast": _series(ahead),
    }


def _sampled(facts: ReportFacts) -> bool:
    """Whether any step, planned or reserved, leaves records out by chance."""
    rates = {spend.sampling_rate_ppm for client in facts.clients for spend in client.spends}
    return min({facts.sampling_rate_ppm, *rates}) < 1_000_000


def _clients(seen: Assessment) -> list[dict[str, Any]]:
    total = seen.facts.epsilon_milli / 1000
    formal = {h.events: accounts.formal_epsilon(h.events, seen.facts) for h in seen.histories}
    rows = []
    for client in seen.facts.clients:
        charged = seen.client(client.name).events
        rows.append(
            {
                "name": client.name,
                "epsilon": real(seen.own[charged]),
                "epsilon_formal": real(formal[charged]),
                "epsilon_all_runs": real(accounts.formal_epsilon(accounts.with_others(client), seen.facts)),
                "remaining": real(max(total - seen.own[charged], 0.0)),
                "steps": sum(event.steps for event in charged),
                "rounds_reserved": [spend.round for spend in client.spends],
                "rounds_uploaded": list(client.uploads),
                "rounds_reserved_without_upload": list(client.rounds_reserved_without_upload),
                "events": events(charged),
                "other_runs": events(client.others),
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
    ahead = course.forecast(facts)
    report: dict[str, Any] = {
        "schema": SCHEMA_ID,
        "identity": _identity(facts),
        "scope": _scope(facts),
        "unit": _unit(seen),
        "guarantee": _guarantee(seen),
        "trust": trust(seen),
        "budget": _budget(seen, ahead),
        "mechanism": mechanism(facts),
        "accounting": _accounting(seen, ahead),
        "assumptions": {
            "checked": [{"claim": claim.text, "holds": claim.holds} for claim in checked_claims(seen)],
            "made": list(wording.assumptions_made(facts.mode, sampled=_sampled(facts))),
        },
        "not_covered": list(wording.not_covered(facts.mode)),
        "evidence": evidence(facts),
        "utility": {
            "accuracy": None if facts.accuracy_ppm is None else real(facts.accuracy_ppm / 1_000_000),
            "source": "stated by the operator on public held-out data; not verified",
        },
        "clients": _clients(seen),
    }
    report["plain_words"] = wording.plain_words(report)
    return report
