"""Attacks succeed without protection and fail with it; where the noise is taken away, they succeed again."""

import json
import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from bench import attacks, gradient_inversion, membership
from bench.attack_charts import Curve, Strip, gallery, roc_chart
from bench.gradient_inversion import (
    Federation,
    Finding,
    correlation,
    gradients_at_zero,
    invert_one,
    match_one,
    normalised,
    sums_by_class,
)
from bench.membership import Runs, Setting
from protocols.arrays import Int64Array
from protocols.dp import DiscreteGaussian, Mode, Noise, roc_bound
from secure_bfl import FederationPlan, GlobalModel, Records, local_training
from secure_bfl.adapters.opacus import per_record_gradients
from secure_bfl.datasets import load
from secure_bfl.local_training import Learner, train_round

SVG = "{http://www.w3.org/2000/svg}"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "attack-a-federation.md"


class Silence(DiscreteGaussian):
    """The law of no noise at all, which calls itself the right one: what a broken sampler would do."""

    def sample(self, n: int, rand: bytes) -> Noise:
        assert super().sample(n, rand).dim == n
        return Noise(np.zeros(n, dtype=np.int64), self.variance_units)


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 (our own text)


def inverted() -> tuple[Federation, dict[str, Finding]]:
    _, federation, findings = attacks.inversion(clients=20, epsilon=2.0, rounds=2, seed=3)
    return federation, {finding.key: finding for finding in findings}


@pytest.fixture(scope="module")
def inversion() -> tuple[Federation, dict[str, Finding]]:
    return inverted()


@pytest.fixture
def federation(inversion: tuple[Federation, dict[str, Finding]]) -> Federation:
    return inversion[0]


@pytest.fixture
def findings(inversion: tuple[Federation, dict[str, Finding]]) -> dict[str, Finding]:
    return inversion[1]


def test_one_unprotected_record_is_recovered_exactly(federation: Federation, findings: dict[str, Finding]) -> None:
    for target in federation.targets:
        chosen = slice(target, target + 1)
        gradient = gradients_at_zero(federation.features[chosen], federation.labels[chosen])[0].astype(np.float64)
        np.testing.assert_allclose(invert_one(gradient), federation.features[target], atol=1e-5)
    assert findings["one_record"].least_correlation > 0.999999
    assert findings["one_record"].psnr > 100
    assert findings["one_record"].picked == 1


def test_a_batch_of_different_classes_is_recovered_exactly(federation: Federation) -> None:
    batch = np.array([np.flatnonzero(federation.labels == label)[0] for label in range(9)])
    gradient = gradients_at_zero(federation.features[batch], federation.labels[batch]).astype(np.float64).sum(axis=0)
    found = sums_by_class(gradient)[federation.labels[batch]]
    np.testing.assert_allclose(found, federation.features[batch], atol=1e-5)


def test_a_sum_alone_protects_against_nobody_who_knows_the_others(findings: dict[str, Finding]) -> None:
    assert findings["sum_knowing_others"].least_correlation > 0.9999
    assert findings["sum_knowing_others"].picked == 1


@pytest.mark.parametrize("key", ["protected_sum_knowing_others", "protected_share", "protected_shares"])
def test_nothing_is_recovered_from_what_is_protected(findings: dict[str, Finding], key: str) -> None:
    assert findings[key].correlation < 0.4
    assert findings[key].psnr < 10
    assert findings[key].picked < 0.3


def test_a_protected_sum_shows_a_class_and_not_a_record(findings: dict[str, Finding]) -> None:
    found = findings["protected_sum"]
    assert found.correlation - found.strangers < 0.05
    assert findings["one_record"].correlation - findings["one_record"].strangers > 0.2
    assert found.picked < 0.2


def test_without_the_noise_everything_is_recovered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradient_inversion, "DiscreteGaussian", Silence)
    _, found = inverted()
    for key in ("protected_sum_knowing_others", "protected_share", "protected_shares"):
        assert found[key].least_correlation > 0.999
        assert found[key].picked == 1


def recovered(mode: Mode) -> list[float]:
    """What is found of a client's only record in the least sum that may be opened, its other clients being empty.

    In local mode the client's own vector is attacked. Correlations, for the records of six such clients.
    """
    plan = FederationPlan.create("digits", mode=mode, clients=40)
    plan = replace(plan, sampling_rate_ppm=1_000_000)  # the attack is of no use where the record is not sampled
    start, seeds = GlobalModel.zero(plan.tensors), attacks.randomness(7)

    def sent(records: Records) -> Int64Array:
        return train_round(plan, start, Learner(records), rand=seeds(32))[0].values[: plan.parameters]

    data, found = load("digits", 6), []
    nobody = Records(data.held_out.features[:0], data.held_out.labels[:0])
    others = np.zeros(plan.parameters, dtype=np.int64)
    for _ in range(plan.shares - 1):
        others += sent(nobody)
    for share in data.shares:
        opened = others + sent(Records(share.features[:1], share.labels[:1]))
        down = 1.0 if mode is Mode.DISTRIBUTED else -1.0  # an update goes down the gradient
        image = match_one(down * opened.astype(np.float64), int(share.labels[0]))
        found.append(float(correlation(image, share.features[0].reshape(-1))))
    return found


