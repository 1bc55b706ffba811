"""The rules of an odometer: which line may follow, and which step the budget allows. No file, no clock.

Spec: dp §5.7 (v1). For each round of each run the order is reserve, persist, commit. A reservation counts from the
moment it is there, whatever becomes of it. It allows one release: one ciphertext is persisted, once, and only that is
ever sent.
"""

from collections.abc import Iterable
from dataclasses import replace

from protocols.dp import MAX_DIM, PrivacyEvent, gate
from protocols.dp.events import merged, totals
from protocols.dp.integers import check_int
from protocols.errors import PrivacyError

from ..errors import StateError
from .budget import Budget
from .lines import (
    START,
    Beginning,
    BudgetChange,
    Commitment,
    Line,
    Opening,
    Persistence,
    Reserving,
    decode_line,
    encode_line,
    line_hash,
)
from .reservation import Reservation
from .status import OdometerStatus, RunStatus

__all__ = ["Chain", "MemoryOdometer"]


class Chain:
    """Everything but the storage: a subclass makes the lines durable."""

    def __init__(self, dim: int) -> None:
        check_int("dim", dim, 1, MAX_DIM)
        self._dim = dim
        self._head = START
        self._opening: Opening | None = None
        self._budgets: list[Budget] = []
        self._runs: dict[bytes, Beginning] = {}
        self._spent: dict[bytes, tuple[PrivacyEvent, ...]] = {}
        self._reservations: dict[tuple[bytes, int], Reservation] = {}
        self._uploads: set[bytes] = set()

    @property
    def reservations(self) -> tuple[Reservation, ...]:
        """All reservations of all runs, in order."""
        return tuple(self._reservations.values())

    def find(self, run: bytes, round_number: int) -> Reservation | None:
        """See `Odometer`."""
        return self._reservations.get((run, round_number))

    @property
    def budget(self) -> Budget:
        """The budget in force."""
        return self._budgets[-1]

    @property
    def unit(self) -> str:
        """See `Odometer`; empty before the first line."""
        return "" if self._opening is None else self._opening.unit

    @property
    def identity(self) -> bytes:
        """The chain's random identity; empty before the first line."""
        return b"" if self._opening is None else self._opening.identity

    def begin(self, run: bytes, schedule: Iterable[PrivacyEvent]) -> None:
        """See `Odometer`."""
        begun = self._runs.get(run)
        line = Beginning(run, merged(schedule), self._dim)
        if begun is not None:
            if begun.schedule != line.schedule:
                raise StateError("this run was begun with another schedule: a plan does not change once it has begun")
            return
        self._check(line)
        self._gate(replace(line.schedule[-1], steps=1), line)
        self._write(line)

    def reserve(self, run: bytes, round_number: int, event: PrivacyEvent) -> Reservation:
        """See `Odometer`."""
        found = self.find(run, round_number)
        if found is not None:
            if found.event != event:
                raise StateError(f"round {round_number} has a reservation for another mechanism")
            return found
        line = Reserving(run, round_number, event)
        self._check(line)
        self._gate(event, self._runs[run])
        self._write(line)
        return self._reservations[run, round_number]

    def persist(self, run: bytes, round_number: int, upload: bytes, size: int) -> Reservation:
        """See `Odometer`."""
        found = self.find(run, round_number)
        if found is None or (found.upload, found.size) != (upload, size):
            self._write(Persistence(run, round_number, upload, size))
        return self._reservations[run, round_number]

    def commit(self, run: bytes, round_number: int, index: int) -> Reservation:
        """See `Odometer`."""
        found = self.find(run, round_number)
        if found is None or found.index != index:
            self._write(Commitment(run, round_number, index))
        return self._reservations[run, round_number]

    def change_budget(self, *, epsilon: float, delta: float, reason: str) -> None:
        """Have another budget from here on. The line stays in the chain for ever, with the reason.

        A lower budget stops the next reservation if more is spent already; what is spent stays spent. After a higher
        one all that is guaranteed is the higher one, for earlier runs, too.

        Raises:
            ValueError: the budget is out of range, or the reason is not 1 to 256 printable ASCII characters.
        """
        self._write(BudgetChange(Budget.of(epsilon, delta), reason))

    def others(self, run: bytes) -> tuple[PrivacyEvent, ...]:
        """See `Odometer`."""
        return merged(event for other, events in self._spent.items() if other != run for event in events)

    @property
    def status(self) -> OdometerStatus:
        """Everything there is to know, with the value that gates the next step."""
        if self._opening is None:
            raise StateError("the odometer has no opening line yet")
        runs = tuple(self._run_status(beginning) for beginning in self._runs.values())
        first = next((run for run, _ in self._reservations), b"")
        return OdometerStatus(self._opening.dataset, self._opening.unit, tuple(self._budgets), runs, self._head, first)

    def _run_status(self, beginning: Beginning) -> RunStatus:
        mine = [reservation for reservation in self._reservations.values() if reservation.run == beginning.run]
        return RunStatus(
            run=beginning.run,
            schedule=beginning.schedule,
            dim=beginning.dim,
            spent=self._spent[beginning.run],
            reserved=len(mine),
            persisted=sum(reservation.upload is not None for reservation in mine),
            committed=sum(reservation.index is not None for reservation in mine),
        )

    def _all(self) -> tuple[PrivacyEvent, ...]:
        return merged(event for events in self._spent.values() for event in events)

    def _gate(self, event: PrivacyEvent, run: Beginning) -> None:
        """Refuse a step of this run, within its schedule, that the budget does not allow.

        As long as no other run has reserved anything, all that was released is in the schedule that this one committed
        to before, and the tight value counts: that of the whole schedule if the budget allows all of it, as a part of
        it costs no more, which saves a computation a round.

        Whether another run begins may depend on what the first one released. Then the Renyi value counts for both, and
        the whole of the first one's schedule must fit by it as well, however little of it was reserved: so that one
        rule, the Renyi value within the budget in force, holds whatever was released. If the budget was raised in
        between, the guarantee is for the raised one, and nothing is claimed for the one before.
        """
        dim = max(each.dim for each in (run, *self._runs.values()))

        def check(events: Iterable[PrivacyEvent], schedule: tuple[PrivacyEvent, ...] | None) -> None:
            budget = self.budget
            gate(events, epsilon_budget=budget.epsilon, delta=budget.delta, dim=dim, schedule=schedule)

        if any(spent for other, spent in self._spent.items() if other != run.run):
            first = self._runs[next(iter(self._reservations))[0]]
            try:
                check(first.schedule, None)
            except PrivacyError as exc:
                raise PrivacyError(
                    "the first run on these records fits the budget by the tight value of its schedule only, which no "
                    f"other run may follow: raise the budget with a reason ({exc})"
                ) from exc
            check([*self._all(), event], None)
            return
        try:
            check(run.schedule, run.schedule)
        except PrivacyError:
            check([*self._all(), event], run.schedule)

    def require(self, dataset: str, unit: str, budget: Budget | None) -> None:
        """The chain is the one that was asked for.

        Raises:
            StateError: it belongs to another data set or unit.
            PrivacyError: it has another budget.
        """
        found = self._opening
        if found is None or (found.dataset, found.unit) != (dataset, unit):
            here = "nothing" if found is None else f"data set {found.dataset}, unit {found.unit}"
            raise StateError(f"this is the odometer of {here}, not of data set {dataset}, unit {unit}")
        if budget is not None and budget != self.budget:
            raise PrivacyError(
                f"the budget of {dataset} is {self.budget}, not {budget}: it belongs to the data set, not to a run; "
                "open it without a budget to use what it has, or change it with `change_budget` and a reason"
            )

    def take_in(self, data: bytes) -> None:
        """Take in one line from where it was stored.

        Raises:
            ValueError, StateError: it is not a line, or not one that can stand here.
        """
        line = decode_line(data, self._head)
        self._check(line)
        self._take(line, data)

    def _write(self, line: Line) -> None:
        self._check(line)
        data = encode_line(line, self._head)
        self._persist(data)
        self._take(line, data)

    def _persist(self, data: bytes) -> None:
        """Make a line durable, or raise; nothing to do in memory."""

    def _check(self, line: Line) -> None:
        """StateError unless this line may stand here. The budget is `_gate`'s."""
        if (self._opening is None) is not isinstance(line, Opening):
            raise StateError("a chain has one opening line, and it is the first")
        match line:
            case Beginning(run=run) if run in self._runs:
                raise StateError("a run begins once")
            case Reserving():
                self._check_reserving(line)
            case Persistence(run=run, round=number):
                found = self.find(run, number)
                if found is None:
                    raise StateError(f"round {number} of this run has no reservation: reserve, then persist")
                if found.upload is not None:
                    raise StateError(
                        f"round {number} of this run has its ciphertext: a reservation allows one, and only it is sent"
                    )
                if line.upload in self._uploads:
                    raise StateError(f"the ciphertext for round {number} is that of another round")
            case Commitment(run=run, round=number):
                found = self.find(run, number)
                if found is None or found.upload is None:
                    raise StateError(f"round {number} of this run has no ciphertext: persist, then commit")

    def _check_reserving(self, line: Reserving) -> None:
        beginning = self._runs.get(line.run)
        if beginning is None:
            raise StateError("this run was not begun: begin it with its whole schedule, then reserve")
        if (line.run, line.round) in self._reservations:
            raise StateError(f"round {line.round} of this run is reserved already")
        merged([*self._all(), line.event])  # ValueError: more steps than can be accounted
        if not totals([*self._spent[line.run], line.event]) <= totals(beginning.schedule):
            raise StateError(
                f"round {line.round} is outside the schedule that this run began with: no room for {line.event.steps} "
                f"more steps of noise {line.event.noise_multiplier_milli / 1000:g} at rate {line.event.sampling_rate:g}"
            )

    def _take(self, line: Line, data: bytes) -> None:
        """Take a line in that `_check` let pass and that is durable."""
        self._head = line_hash(data)
        match line:
            case Opening():
                self._opening = line
                self._budgets.append(line.budget)
            case BudgetChange():
                self._budgets.append(line.budget)
            case Beginning():
                self._runs[line.run], self._spent[line.run] = line, ()
            case Reserving(run=run, round=number):
                self._spent[run] = merged([*self._spent[run], line.event])
                self._reservations[run, number] = Reservation(run, number, line.event, self._head)
            case Persistence(run=run, round=number):
                found = self._reservations[run, number]
                self._reservations[run, number] = replace(found, upload=line.upload, size=line.size)
                self._uploads.add(line.upload)
            case Commitment(run=run, round=number):
                self._reservations[run, number] = replace(self._reservations[run, number], index=line.index)


class MemoryOdometer(Chain):
    """An odometer in memory: for tests and simulations, where nothing outlives the process."""

    def __init__(self, *, dataset: str, unit: str, epsilon: float, delta: float, dim: int = MAX_DIM) -> None:
        super().__init__(dim)
        opening = Opening(dataset, unit, Budget.of(epsilon, delta), bytes(16))
        self._take(opening, encode_line(opening, START))
