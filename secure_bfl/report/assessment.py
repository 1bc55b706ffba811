"""The verdict: every accountant's answer, whether they agree, and which of them is the headline."""

from collections.abc import Sequence
from dataclasses import dataclass

from protocols.dp.events import PrivacyEvent

from . import accounts
from .accounts import History
from .evidence import audit_agrees
from .facts import ReportFacts
from .gauge import noise_holds
from .spelling import real
from .survivors import is_thin, survivors_epsilon
from .wording import budget_verdict

__all__ = ["AUDIT_CLAIMS", "Assessment", "Claim", "all_as_planned", "checked_claims", "method_of"]

_PLD = "dp-accounting PLD"
_CLOSED_FORM = "analytic Gaussian, closed form"
_THIN = "dp-accounting PLD, with the noise of the smallest opened sum"


AUDIT_CLAIMS = ("Every audit on the ledger found no violation.", "Every audit's figures follow from its counts.")
"""Claims that any party can make fail by what it states of its own audit; all others are about the run."""


class Assessment:
    """Every answer of every accountant about one federation, and the verdict.

    The headline is the report's own accountant's answer for the most exposed client; if another accountant is outside
    its bracket, the largest of all answers. If a sum was opened that holds too few clients for the planned noise, the
    headline counts the noise that can have been there.
    """

    def __init__(self, facts: ReportFacts) -> None:
        self.facts = facts
        self.delta = facts.delta
        self.histories = accounts.histories(facts.clients)
        self.frontier = accounts.frontier(self.histories)
        self.own = accounts.epsilons(self.histories, facts)
        self.checks = {h.events: accounts.cross_check(h.events, facts) for h in self.frontier}
        self.worst = max(self.frontier, key=lambda h: self.own[h.events])
        self.agree = all(check.holds for checks in self.checks.values() for check in checks)
        self.method = method_of(self.worst.events)
        self.headline = self.own[self.worst.events]
        if not self.agree:
            answers = [(c.epsilon, c.accountant) for checks in self.checks.values() for c in checks]
            self.headline, self.method = max([(self.headline, self.method), *answers])
        if is_thin(facts):
            self.headline, self.method = max((self.headline, self.method), (survivors_epsilon(facts), _THIN))
        self.formal = max(checks[0].epsilon for checks in self.checks.values())
        self._of = {name: history for history in self.histories for name in history.clients}

    @property
    def formal_within_budget(self) -> bool:
        """Whether the formal value, too, is within the budget; the budget is kept by the numerically tight one."""
        return self.formal <= self.facts.epsilon_milli / 1000

    def client(self, name: str) -> History:
        """Return the history of the client called `name`."""
        return self._of[name]


def method_of(events: Sequence[PrivacyEvent]) -> str:
    """Name the means by which `accounted_epsilon` computes: closed form if every step takes every record."""
    return _CLOSED_FORM if all(event.sampling_rate_ppm == 1_000_000 for event in events) else _PLD


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence about the ledger, and whether it holds."""

    text: str
    holds: bool


def all_as_planned(facts: ReportFacts) -> bool:
    """Whether every reservation is one round of the planned mechanism."""
    ahead = accounts.planned_round(facts)
    planned = {(ahead.noise_multiplier_milli, ahead.sampling_rate_ppm, ahead.steps)}
    used = {(s.noise_multiplier_milli, s.sampling_rate_ppm, s.steps) for c in facts.clients for s in c.spends}
    return used <= planned


def checked_claims(seen: Assessment) -> tuple[Claim, ...]:
    """Check what the facts can show, each claim by itself; the report prints those that fail too."""
    facts = seen.facts
    within = all(epsilon <= facts.epsilon_milli / 1000 for epsilon in seen.own.values())
    verdict = budget_verdict(formal=real(seen.formal), formal_within=not within or seen.formal_within_budget)
    claims = [
        ("Every update in an opened sum was paid for by a reservation of its client.", _all_uploads_reserved(facts)),
        ("No client reserved twice in one round.", _no_double_reservation(facts)),
        ("Every reservation used the planned mechanism.", all_as_planned(facts)),
        (
            f"Every opened sum holds at least {facts.minimum_clients} clients' updates.",
            all(len(entry.contributors) >= facts.minimum_clients for entry in facts.rounds),
        ),
        (f"Every client's spending is {verdict}.", within),
        (
            f"Partial decryptions are smudged to at least {accounts.LEAST_SMUDGING_BITS} statistical bits.",
            facts.smudging_lambda >= accounts.LEAST_SMUDGING_BITS,
        ),
        ("All accountants agree.", seen.agree),
    ]
    if facts.sentinels:
        claims.append(("No opened sum shows less noise than epsilon rests on.", noise_holds(facts)))
    if facts.audits:
        claims += [
            (AUDIT_CLAIMS[0], all(audit.result.passes for audit in facts.audits)),
            (AUDIT_CLAIMS[1], all(audit_agrees(audit) for audit in facts.audits)),
        ]
    return tuple(Claim(text, holds) for text, holds in claims)


def _all_uploads_reserved(facts: ReportFacts) -> bool:
    return all(set(client.uploads) <= {spend.round for spend in client.spends} for client in facts.clients)


def _no_double_reservation(facts: ReportFacts) -> bool:
    return all(len({spend.round for spend in client.spends}) == len(client.spends) for client in facts.clients)
