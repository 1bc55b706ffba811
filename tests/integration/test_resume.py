"""The same command on a finished or a stopped run goes on where it was, and does nothing twice."""

from pathlib import Path

import pytest

from ledger import read_published
from secure_bfl.client import Client
from secure_bfl.key_member import KeyHolder
from secure_bfl.member import Member
from secure_bfl.operator import Operator

from .commands import SMALL, TINY, call, demo, verify
from .conftest import FinishedRun


def durable(out: Path) -> dict[str, bytes]:
    """Every file that matters; SQLite's own side files and locks come and go."""
    passing = (".lock", "-wal", "-shm")
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not path.name.endswith(passing) and path.suffix != ".sqlite"
    }


def test_a_finished_run_is_left_as_it_is(finished: FinishedRun, tmp_path: Path) -> None:
    out = finished.copy(tmp_path / "out")
    before = durable(out)
    entries = read_published(out / "public" / "ledger").entries
    answer = demo(out, *SMALL)
    assert answer.code == 0, answer.err
    same = ("accuracy", "epsilon", "delta", "rounds", "genesis", "verdict", "bytes_per_param")
    assert {name: answer.json[name] for name in same} == {name: finished.answer.json[name] for name in same}
    assert read_published(out / "public" / "ledger").entries == entries
    assert durable(out) == before


def test_public_files_that_were_lost_are_made_again(finished: FinishedRun, tmp_path: Path) -> None:
    out = finished.copy(tmp_path / "out")
    before = durable(out)
    for name in ("model.safetensors", "budget-report.json", "budget-report.html", "ledger/checkpoint"):
        (out / "public" / name).unlink()
    assert verify(out).code == 1
    assert demo(out, *SMALL).code == 0
    assert durable(out) == before


def test_a_lost_ciphertext_comes_back_from_its_sender_while_the_round_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Operator, "close_round", stop)
        assert demo(out, *TINY).code == 130
    largest = max(
        (path for path in (out / "public" / "blobs").rglob("*") if path.is_file()), key=lambda p: p.stat().st_size
    )
    data = largest.read_bytes()
    largest.unlink()
    assert demo(out, *TINY).code == 0
    assert largest.read_bytes() == data
    assert verify(out).code == 0


@pytest.mark.parametrize(
    ("party", "step"),
    [
        (KeyHolder, "check"),
        (Member, "check_pieces"),
        (Client, "reserve"),
        (Operator, "request"),
        (Operator, "publish_model"),
    ],
)
def test_a_run_stopped_by_hand_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, party: type, step: str) -> None:
    out = tmp_path / "out"

    def stop(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(party, step, stop)
        answer = call("demo", "--out", out, *TINY)
        assert answer.code == 130
        assert "secure-bfl: stopped; the same command goes on where it was" in answer.err
    assert verify(out).code == 1
    assert demo(out, *TINY).code == 0
    assert verify(out).code == 0
