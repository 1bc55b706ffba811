"""Attack a federation: gradient inversion and membership inference, with and without protection; one JSON line.

    python bench/attacks.py [--charts DIR] [--quick]

The attacks run against the product's own mechanism (`privatize`, `privatize_share`) on scikit-learn's digits. With
`--charts` the pictures `attack-inversion.svg` and `attack-membership.svg`, and the same JSON as `attacks.json`, are
written into a folder. The same seed gives the same numbers on the same machine and versions.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.append(str(Path(__file__).resolve().parents[1]))  # `bench` is not installed

from bench import gradient_inversion, membership
from bench.attack_charts import Curve, Strip, gallery, roc_chart
from bench.gradient_inversion import SHOWN, Federation, Finding
from bench.membership import Setting
from protocols.dp import PrivacyPlan, roc_bound
from secure_bfl import Records
from secure_bfl.datasets import load

__all__ = ["inversion", "main", "membership_inference", "randomness"]

CLIENTS = 100
DELTA = 1e-5
BUDGETS = (None, 8.0, 1.0)
MARKED = 0.01
RATES = tuple(10 ** (step / 12 - 3) for step in range(37))
COLOURS = {None: "#b91c1c", 8.0: "#7e22ce", 1.0: "#1b6ac9"}


def randomness(seed: int) -> Callable[[int], bytes]:
    """Bytes for the mechanism that are the same in every run. The product's own come from the operating system."""
    return np.random.default_rng(seed).bytes


def _rows(records: Records) -> npt.NDArray[np.float64]:
    return records.features.reshape(len(records.labels), -1).astype(np.float64)


def inversion(
    *, clients: int, epsilon: float, rounds: int, seed: int
) -> tuple[dict[str, Any], Federation, tuple[Finding, ...]]:
    """Try to recover one record of each client; figures, and the images."""
    data = load("digits", clients)
    federation = Federation(
        features=np.concatenate([_rows(share) for share in data.shares]),
        labels=np.concatenate([share.labels for share in data.shares]),
        owner=np.repeat(np.arange(clients), [len(share.labels) for share in data.shares]),
        public=_rows(data.held_out),
        public_labels=data.held_out.labels,
    )
    plan = PrivacyPlan.solve(epsilon=epsilon, delta=DELTA, rounds=rounds, clients=clients)
    findings = gradient_inversion.run(federation, plan, randomness(seed))
    figures = {
        "clients": clients,
        "records": len(federation.labels),
        "targets": len(federation.targets),
        "rounds": rounds,
        "epsilon": epsilon,
        "delta": DELTA,
        "noise_multiplier": plan.noise_multiplier_milli / 1000,
        "shares": plan.shares,
        "one_share_epsilon": round(plan.naive_epsilon(1), 2),
        "attacks": {finding.key: _figures_of(finding) for finding in findings},
    }
    return figures, federation, findings


def _figures_of(finding: Finding) -> dict[str, Any]:
    return {
        "title": finding.title,
        "correlation": round(finding.correlation, 4),
        "least_correlation": round(finding.least_correlation, 6),
        "correlation_with_strangers": round(finding.strangers, 4),
        "psnr_db": round(finding.psnr, 1),
        "picked": round(finding.picked, 3),
    }


