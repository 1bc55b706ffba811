"""The rules of the odometer: the order of lines, budget, schedule, several runs. In memory and in a file alike."""

import hashlib
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from protocols.dp import Mode, PrivacyEvent, epsilon_pld, epsilon_rdp, gate
from protocols.errors import PrivacyError
from secure_bfl.errors import StateError
from secure_bfl.odometer import Budget, FileOdometer, MemoryOdometer, Odometer, read_odometer
from secure_bfl.odometer.budget import UNITS
from secure_bfl.odometer.chain import Chain
from secure_bfl.odometer.lines import START, Opening, encode_line
from secure_bfl.plan import FederationPlan

RUN, OTHER_RUN, THIRD_RUN = (hashlib.sha256(name).digest() for name in (b"run", b"other run", b"third run"))
EVENT = PrivacyEvent(10_000, 1_000_000, 10)
SCHEDULE = (PrivacyEvent(10_000, 1_000_000, 1000),)
EPSILON, DELTA, DIM = 4.0, 1e-5, 650
TIGHT = next(n for n in range(1, 100) if epsilon_pld([EVENT] * (n + 1), DELTA, dim=DIM) > EPSILON)
RENYI = next(n for n in range(1, 100) if epsilon_rdp([EVENT] * (n + 1), DELTA, dim=DIM) > EPSILON)
FITTING = (PrivacyEvent(10_000, 1_000_000, 10 * RENYI),)  # fits the budget by the Renyi value too
UPLOAD = hashlib.sha256(b"ciphertext").digest()


def memory(epsilon: float = EPSILON, delta: float = DELTA, dim: int = DIM) -> MemoryOdometer:
    return MemoryOdometer(dataset="ward-3", unit="record", epsilon=epsilon, delta=delta, dim=dim)


@pytest.fixture(params=["memory", "file"])
def odometer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MemoryOdometer | FileOdometer]:
    if request.param == "memory":
        yield memory()
        return
    path = tmp_path / "odometer.jsonl"
    kept = FileOdometer(path, dataset="ward-3", unit="record", epsilon=EPSILON, delta=DELTA, dim=DIM)
    yield kept
    kept.close()
    assert read_odometer(path) == kept.status, "what it says is what is on disk"


def spent(odometer: Odometer, run: bytes, rounds: int, first: int = 1) -> None:
    for number in range(first, first + rounds):
        odometer.reserve(run, number, EVENT)


def test_one_reservation_a_round(odometer: MemoryOdometer | FileOdometer) -> None:
    odometer.begin(RUN, SCHEDULE)
    first = odometer.reserve(RUN, 1, EVENT)
    assert odometer.reserve(RUN, 1, EVENT) == first
    second = odometer.reserve(RUN, 2, EVENT)
    assert odometer.reservations == (first, second)
    assert (first.run, first.round, first.event, first.upload, first.size, first.index) == (
        RUN,
        1,
        EVENT,
        None,
        0,
        None,
    )
    assert first.head != second.head == odometer.status.head
    with pytest.raises(StateError, match="round 2 has a reservation for another mechanism"):
        odometer.reserve(RUN, 2, PrivacyEvent(10_001, 1_000_000, 10))
    assert odometer.reservations == (first, second)
    assert odometer.find(RUN, 2) == second
    assert odometer.find(OTHER_RUN, 2) is None


def test_the_life_of_a_round(odometer: MemoryOdometer | FileOdometer) -> None:
    odometer.begin(RUN, SCHEDULE)
    reserved = odometer.reserve(RUN, 1, EVENT)
    persisted = odometer.persist(RUN, 1, UPLOAD, 1234)
    committed = odometer.commit(RUN, 1, 17)
    assert (persisted.upload, persisted.size, persisted.index) == (UPLOAD, 1234, None)
    assert (committed.upload, committed.size, committed.index) == (UPLOAD, 1234, 17)
    assert reserved.head == persisted.head == committed.head, "what the ledger shows of a reservation does not change"
    head = odometer.status.head
    odometer.begin(RUN, SCHEDULE)
    assert odometer.reserve(RUN, 1, EVENT) == odometer.persist(RUN, 1, UPLOAD, 1234) == odometer.commit(RUN, 1, 17)
    assert odometer.status.head == head, "the same again writes nothing"
    again = odometer.commit(RUN, 1, 16)
    assert again.index == 16, "a log that lost its end has the entry written again"
    assert odometer.status.head != head


