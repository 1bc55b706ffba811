"""Help, progress, JSON: what the commands say, to people and to scripts."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from secure_bfl.exitcodes import ExitCode

from .commands import TINY, call, demo, verify
from .conftest import FinishedRun
from .published import flip

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference" / "cli.md"


def test_help_shows_examples_and_exit_codes() -> None:
    answer = call("--help")
    assert answer.code == 0
    assert "examples:\n  secure-bfl demo --out out" in answer.out
    for code in ExitCode:
        assert re.search(rf"^  {code.value} +{re.escape(code.meaning)}$", answer.out, re.MULTILINE)


@pytest.mark.parametrize("command", ["demo", "verify", "report"])
def test_each_command_has_help(command: str) -> None:
    answer = call(command, "--help")
    assert answer.code == 0
    assert f"usage: secure-bfl {command}" in answer.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "required: COMMAND"),
        (("fly",), "invalid choice: 'fly'"),
        (("demo",), "required: --out"),
        (("demo", "--out", "x", "--clients", "many"), "invalid int value: 'many'"),
        (("verify",), "required: dir"),
        (("verify", "x", "--genesis", "12"), "expected 64 hexadecimal digits"),
        (("report", "x", "--rounds"), "unrecognized arguments: --rounds"),
    ],
)
def test_a_command_line_that_cannot_be_read(arguments: tuple[str, ...], told: str) -> None:
    answer = call(*arguments)
    assert answer.code == ExitCode.USAGE
    assert told in answer.err
    assert answer.out == ""


def test_progress_is_plain_lines_where_there_is_no_terminal(tmp_path: Path) -> None:
    answer = call("demo", "--out", tmp_path / "out", *TINY)
    assert answer.code == 0
    lines = answer.err.splitlines()
    assert lines[0].startswith(
        "breast-cancer: 62 parameters, 2 clients, 1 rounds; distributed noise, epsilon 8 at delta 1e-05 per record; "
    )
    assert lines[1:] == [
        *(f"open keystores: {i} of 5" for i in range(1, 6)),
        *(f"generate key: {i} of 5" for i in range(1, 6)),
        "rounds: 1 of 1",
    ]
    assert "\x1b" not in answer.err + answer.out
    assert re.search(r"^accuracy +\d+\.\d%", answer.out, re.MULTILINE)
    assert f"secure-bfl verify {tmp_path / 'out'}" in answer.out
    assert "THROW-AWAY passphrases" in answer.out
    report = call("verify", tmp_path / "out")
    assert report.err == "rounds: 1 of 1\n"
    assert re.fullmatch(
        r"verified: 1 rounds follow from the files in \S+/out/public; genesis [0-9a-f]{64}\n", report.out
    )


def test_findings_are_shown_one_a_line(finished: FinishedRun, tmp_path: Path) -> None:
    out = finished.copy(tmp_path / "out")
    flip(out / "public" / "model.safetensors")
    answer = call("verify", out)
    assert answer.code == ExitCode.FINDINGS
    assert answer.out == "error: model.safetensors: is not the model that follows from the ledger\nnot verified\n"


def test_json_is_one_object_and_silent_otherwise(finished: FinishedRun, tmp_path: Path) -> None:
    answer = verify(finished.out)
    assert set(answer.json) == {"ok", "findings", "genesis", "rounds"}
    assert (answer.err, answer.out.count("\n")) == ("", 1)
    answer = verify(tmp_path)
    assert set(answer.json) == {"ok", "findings", "genesis", "rounds"}
    assert answer.json["findings"][-1] == {
        "level": "error",
        "where": "ledger",
        "what": f"{tmp_path / 'public' / 'ledger'} holds no checkpoint",
    }


def test_an_error_without_json_leaves_standard_output_empty(tmp_path: Path) -> None:
    answer = call("demo", "--out", tmp_path / "out", "--clients", "1")
    assert (answer.code, answer.out) == (ExitCode.USAGE, "")
    assert answer.err.startswith("secure-bfl: a federation needs at least 2 clients")


def test_the_module_is_the_command_and_loads_torch_only_where_it_is_needed(tmp_path: Path) -> None:
    code = (
        "import runpy, sys; sys.argv[0] = 'secure-bfl'\n"
        "try: runpy.run_module('secure_bfl', run_name='__main__')\n"
        "finally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, "verify", tmp_path], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (ExitCode.FINDINGS, "not verified"), done.stderr


# The reference says what the program does.


def table(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading of the reference, without its head."""
    text = REFERENCE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2]
    rows = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert rows is not None, heading
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[0].strip().split("\n")[2:]]


def test_the_reference_lists_the_exit_codes() -> None:
    expected = [[str(code.value), code.name, code.meaning] for code in ExitCode]
    signals = [["130", "", "stopped by Ctrl-C"], ["141", "", "the reader of the output went away, as `head` does"]]
    assert [row[:3] for row in table("Exit codes")] == [*expected, *signals]


@pytest.mark.parametrize("command", ["demo", "verify", "report"])
def test_the_reference_lists_the_options(command: str) -> None:
    usage = call(command, "--help").out.partition("options:")[2]
    shown = {"--help", *re.findall(r"^  (--[a-z-]+)", usage, re.MULTILINE)}
    listed = {re.findall(r"--[a-z-]+", row[0])[0] for row in table(f"`{command}`") if row[0].startswith("`--")}
    assert listed == shown


def test_the_reference_lists_the_json_keys(finished: FinishedRun, tmp_path: Path) -> None:
    assert [row[0].strip("`") for row in table("JSON of `demo`")] == list(finished.answer.json)
    assert [row[0].strip("`") for row in table("JSON of `verify`")] == list(verify(finished.out).json)
    failed = demo(tmp_path / "out", "--clients", "1").json
    assert [row[0].strip("`") for row in table("JSON of a failure")] == list(failed)