def membership_inference(
    setting: Setting, *, budgets: tuple[float | None, ...], seed: int
) -> tuple[dict[str, Any], list[Curve]]:
    """Train the models of every budget and attack them; figures, and the curves with the bound of each budget."""
    data = load("digits", 1)
    records, held_out = data.shares[0], data.held_out
    features, labels = _rows(records)[: setting.candidates], records.labels[: setting.candidates]
    outside = _rows(held_out), held_out.labels
    figures: dict[str, Any] = {}
    curves: list[Curve] = []
    for epsilon in budgets:
        started = time.perf_counter()
        runs = membership.train(setting, features, labels, outside, epsilon=epsilon, rand=randomness(seed))
        scores = membership.lira_scores(runs)
        name = "unprotected" if epsilon is None else f"ε = {epsilon:g}"
        colour = COLOURS.get(epsilon, "#15803d")
        found: dict[str, Any] = {
            "train_accuracy": round(runs.train_accuracy, 3),
            "held_out_accuracy": round(runs.held_out_accuracy, 3),
            "lira": _rate(membership.rate_at(scores, runs.member, MARKED, seed=seed)),
        }
        curve = membership.roc(scores, runs.member, RATES)
        curves.append(Curve(f"LiRA, {name}", colour, "solid", tuple(zip(RATES, curve, strict=True))))
        if epsilon is not None:
            events = membership.events_of(setting, epsilon)
            insider = membership.insider_scores(runs)
            bound = roc_bound(events, (MARKED, *RATES), dim=(features.shape[1] + 1) * membership.CLASSES)
            found["noise_multiplier"] = events[0].noise_multiplier_milli / 1000
            found["insider"] = _rate(membership.rate_at(insider, runs.member, MARKED, seed=seed))
            found["bound"] = round(bound.true_positive_rates[0], 4)
            points = tuple(zip(RATES, membership.roc(insider, runs.member, RATES), strict=True))
            curves.append(Curve(f"insider, {name}", colour, "dotted", points))
            limits = tuple(zip(RATES, bound.true_positive_rates[1:], strict=True))
            curves.append(Curve(f"bound, {name}", colour, "dashed", limits))
        found["seconds"] = round(time.perf_counter() - started, 1)
        figures["unprotected" if epsilon is None else f"{epsilon:g}"] = found
        sys.stderr.write(f"{name}: {found}\n")
    return {**asdict(setting), "false_positive_rate": MARKED, "tpr_at_epsilon": figures}, curves


def _rate(rate: membership.Rate) -> dict[str, float]:
    return {key: round(value, 4) for key, value in asdict(rate).items()}


def _strips(federation: Federation, findings: tuple[Finding, ...]) -> list[Strip]:
    strips = [Strip("the records", "as clients hold them", federation.features[federation.targets[:SHOWN]])]
    for finding in findings:
        figures = _figures_of(finding)
        remark = "correlation {correlation:.2f}, with strangers {correlation_with_strangers:.2f}".format(**figures)
        strips.append(Strip(finding.title, remark, finding.images[:SHOWN]))
    return strips


def main(arguments: list[str] | None = None) -> int:
    """Run both attacks; print one JSON line."""
    parser = argparse.ArgumentParser(
        description="gradient inversion and membership inference, with and without protection"
    )
    parser.add_argument(
        "--charts", type=Path, metavar="DIR", help="write two SVG files and attacks.json into this folder"
    )
    parser.add_argument("--quick", action="store_true", help="fewer models and rounds: seconds instead of minutes")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    if options.charts is not None and not options.charts.is_dir():
        parser.error(f"{options.charts} is not a folder")
    started = time.perf_counter()
    setting, rounds = Setting(), 40
    if options.quick:
        setting, rounds = replace(setting, candidates=30, models=32, rounds=8), 4
    inverted, federation, findings = inversion(clients=CLIENTS, epsilon=2.0, rounds=rounds, seed=options.seed)
    guessed, curves = membership_inference(setting, budgets=BUDGETS, seed=options.seed)
    report = {
        "bench": "attacks",
        "dataset": "digits",
        "seed": options.seed,
        "inversion": inverted,
        "membership": guessed,
        "seconds": round(time.perf_counter() - started, 1),
    }
    if options.charts is not None:
        title = f"Eight records of {CLIENTS} clients, and what attackers recover"
        pictures = {
            "attack-inversion.svg": gallery(title, _strips(federation, findings)),
            "attack-membership.svg": roc_chart("Was this record in the training set?", curves),
            "attacks.json": json.dumps(report, indent=2, ensure_ascii=False) + "\n",
        }
        for name, text in pictures.items():
            (options.charts / name).write_text(text, encoding="utf-8")
    print(json.dumps(report, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
