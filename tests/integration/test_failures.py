"""What cannot work ends with its exit code and a message that says what to do, and leaves nothing that verifies."""

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import secure_bfl.datasets
from secure_bfl.auditor import Auditor
from secure_bfl.exitcodes import ExitCode
from secure_bfl.layout import PublicFolder
from secure_bfl.plan import FederationPlan
from secure_bfl.workspace import Workspace

from .commands import SMALL, TINY, call, demo, rejected, verify
from .conftest import FinishedRun


def refused(out: Path, code: int, told: str, *options: str) -> None:
    """`demo` fails with this code and message, on both channels, and leaves nothing that verifies."""
    answer = demo(out, *options)
    assert answer.code == code, answer.err
    assert told in answer.err
    assert answer.err.startswith("secure-bfl: ")
    assert answer.json == {"error": answer.err.removeprefix("secure-bfl: ").rstrip("\n"), "exit_code": code}
    assert verify(out).code == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--members", "4", "--threshold", "5"), "threshold"),
        (("--threshold", "1"), "threshold"),
        (("--members", "33"), "a committee has 2 to 32 members, not 33"),
        (("--clients", "1"), "with one client the opened sum would be that client's own update"),
        (("--clients", "0"), "a federation needs at least 2 clients"),
        (("--clients", "100000"), "a federation has at most 1000 clients"),
        (("--dataset", "breast-cancer", "--clients", "500"), "455 training records cannot be split over 500 clients"),
        (("--epsilon", "nan"), "epsilon must be a positive finite number, not nan"),
        (("--epsilon", "inf"), "epsilon must be a positive finite number, not inf"),
        (("--epsilon", "-1"), "epsilon must be a positive finite number, not -1.0"),
        (("--epsilon", "0"), "epsilon must be a positive finite number, not 0.0"),
        (("--epsilon", "0.0001"), "epsilon must be at least 0.001"),
        (("--delta", "0"), "delta must be at least 1e-10"),
        (("--delta", "nan"), "delta must be at least 1e-10"),
        (("--delta", "1"), "delta must be at least 1e-10 and below 1"),
        (("--rounds", "0"), "rounds must be 1 to"),
        (("--digit-bits", "12"), "10 clients of 21-bit values need digits of 25 bits, the plan has 12: fewer clients"),
        (("--digit-bits", "60"), "wider digits (at most 48)"),
        (("--drop", "-1"), "--drop must be 0 to 10, not -1"),
        (("--drop", "11"), "--drop must be 0 to 10, not 11"),
        (("--offline-members", "6"), "--offline-members must be 0 to 5, not 6"),
    ],
)
def test_a_plan_that_cannot_be(tmp_path: Path, options: tuple[str, ...], told: str) -> None:
    out = tmp_path / "out"
    refused(out, 2, told, *options)
    assert not out.exists()


def test_a_dataset_that_nobody_knows(tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused(out, 9, "unknown dataset 'mnist'; choose one of breast-cancer, digits, fashion-mnist", "--dataset", "mnist")
    assert not out.exists()


def test_a_dataset_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secure_bfl.datasets, "FASHION_FOLDER", tmp_path / "nowhere")
    out = tmp_path / "out"
    refused(out, 9, "apt-get install dataset-fashion-mnist", "--dataset", "fashion-mnist", "--rounds", "1")
    assert not out.exists()


