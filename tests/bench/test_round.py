"""The bench of a round measures something, and says so in one line of JSON. The sizes are tiny."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.round import aggregation, parsed, ratios, tenseal_plain

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def line() -> dict[str, Any]:
    """One small run, without peers."""
    sizes = ["--clients", "2", "--values", "5000", "--rounds", "3", "--runs", "3"]
    kept = {name: value for name, value in os.environ.items() if name not in ("BASELINES", "FLOWER_PYTHON")}
    run = subprocess.run(
        [sys.executable, ROOT / "bench" / "round.py", *sizes],
        capture_output=True,
        text=True,
        env={**kept, "PYTHONPATH": str(ROOT)},
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("\n") == 1
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@pytest.mark.slow
def test_the_demo_round_is_divided_into_phases(line: dict[str, Any]) -> None:
    demo = line["demo_round"]
    phases = demo["phases_s"]
    assert set(phases) == {"train", "encrypt", "ledger", "aggregate_votes", "decrypt", "check", "model"}
    assert min(phases.values()) > 0
    # Medians of the parts need not add up exactly; that nothing large is left out, or counted twice, they show.
    assert 0.5 * demo["wall_s"] < sum(phases.values()) < 1.5 * demo["wall_s"]
    assert demo["ratio_to_plain"] > 1
    assert demo["rounds_measured"] == 3
    assert (demo["mode"], demo["steps"]) == ("distributed", 1)
    assert demo["peak_rss_mib"] > 0


@pytest.mark.slow
def test_bytes_follow_from_the_plan(line: dict[str, Any]) -> None:
    sizes = line["demo_round"]["bytes_per_value"]
    assert sizes["demo_model"] > sizes["full_blocks_8192"] > sizes["full_blocks_16384"] > 4


@pytest.mark.slow
def test_the_aggregation_is_the_commands(line: dict[str, Any]) -> None:
    ours = line["aggregation"]["ours"]
    assert ours["bench"] == "crypto"
    assert (ours["setting"]["values"], ours["setting"]["clients"]) == (5000, 2)
    assert ours["round_cpu_s"] > 0
    assert ours["secaggplus"] is None
    assert line["aggregation"]["tenseal_plain"]["result"] is None
    assert "BASELINES" in line["aggregation"]["tenseal_plain"]["reason"]
    assert line["aggregation"]["peer_over_ours"] == {"tenseal_plain": None, "flower_secaggplus": None}


def test_a_peer_is_read_from_its_json(tmp_path: Path) -> None:
    steps = {"encrypt_1": 2.0, "serialize_1": 1.0, "aggregate_load_add": 4.0, "decrypt": 5.0}
    answer = {
        "times": {step: {"cpu_s": seconds} for step, seconds in steps.items()},
        "bytes_per_param": 80.0,
        "max_abs_err_sum": 1e-6,
        "peak_rss_mib": 100.0,
        "versions": {},
    }
    script = tmp_path / "tenseal_plain.py"
    script.write_text(
        f"import sys\nassert sys.argv[1:] == ['--params', '7']\nprint({json.dumps(json.dumps(answer))})\n"
    )
    peer = tenseal_plain(tmp_path, ["--params", "7"], clients=10)
    assert peer["round_cpu_s"] == 10 * 3.0 + 4.0 + 5.0
    ours = {
        "encrypt_cpu_ms": 1500.0,
        "add_cpu_ms": 100.0,
        "round_cpu_s": 13.0,
        "bytes_per_client": 56,
        "peak_rss_mib": 50.0,
        "setting": {"clients": 10, "values": 7},
    }
    assert ratios(ours, peer) == {
        "client_cpu_s": 2.0,
        "parse_add_cpu_s": 4.0,
        "round_cpu_s": 3.0,
        "bytes_per_value": 10.0,
        "peak_rss_mib": 2.0,
    }
    assert ratios(ours, None) is None


def test_a_folder_without_the_driver_is_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench import round as bench_round
    from secure_bfl.bench.drivers import json_line

    monkeypatch.setenv("BASELINES", str(tmp_path))
    ours = {"secaggplus": None}
    monkeypatch.setattr(bench_round, "json_line", lambda c: ours if "secure_bfl" in c else json_line(c))
    found = aggregation(parsed([]))
    assert found["tenseal_plain"]["result"] is None
    assert "tenseal_plain.py failed" in found["tenseal_plain"]["reason"]


@pytest.mark.parametrize("option", ["--rounds", "--runs"])
def test_fewer_than_three_samples_are_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed([option, "2"])
    assert "at least 3" in capsys.readouterr().err
