"""The accuracy bench trains for real and prints one JSON line."""

import json

import pytest

from bench import accuracy


def test_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["accuracy.py", "--epsilons", "8", "--trainings", "2"])
    assert accuracy.main() == 0
    line = json.loads(capsys.readouterr().out)
    found = line["accuracy_at_epsilon"]["8"]
    assert line["held_out_records"] == 360
    assert 0.8 < found["min"] <= found["mean"] <= found["max"] < 1, (
        "far above guessing, below what memorising would give"
    )