# The output folder.


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def test_a_folder_with_foreign_content(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    before = contents(tmp_path)
    refused(tmp_path, 8, "exists and is not a run of this program; choose another --out, or empty it", *TINY)
    assert contents(tmp_path) == before


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("precious")
    refused(out, 8, "is a file; choose another --out", *TINY)
    assert out.read_text() == "precious"
    refused(out / "deeper", 8, "cannot be made", *TINY)


def test_a_folder_that_holds_another_plan(finished: FinishedRun, tmp_path: Path) -> None:
    out = finished.copy(tmp_path / "out")
    before = contents(out)
    answer = demo(out, *SMALL, "--epsilon", "4")
    assert answer.code == 8
    assert "holds a run of another plan (" in answer.err
    assert "epsilon_milli 8000 there, 4000 here" in answer.err
    after = contents(out)
    after.pop("private/.lock", None)
    before.pop("private/.lock", None)
    assert after == before
    assert verify(out).code == 0


@pytest.mark.parametrize("mark", [b"", b"{", b'{"plan": 1}', b'{"plan": "00"}', b"[]", b"\xff" * 9])
def test_a_folder_whose_mark_is_damaged(tmp_path: Path, mark: bytes) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "run.json").write_bytes(mark)
    refused(tmp_path, 8, "run.json is damaged; choose another --out", *TINY)


def test_a_second_process_on_the_same_folder(tmp_path: Path) -> None:
    plan = FederationPlan.create("breast-cancer", clients=2, members=2, threshold=2, rounds=1)
    out = tmp_path / "out"
    workspace = Workspace.claim(out, plan)
    try:
        refused(out, 8, "is locked: another process writes here; stop it first", *TINY)
    finally:
        workspace.close()
    assert demo(out, *TINY).code == 0


def test_a_parent_folder_that_is_missing_is_made(tmp_path: Path) -> None:
    assert demo(tmp_path / "a" / "b" / "out", *TINY).code == 0


