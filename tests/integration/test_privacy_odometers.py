"""`secure-bfl privacy status | can-i-run`: what a client's odometer says about the past and the next run."""

import re
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from protocols.dp import PrivacyEvent, epsilon_rdp
from secure_bfl.exitcodes import ExitCode
from secure_bfl.odometer import FileOdometer
from tests.integration.commands import Answer, call
from tests.integration.conftest import FinishedRun

SMALL = ("--clients", "4", "--rounds", "5", "--parameters", "1000")


def privacy(*arguments: str | Path) -> Answer:
    """One subcommand."""
    return call("privacy", *arguments)


def new_odometer(folder: Path, name: str = "odometer.jsonl") -> Path:
    """A fresh odometer of the budget (2, 1e-5) in a folder of its own."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    FileOdometer(path, dataset="digits/client-1", unit="record", epsilon=2.0, delta=1e-5, dim=1000).close()
    return path


def test_status_tells_what_a_client_has_spent(finished: FinishedRun) -> None:
    private = finished.out / "private" / "client-1"
    status = privacy("status", private, "--json").json
    assert (status["dataset"], status["unit"], status["method"]) == ("digits/client-1", "record", "tight")
    assert 0 < status["epsilon"] <= status["epsilon_budget"] == 8
    assert [(run["reserved"], run["persisted"], run["committed"]) for run in status["runs"]] == [(2, 2, 2)]
    assert status["runs"][0]["run"] == finished.answer.json["genesis"]
    assert (status["remaining_rounds_in_run"], status["last_mechanism"]["steps"]) == (0, 1)
    words = privacy("status", private / "odometer.jsonl")
    assert f"chain      whole, head {status['head']}" in words.out
    assert "numerically tight" in words.out


def test_a_fresh_odometer_has_no_runs(tmp_path: Path) -> None:
    status = privacy("status", new_odometer(tmp_path / "new"), "--json").json
    assert (status["epsilon"], status["runs"], status["last_mechanism"]) == (0, [], None)


def test_a_broken_chain_has_its_own_exit_code(finished: FinishedRun, tmp_path: Path) -> None:
    path = Path(shutil.copy(finished.out / "private" / "client-1" / "odometer.jsonl", tmp_path / "odometer.jsonl"))
    path.write_bytes(path.read_bytes().replace(b'"steps":1', b'"steps":2', 1))
    answer = privacy("status", path)
    assert (answer.code, answer.out) == (ExitCode.CHAIN, "")
    assert "is broken at line" in answer.err
    (tmp_path / "odometer.jsonl.began").touch()
    path.unlink()
    lost = privacy("status", path)
    assert (lost.code, lost.out) == (ExitCode.CHAIN, ""), "what began here is gone"
    for subject in (("status",), ("can-i-run", "--epsilon", "1")):
        for nowhere in (tmp_path / "nowhere", tmp_path.parent):
            mistyped = privacy(*subject, nowhere)
            assert (mistyped.code, mistyped.out) == (ExitCode.OUTPUT, "")
            assert "is no odometer: give its file" in mistyped.err


def test_before_the_first_reservation_nobody_knows_what_a_round_is(tmp_path: Path) -> None:
    """A schedule states steps, not rounds: in local mode one round is many steps."""
    path = tmp_path / "odometer.jsonl"
    steps = PrivacyEvent(20_000, 1_000_000, 50)
    with closing(FileOdometer(path, dataset="digits", unit="record", epsilon=2.0, delta=1e-5, dim=1000)) as odometer:
        odometer.begin(b"1" * 32, [steps])
        begun = privacy("status", path, "--json").json
        assert (begun["last_mechanism"], begun["remaining_rounds_in_run"], len(begun["runs"])) == (None, None, 1)
        assert "mechanism" not in privacy("status", path).out
        odometer.reserve(b"1" * 32, 1, replace(steps, steps=10))
        odometer.begin(b"2" * 32, [steps])
    status = privacy("status", path, "--json").json
    assert status["last_mechanism"]["steps"] == 10
    assert status["remaining_rounds_in_run"] == 4
    assert f"4 rounds in run {(b'1' * 32).hex()[:16]}, or" in privacy("status", path).out


def test_a_folder_of_several_odometers_is_not_guessed_about(tmp_path: Path) -> None:
    one = new_odometer(tmp_path / "two", "odometer-1.jsonl")
    assert privacy("status", one.parent).code == 0
    new_odometer(tmp_path / "two", "odometer-2.jsonl")
    answer = privacy("status", one.parent)
    assert answer.code == ExitCode.USAGE
    assert "odometer-1.jsonl, odometer-2.jsonl" in answer.err


def test_what_fits_and_what_does_not(tmp_path: Path) -> None:
    folder = new_odometer(tmp_path / "new").parent
    fits = privacy("can-i-run", folder, "--epsilon", "1.9", *SMALL, "--json")
    assert (fits.code, fits.json["fits"], fits.json["rounds"]) == (0, True, 5)
    assert 5 <= fits.json["remaining_rounds"] <= 6
    too_many = privacy("can-i-run", folder, "--sigma", "5", *SMALL[:2], "--rounds", "100")
    assert too_many.code == ExitCode.BUDGET
    assert re.search(r"answer +no: \d+ of 100 rounds fit", too_many.out)


def test_a_finished_run_leaves_no_room_for_another_of_its_plan(finished: FinishedRun) -> None:
    answer = privacy("can-i-run", finished.out / "private" / "client-1", "--plan-of", finished.out, "--json")
    assert (answer.code, answer.json["rounds"], answer.json["method"]) == (ExitCode.BUDGET, 2, "renyi")
    status = privacy("status", finished.out / "private" / "client-1", "--json").json
    assert status["method"] == "tight"
    assert answer.json["epsilon"] > status["epsilon_budget"] > status["epsilon"]
    assert "the first run's schedule does not fit the budget by it" in answer.json["reason"]
    words = privacy("can-i-run", finished.out / "private" / "client-1", "--plan-of", finished.out).out
    assert f"epsilon {answer.json['epsilon']:.4g} (Rényi" in words
    assert "so no other run may follow" in words


def test_a_small_first_run_leaves_room_by_the_renyi_value(tmp_path: Path) -> None:
    path = tmp_path / "odometer.jsonl"
    event = PrivacyEvent(20_000, 1_000_000, 1)
    with closing(FileOdometer(path, dataset="digits", unit="record", epsilon=2.0, delta=1e-5, dim=1000)) as odometer:
        odometer.begin(b"1" * 32, [event])
        odometer.reserve(b"1" * 32, 1, event)
    answer = privacy("can-i-run", path, "--sigma", "20", "--rounds", "2", *SMALL[:2], "--json").json
    assert (answer["fits"], answer["method"], answer["reason"]) == (True, "renyi", None)
    assert answer["epsilon"] == pytest.approx(epsilon_rdp([event], 1e-5, dim=1000), abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--epsilon", "1", "--mode", "client"), ExitCode.USAGE, "the odometer counts for the unit record"),
        (("--sigma", "5", "--rounds", "0"), ExitCode.USAGE, "rounds"),
        (("--plan-of", "nowhere"), ExitCode.OUTPUT, "no ledger in it"),
        ((), ExitCode.USAGE, "is required"),
        (("--epsilon", "1", "--sigma", "1"), ExitCode.USAGE, "not allowed with"),
    ],
)
def test_can_i_run_refuses_in_words(arguments: tuple[str, ...], code: int, told: str, tmp_path: Path) -> None:
    answer = privacy("can-i-run", new_odometer(tmp_path / "new"), *arguments)
    assert (answer.code, answer.out) == (code, "")
    assert told in answer.err


def test_no_rounds_are_no_question(finished: FinishedRun) -> None:
    private = finished.out / "private" / "client-1"
    answer = privacy("can-i-run", private, "--plan-of", finished.out, "--rounds", "0")
    assert answer.code == ExitCode.USAGE
    assert "--rounds must be at least 1" in answer.err
