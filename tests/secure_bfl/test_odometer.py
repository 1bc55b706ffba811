"""The odometer: nothing acknowledged is lost, nothing is spent beyond the budget, nothing broken is accepted."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger import StoreError
from protocols.dp import PrivacyEvent, epsilon_pld
from protocols.errors import PrivacyError
from secure_bfl import odometer as odometer_module
from secure_bfl.errors import ChainError, StateError
from secure_bfl.odometer import FileOdometer, MemoryOdometer
from tests.arch.sources import ROOT

RUN, OTHER_RUN = hashlib.sha256(b"run").digest(), hashlib.sha256(b"other run").digest()
EVENT = PrivacyEvent(10_000, 1_000_000, 10)
EPSILON, DELTA, DIM = 4.0, 1e-5, 650
AFFORDABLE = next(n for n in range(1, 100) if epsilon_pld([EVENT] * (n + 1), DELTA, dim=DIM) > EPSILON)


def on_disk(path: Path, unit: str = "digits/client-1/record") -> FileOdometer:
    return FileOdometer(path, unit=unit, epsilon=EPSILON, delta=DELTA, dim=DIM)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "odometer.jsonl"


@pytest.fixture(params=["memory", "file"])
def odometer(request: pytest.FixtureRequest, path: Path) -> Iterator[MemoryOdometer | FileOdometer]:
    if request.param == "memory":
        yield MemoryOdometer(unit="digits/client-1/record", epsilon=EPSILON, delta=DELTA, dim=DIM)
        return
    kept = on_disk(path)
    yield kept
    kept.close()


def filled(path: Path, rounds: int = 3) -> list[bytes]:
    """A closed file of some rounds; its lines."""
    odometer = on_disk(path)
    for number in range(1, rounds + 1):
        odometer.reserve(RUN, number, EVENT)
    odometer.close()
    return path.read_bytes().splitlines(keepends=True)


def test_one_reservation_a_round(odometer: MemoryOdometer | FileOdometer) -> None:
    first = odometer.reserve(RUN, 1, EVENT)
    assert odometer.reserve(RUN, 1, EVENT) == first
    second = odometer.reserve(RUN, 2, EVENT)
    assert odometer.reservations == (first, second)
    assert (first.run, first.round, first.event) == (RUN, 1, EVENT)
    assert first.head != second.head
    with pytest.raises(StateError, match="round 2 has a reservation for another mechanism"):
        odometer.reserve(RUN, 2, PrivacyEvent(10_001, 1_000_000, 10))
    assert odometer.reservations == (first, second)


def test_runs_on_the_same_records_share_the_budget(odometer: MemoryOdometer | FileOdometer) -> None:
    assert AFFORDABLE >= 4
    for number in range(1, AFFORDABLE - 1):
        odometer.reserve(RUN, number, EVENT)
    one, two = odometer.reserve(RUN, 99, EVENT), odometer.reserve(OTHER_RUN, 99, EVENT)
    assert (one.run, two.run, one.round) == (RUN, OTHER_RUN, two.round)
    for run, number in ((RUN, 100), (OTHER_RUN, 1), (OTHER_RUN, 100)):
        with pytest.raises(PrivacyError, match="privacy budget"):
            odometer.reserve(run, number, EVENT)
    assert odometer.reserve(OTHER_RUN, 99, EVENT) == two, "a retry costs nothing"


def test_what_is_over_the_budget_reserves_nothing(path: Path) -> None:
    odometer = on_disk(path)
    for number in range(1, AFFORDABLE + 1):
        odometer.reserve(RUN, number, EVENT)
    kept, data = odometer.reservations, path.read_bytes()
    for event in (EVENT, PrivacyEvent(100, 1_000_000, 1)):
        with pytest.raises(PrivacyError, match="would make epsilon"):
            odometer.reserve(RUN, 1000, event)
    assert odometer.reservations == kept
    assert path.read_bytes() == data
    odometer.close()


def test_one_that_alone_is_too_much(odometer: MemoryOdometer | FileOdometer) -> None:
    with pytest.raises(PrivacyError):
        odometer.reserve(RUN, 1, PrivacyEvent(500, 1_000_000, 10))
    assert odometer.reservations == ()


def test_memory_and_file_make_the_same_chain(path: Path) -> None:
    memory, kept = MemoryOdometer(unit="u", epsilon=EPSILON, delta=DELTA, dim=DIM), on_disk(path, "u")
    for number in (1, 2):
        assert memory.reserve(RUN, number, EVENT) == kept.reserve(RUN, number, EVENT)
    kept.close()


def test_the_file_is_as_documented(path: Path) -> None:
    lines = filled(path)
    head = hashlib.sha256(bytes(32) + b"digits/client-1/record").digest()
    for number, line in enumerate(lines, start=1):
        record = json.loads(line)
        assert record == {
            "noise_multiplier_milli": 10_000,
            "previous": head.hex(),
            "round": number,
            "run": RUN.hex(),
            "sampling_rate_ppm": 1_000_000,
            "steps": 10,
            "unit": "digits/client-1/record",
        }
        head = hashlib.sha256(line).digest()
    assert path.stat().st_mode & 0o777 == 0o600
    again = on_disk(path)
    assert again.reservations[-1].head == head
    again.close()


def test_a_torn_last_line_is_cut_wherever_it_was_torn(path: Path) -> None:
    lines = filled(path)
    whole, last = b"".join(lines[:2]), lines[2]
    for size in range(len(last)):
        path.write_bytes(whole + last[:size])
        odometer = on_disk(path)
        assert [r.round for r in odometer.reservations] == [1, 2]
        assert path.read_bytes() == whole
        odometer.close()
    odometer = on_disk(path)
    assert odometer.reserve(RUN, 3, EVENT).head == hashlib.sha256(last).digest()
    odometer.close()
    assert path.read_bytes() == whole + last


def test_a_broken_chain_stops_and_is_left_as_it_is(path: Path) -> None:
    lines = filled(path)
    whole = b"".join(lines)
    broken = [
        b"".join(lines[1:]),
        lines[0] + lines[2],
        lines[1] + lines[0] + lines[2],
        lines[0] + lines[0] + lines[1],
        lines[0] + b"\n" + lines[1],
        whole.replace(b'"steps":10', b'"steps":9', 1),
        whole.replace(b'"steps":10', b'"steps": 10', 1),
        whole.replace(b"client-1", b"client-2"),
        whole.replace(b'"round":2', b'"round":7'),
        b"[]\n",
        b"{}\n",
        b"null\n",
        b"\xff\n",
        b"[" * 100_000 + b"\n",
        whole + lines[2],
    ]
    for data in broken:
        path.write_bytes(data)
        with pytest.raises(ChainError, match="the odometer is broken at line"):
            on_disk(path)
        assert path.read_bytes() == data
    path.write_bytes(whole)
    on_disk(path).close()


def test_every_flipped_byte_is_seen_by_the_chain_or_by_the_ledger(path: Path) -> None:
    lines = filled(path, 2)
    data, head = b"".join(lines), hashlib.sha256(lines[1]).digest()
    for at in range(0, len(data) - 1, 3):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        try:
            odometer = on_disk(path)
        except ChainError:
            continue
        assert at > len(lines[0]), "nothing follows the last line but the head, which the ledger keeps"
        assert head not in {reservation.head for reservation in odometer.reservations}
        odometer.close()


def test_another_units_file_is_refused(path: Path) -> None:
    filled(path)
    with pytest.raises(ChainError, match="line 1"):
        on_disk(path, "digits/client-2/record")


def test_a_file_that_is_too_large_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path)
    monkeypatch.setattr(odometer_module, "_MAX_BYTES", 100)
    with pytest.raises(ChainError, match="larger than 100 bytes"):
        on_disk(path)


def test_a_second_opener_is_refused(path: Path) -> None:
    first = on_disk(path)
    with pytest.raises(StoreError, match="another process"):
        on_disk(path)
    code = (
        "import sys; from pathlib import Path; from ledger import StoreError; from ledger.locking import WriterLock\n"
        "try: WriterLock(Path(sys.argv[1]))\nexcept StoreError: sys.exit(17)"
    )
    lock = path.with_name(path.name + ".lock")
    assert subprocess.run([sys.executable, "-c", code, str(lock)], cwd=ROOT, check=False).returncode == 17
    first.close()
    assert subprocess.run([sys.executable, "-c", code, str(lock)], cwd=ROOT, check=False).returncode == 0
    on_disk(path).close()


def test_a_failed_opening_lets_go_of_the_lock(path: Path) -> None:
    filled(path)
    data = path.read_bytes()
    path.write_bytes(b"{}\n")
    for _ in range(2):
        with pytest.raises(ChainError):
            on_disk(path)
    path.write_bytes(data)
    on_disk(path).close()


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_disk_error_poisons(path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    odometer = on_disk(path)
    odometer.reserve(RUN, 1, EVENT)

    def fails(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fails)
        with pytest.raises(StoreError, match=r"could not be written \(No space left on device\)"):
            odometer.reserve(RUN, 2, EVENT)
    with pytest.raises(StateError, match="an earlier write failed"):
        odometer.reserve(RUN, 2, EVENT)
    assert [r.round for r in odometer.reservations] == [1]
    assert odometer.reserve(RUN, 1, EVENT).round == 1, "what was acknowledged still holds"
    odometer.close()
    again = on_disk(path)
    counted = [1] if call == "write" else [1, 2]  # bytes that may be on disk count
    assert [r.round for r in again.reservations] == counted
    again.reserve(RUN, 2, EVENT)
    again.reserve(RUN, 3, EVENT)
    assert [r.round for r in again.reservations] == [1, 2, 3]
    again.close()


def test_an_interrupt_poisons_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odometer = on_disk(path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            odometer.reserve(RUN, 1, EVENT)
    with pytest.raises(StateError, match="an earlier write failed"):
        odometer.reserve(RUN, 2, EVENT)
    odometer.close()
    again = on_disk(path)
    assert [r.round for r in again.reservations] == [1]
    again.close()


def test_a_short_write_is_continued(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odometer, write = on_disk(path), os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data)[:7]))
        odometer.reserve(RUN, 1, EVENT)
    odometer.close()
    again = on_disk(path)
    assert [r.round for r in again.reservations] == [1]
    again.close()


def test_a_reservation_is_synced_before_it_is_acknowledged(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odometer, events, sync = on_disk(path), list[bytes](), os.fsync

    def record(descriptor: int) -> None:
        sync(descriptor)
        events.append(path.read_bytes())

    monkeypatch.setattr(os, "fsync", record)
    odometer.reserve(RUN, 1, EVENT)
    assert len(events) == 1
    assert events[0].endswith(b"\n")
    assert b'"round":1' in events[0]
    odometer.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_loses_nothing_that_was_acknowledged(path: Path) -> None:
    worker = [sys.executable, "-m", "tests.secure_bfl.odometer_worker", str(path), "12"]
    done = subprocess.run(worker, cwd=ROOT, check=True, capture_output=True)
    results = json.loads(done.stdout)
    assert len(results) == 12
    for acknowledged, found in results:
        assert found == list(range(1, len(found) + 1)), "a round is missing or doubled"
        assert len(found) >= acknowledged
    sizes = [len(found) for _, found in results]
    assert sizes == sorted(sizes)
    assert sizes[-1] >= 11