def test_the_order_is_begin_reserve_persist_commit(odometer: MemoryOdometer | FileOdometer) -> None:
    head = odometer.status.head
    with pytest.raises(StateError, match="this run was not begun"):
        odometer.reserve(RUN, 1, EVENT)
    with pytest.raises(StateError, match="reserve, then persist"):
        odometer.persist(RUN, 1, UPLOAD, 1)
    assert odometer.status.head == head
    odometer.begin(RUN, SCHEDULE)
    with pytest.raises(StateError, match="reserve, then persist"):
        odometer.persist(RUN, 1, UPLOAD, 1)
    odometer.reserve(RUN, 1, EVENT)
    with pytest.raises(StateError, match="persist, then commit"):
        odometer.commit(RUN, 1, 5)
    odometer.persist(RUN, 1, UPLOAD, 1)
    with pytest.raises(StateError, match="persist, then commit"):
        odometer.commit(RUN, 2, 5)


def test_a_reservation_has_one_ciphertext(odometer: MemoryOdometer | FileOdometer) -> None:
    odometer.begin(RUN, SCHEDULE)
    spent(odometer, RUN, 2)
    odometer.persist(RUN, 1, UPLOAD, 10)
    other = hashlib.sha256(b"another ciphertext").digest()
    for upload, size in ((other, 10), (UPLOAD, 11)):
        with pytest.raises(StateError, match="round 1 of this run has its ciphertext"):
            odometer.persist(RUN, 1, upload, size)
    with pytest.raises(StateError, match="the ciphertext for round 2 is that of another round"):
        odometer.persist(RUN, 2, UPLOAD, 10)
    assert odometer.persist(RUN, 2, other, 10).upload == other


def test_a_run_has_one_schedule(odometer: MemoryOdometer | FileOdometer) -> None:
    odometer.begin(RUN, [EVENT] * 100)
    odometer.begin(RUN, SCHEDULE)
    with pytest.raises(StateError, match="begun with another schedule"):
        odometer.begin(RUN, [EVENT] * 101)
    with pytest.raises(ValueError, match="1 to 512 distinct mechanisms, not 0"):
        odometer.begin(OTHER_RUN, [])
    with pytest.raises(ValueError, match="1 to 512 distinct mechanisms, not 513"):
        odometer.begin(OTHER_RUN, [PrivacyEvent(10_000 + i, 1_000_000, 1) for i in range(513)])
    odometer.begin(OTHER_RUN, [PrivacyEvent(100_000 + i, 1_000_000, 1) for i in range(512)])


def test_what_is_not_in_the_schedule_is_not_reserved(odometer: MemoryOdometer | FileOdometer) -> None:
    odometer.begin(RUN, [EVENT, EVENT, PrivacyEvent(20_000, 1_000_000, 3)])
    for event in (
        PrivacyEvent(10_000, 1_000_000, 21),
        PrivacyEvent(10_001, 1_000_000, 1),
        PrivacyEvent(10_000, 999_999, 1),
        PrivacyEvent(20_000, 1_000_000, 4),
    ):
        with pytest.raises(StateError, match="round 1 is outside the schedule"):
            odometer.reserve(RUN, 1, event)
    odometer.reserve(RUN, 1, EVENT)
    odometer.reserve(RUN, 5, EVENT)
    with pytest.raises(StateError, match="round 6 is outside the schedule"):
        odometer.reserve(RUN, 6, EVENT)
    odometer.reserve(RUN, 6, PrivacyEvent(20_000, 1_000_000, 3))
    assert [r.round for r in odometer.reservations] == [1, 5, 6]


