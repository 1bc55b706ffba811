"""The verdict: every accountant's answer, whether they agree, and which of them is the headline."""

from collections.abc import Sequence

from protocols.dp.events import PrivacyEvent

from . import accounts
from .accounts import History
from .facts import ReportFacts

__all__ = ["Assessment", "method_of"]

_PLD = "dp-accounting PLD"
_CLOSED_FORM = "analytic Gaussian, closed form"


class Assessment:
    """Every answer of every accountant about one federation, and the verdict.

    The headline is the report's own accountant's answer for the most exposed client; if another accountant is outside
    its bracket, the largest of all answers.
    """

    def __init__(self, facts: ReportFacts) -> None:
        self.facts = facts
        self.delta = facts.delta_e12 / 1e12
        self.histories = accounts.histories(facts.clients)
        self.frontier = accounts.frontier(self.histories)
        self.own = {h.events: accounts.accounted_epsilon(h.events, facts) for h in self.histories}
        self.checks = {h.events: accounts.cross_check(h.events, facts) for h in self.frontier}
        self.worst = max(self.frontier, key=lambda h: self.own[h.events])
        self.agree = all(check.holds for checks in self.checks.values() for check in checks)
        self.method = method_of(self.worst.events)
        self.headline = self.own[self.worst.events]
        if not self.agree:
            answers = [(c.epsilon, c.accountant) for checks in self.checks.values() for c in checks]
            self.headline, self.method = max([(self.headline, self.method), *answers])
        self.formal = max(checks[0].epsilon for checks in self.checks.values())

    def client(self, name: str) -> History:
        """Return the history of the client called `name`."""
        return next(history for history in self.histories if name in history.clients)


def method_of(events: Sequence[PrivacyEvent]) -> str:
    """Name the means by which `accounted_epsilon` computes: closed form if every step takes every record."""
    return _CLOSED_FORM if all(event.sampling_rate_ppm == 1_000_000 for event in events) else _PLD
