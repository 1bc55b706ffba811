"""A damaged odometer: nothing broken is accepted, nothing lost is begun anew, and only a torn last line is cut."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from ledger import StoreError
from secure_bfl.errors import ChainError, StateError
from secure_bfl.odometer import file as file_module
from secure_bfl.odometer import read_odometer
from secure_bfl.odometer.lines import MAX_LINE_BYTES
from tests.secure_bfl.odometer_files import EVENT, LINES, OTHER_RUN, RUN, UPLOAD, filled, mark, on_disk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "odometer.jsonl"


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