def test_one_run_has_the_tight_value(odometer: MemoryOdometer | FileOdometer) -> None:
    assert RENYI < TIGHT
    odometer.begin(RUN, SCHEDULE)
    spent(odometer, RUN, TIGHT)
    kept, head = odometer.reservations, odometer.status.head
    with pytest.raises(PrivacyError, match="privacy budget"):
        odometer.reserve(RUN, TIGHT + 1, EVENT)
    assert odometer.reservations == kept
    assert odometer.status.head == head, "what is over the budget reserves nothing"
    assert odometer.reserve(RUN, TIGHT, EVENT) == kept[-1], "a retry costs nothing"
    assert odometer.status.spent.method == "tight"
    assert odometer.status.spent.epsilon == epsilon_pld([EVENT] * TIGHT, DELTA, dim=DIM)


def test_a_planned_run_is_never_stopped_and_computes_its_epsilon_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[PrivacyEvent, ...]] = []

    def recorded(events: Iterable[PrivacyEvent], **named: Any) -> float:
        asked.append(tuple(events))
        return gate(asked[-1], **named)

    monkeypatch.setattr("secure_bfl.odometer.chain.gate", recorded)
    odometer, whole = memory(), (PrivacyEvent(10_000, 1_000_000, 10 * TIGHT),)
    odometer.begin(RUN, whole)
    spent(odometer, RUN, TIGHT)
    assert set(asked) == {whole}
    with pytest.raises(StateError, match="outside the schedule"):
        odometer.reserve(RUN, TIGHT + 1, EVENT)


def test_a_second_run_shares_the_budget_by_the_renyi_value(odometer: MemoryOdometer | FileOdometer) -> None:
    assert RENYI >= 4
    odometer.begin(RUN, FITTING)
    spent(odometer, RUN, 2)
    odometer.begin(OTHER_RUN, SCHEDULE)
    assert odometer.status.spent.method == "tight", "it has reserved nothing yet"
    spent(odometer, OTHER_RUN, RENYI - 2)
    assert odometer.status.spent.method == "renyi"
    assert odometer.status.spent.epsilon == epsilon_rdp([EVENT] * RENYI, DELTA, dim=DIM)
    for run, number in ((RUN, 3), (OTHER_RUN, RENYI)):
        with pytest.raises(PrivacyError, match="privacy budget"):
            odometer.reserve(run, number, EVENT)
    assert odometer.reserve(OTHER_RUN, 1, EVENT).round == 1
    with pytest.raises(PrivacyError, match="privacy budget"):
        odometer.begin(THIRD_RUN, [PrivacyEvent(1000, 1_000_000, 5)])
    assert len(odometer.status.runs) == 2, "a run that cannot take a step does not begin"


@pytest.mark.parametrize("reserved", [1, 2])
def test_nothing_follows_a_run_that_fits_by_its_tight_value_only(
    odometer: MemoryOdometer | FileOdometer, reserved: int
) -> None:
    """Not even after one round of it: to change the rule after a look at what was released proves nothing."""
    assert TIGHT > RENYI
    odometer.begin(RUN, [PrivacyEvent(10_000, 1_000_000, 10 * TIGHT)])
    spent(odometer, RUN, reserved)
    with pytest.raises(
        PrivacyError, match=r"by the tight value of its schedule only.*raise the budget with a reason \("
    ):
        odometer.begin(OTHER_RUN, FITTING)
    assert odometer.status.remaining(EVENT) == 0
    assert len(odometer.status.runs) == 1
    spent(odometer, RUN, TIGHT - reserved, first=reserved + 1)
    with pytest.raises(PrivacyError, match="by the tight value of its schedule only"):
        odometer.begin(OTHER_RUN, FITTING)  # to finish the first run does not help
    odometer.change_budget(epsilon=8.0, delta=1e-5, reason="the board agreed")
    odometer.begin(OTHER_RUN, FITTING)
    spent(odometer, OTHER_RUN, 1)
    assert odometer.status.first == RUN