@pytest.mark.parametrize("mode", Mode)
def test_the_only_record_of_a_client_is_hidden_in_each_mode(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    assert np.mean(recovered(mode)) < 0.3
    monkeypatch.setattr(local_training, "_law", Silence)
    assert min(recovered(mode)) > 0.99


def test_gradients_of_shadow_models_are_those_of_the_engine() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(5, 7)), np.arange(5)
    layer = nn.Linear(7, membership.CLASSES)
    weights = torch.from_numpy(rng.normal(size=(membership.CLASSES, 8)))
    with torch.no_grad():
        layer.weight.copy_(weights[:, :7])
        layer.bias.copy_(weights[:, 7])
    whole = per_record_gradients(layer, torch.from_numpy(features.astype(np.float32)), torch.from_numpy(labels))
    rows = np.hstack([features, np.ones((5, 1))])
    found = membership.gradients(weights.numpy(), rows, labels).reshape(5, membership.CLASSES, 8)
    np.testing.assert_allclose(found[:, :, :7].reshape(5, -1), whole[:, : 7 * membership.CLASSES], atol=1e-5)
    np.testing.assert_allclose(found[:, :, 7], whole[:, 7 * membership.CLASSES :], atol=1e-5)


SMALL = Setting(candidates=30, models=32, rounds=6)


def trained(epsilon: float | None) -> Runs:
    data = load("digits", 1)
    features, labels = data.shares[0].features.reshape(-1, 64)[: SMALL.candidates], data.shares[0].labels
    outside = data.held_out.features.reshape(-1, 64).astype(np.float64), data.held_out.labels
    chosen = labels[: SMALL.candidates]
    return membership.train(
        SMALL, features.astype(np.float64), chosen, outside, epsilon=epsilon, rand=attacks.randomness(5)
    )


def bound(epsilon: float, rate: float) -> float:
    return roc_bound(membership.events_of(SMALL, epsilon), (rate,)).true_positive_rates[0]


@pytest.mark.parametrize("epsilon", [1.0, 8.0])
def test_no_attack_is_better_than_the_bound(epsilon: float) -> None:
    runs = trained(epsilon)
    for scores in (membership.lira_scores(runs), membership.insider_scores(runs)):
        for rate in (0.01, 0.05, 0.2):
            found = membership.rate_at(scores, runs.member, rate, seed=1)
            assert found.rate <= bound(epsilon, rate) + 3 * found.error


def test_without_protection_lira_is_better_than_any_test_may_be() -> None:
    runs = trained(None)
    found = membership.rate_at(membership.lira_scores(runs), runs.member, 0.05, seed=1)
    assert found.rate > bound(1.0, 0.05) + 3 * found.error
    assert runs.train_accuracy > 0.95
    with pytest.raises(ValueError, match="without noise"):
        membership.insider_scores(runs)


def test_without_the_noise_an_insider_is_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "DiscreteGaussian", Silence)
    runs = trained(1.0)
    assert membership.roc(membership.insider_scores(runs), runs.member, (0.0,)) == (1.0,)


