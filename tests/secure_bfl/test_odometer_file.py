"""The odometer's file: what was acknowledged survives, nothing broken is accepted, nothing lost is begun anew."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ledger import StoreError
from protocols.dp import PrivacyEvent
from protocols.errors import PrivacyError
from secure_bfl.errors import ChainError, StateError
from secure_bfl.odometer import FileOdometer, MemoryOdometer, read_odometer
from secure_bfl.odometer import file as file_module
from secure_bfl.odometer.lines import MAX_LINE_BYTES
from tests.arch.sources import ROOT

RUN, OTHER_RUN = hashlib.sha256(b"run").digest(), hashlib.sha256(b"other run").digest()
EVENT = PrivacyEvent(10_000, 1_000_000, 10)
SCHEDULE = (PrivacyEvent(10_000, 1_000_000, 100),)
UPLOAD = hashlib.sha256(b"ciphertext").digest()
LINES = 6  # of `filled`


def on_disk(path: Path, **changed: Any) -> FileOdometer:
    wanted = {"dataset": "ward-3", "unit": "record", "epsilon": 4.0, "delta": 1e-5, "dim": 650}
    return FileOdometer(path, **{**wanted, **changed})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "odometer.jsonl"


def fill(odometer: FileOdometer | MemoryOdometer) -> None:
    odometer.begin(RUN, SCHEDULE)
    odometer.reserve(RUN, 1, EVENT)
    odometer.persist(RUN, 1, UPLOAD, 99)
    odometer.commit(RUN, 1, 7)
    odometer.reserve(RUN, 2, EVENT)


def filled(path: Path) -> list[bytes]:
    """A closed file; its lines."""
    odometer = on_disk(path)
    fill(odometer)
    odometer.close()
    return path.read_bytes().splitlines(keepends=True)


def mark(path: Path) -> Path:
    return path.with_name(path.name + ".began")


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
        odometer.begin(run, SCHEDULE)
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


# Damage.


def test_a_deleted_odometer_is_not_a_fresh_budget(path: Path) -> None:
    data = b"".join(filled(path))
    path.unlink()
    for opener in (on_disk, read_odometer):
        with pytest.raises(ChainError, match=r"odometer\.jsonl is gone, but an odometer began there"):
            opener(path)
    assert not path.exists()
    path.write_bytes(data)
    odometer = on_disk(path)
    assert len(odometer.reservations) == 2
    odometer.close()


def test_another_chain_in_its_place_is_refused(path: Path, tmp_path: Path) -> None:
    filled(path)
    other = tmp_path / "other.jsonl"
    filled(other)
    os.replace(other, path)
    for opener in (on_disk, read_odometer):
        with pytest.raises(ChainError, match="is another chain than the one that began there"):
            opener(path)


def test_a_copy_without_the_mark_gets_one(path: Path, tmp_path: Path) -> None:
    filled(path)
    moved = tmp_path / "moved.jsonl"
    moved.write_bytes(path.read_bytes())
    on_disk(moved).close()
    assert mark(moved).read_bytes() == mark(path).read_bytes()


def test_nothing_to_read(path: Path) -> None:
    with pytest.raises(ChainError, match="there is no odometer at"):
        read_odometer(path)


@pytest.mark.parametrize("data", [b"", b"{", b'{"kind":"open"'])
def test_a_file_without_a_first_line(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    for opener in (on_disk, read_odometer):
        with pytest.raises(ChainError, match="has no first line"):
            opener(path)
    assert path.read_bytes() == data


def test_a_torn_last_line_is_cut_wherever_it_was_torn(path: Path) -> None:
    lines = filled(path)
    whole, last = b"".join(lines[:-1]), lines[-1]
    for size in range(0, len(last), 7):
        path.write_bytes(whole + last[:size])
        assert len(read_odometer(path).runs) == 1
        assert path.read_bytes() == whole + last[:size], "a reader leaves it alone"
        odometer = on_disk(path)
        assert [r.round for r in odometer.reservations] == [1]
        assert path.read_bytes() == whole
        odometer.close()
    odometer = on_disk(path)
    assert odometer.reserve(RUN, 2, EVENT).head == hashlib.sha256(last).digest()
    odometer.close()
    assert path.read_bytes() == whole + last


def test_a_broken_chain_stops_and_is_left_as_it_is(path: Path) -> None:
    lines = filled(path)
    whole = b"".join(lines)
    broken = [
        b"".join(lines[1:]),
        *(b"".join(lines[:at] + lines[at + 1 :]) for at in range(LINES - 1)),
        *(b"".join([*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]) for at in range(LINES - 1)),
        *(b"".join(lines[: at + 1] + lines[at:]) for at in range(LINES)),
        lines[0] + b"\n" + lines[1],
        whole.replace(b'"steps":10}', b'"steps":9}', 1),
        whole.replace(b'"steps":100', b'"steps": 100', 1),
        whole.replace(b"ward-3", b"ward-4"),
        whole.replace(b'"epsilon_micro":4', b'"epsilon_micro":9'),
        whole.replace(b'"version":1', b'"version":2'),
        whole.replace(b'"round":1', b'"round":7', 1),
        b"[]\n",
        b"{}\n",
        b"null\n",
        b'{"kind":["open"]}\n',
        b"\xff\n",
        b"[" * 60_000 + b"\n",
        b" " * (MAX_LINE_BYTES + 1) + b"\n",
    ]
    for data in broken:
        path.write_bytes(data)
        for opener in (read_odometer, on_disk):
            with pytest.raises(ChainError, match=r"is broken at line [0-9]+: .*; restore the newest copy"):
                opener(path)
        assert path.read_bytes() == data
    path.write_bytes(whole)
    on_disk(path).close()


def forged(path: Path, changes: dict[str, Any], at: int) -> None:
    """Rewrite one line of a file and rehash all after it, as somebody who can write it may."""
    lines, previous, data = path.read_bytes().splitlines(keepends=True), bytes(32), b""
    for number, line in enumerate(lines):
        record = json.loads(line)
        record["previous"] = previous.hex()
        if number == at:
            record.update(changes)
        line = json.dumps(record, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        previous, data = hashlib.sha256(line).digest(), data + line
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("at", "changes"),
    [
        (0, {"epsilon_micro": 0}),
        (0, {"epsilon_micro": -4_000_000}),
        (0, {"epsilon_micro": float("nan")}),
        (0, {"epsilon_micro": float("inf")}),
        (0, {"epsilon_micro": 4e6}),
        (0, {"epsilon_micro": 100_000_001}),
        (0, {"epsilon_micro": True}),
        (0, {"epsilon_micro": None}),
        (0, {"delta_e12": 0}),
        (0, {"delta_e12": 99}),
        (0, {"delta_e12": -1}),
        (0, {"delta_e12": float("nan")}),
        (0, {"delta_e12": 10**12}),
        (0, {"identity": "00" * 15}),
        (0, {"unit": ""}),
        (0, {"dataset": 5}),
        (0, {"more": 1}),
        (1, {"dim": 0}),
        (1, {"schedule": []}),
        (1, {"schedule": {}}),
        (1, {"run": "00"}),
        (2, {"event": {"noise_multiplier_milli": 10_000, "sampling_rate_ppm": 1_000_000, "steps": -500}}),
        (2, {"event": {"noise_multiplier_milli": 10_000, "sampling_rate_ppm": 1_000_000, "steps": 0}}),
        (2, {"event": {"noise_multiplier_milli": 10_000, "sampling_rate_ppm": 1_000_000, "steps": 101}}),
        (2, {"event": {"noise_multiplier_milli": float("inf"), "sampling_rate_ppm": 1_000_000, "steps": 10}}),
        (2, {"event": {"noise_multiplier_milli": 99, "sampling_rate_ppm": 1_000_000, "steps": 10}}),
        (2, {"event": {"noise_multiplier_milli": 10_000, "sampling_rate_ppm": 0, "steps": 10}}),
        (2, {"event": []}),
        (2, {"round": 0}),
        (2, {"round": 1.0}),
        (2, {"run": OTHER_RUN.hex()}),
        (2, {"run": RUN.hex().upper()}),
        (3, {"size": 0}),
        (3, {"round": 2}),
        (3, {"upload": UPLOAD.hex()[:-2]}),
        (4, {"index": -1}),
        (4, {"index": 1 << 63}),
        (5, {"round": 1}),
        (5, {"kind": "persist"}),
        (5, {"kind": "close"}),
        (5, {"kind": "open"}),
    ],
)
def test_impossible_values_are_refused_with_right_hashes_too(path: Path, at: int, changes: dict[str, Any]) -> None:
    filled(path)
    forged(path, {}, at)
    assert len(read_odometer(path).runs) == 1, "the forger's hashes are right"
    forged(path, changes, at)
    with pytest.raises(ChainError, match=f"is broken at line {at + 1}: "):
        read_odometer(path)


def test_every_flipped_byte_is_seen_by_the_chain_or_by_the_ledger(path: Path) -> None:
    lines = filled(path)
    data, head = b"".join(lines), hashlib.sha256(lines[-1]).digest()
    for at in range(0, len(data) - 1, 3):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        try:
            status = read_odometer(path)
        except ChainError:
            continue
        assert at > len(data) - len(lines[-1]), "nothing follows the last line but the head, which the ledger keeps"
        assert status.head != head


def test_the_file_has_a_largest_size(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(b"".join(filled(path)))
    odometer = on_disk(path)
    monkeypatch.setattr(file_module, "_MAX_BYTES", size + 10)
    with pytest.raises(StateError, match=f"is full: it holds at most {size + 10} bytes"):
        odometer.reserve(RUN, 3, EVENT)
    assert odometer.reserve(RUN, 2, EVENT).round == 2
    odometer.close()
    assert path.stat().st_size == size
    monkeypatch.setattr(file_module, "_MAX_BYTES", size - 1)
    for opener in (on_disk, read_odometer):
        with pytest.raises(StoreError, match=f"more than the {size - 1} it may have"):
            opener(path)


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
