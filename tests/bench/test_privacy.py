"""`bench_privacy` at tiny sizes: the JSON has the promised shape and follows from what was measured."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import privacy_page
from protocols.dp import Mode
from secure_bfl.bench import PrivacyFigures, PrivacySetting, privacy
from secure_bfl.bench.drivers import DriverError
from secure_bfl.bench.privacy import bench_privacy
from secure_bfl.bench.privacy_facts import long_run
from secure_bfl.bench.privacy_figures import Accuracy

SETTING = PrivacySetting(
    splits=1,
    clients=3,
    many=4,
    rounds=4,
    central_steps=6,
    runs=3,
    noise_values=20_000,
    hidden=8,
    report_rounds=3,
    report_clients=3,
    distinct=12,
)
KEYS = {
    "digits_accuracy_eps2", "digits_accuracy_eps2_4", "digits_central_eps2", "digits_central_eps2_6_steps",
    "noise_s_per_million", "noise_over_numpy", "opendp_over_noise", "privacy_step_ratio", "report_s_3x3",
    "heterogeneous_accounting_s_12", "peers", "missing", "machine", "accuracies", "setting",
}  # fmt: skip


@pytest.fixture(scope="module")
def measured() -> tuple[PrivacyFigures, list[str]]:
    """One measurement and the news it told."""
    news: list[str] = []
    return bench_privacy(SETTING, say=news.append, peers=False), news


@pytest.mark.slow
def test_every_promised_figure_is_there(measured: tuple[PrivacyFigures, list[str]]) -> None:
    figures, news = measured
    line: dict[str, Any] = json.loads(json.dumps(figures.to_json()))
    assert line.keys() >= KEYS
    assert line["bench"] == "privacy"
    for name in ("noise_s_per_million", "numpy_normal_s_per_million", "private_step_ms", "opacus_step_ms", "report_s"):
        assert line[name] > 0, name
    assert line["step_parameters"] == 785 * 8 + 9 * 10
    assert line["accuracies"]["digits_central_eps2_6_steps"]["rounds"] == 6
    assert line["accuracies"]["digits_accuracy_eps2"]["rounds"] == 4
    assert 0.1 < line["digits_accuracy_eps2"] < 1
    assert line["peers"] == {}
    assert "noise" in news


@pytest.mark.slow
def test_ratios_follow_from_what_was_measured(measured: tuple[PrivacyFigures, list[str]]) -> None:
    figures = measured[0]
    assert figures.noise_over_numpy == round(figures.noise_s_per_million / figures.numpy_normal_s_per_million, 2)
    assert figures.privacy_step_ratio == round(figures.private_step_ms / figures.opacus_step_ms, 3)
    if figures.opendp_s_per_million is None:
        assert "not installed" in figures.missing["opendp_s_per_million"]
    else:
        assert figures.opendp_over_noise is not None
        assert figures.opendp_over_noise > 1, "tables are faster than exact rejection"
    assert replace(figures, opendp_s_per_million=None).opendp_over_noise is None


@pytest.mark.slow
def test_the_table_is_for_people(measured: tuple[PrivacyFigures, list[str]]) -> None:
    text = "\n".join(measured[0].lines())
    assert "digits accuracy eps2 4" in text
    assert "6,370 parameters" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runs": 2}, "at least 3 runs"),
        ({"splits": 0}, "at least 1"),
        ({"rounds": 0}, "at least 1"),
        ({"distinct": 0}, "at least 1"),
        ({"clients": 1}, "at least 2 clients"),
        ({"report_clients": 1}, "at least 2 clients"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PrivacySetting(**change)  # type: ignore[arg-type]


def test_accuracies() -> None:
    found = Accuracy.of([0.5, 0.75, 0.7], rounds=4, noise_multiplier=1.5)
    assert (found.mean, found.least, found.largest, found.trainings) == (0.65, 0.5, 0.75, 3)


def test_long_runs_differ_from_client_to_client() -> None:
    facts = long_run(40, 12)
    assert len(facts.rounds) == 40
    assert len({client.uploads for client in facts.clients}) == 12
    assert any(client.rounds_reserved_without_upload for client in facts.clients)


def test_distinct_mechanisms_are_distinct() -> None:
    events = privacy._distinct(1000)
    assert len({(event.noise_multiplier_milli, event.sampling_rate_ppm) for event in events}) == 1000


def test_clothing_is_trained_in_three_ways(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plans: list[tuple[str, Mode, int]] = []
    loaded: list[Any] = []

    def trained(plan: Any, datas: Any, train: Any) -> Accuracy:
        plans.append((train.__name__, Mode(plan.mode), plan.clients))
        return Accuracy.of([0.5], rounds=plan.rounds, noise_multiplier=1.0)

    monkeypatch.setattr(privacy, "_trained", trained)
    monkeypatch.setattr(privacy, "load", lambda name, clients, cache: loaded.append((name, clients, cache)))
    found = privacy._fashion(replace(SETTING, cache=tmp_path), lambda line: None)
    assert list(found) == ["fashion_accuracy_eps2", "fashion_central_eps2", "fashion_local_eps2"]
    assert plans == [
        ("federated", Mode.DISTRIBUTED, 4),
        ("central", Mode.DISTRIBUTED, 4),
        ("federated", Mode.LOCAL, 4),
    ]
    assert loaded == [("fashion-mnist-scattering", 4, tmp_path)]


def test_peers_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BASELINES", "FLOWER_PYTHON"):
        monkeypatch.delenv(name, raising=False)
    assert "BASELINES" in str(privacy._flower(SETTING).reason)
    assert "BASELINES" in str(privacy._overhead().reason)


def test_peers_are_given_the_same_job(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def answered(command: Any) -> dict[str, Any]:
        asked.append([str(part) for part in command])
        if "opacus" in asked[-1][1]:
            raise DriverError("it failed")
        return {"results": {"a": 1}, "times": {}, "versions": {}, "more": 2}

    monkeypatch.setattr(privacy, "json_line", answered)
    monkeypatch.setenv("BASELINES", "/drivers")
    monkeypatch.setenv("FLOWER_PYTHON", "/flower/python")
    assert privacy._flower(SETTING).result == {"results": {"a": 1}, "times": {}, "versions": {}}
    assert privacy._overhead().reason == "it failed"
    assert asked[0][:2] == ["/flower/python", "/drivers/flower_dp.py"]
    assert asked[0][asked[0].index("--params") + 1] == "20000"


FOLDER = privacy_page.FOLDER


def test_the_page_says_what_was_measured() -> None:
    for path, wanted in privacy_page.pages().items():
        assert path.read_text(encoding="utf-8") == wanted, f"python bench/privacy_page.py writes {path.name}"
    text = (FOLDER / "privacy-performance.md").read_text(encoding="utf-8")
    marks = {match[2]: match[0] for match in privacy_page.MARKED.finditer(text)}
    assert set(marks) == {"setting", "accuracy", "budgets", "time", "peers"}
    found = json.loads((FOLDER / "privacy-performance.json").read_text(encoding="utf-8"))
    assert f"| `noise_s_per_million` | {found['noise_s_per_million']:g} |" in marks["time"]
    assert f"{100 * found['digits_accuracy_eps2']:.1f}" in marks["accuracy"]


def test_the_page_without_a_peer_says_why() -> None:
    found = {"peers": {}, "missing": {"flower_dp": "it is not there"}}
    assert privacy_page._peers(found) == "Not measured: it is not there.\n"
    assert privacy_page._number(None) == "not measured"


def test_the_check_fails_where_the_page_differs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setattr(privacy_page, "ROOT", tmp_path)
    monkeypatch.setattr(privacy_page, "pages", lambda: {page: "new"})
    monkeypatch.setattr("sys.argv", ["privacy_page.py", "--check"])
    assert privacy_page.main() == 1
    assert not page.exists()
    monkeypatch.setattr("sys.argv", ["privacy_page.py"])
    assert privacy_page.main() == 0
    assert page.read_text() == "new"
    monkeypatch.setattr("sys.argv", ["privacy_page.py", "--check"])
    assert privacy_page.main() == 0
    assert "page.md is not what was measured" in capsys.readouterr().out