def test_each_model_is_judged_by_the_others() -> None:
    rng = np.random.default_rng(1)
    member = rng.random((9, 4)) < 0.5
    member[:4] = np.eye(4, dtype=bool)
    member[4:8] = ~np.eye(4, dtype=bool)
    values = rng.normal(size=(9, 4))
    scores = membership.lira_scores(Runs(member, values, None, 0, 0))

    def likelihood(value: float, others: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> float:
        mean, variance = float(others.mean()), float(others.var())
        return -((value - mean) ** 2) / (2 * variance) - math.log(variance) / 2

    for model in range(9):
        for record in range(4):
            rest = np.arange(9) != model
            ins, outs = (values[rest & (member[:, record] == side), record] for side in (True, False))
            expected = likelihood(values[model, record], ins) - likelihood(values[model, record], outs)
            assert scores[model, record] == pytest.approx(expected)


def test_the_curve_counts_false_alarms() -> None:
    scores = np.array([[5.0, 4.0, 3.0, 2.0], [6.0, 4.0, 1.0, 0.0]])
    member = np.array([[True, False, True, False], [True, True, False, False]])
    assert membership.roc(scores, member, (0.0, 0.25, 1.0)) == (0.5, 1.0, 1.0)
    found = membership.rate_at(scores, member, 0.0, seed=0)
    assert found.low <= found.rate <= found.high
    assert found == membership.rate_at(scores, member, 0.0, seed=0)


def test_pictures_show_the_arrays() -> None:
    image = np.array([[0.0, 0.0, 1.0, 3.0]])
    root = parsed(gallery("T", [Strip("a < b", "", image)]))
    strokes = {path.attrib["stroke"]: path.attrib["d"] for path in root.iter(f"{SVG}path")}
    assert strokes == {"#000000": "M0 0h2", "#555555": "M0 1h1", "#ffffff": "M1 1h1"}
    assert "a < b" in {text.text for text in root.iter(f"{SVG}text")}
    flat = parsed(gallery("T", [Strip("flat", "", np.zeros((1, 4)))]))
    assert {path.attrib["stroke"] for path in flat.iter(f"{SVG}path")} == {"#000000"}


@pytest.mark.parametrize("images", [np.zeros(4), np.zeros((1, 5)), np.full((1, 4), np.nan)])
def test_what_is_no_image_is_refused(images: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]") -> None:
    with pytest.raises(ValueError, match="image"):
        Strip("a", "", images)


def test_curves_stand_where_their_logarithms_are() -> None:
    root = parsed(roc_chart("T", [Curve("c", "#000", "dashed", ((1e-4, 0.0), (0.01, 0.1), (1.0, 1.0)))]))
    path = next(p for p in root.iter(f"{SVG}path") if p.find(f"{SVG}title") is not None)
    corners = [tuple(map(float, corner.split())) for corner in path.attrib["d"][1:].split(" L")]
    (left, bottom), (x, y), (right, top) = corners
    assert (x - left) / (right - left) == pytest.approx(1 / 3, abs=1e-3)
    assert (bottom - y) / (bottom - top) == pytest.approx(2 / 3, abs=1e-3)
    assert path.attrib["stroke-dasharray"]


def test_what_is_no_curve_is_refused() -> None:
    with pytest.raises(ValueError, match="solid, dashed, dotted"):
        Curve("c", "#000", "wavy", ())
    with pytest.raises(ValueError, match="rate"):
        Curve("c", "#000", "solid", ((0.5, 1.5),))


@pytest.mark.slow
def test_the_program_writes_pictures_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert attacks.main(["--quick", "--charts", str(tmp_path)]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line == json.loads((tmp_path / "attacks.json").read_text(encoding="utf-8"))
    assert line["inversion"]["attacks"]["one_record"]["least_correlation"] > 0.999
    assert line["membership"]["tpr_at_epsilon"]["1"]["bound"] < line["membership"]["tpr_at_epsilon"]["8"]["bound"]
    strips = parsed((tmp_path / "attack-inversion.svg").read_text(encoding="utf-8"))
    assert len(list(strips.iter(f"{SVG}g"))) == 8 * (1 + len(line["inversion"]["attacks"]))
    parsed((tmp_path / "attack-membership.svg").read_text(encoding="utf-8"))


def test_a_folder_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        attacks.main(["--charts", "/no/such/folder"])
    assert "is not a folder" in capsys.readouterr().err


def test_images_are_compared_after_centring_and_scaling() -> None:
    image = np.array([[1.0, 2.0, 4.0, 9.0]])
    assert correlation(3 * image + 7, image) == pytest.approx(1)
    assert gradient_inversion.psnr(3 * image + 7, image) == pytest.approx(150)
    assert np.linalg.norm(normalised(image)) == pytest.approx(1)
    assert (normalised(np.ones((1, 4))) == 0).all()


def test_the_page_states_what_was_measured() -> None:
    text = PAGE.read_text(encoding="utf-8")
    report = json.loads((PAGE.parent / "attacks.json").read_text(encoding="utf-8"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    for found in report["inversion"]["attacks"].values():
        figures = (found["correlation"], found["correlation_with_strangers"], found["psnr_db"], 100 * found["picked"])
        assert [f"{value:.{digits}f}" for value, digits in zip(figures, (2, 2, 0, 0), strict=True)] in [
            row[1:5] for row in rows
        ], found["title"]
    for found in report["membership"]["tpr_at_epsilon"].values():
        stated = [f"{100 * found['lira']['rate']:.1f} ± {200 * found['lira']['error']:.1f}"]
        if "bound" in found:
            stated.append(f"{100 * found['insider']['rate']:.1f} ± {200 * found['insider']['error']:.1f}")
            stated.append(f"{100 * found['bound']:.1f}")
            assert max(found["lira"]["rate"] - 3 * found["lira"]["error"], 0) <= found["bound"]
        assert any(row[1 : 1 + len(stated)] == stated for row in rows), stated
    drawn = (PAGE.parent / "attack-inversion.svg").read_text(encoding="utf-8")
    for found in report["inversion"]["attacks"].values():
        remark = f"correlation {found['correlation']:.2f}, with strangers {found['correlation_with_strangers']:.2f}"
        assert remark in drawn
