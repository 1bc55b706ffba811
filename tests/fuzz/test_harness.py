"""The harness itself: it sees every kind of fault that it is there for, and tells the input."""

import gc
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from ledger import DecodeError, LedgerError, cbor
from tests.fuzz import runner
from tests.fuzz.__main__ import main, run
from tests.fuzz.folder import emptied
from tests.fuzz.isolated import isolated
from tests.fuzz.limits import ACCEPTED
from tests.fuzz.mutation import LONGEST, altered, altered_value, mutated
from tests.fuzz.runner import Finding, attempt, campaign, input_of
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS, divided


def target_of(run: Callable[[bytes], None], *refusals: type[Exception]) -> Target:
    return Target("planted", run, refusals or (DecodeError,), lambda: [b"seed"])


def raising(error: BaseException) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        if data != b"seed":
            raise error

    return run


def test_refusals_and_acceptance_are_told_apart() -> None:
    assert attempt(target_of(raising(DecodeError("no"))), b"x") == "DecodeError"
    assert attempt(target_of(raising(DecodeError("no"))), b"seed") == ACCEPTED
    assert attempt(target_of(raising(DecodeError("no")), LedgerError), b"x") == "DecodeError"  # a class of theirs


@pytest.mark.parametrize("error", [KeyError("k"), RecursionError(), MemoryError(), AssertionError("two spellings")])
def test_any_other_error_is_a_finding(error: Exception) -> None:
    outcome = attempt(target_of(raising(error)), b"x")
    assert isinstance(outcome, Finding)
    assert outcome.reason.startswith(type(error).__name__)
    assert outcome.data == b"x"


def test_a_foreign_error_must_be_the_very_class_listed() -> None:
    planted = target_of(raising(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")), ValueError)
    assert isinstance(attempt(planted, b"x"), Finding)
    assert attempt(target_of(raising(ValueError("too large")), ValueError), b"x") == "ValueError"


def test_a_reader_that_does_not_come_back_is_a_finding() -> None:
    def endless(data: bytes) -> None:
        while True:
            try:
                time.sleep(1)
            except Exception as exc:  # a reader that takes everything for bad data
                raise DecodeError("bad") from exc

    outcome = attempt(target_of(endless), b"x", seconds=0.05)
    assert isinstance(outcome, Finding)
    assert outcome.reason == "still running after 0.05 s"


def test_a_valid_input_that_is_refused_is_a_finding() -> None:
    def refuse(data: bytes) -> None:
        raise DecodeError("never")

    assert [finding.data for finding in campaign(target_of(refuse), range(0), seed=1).findings] == [b"seed"]


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="no resident peak on this system")
def test_memory_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MEMORY", 16 << 20)

    def greedy(data: bytes) -> None:
        if len(data) > 4:
            bytearray(b"x") * (64 << 20)
            raise DecodeError("after all")

    gc.collect()  # what earlier tests left would be freed on the way, and hide the growth
    result = isolated(target_of(greedy), range(20), seed=1)
    (finding,) = result.findings
    assert re.fullmatch(r"6\d MiB of memory", finding.reason)  # the peak when it was found; the last may be higher
    assert result.inputs == 20


def test_a_process_that_dies_is_a_finding_and_the_others_go_on() -> None:
    fatal = [number for number in range(30) if input_of(target_of(raising(DecodeError(""))), 1, number)[:1] == b"s"]
    assert len(fatal) > 5

    def die(data: bytes) -> None:
        if data != b"seed" and data[:1] == b"s":
            os.kill(os.getpid(), signal.SIGUSR1)

    result = isolated(target_of(die), range(30), seed=1)
    assert len(result.findings) == 5  # then it gives up
    assert {finding.reason for finding in result.findings} == {f"the process ended by signal {signal.SIGUSR1:d}"}
    assert [finding.data for finding in result.findings] == [
        input_of(target_of(die), 1, number) for number in fatal if input_of(target_of(die), 1, number) != b"seed"
    ][:5]


def test_a_process_that_no_alarm_reaches_is_killed() -> None:
    def deaf(data: bytes) -> None:
        if data != b"seed":
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
            time.sleep(60)

    result = isolated(target_of(deaf), range(1), seed=1, patience=0.3)
    assert [finding.reason for finding in result.findings] == ["the process ended by signal 9"]
    assert result.findings[0].data == input_of(target_of(deaf), 1, 0)


def test_a_process_of_its_own_finds_the_same() -> None:
    target = TARGETS["ledger.note"]
    alone, here = isolated(target, range(200), seed=5), campaign(target, range(200), seed=5)
    assert (alone.outcomes, alone.findings) == (here.outcomes, here.findings)
    assert alone.inputs == 200


def test_mutations_are_repeatable_differ_and_are_bounded() -> None:
    seeds = (b"one seed of some length", bytes(300))
    made = [mutated(Random(number), seeds, None) for number in range(300)]
    assert made == [mutated(Random(number), seeds, None) for number in range(300)]
    assert len(set(made)) > 250
    assert len(altered(Random(1), bytes(LONGEST))) <= LONGEST
    assert all(mutated(Random(number), [b""], None) for number in range(20))


def test_altered_values_are_still_cbor() -> None:
    value: cbor.Value = [1, [b"two", {3: "three"}], -4]
    changed = [altered_value(Random(number), value) for number in range(300)]
    assert value == [1, [b"two", {3: "three"}], -4]
    assert sum(one != value for one in changed) > 200
    assert sum(cbor.decode(cbor.encode(one)) == one for one in changed if _encodes(one)) > 250


def _encodes(value: cbor.Value) -> bool:
    try:
        return bool(cbor.encode(value))
    except ValueError:
        return False


def test_the_shares_add_up() -> None:
    targets = list(TARGETS.values())
    for mutations in (len(targets), 5000, 100_000):
        counts = divided(mutations, targets)
        assert sum(counts.values()) == mutations
        assert min(counts.values()) >= 1
    with pytest.raises(ValueError, match="at least as many"):
        divided(3, targets)


def test_folders_are_emptied() -> None:
    (emptied("harness") / "file").write_bytes(b"x")
    assert list(emptied("harness").iterdir()) == []


def test_the_command_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ledger.cbor", "ledger.vkey"], 60, 1, tmp_path / "f") == 0
    shown = capsys.readouterr()
    assert "60 inputs to 2 targets" in shown.out
    assert ": 0 findings" in shown.out
    assert "100%" in shown.err
    assert not (tmp_path / "f").exists()


def test_the_command_keeps_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TARGETS, "planted", target_of(raising(KeyError("k"))))
    assert run(["planted"], 3, 1, tmp_path) == 1
    files = sorted((tmp_path / "planted").iterdir())
    assert sorted(path.read_bytes() for path in files) == sorted(input_of(TARGETS["planted"], 1, n) for n in range(3))
    assert all(f"{path}: KeyError: 'k'" in capsys.readouterr().out for path in files[:1])
    assert run(["nothing"], 3, 1, tmp_path) == 2
    assert "no target nothing" in capsys.readouterr().err


def test_the_command_takes_one_target_for_atheris(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["tests.fuzz", "--atheris"])
    with pytest.raises(SystemExit):
        main()
    assert "exactly one --target" in capsys.readouterr().err