def test_a_run_that_began_first_and_reserved_second_is_the_second(odometer: MemoryOdometer | FileOdometer) -> None:
    odometer.begin(OTHER_RUN, FITTING)
    odometer.begin(RUN, [PrivacyEvent(10_000, 1_000_000, 10 * TIGHT)])
    spent(odometer, RUN, 1)
    with pytest.raises(PrivacyError, match="by the tight value of its schedule only"):
        odometer.reserve(OTHER_RUN, 1, EVENT)


def test_a_run_that_was_only_begun_costs_nothing(odometer: MemoryOdometer | FileOdometer) -> None:
    odometer.begin(OTHER_RUN, SCHEDULE)
    odometer.begin(RUN, SCHEDULE)
    spent(odometer, RUN, TIGHT)
    assert odometer.others(RUN) == ()
    with pytest.raises(PrivacyError):
        odometer.reserve(OTHER_RUN, 1, EVENT)


def test_one_that_alone_is_too_much(odometer: MemoryOdometer | FileOdometer) -> None:
    costly = PrivacyEvent(500, 1_000_000, 10)
    with pytest.raises(PrivacyError):
        odometer.begin(RUN, [costly])
    assert odometer.status.runs == ()
    odometer.begin(RUN, [costly, *SCHEDULE])
    with pytest.raises(PrivacyError):
        odometer.reserve(RUN, 1, costly)
    assert odometer.reservations == ()


def test_others_are_merged_by_mechanism(odometer: MemoryOdometer | FileOdometer) -> None:
    finer = PrivacyEvent(40_000, 1_000_000, 1)
    sampled = PrivacyEvent(40_000, 10_000, 1)
    odometer.begin(RUN, [PrivacyEvent(10_000, 1_000_000, 20), finer])
    odometer.begin(OTHER_RUN, [*SCHEDULE, finer, sampled])
    for run, number, event in (
        (RUN, 1, EVENT),
        (OTHER_RUN, 1, finer),
        (OTHER_RUN, 2, EVENT),
        (OTHER_RUN, 3, sampled),
        (RUN, 2, finer),
        (OTHER_RUN, 4, EVENT),
    ):
        odometer.reserve(run, number, event)
    assert odometer.others(RUN) == (PrivacyEvent(10_000, 1_000_000, 20), sampled, finer)
    assert odometer.others(OTHER_RUN) == (EVENT, finer)
    assert odometer.others(THIRD_RUN) == odometer.status.events
    assert odometer.status.events == (
        PrivacyEvent(10_000, 1_000_000, 30),
        sampled,
        PrivacyEvent(40_000, 1_000_000, 2),
    )


def test_the_budget_changes_in_a_line_with_a_reason(odometer: MemoryOdometer | FileOdometer) -> None:
    odometer.begin(RUN, SCHEDULE)
    spent(odometer, RUN, TIGHT)
    odometer.change_budget(epsilon=8.0, delta=1e-5, reason="the board agreed on 3 May")
    assert odometer.status.budgets == (Budget(4_000_000, 10_000_000), Budget(8_000_000, 10_000_000))
    spent(odometer, RUN, 1, first=TIGHT + 1)
    odometer.change_budget(epsilon=1.0, delta=1e-5, reason="and took it back")
    assert odometer.budget == Budget(1_000_000, 10_000_000)
    with pytest.raises(PrivacyError, match="the budget is 1"):
        odometer.reserve(RUN, TIGHT + 2, EVENT)
    assert len(odometer.reservations) == TIGHT + 1
    for reason in ("", "two\nlines", "x" * 257, "\u00e9"):
        with pytest.raises(ValueError, match="reason must be 1 to 256 printable ASCII characters"):
            odometer.change_budget(epsilon=9.0, delta=1e-5, reason=reason)
    with pytest.raises(ValueError, match="finite numbers"):
        odometer.change_budget(epsilon=math.nan, delta=1e-5, reason="why not")
    assert odometer.budget == Budget(1_000_000, 10_000_000)


