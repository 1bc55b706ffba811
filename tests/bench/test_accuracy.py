"""The accuracy bench trains for real and prints one JSON line."""

import json
from typing import Any

import numpy as np
import pytest

from bench import accuracy
from protocols.dp import Mode, privatize
from secure_bfl import FederationPlan
from secure_bfl.bench import privacy_training
from secure_bfl.bench.privacy_training import accuracy_of, central, federated
from secure_bfl.datasets import load
from secure_bfl.model import GlobalModel


def line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *options: str) -> dict[str, Any]:
    monkeypatch.setattr("sys.argv", ["accuracy.py", *options])
    assert accuracy.main() == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--clients", "3"), ("--clients", "3", "--central")], ids=["federated", "central"])
def test_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    told = line(capsys, monkeypatch, "--epsilons", "8", "--trainings", "2", "--rounds", "12", *options)
    found = told["accuracy_at_epsilon"]["8"]
    assert (told["held_out_records"], told["splits"], found["rounds"]) == (360, 2, 12)
    assert told["mode"] == ("central" if "--central" in options else "distributed")
    assert 0.8 < found["min"] <= found["mean"] <= found["max"] < 1, (
        "far above guessing, below what memorising would give"
    )


def plan_of(mode: Mode = Mode.DISTRIBUTED, **more: Any) -> FederationPlan:
    return FederationPlan.create("breast-cancer", mode=mode, clients=4, rounds=6, epsilon=8.0, **more)


@pytest.mark.parametrize("mode", list(Mode))
def test_every_mode_trains(mode: Mode) -> None:
    data = load("breast-cancer", 4)
    assert accuracy_of(federated(plan_of(mode), data), data) > (0.7 if mode is not Mode.CLIENT else 0.3)


def test_a_federation_of_which_some_drop_out() -> None:
    data, plan = load("breast-cancer", 4), plan_of(minimum_clients=3)
    assert accuracy_of(federated(plan, data, [3, 4, 3, 4, 3, 3]), data) > 0.7


def test_final_models_are_averaged(monkeypatch: pytest.MonkeyPatch) -> None:
    averaged: list[int] = []
    real = GlobalModel.mean

    def counted(models: list[GlobalModel]) -> GlobalModel:
        averaged.append(len(models))
        return real(models)

    monkeypatch.setattr(GlobalModel, "mean", counted)
    data, plan = load("breast-cancer", 4), plan_of()
    federated(plan, data)
    central(plan, data)
    assert averaged == [plan.rounds - plan.average_from + 1] * 2


def test_what_cannot_be_trained() -> None:
    with pytest.raises(ValueError, match="split over 3 clients, the plan has 4"):
        federated(plan_of(), load("breast-cancer", 3))
    with pytest.raises(ValueError, match="compared with distributed mode"):
        central(plan_of(Mode.LOCAL), load("breast-cancer", 4))


def test_a_central_run_has_all_of_the_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    real = privatize

    def watched(rows: Any, sample: Any, mechanism: Any, noise: Any) -> Any:
        seen.append((mechanism.noise_multiplier_milli, mechanism.shares, noise.variance_units, sample.n_records))
        return real(rows, sample, mechanism, noise)

    monkeypatch.setattr(privacy_training, "privatize", watched)
    plan, data = plan_of(), load("breast-cancer", 4)
    model = central(plan, data)
    assert np.isfinite(model.vector).all()
    variance = (plan.noise_multiplier_milli * plan.clip_units) ** 2 / 1_000_000
    assert len(seen) == plan.rounds
    for noise, shares, units, records in seen:
        assert (noise, shares, records) == (plan.noise_multiplier_milli, 1, 455)
        assert float(units) == pytest.approx(variance)
