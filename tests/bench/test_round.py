"""The bench measures something, and says so in one line of JSON. The sizes are tiny: the figures mean nothing here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bench.round
from bench.round import aggregation, json_line, parsed, ratios, tenseal_plain

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One small run, without peers."""
    sizes = ["--clients", "2", "--members", "2", "--threshold", "2", "--values", "5000", "--rounds", "3"]
    absent = tmp_path_factory.mktemp("bench") / "no-such-folder"
    run = subprocess.run(
        [sys.executable, ROOT / "bench" / "round.py", "--baselines", absent, *sizes],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("\n") == 1
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@pytest.mark.slow
def test_the_demo_round_is_divided_into_phases(line: dict[str, Any]) -> None:
    demo = line["demo_round"]
    phases = demo["phases_s"]
    assert set(phases) == {"train", "encrypt", "ledger", "aggregate_votes", "decrypt", "model"}
    assert min(phases.values()) > 0
    # Medians of the parts need not add up exactly; that nothing large is left out, or counted twice, they show.
    assert 0.5 * demo["wall_s"] < sum(phases.values()) < 1.5 * demo["wall_s"]
    assert demo["ratio_to_plain"] > 1
    assert demo["rounds_measured"] == 3


@pytest.mark.slow
def test_bytes_follow_from_the_plan(line: dict[str, Any]) -> None:
    sizes = line["demo_round"]["bytes_per_value"]
    assert sizes["demo_model"] > sizes["full_blocks_8192"] > sizes["full_blocks_16384"] > 4


@pytest.mark.slow
def test_the_aggregation_is_off_by_the_rounding_to_16_bits_only(line: dict[str, Any]) -> None:
    ours = line["aggregation"]["ours"]
    assert 0 < ours["largest_error"] <= line["aggregation"]["clients"] * 2**-16
    assert ours["round_cpu_s_with_every_check"] > ours["round_cpu_s"] > 2 * ours["client_cpu_s"] > 0
    assert ours["peak_rss_mib"] > 0
    assert line["demo_round"]["peak_rss_mib"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("peer", ["tenseal_plain", "flower_secaggplus"])
def test_an_absent_peer_is_null_with_a_reason(line: dict[str, Any], peer: str) -> None:
    found = line["aggregation"][peer]
    assert found["result"] is None
    assert "no folder" in found["reason"]
    assert line["aggregation"]["peer_over_ours"][peer] is None


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
    ours = {"client_cpu_s": 1.5, "parse_add_cpu_s": 1.0, "round_cpu_s": 13.0, "bytes_per_value": 8.0}
    assert ratios({**ours, "peak_rss_mib": 50.0}, peer) == {
        "client_cpu_s": 2.0,
        "parse_add_cpu_s": 4.0,
        "round_cpu_s": 3.0,
        "bytes_per_value": 10.0,
        "peak_rss_mib": 2.0,
    }


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("raise SystemExit('out of luck')", "failed: out of luck"),
        ("print('no json')", "did not answer with JSON"),
        ("print('[]')", "did not answer with a JSON object"),
        ("", "did not answer with JSON"),
    ],
)
def test_a_peer_that_fails_says_why(tmp_path: Path, program: str, reason: str) -> None:
    script = tmp_path / "peer.py"
    script.write_text(program)
    with pytest.raises(RuntimeError, match=reason):
        json_line([sys.executable, script])


def test_no_folder_of_baselines_is_assumed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BASELINES", raising=False)
    assert parsed([]).baselines is None
    monkeypatch.setenv("BASELINES", "of-the-environment")
    assert parsed([]).baselines == Path("of-the-environment")
    assert parsed(["--baselines", "given"]).baselines == Path("given")


@pytest.mark.parametrize(
    ("folder", "reason"),
    [(None, "no folder of the peers' drivers was given"), (Path("/no/such"), "there is no folder")],
)
def test_without_a_folder_the_peers_are_null(folder: Path | None, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.round, "json_line", lambda command: {"client_cpu_s": 1.0})
    options = parsed([])
    options.baselines = folder
    found = aggregation(options)
    for peer in ("tenseal_plain", "flower_secaggplus"):
        assert found[peer]["result"] is None
        assert reason in found[peer]["reason"]
        assert "--baselines or BASELINES" in found[peer]["reason"]


@pytest.mark.parametrize("option", ["--rounds", "--runs"])
def test_fewer_than_three_samples_are_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed([option, "2"])
    assert "at least 3" in capsys.readouterr().err
