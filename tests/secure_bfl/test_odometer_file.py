"""The odometer's file: who may open it, and that what was acknowledged survives whatever happens."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ledger import StoreError
from protocols.errors import PrivacyError
from secure_bfl.errors import ChainError, StateError
from secure_bfl.odometer import FileOdometer, MemoryOdometer, read_odometer
from tests.arch.sources import ROOT
from tests.secure_bfl.odometer_files import EVENT, OTHER_RUN, RUN, SCHEDULE, UPLOAD, fill, filled, mark, on_disk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "odometer.jsonl"


def test_the_file_is_as_documented(path: Path) -> None:
    lines = filled(path)
    records = [json.loads(line) for line in lines]
    previous = bytes(32)
    for line, record in zip(lines, records, strict=True):
        assert record.pop("previous") == previous.hex()
        previous = hashlib.sha256(line).digest()
    identity = records[0].pop("identity")
    event = {"noise_multiplier_milli": 10_000, "sampling_rate_ppm": 1_000_000, "steps": 10}
    round_1 = {"run": RUN.hex(), "round": 1}
    assert records == [
        {
            "kind": "open",
            "version": 1,
            "dataset": "ward-3",
            "unit": "record",
            "epsilon_micro": 4_000_000,
            "delta_e12": 10_000_000,
        },
        {"kind": "begin", "run": RUN.hex(), "dim": 650, "schedule": [{**event, "steps": 100}]},
        {"kind": "reserve", **round_1, "event": event},
        {"kind": "persist", **round_1, "upload": UPLOAD.hex(), "size": 99},
        {"kind": "commit", **round_1, "index": 7},
        {"kind": "reserve", "run": RUN.hex(), "round": 2, "event": event},
    ]
    assert mark(path).read_text() == identity + "\n"
    assert {p.stat().st_mode & 0o777 for p in (path, mark(path))} == {0o600}
    status = read_odometer(path)
    assert status.head == previous
    again = on_disk(path)
    assert again.status == status
    again.close()


def test_memory_and_file_make_the_same_lines(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", bytes)
    filled(path)
    memory = MemoryOdometer(dataset="ward-3", unit="record", epsilon=4.0, delta=1e-5, dim=650)
    fill(memory)
    assert memory.status == read_odometer(path)


def test_two_chains_have_no_line_in_common(tmp_path: Path) -> None:
    first, second = filled(tmp_path / "one.jsonl"), filled(tmp_path / "two.jsonl")
    assert not set(first) & set(second)


# Opening.


def test_one_file_for_each_data_set_and_unit(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    names = [("ward-3", "record"), ("ward-3", "client"), ("ward-4", "record"), ("ward-3/record", "record")]
    opened = [FileOdometer.of(folder, dataset=d, unit=u, epsilon=1.0, delta=1e-5) for d, u in names]
    assert len({odometer.path for odometer in opened}) == 4
    assert {odometer.path.parent for odometer in opened} == {folder.resolve()}
    for odometer in opened:
        odometer.begin(RUN, SCHEDULE)
        odometer.close()
    again = FileOdometer.of(folder, dataset="ward-3", unit="client")
    assert (again.path, again.status.unit, len(again.status.runs)) == (opened[1].path, "client", 1)
    again.close()


def test_sequential_runs_share_one_file(tmp_path: Path) -> None:
    for run in (RUN, OTHER_RUN):
        odometer = FileOdometer.of(tmp_path, dataset="ward-3", unit="record", epsilon=4.0, delta=1e-5, dim=650)
        odometer.begin(run, [EVENT])
        odometer.reserve(run, 1, EVENT)
        odometer.close()
    last = FileOdometer.of(tmp_path, dataset="ward-3", unit="record")
    assert last.others(OTHER_RUN) == (EVENT,)
    assert [status.run for status in last.status.runs] == [RUN, OTHER_RUN]
    last.close()


def test_the_budget_is_the_data_sets(path: Path) -> None:
    filled(path)
    for epsilon, delta in ((8.0, 1e-5), (3.0, 1e-5), (4.0, 1e-6)):
        with pytest.raises(PrivacyError, match="the budget of ward-3 is epsilon 4 at delta 1e-05, not epsilon"):
            on_disk(path, epsilon=epsilon, delta=delta)
    without = on_disk(path, epsilon=None, delta=None)
    without.change_budget(epsilon=8.0, delta=1e-5, reason="agreed")
    without.close()
    with pytest.raises(PrivacyError, match="epsilon 8 at delta 1e-05, not epsilon 4"):
        on_disk(path)
    on_disk(path, epsilon=8.0).close()
    assert b'"reason":"agreed"' in path.read_bytes()


def test_a_new_odometer_needs_a_budget(path: Path) -> None:
    with pytest.raises(StateError, match="is new and needs the budget"):
        on_disk(path, epsilon=None, delta=None)
    for half in ({"epsilon": None}, {"delta": None}):
        with pytest.raises(ValueError, match="give both or none"):
            on_disk(path, **half)
    with pytest.raises(ValueError, match="finite numbers"):
        on_disk(path, epsilon=float("nan"))
    with pytest.raises(ValueError, match="dataset must be 1 to 256 printable"):
        on_disk(path, dataset="")
    with pytest.raises(ValueError, match="unit must be one of record, client, not patient"):
        on_disk(path, unit="patient")
    assert not path.exists()
    assert not mark(path).exists()


def test_another_data_sets_file_is_refused(path: Path) -> None:
    filled(path)
    for changed in ({"dataset": "ward-4"}, {"unit": "client"}):
        with pytest.raises(StateError, match="this is the odometer of data set ward-3, unit record, not of data set"):
            on_disk(path, **changed)


def test_a_second_opener_is_refused(path: Path) -> None:
    first = on_disk(path)
    with pytest.raises(StoreError, match="another process writes here; stop it first"):
        on_disk(path)
    code = (
        "import sys; from pathlib import Path; from ledger import StoreError; from ledger.locking import WriterLock\n"
        "try: WriterLock(Path(sys.argv[1]))\nexcept StoreError: sys.exit(17)"
    )
    lock = path.with_name(path.name + ".lock")
    assert subprocess.run([sys.executable, "-c", code, str(lock)], cwd=ROOT, check=False).returncode == 17
    assert read_odometer(path).runs == (), "reading needs no lock"
    first.close()
    on_disk(path).close()


def test_a_link_leads_to_the_same_lock(path: Path) -> None:
    first = on_disk(path)
    link = path.with_name("link.jsonl")
    link.symlink_to(path)
    with pytest.raises(StoreError, match="another process writes here"):
        on_disk(link)
    first.close()
    on_disk(link).close()


def test_a_second_name_would_have_a_lock_of_its_own(path: Path) -> None:
    filled(path)
    second = path.with_name("second.jsonl")
    os.link(path, second)
    for name in (path, second):
        with pytest.raises(StoreError, match=r"one file under 2 names \(hard links\)"):
            on_disk(name)
    second.unlink()
    on_disk(path).close()


def test_what_a_crash_in_the_creation_left_is_removed(path: Path) -> None:
    filled(path)
    leftover = path.with_name(f".{path.name}.1-2-0.tmp")
    os.link(path, leftover)
    on_disk(path).close()
    assert not leftover.exists()


def test_a_link_to_itself(path: Path) -> None:
    path.symlink_to(path)
    with pytest.raises(StoreError, match=r"odometer\.jsonl"):
        on_disk(path)


def test_a_folder_in_its_place(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreError):
        on_disk(path)


def test_a_failed_opening_lets_go_of_the_lock(path: Path) -> None:
    filled(path)
    data = path.read_bytes()
    path.write_bytes(b"{}\n")
    for _ in range(2):
        with pytest.raises(ChainError):
            on_disk(path)
    path.write_bytes(data)
    on_disk(path).close()


# Closing.


def test_a_closed_odometer_writes_into_nobodys_file(path: Path) -> None:
    """The system gives the number of a closed descriptor to the next file that is opened."""
    filled(path)
    before = path.read_bytes()
    odometer = on_disk(path)
    odometer.close()
    foreign = path.with_name("somebody else's")
    descriptor = os.open(foreign, os.O_RDWR | os.O_CREAT)
    try:
        for use in (
            lambda: odometer.reserve(RUN, 3, EVENT),
            lambda: odometer.persist(RUN, 2, bytes(32), 1),
            lambda: odometer.commit(RUN, 1, 8),
            lambda: odometer.change_budget(epsilon=5.0, delta=1e-5, reason="agreed"),
        ):
            with pytest.raises(StateError, match="this odometer is closed"):
                use()
        odometer.close()
        os.write(descriptor, b"still open")
    finally:
        os.close(descriptor)
    assert foreign.read_bytes() == b"still open"
    assert path.read_bytes() == before
    assert [r.round for r in odometer.reservations] == [1, 2], "what was reserved can still be read"


def test_closing_twice_leaves_the_next_owner_its_lock(path: Path) -> None:
    first = on_disk(path)
    first.close()
    second = on_disk(path)
    first.close()
    with pytest.raises(StoreError, match="another process writes here"):
        on_disk(path)
    second.begin(RUN, SCHEDULE)
    second.close()


def test_a_disk_error_while_closing_lets_go_of_the_lock(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odometer, close = on_disk(path), os.close

    def fails_once(descriptor: int) -> None:
        monkeypatch.undo()
        close(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "close", fails_once)
    with pytest.raises(StoreError, match=r"closing failed \(Input/output error\)"):
        odometer.close()
    odometer.close()
    on_disk(path).close()


# Writing.


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_disk_error_poisons(path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    filled(path)
    odometer = on_disk(path)

    def fails(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fails)
        with pytest.raises(StoreError, match=r"could not be written \(No space left on device\)"):
            odometer.reserve(RUN, 3, EVENT)
    with pytest.raises(StateError, match="an earlier write failed"):
        odometer.reserve(RUN, 3, EVENT)
    with pytest.raises(StateError, match="an earlier write failed"):
        odometer.persist(RUN, 2, bytes(32), 1)
    assert [r.round for r in odometer.reservations] == [1, 2]
    assert odometer.reserve(RUN, 1, EVENT).round == 1, "what was acknowledged still holds"
    odometer.close()
    reopened = on_disk(path)
    assert [r.round for r in reopened.reservations] == ([1, 2] if call == "write" else [1, 2, 3]), "bytes on disk count"
    assert reopened.reserve(RUN, 3, EVENT).round == 3
    reopened.close()


def test_a_disk_error_while_opening(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path)

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", fails)
        with pytest.raises(StoreError, match="cannot be opened for writing: Input/output error"):
            on_disk(path)
    on_disk(path).close()


def test_an_interrupt_poisons_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path)
    odometer = on_disk(path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupted)
        with pytest.raises(KeyboardInterrupt):
            odometer.reserve(RUN, 3, EVENT)
    with pytest.raises(StateError, match="an earlier write failed"):
        odometer.reserve(RUN, 3, EVENT)
    odometer.close()
    assert read_odometer(path).runs[0].reserved == 3


def test_a_short_write_is_continued(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path)
    odometer, write = on_disk(path), os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data)[:7]))
        odometer.reserve(RUN, 3, EVENT)
    odometer.close()
    assert read_odometer(path).runs[0].reserved == 3


def test_every_line_is_synced_before_it_is_acknowledged(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odometer, seen, sync = on_disk(path), list[bytes](), os.fsync

    def record(descriptor: int) -> None:
        sync(descriptor)
        seen.append(path.read_bytes().splitlines()[-1])

    monkeypatch.setattr(os, "fsync", record)
    fill(odometer)
    odometer.change_budget(epsilon=5.0, delta=1e-5, reason="agreed")
    assert [json.loads(line)["kind"] for line in seen] == ["begin", "reserve", "persist", "commit", "reserve", "budget"]
    odometer.close()


def test_what_an_opening_finds_is_synced_before_it_counts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was killed may have left whole lines that are not on the disk yet."""
    filled(path)
    synced, sync = list[str](), os.fsync

    def record(descriptor: int) -> None:
        sync(descriptor)
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    if not Path("/proc/self/fd").exists():
        pytest.skip("finds out by /proc")
    monkeypatch.setattr(os, "fsync", record)
    odometer = on_disk(path)
    assert str(odometer.path) in synced
    odometer.close()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_hundred_kills_lose_nothing_that_was_acknowledged_or_sent(tmp_path: Path) -> None:
    """SIGKILL at 100 seeded durable steps: see `odometer_worker`. Each attempt goes on with what the last one left."""
    worker = [sys.executable, "-W", "ignore", "-m", "tests.secure_bfl.odometer_worker", str(tmp_path), "100"]
    done = subprocess.run(worker, cwd=ROOT, check=True, capture_output=True)
    attempts = json.loads(done.stdout)
    assert sum(attempt["killed"] for attempt in attempts) == 100
    acknowledged, sent, before = set[tuple[str, int]](), dict[tuple[str, int], str](), 0
    for attempt in attempts:
        found = {(run, number): upload for run, number, upload in attempt["found"]}
        acknowledged |= {(run, number) for run, number in attempt["acknowledged"]}
        for run, number, upload in attempt["sent"]:
            assert sent.setdefault((run, number), upload) == upload, "two ciphertexts were sent for one reservation"
        assert acknowledged <= set(found), "an acknowledged reservation is lost"
        assert all(found[key] == upload for key, upload in sent.items()), "what was sent is not what is persisted"
        assert attempt["steps"] >= 10 * max(len(acknowledged), len(sent)), "the total never shrinks"
        assert attempt["steps"] == 10 * len(found) >= before
        before = attempt["steps"]
    places = {attempt["place"] for attempt in attempts if attempt["killed"]}
    assert places >= {"write", "before fsync", "after fsync", "before link", "after link"}, places
    assert len(acknowledged) > 50
    assert len(sent) > 50
