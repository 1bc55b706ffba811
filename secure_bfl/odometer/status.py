"""What an odometer says when it is asked: spending, budget, and how far it reaches. Public numbers of one client."""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from protocols.dp import MAX_DIM, PrivacyEvent, epsilon_pld, epsilon_rdp, gate
from protocols.dp.events import MAX_STEPS, merged, totals
from protocols.errors import PrivacyError

from .budget import Budget

__all__ = ["RENYI", "TIGHT", "OdometerStatus", "RunStatus", "Spending"]

TIGHT: Final = "tight"
RENYI: Final = "renyi"
_MOST_ROUNDS: Final = 100_000


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run on these records. `spent` is merged by mechanism; the three counts are of rounds."""

    run: bytes
    schedule: tuple[PrivacyEvent, ...]
    dim: int
    spent: tuple[PrivacyEvent, ...]
    reserved: int
    persisted: int
    committed: int

    def room(self, event: PrivacyEvent) -> int:
        """How many more times the schedule has room for `event`."""
        one = replace(event, steps=1)
        return (totals(self.schedule)[one] - totals(self.spent)[one]) // event.steps


@dataclass(frozen=True, slots=True)
class Spending:
    """Epsilon at the budget's delta, and the accountant it is from: "tight" or "renyi". May be infinite."""

    epsilon: float
    method: str


@dataclass(frozen=True, slots=True)
class OdometerStatus:
    """The odometer of one data set and unit. `budgets` are all there ever were, the one in force last.

    `first` is the run that reserved first, empty if none did: see `remaining`.
    """

    dataset: str
    unit: str
    budgets: tuple[Budget, ...]
    runs: tuple[RunStatus, ...]
    head: bytes
    first: bytes

    @property
    def budget(self) -> Budget:
        """The budget in force."""
        return self.budgets[-1]

    @property
    def events(self) -> tuple[PrivacyEvent, ...]:
        """All that was ever reserved, one event for each mechanism."""
        return merged(event for run in self.runs for event in run.spent)

    @property
    def method(self) -> str:
        """Which accountant gates: the tight one as long as one run has reserved anything, within its own schedule."""
        return TIGHT if sum(bool(run.spent) for run in self.runs) <= 1 else RENYI

    @property
    def spent(self) -> Spending:
        """What was spent, by the accountant that gates. Sampled mechanisms take some tenths of a second."""
        epsilon = epsilon_pld if self.method == TIGHT else epsilon_rdp
        return Spending(epsilon(self.events, self.budget.delta, dim=self._dim), self.method)

    @property
    def _dim(self) -> int:
        return max((run.dim for run in self.runs), default=MAX_DIM)

    def remaining(self, event: PrivacyEvent, run: bytes | None = None) -> int:
        """How many more rounds of `event` the budget allows, up to 100,000.

        With `run`, rounds of that run: also not more than its schedule has room for. Without, rounds of a new run.
        Where another run has reserved anything, the Renyi value counts, and nothing is left if the schedule of the run
        that reserved first does not fit by it as well.

        Raises:
            ValueError: there is no such run.
        """
        most = min(_MOST_ROUNDS, MAX_STEPS // event.steps)
        schedule: tuple[PrivacyEvent, ...] | None = None
        if run is not None:
            found = next((status for status in self.runs if status.run == run), None)
            if found is None:
                raise ValueError("this odometer has no such run")
            most = min(most, found.room(event))
            schedule = None if any(other.spent for other in self.runs if other.run != run) else found.schedule
        elif not self.events:
            schedule = (replace(event, steps=most * event.steps),)

        first = next((status.schedule for status in self.runs if status.run == self.first), ())
        if schedule is None and not self._allows(first, None):
            return 0
        return _largest(
            lambda rounds: self._allows([*self.events, replace(event, steps=rounds * event.steps)], schedule), most
        )

    def _allows(self, events: Iterable[PrivacyEvent], schedule: tuple[PrivacyEvent, ...] | None) -> bool:
        budget = self.budget
        try:
            gate(events, epsilon_budget=budget.epsilon, delta=budget.delta, dim=self._dim, schedule=schedule)
        except PrivacyError:
            return False
        return True


def _largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits, 0 if none does; what is below one that fits, fits."""
    if most == 0 or fits(most):
        return most
    low, high = 0, 1
    while high < most and fits(high):
        low, high = high, 2 * high
    high = min(high, most)
    return low + bisect_left(range(low + 1, high), True, key=lambda rounds: not fits(rounds))
