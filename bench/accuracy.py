"""What privacy costs in accuracy: several trainings for each budget, one JSON line.

    python bench/accuracy.py [--dataset digits] [--mode distributed] [--epsilons 8,4,2,1] [--trainings 8] [--central]

Each training is the plan's own, round by round, on another split of the data where there is a choice; `--central` is
that of one party who holds all records. Encryption and ledger are left out: sums are exact with or without them.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from protocols.dp import Mode
from secure_bfl import FederationPlan
from secure_bfl.bench.privacy_training import accuracy_of, central, federated
from secure_bfl.datasets import Dataset, load

__all__ = ["accuracy", "main"]


def accuracy(plan: FederationPlan, data: Dataset, *, together: bool = False) -> float:
    """Train once, as a federation or all `together`; the share of held-out records predicted right."""
    model = central(plan, data) if together else federated(plan, data)
    return accuracy_of(model, data)


def main() -> int:
    """Run the trainings; print one JSON line."""
    parser = argparse.ArgumentParser(description="accuracy of a plan's training at several privacy budgets")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--mode", choices=[mode.name.lower() for mode in Mode], default="distributed")
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--rounds", type=int, help="by default those of the data set's settings")
    parser.add_argument("--epsilons", default="8,4,2,1", help="comma separated")
    parser.add_argument("--trainings", type=int, default=8)
    parser.add_argument("--central", action="store_true", help="one party holds all records")
    parser.add_argument("--cache", type=Path, help="a folder for features that take minutes to compute")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    datas = [load(options.dataset, options.clients, split=0, cache=options.cache)]
    if not options.dataset.startswith("fashion"):
        datas += [load(options.dataset, options.clients, split=split) for split in range(1, options.trainings)]
    for epsilon in map(float, options.epsilons.split(",")):
        plan = FederationPlan.create(
            options.dataset,
            mode=Mode[options.mode.upper()],
            clients=options.clients,
            epsilon=epsilon,
            rounds=options.rounds,
        )
        began = time.perf_counter()
        found = [accuracy(plan, datas[run % len(datas)], together=options.central) for run in range(options.trainings)]
        results[f"{epsilon:g}"] = {
            "mean": round(statistics.mean(found), 4),
            "min": round(min(found), 4),
            "max": round(max(found), 4),
            "noise_multiplier": plan.noise_multiplier_milli / 1000,
            "rounds": plan.rounds,
            "seconds_each": round((time.perf_counter() - began) / options.trainings, 2),
        }
        sys.stderr.write(f"epsilon {epsilon:g}: {results[f'{epsilon:g}']}\n")
    print(
        json.dumps(
            {
                "bench": "accuracy",
                "dataset": options.dataset,
                "mode": "central" if options.central else options.mode,
                "clients": options.clients,
                "delta": 1e-5,
                "held_out_records": len(datas[0].held_out.labels),
                "splits": len(datas),
                "trainings": options.trainings,
                "accuracy_at_epsilon": results,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