# The disk.


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own, where this is permitted; else the test is skipped."""
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting needs root")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("size", ["64k", "1200k", "2500k"])
def test_a_disk_that_fills_up(tmp_path: Path, size: str) -> None:
    with small_disk(tmp_path / "disk", size) as disk:
        out = disk / "out"
        answer = demo(out, *TINY)
        assert answer.code == 8, answer.err
        assert "disk is full" in answer.err or "No space left" in answer.err
        assert verify(out).code == 1
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        assert demo(out, *TINY).code == 0
        assert verify(out).code == 0


@pytest.mark.parametrize("allowed", [1, 60])
def test_writes_that_fail_for_want_of_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
    """The same where no disk can be made small: after so many writes, each of them torn, every write fails."""
    real, left = os.write, allowed

    def write(descriptor: int, data: bytes) -> int:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data[: max(1, len(data) // 2)])

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write)
        answer = demo(out, *TINY)
    assert left < 0
    assert answer.code == 8, answer.err
    assert "free some space and try again" in answer.err or "free space and start again" in answer.err
    assert verify(out).code == 1
    assert demo(out, *TINY).code == 0
    assert verify(out).code == 0


def test_a_folder_that_is_read_only(finished: FinishedRun, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "64m") as disk:
        finished.copy(disk / "run")
        (disk / "empty").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        refused(disk / "new", 8, "cannot be made: Read-only file system", *TINY)
        refused(disk / "empty", 8, "cannot be made: Read-only file system", *TINY)
        answer = demo(disk / "run", *SMALL)
        assert answer.code == 8
        assert "check the folder's permissions" in answer.err
        assert verify(disk / "run").code == 0
        report = call("report", disk / "run", "--unsigned")
        assert report.code == 8
        assert "Read-only file system" in report.err


def test_a_folder_without_permission(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o555)
    try:
        refused(tmp_path / "out", 8, "cannot be made: Permission denied", *TINY)
    finally:
        tmp_path.chmod(0o755)


# Parties' own state.


def stopped_by_the_chain(out: Path, told: str) -> None:
    """The run does not go on, and says why."""
    answer = demo(out, *SMALL)
    assert (answer.code, answer.json["exit_code"]) == (ExitCode.CHAIN, ExitCode.CHAIN)
    assert told in answer.err


def test_an_odometer_that_was_rolled_back(tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = (*SMALL, "--drop", "3")
    assert demo(out, *options).code == 7
    odometer = out / "private" / "client-2" / "odometer.jsonl"
    mark = odometer.with_name("odometer.jsonl.began")
    spent, began = odometer.read_bytes(), mark.read_bytes()
    opening, beginning, reserved = spent.splitlines(keepends=True)
    unknown = "client-2: the ledger shows spending in round 1 that this odometer does not know"
    for older in (opening, opening + beginning, opening + beginning + reserved[:-1]):
        odometer.write_bytes(older)
        stopped_by_the_chain(out, unknown)
    odometer.write_bytes(b"")
    stopped_by_the_chain(out, f"the odometer {odometer} has no first line")
    odometer.unlink()
    stopped_by_the_chain(out, f"{odometer} is gone, but an odometer began there")
    mark.unlink()
    stopped_by_the_chain(out, unknown)
    mark.write_bytes(began)
    stopped_by_the_chain(out, f"{odometer} is another chain than the one that began there")
    odometer.write_bytes(spent.replace(b'"round":1', b'"round": 1'))
    stopped_by_the_chain(out, f"the odometer {odometer} is broken at line 3")
    odometer.write_bytes(spent)
    assert demo(out, *SMALL).code == 0
    assert odometer.read_bytes().startswith(spent)
    assert verify(out).code == 0


def test_a_keystore_that_is_damaged(finished: FinishedRun, tmp_path: Path) -> None:
    out = finished.copy(tmp_path / "out")
    path = out / "private" / "member-1" / "keystore"
    path.write_bytes(path.read_bytes()[:-1])
    answer = demo(out, *SMALL)
    assert answer.code == ExitCode.KEYSTORE
    assert "the passphrase is wrong or the file is damaged" in answer.err
    path.unlink()
    answer = demo(out, *SMALL)
    assert answer.code != 0
    assert verify(out).code == 0


# Parties that are away.


def test_one_client_of_four_drops_out_and_the_rest_go_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    answer = demo(out, *SMALL, "--drop", "1")
    assert answer.code == 0, answer.err
    assert verify(out).code == 0
    report = json.loads((out / "public" / "budget-report.json").read_bytes())
    assert [r["contributors"] for r in report["evidence"]["rounds"]] == [
        ["client-2", "client-3", "client-4"],
        ["client-1", "client-3", "client-4"],
    ]
    spent = {client["name"]: client["epsilon"] for client in report["clients"]}
    assert len(spent) == 4
    assert len(set(spent.values())) == 1, "who vanished after reserving has spent as much as who stayed"
    assert report["budget"]["rounds_reserved_without_upload"] == 2
    transcript = Auditor(PublicFolder.of(out)).verify().transcript
    assert transcript is not None
    assert [sorted(set(s.spends) - set(s.cohort)) for s in transcript.replay.rounds] == [["client-1"], ["client-2"]]


def test_too_many_clients_drop_out(tmp_path: Path) -> None:
    out = tmp_path / "out"
    answer = demo(out, *SMALL, "--drop", "3")
    assert answer.code == 7
    told = "round 1 has 1 updates, the plan needs 3; missing, malformed or over budget: client-1, client-2, client-3"
    assert told in answer.err
    assert "round 1: is not finished" in rejected(out) or "holds no run" in rejected(out)[0]
    assert demo(out, *SMALL).code == 0
    assert verify(out).code == 0


FIVE = ("--clients", "2", "--members", "5", "--threshold", "3", "--rounds", "1", "--dataset", "breast-cancer")


def test_one_member_of_five_may_be_away(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert demo(out, *FIVE, "--offline-members", "1").code == 0
    assert verify(out).code == 0


def test_two_members_of_five_away_stop_the_run_until_they_are_back(tmp_path: Path) -> None:
    out = tmp_path / "out"
    answer = demo(out, *FIVE, "--offline-members", "2")
    assert answer.code == 7
    assert "the sum of round 1 needs the votes of 4 of 5 members, has 3" in answer.err
    assert "missing or of another opinion: member-4, member-5" in answer.err
    assert verify(out).code == 1
    assert demo(out, *FIVE).code == 0
    assert verify(out).code == 0