@pytest.mark.parametrize(
    ("epsilon", "delta"),
    [
        (math.nan, DELTA),
        (math.inf, DELTA),
        (-math.inf, DELTA),
        (-1.0, DELTA),
        (0.0, DELTA),
        (1e-7, DELTA),
        (100.1, DELTA),
        (EPSILON, math.nan),
        (EPSILON, math.inf),
        (EPSILON, -1e-5),
        (EPSILON, 0.0),
        (EPSILON, 9e-11),
        (EPSILON, 1.0),
    ],
)
def test_an_impossible_budget(epsilon: float, delta: float) -> None:
    with pytest.raises(ValueError, match=r"finite numbers|must be in"):
        memory(epsilon, delta)


def test_a_budget_is_the_decimal_number_as_written() -> None:
    assert Budget.of(8.001, 1e-5) == Budget(8_001_000, 10_000_000)
    assert Budget.of(0.1, 1e-10) == Budget(100_000, 100)
    assert Budget.of(1.9999999, 0.123456789012345) == Budget(1_999_999, 123_456_789_012), "rounded down"
    assert str(Budget.of(2.5, 1e-6)) == "epsilon 2.5 at delta 1e-06"


@pytest.mark.parametrize("dim", [0, -1, (1 << 24) + 1])
def test_an_impossible_dimension(dim: int) -> None:
    with pytest.raises(ValueError, match="dim must be in"):
        memory(dim=dim)
    with pytest.raises(TypeError, match="dim must be an int, not float"):
        memory(dim=1.5)  # type: ignore[arg-type]


def test_the_unit_is_that_of_a_plan() -> None:
    for unit in (*UNITS, *(FederationPlan.create(mode=mode, clients=3).unit_of_privacy for mode in Mode)):
        MemoryOdometer(dataset="ward-3", unit=unit, epsilon=EPSILON, delta=DELTA)
    for unit in ("patient", "records", "Record"):
        with pytest.raises(ValueError, match=f"unit must be one of record, client, not {unit}"):
            MemoryOdometer(dataset="ward-3", unit=unit, epsilon=EPSILON, delta=DELTA)
    with pytest.raises(TypeError, match="unit must be a str"):
        MemoryOdometer(dataset="ward-3", unit=None, epsilon=EPSILON, delta=DELTA)  # type: ignore[arg-type]


def test_bad_arguments_are_the_callers(odometer: MemoryOdometer | FileOdometer) -> None:
    odometer.begin(RUN, SCHEDULE)
    odometer.reserve(RUN, 1, EVENT)
    head = odometer.status.head
    calls: list[tuple[Any, ...]] = [
        (odometer.begin, b"short", SCHEDULE),
        (odometer.begin, RUN.hex(), SCHEDULE),
        (odometer.reserve, RUN, 0, EVENT),
        (odometer.reserve, RUN, True, PrivacyEvent(10_000, 1_000_000, 11)),
        (odometer.reserve, RUN[:31], 2, EVENT),
        (odometer.persist, RUN, 1, UPLOAD[:31], 5),
        (odometer.persist, RUN, 1, UPLOAD.hex(), 5),
        (odometer.persist, RUN, 1, UPLOAD, 0),
        (odometer.persist, RUN, 1, UPLOAD, 1.0),
        (odometer.commit, RUN, 1, -1),
        (odometer.commit, RUN, 1, 1 << 63),
    ]
    for call, *arguments in calls:
        with pytest.raises((ValueError, TypeError, StateError)):
            call(*arguments)
    assert odometer.status.head == head
    assert odometer.find(RUN, 1) == odometer.reservations[0]


def test_more_steps_than_can_be_accounted(odometer: MemoryOdometer | FileOdometer) -> None:
    most = PrivacyEvent(10_000_000, 1_000_000, 1 << 24)
    odometer.begin(RUN, [most])
    odometer.begin(OTHER_RUN, [most])
    odometer.reserve(RUN, 1, most)
    with pytest.raises(ValueError, match="steps must be in"):
        odometer.reserve(OTHER_RUN, 1, PrivacyEvent(10_000_000, 1_000_000, 1))
    assert len(odometer.reservations) == 1


