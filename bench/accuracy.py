"""What privacy costs in accuracy: several trainings for each budget, one JSON line.

    python bench/accuracy.py [--dataset digits] [--epsilons 8,4,2,1] [--trainings 10]

Each training is the plan's own: local steps with integer noise, updates on the plan's grid, their mean, round by round.
Encryption and ledger are left out, since sums are exact with or without them (`tests/integration`).
"""

import argparse
import json
import os
import statistics
import sys
from typing import Any

import numpy as np

from secure_bfl import FederationPlan, GlobalModel
from secure_bfl.datasets import Dataset, load
from secure_bfl.local_training import train_round

__all__ = ["accuracy", "main"]


def accuracy(plan: FederationPlan, data: Dataset) -> float:
    """Train once; the share of held-out records predicted right."""
    model = GlobalModel.zero(plan.features, plan.classes)
    for _ in range(plan.rounds):
        updates = [train_round(plan, model, records, rand=os.urandom(32))[0] for records in data.shares]
        sums = np.sum([plan.grid.quantize(update).values for update in updates], axis=0)
        model = model.apply(sums, plan.clients, plan.grid)
    return model.accuracy(data.held_out.features, data.held_out.labels)


def main() -> int:
    """Run the trainings; print one JSON line."""
    parser = argparse.ArgumentParser(description="accuracy of the demo's training at several privacy budgets")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--epsilons", default="8,4,2,1", help="comma separated")
    parser.add_argument("--trainings", type=int, default=10)
    options = parser.parse_args()
    data = load(options.dataset, options.clients)
    results: dict[str, Any] = {}
    for epsilon in map(float, options.epsilons.split(",")):
        plan = FederationPlan.create(options.dataset, clients=options.clients, epsilon=epsilon)
        found = [accuracy(plan, data) for _ in range(options.trainings)]
        results[f"{epsilon:g}"] = {
            "mean": round(statistics.mean(found), 4),
            "min": round(min(found), 4),
            "max": round(max(found), 4),
            "noise_multiplier": plan.noise_multiplier_milli / 1000,
        }
        sys.stderr.write(f"epsilon {epsilon:g}: {results[f'{epsilon:g}']}\n")
    print(
        json.dumps(
            {
                "bench": "accuracy",
                "dataset": options.dataset,
                "clients": options.clients,
                "delta": 1e-5,
                "held_out_records": len(data.held_out.labels),
                "trainings": options.trainings,
                "accuracy_at_epsilon": results,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
