"""Programs that measure others are believed if they print JSON; without them a figure is null and says why."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from secure_bfl.bench import CryptoSetting, drivers
from secure_bfl.bench.drivers import DriverError, json_line, seal_engine, secaggplus
from secure_bfl.bench.machine import Machine, _processor_facts, load_average, peak_memory_mib

SETTING = CryptoSetting(values=500, clients=2, degree=8192, runs=3)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("raise SystemExit('out of luck')", "failed: out of luck"),
        ("print('no json')", "did not answer with JSON"),
        ("print('[]')", "did not answer with a JSON object"),
        ("", "did not answer with JSON"),
    ],
)
def test_a_program_that_fails_says_why(tmp_path: Path, program: str, reason: str) -> None:
    script = tmp_path / "peer.py"
    script.write_text(program)
    with pytest.raises(DriverError, match=reason):
        json_line([sys.executable, script])


def test_a_program_that_is_not_there_says_so() -> None:
    with pytest.raises(DriverError, match="did not answer"):
        json_line(["/no/such/program"])


@pytest.mark.parametrize("missing", ["BASELINES", "FLOWER_PYTHON"])
def test_without_the_variables_secaggplus_is_null(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BASELINES", "FLOWER_PYTHON"):
        monkeypatch.setenv(name, sys.executable)
    monkeypatch.delenv(missing)
    found = secaggplus(SETTING)
    assert found.result is None
    assert "not both set" in str(found.reason)


def _flower(folder: Path, answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    job = ["--params", "500", "--clients", "2", "--runs", "3"]
    text = f"import sys\nassert sys.argv[1:] == {job}\nprint({json.dumps(json.dumps(answer))})\n"
    (folder / "flower_secaggplus.py").write_text(text)
    monkeypatch.setenv("BASELINES", str(folder))
    monkeypatch.setenv("FLOWER_PYTHON", sys.executable)


def test_secaggplus_is_read_from_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {
        "times": {"round": {"cpu_s": 1.5}},
        "up_bytes_per_client_total": 4000,
        "max_abs_err": 1e-5,
        "peak_rss_mib": 100.0,
        "versions": {"flwr": "1"},
    }
    _flower(tmp_path, answer, monkeypatch)
    found = secaggplus(SETTING)
    assert found.reason is None
    assert found.result is not None
    assert (found.result["round_cpu_s"], found.result["bytes_per_value"]) == (1.5, 8.0)


def test_a_driver_that_leaves_something_out_is_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _flower(tmp_path, {"times": {}}, monkeypatch)
    found = secaggplus(SETTING)
    assert found.result is None
    assert "'round'" in str(found.reason)


@pytest.mark.slow
def test_a_client_without_numba_is_measured_by_itself() -> None:
    found = seal_engine(SETTING)
    assert found.reason is None
    assert found.result is not None
    assert found.result["engine"] == "seal"
    assert found.result["encrypt_cpu_ms"] > 0


def test_another_engine_than_seal_is_not_passed_off_as_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "json_line", lambda command: {"engine": "numpy", "encrypt_cpu_ms": 1.0})
    found = seal_engine(SETTING)
    assert found.result is None
    assert "computes with numpy, not with SEAL" in str(found.reason)


def test_the_machine_is_described() -> None:
    machine = Machine.here().to_json()
    assert machine["cpu"]
    assert machine["environment"]["packages"]["numpy"]
    assert (load_average() or 0) >= 0
    assert (peak_memory_mib() or 1) > 0


def test_processor_facts_are_read_or_left_out(tmp_path: Path) -> None:
    assert _processor_facts(tmp_path / "absent") == {}
    file = tmp_path / "cpuinfo"
    file.write_text("model name\t: One\nflags\t\t: fma avx2\n\nmodel name\t: Two\n")
    assert _processor_facts(file) == {"model name": "One", "flags": "fma avx2"}