def test_the_largest_dimension_of_all_runs_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr("secure_bfl.odometer.chain.gate", lambda *_, dim, **__: seen.append(dim))
    odometer = memory(dim=7)
    odometer.begin(RUN, SCHEDULE)
    odometer._dim = 9
    odometer.begin(OTHER_RUN, SCHEDULE)
    odometer._dim = 3
    odometer.begin(THIRD_RUN, SCHEDULE)
    odometer.reserve(RUN, 1, EVENT)
    assert seen == [7, 9, 9, 9]
    assert [run.dim for run in odometer.status.runs] == [7, 9, 3]


def test_the_status_says_how_far_every_run_is(odometer: MemoryOdometer | FileOdometer) -> None:
    assert odometer.status.spent.epsilon == 0
    odometer.begin(RUN, SCHEDULE)
    odometer.begin(OTHER_RUN, [EVENT])
    spent(odometer, RUN, 3)
    for number in (1, 2):
        odometer.persist(RUN, number, hashlib.sha256(b"%d" % number).digest(), 10)
    odometer.commit(RUN, 2, 40)
    status = odometer.status
    assert (status.dataset, status.unit, status.budget) == ("ward-3", "record", Budget.of(EPSILON, DELTA))
    first, second = status.runs
    assert (first.run, first.schedule, first.spent) == (RUN, SCHEDULE, (PrivacyEvent(10_000, 1_000_000, 30),))
    assert (first.reserved, first.persisted, first.committed) == (3, 2, 1)
    assert (second.run, second.schedule, second.spent, second.reserved) == (OTHER_RUN, (EVENT,), (), 0)
    assert status.head == odometer.status.head


def test_remaining_rounds_are_those_that_can_be_reserved(odometer: MemoryOdometer | FileOdometer) -> None:
    assert odometer.status.remaining(EVENT) == TIGHT, "a first run commits to its schedule, and has the tight value"
    odometer.begin(RUN, FITTING)
    assert odometer.status.remaining(EVENT, RUN) == RENYI, "its schedule has no more"
    spent(odometer, RUN, 1)
    assert odometer.status.remaining(EVENT, RUN) == RENYI - 1
    assert odometer.status.remaining(EVENT) == RENYI - 1, "a second run does not"
    odometer.begin(OTHER_RUN, [EVENT, EVENT])
    assert odometer.status.remaining(EVENT, OTHER_RUN) == 2, "its schedule has no more"
    spent(odometer, OTHER_RUN, 2)
    assert odometer.status.remaining(EVENT, OTHER_RUN) == 0
    left = odometer.status.remaining(EVENT, RUN)
    assert left == RENYI - 3
    spent(odometer, RUN, left, first=2)
    with pytest.raises(PrivacyError):
        odometer.reserve(RUN, 2 + left, EVENT)
    assert odometer.status.remaining(EVENT) == 0
    assert odometer.status.remaining(PrivacyEvent(100, 1_000_000, 1)) == 0
    with pytest.raises(ValueError, match="no such run"):
        odometer.status.remaining(EVENT, THIRD_RUN)


def test_remaining_rounds_end_somewhere() -> None:
    status = memory(epsilon=100.0).status
    assert status.remaining(PrivacyEvent(10_000_000, 1_000_000, 1)) == 100_000
    assert status.remaining(PrivacyEvent(10_000_000, 1_000_000, 1 << 23)) == 2


def test_a_chain_without_a_first_line_is_nothing() -> None:
    empty = Chain(DIM)
    with pytest.raises(StateError, match="no opening line"):
        _ = empty.status
    with pytest.raises(StateError, match="one opening line, and it is the first"):
        empty.begin(RUN, SCHEDULE)
    with pytest.raises(StateError, match="this is the odometer of nothing"):
        empty.require("ward-3", "record", None)


def test_a_second_first_line_is_refused() -> None:
    odometer = memory()
    line = encode_line(Opening("ward-3", "record", Budget.of(EPSILON, DELTA), bytes(16)), odometer.status.head)
    with pytest.raises(StateError, match="one opening line, and it is the first"):
        odometer.take_in(line)
    assert odometer.status.head != START
