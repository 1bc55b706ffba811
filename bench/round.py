"""What a round costs: one JSON line on standard output, everything else on standard error.

    python bench/round.py [--rounds N] [--runs N] [--values N] [--clients N]

- `demo_round`: wall time of rounds of the demo, phase by phase, beside the same training without privacy, encryption
  and ledger; and an upload's bytes for each value.
- `aggregation`: `secure-bfl bench crypto`, Flower's SecAgg+ with it, and a whole round of plain TenSEAL (one secret key
  that one party holds, no threshold), where their drivers are given. CPU seconds, medians.

Each measurement runs in a process of its own, so that its peak of memory is its own too; all ratios are of one and the
same run. The drivers of the peers are not part of this repository: the variable BASELINES names a folder that holds
`tenseal_plain.py` and `flower_secaggplus.py`, which take --params, --clients and --runs and print one JSON line;
FLOWER_PYTHON is a Python that has flwr. A peer that is not there is null, with the reason.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from secure_bfl.bench.drivers import DriverError, attempt, json_line

HERE = Path(__file__).resolve().parent


def tenseal_plain(folder: Path, job: Sequence[str], clients: int) -> dict[str, Any]:
    """Plain TenSEAL on the same job: one secret key, at one party."""
    got = json_line([sys.executable, folder / "tenseal_plain.py", *job])
    cpu = {step: times["cpu_s"] for step, times in got["times"].items()}
    client = cpu["encrypt_1"] + cpu["serialize_1"]
    return {
        "client_cpu_s": round(client, 4),
        "parse_add_cpu_s": cpu["aggregate_load_add"],
        "decrypt_cpu_s": cpu["decrypt"],
        "round_cpu_s": round(clients * client + cpu["aggregate_load_add"] + cpu["decrypt"], 4),
        "bytes_per_value": got["bytes_per_param"],
        "largest_error": got["max_abs_err_sum"],
        "peak_rss_mib": got["peak_rss_mib"],
        "versions": got["versions"],
    }


def ratios(ours: Mapping[str, Any], peer: Mapping[str, Any] | None) -> dict[str, float] | None:
    """The peer's cost over ours, wherever both have the figure: above 1, ours is cheaper."""
    if peer is None:
        return None
    own = {
        "client_cpu_s": ours["encrypt_cpu_ms"] / 1000,
        "parse_add_cpu_s": ours["add_cpu_ms"] * ours["setting"]["clients"] / 1000,
        "round_cpu_s": ours["round_cpu_s"],
        "bytes_per_value": ours["bytes_per_client"] / ours["setting"]["values"],
        "peak_rss_mib": ours["peak_rss_mib"],
    }
    return {name: round(peer[name] / cost, 2) for name, cost in own.items() if name in peer}


def aggregation(options: argparse.Namespace) -> dict[str, Any]:
    """The encrypted sum: ours with SecAgg+ beside it, and a whole round of plain TenSEAL."""
    shared = (f"--values={options.values}", f"--clients={options.clients}", f"--runs={options.runs}")
    ours = json_line([sys.executable, "-m", "secure_bfl", "bench", "crypto", "--json", *shared])
    folder: str | None = os.environ.get("BASELINES")
    job = ("--params", str(options.values), "--clients", str(options.clients), "--runs", str(options.runs))

    def tenseal() -> Mapping[str, Any]:
        if not folder:
            raise DriverError("the variable BASELINES names no folder of drivers")
        return tenseal_plain(Path(folder), job, options.clients)

    found = attempt(tenseal)
    return {
        "ours": ours,
        "tenseal_plain": {"result": found.result, "reason": found.reason},
        "peer_over_ours": {
            "tenseal_plain": ratios(ours, found.result),
            "flower_secaggplus": ratios(ours, ours["secaggplus"]),
        },
    }


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description="Time, bytes and memory of one round; one JSON line.")
    parser.add_argument("--rounds", type=int, default=5, help="demo rounds to measure, at least 3 (default: 5)")
    parser.add_argument("--runs", type=int, default=7, help="runs of each aggregation, at least 3 (default: 7)")
    parser.add_argument("--values", type=int, default=1_000_000, help="length of the summed vector")
    parser.add_argument("--clients", type=int, default=10)
    options = parser.parse_args(arguments)
    if min(options.rounds, options.runs) < 3:
        parser.error("a median needs at least 3 rounds and 3 runs")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    options = parsed(arguments)
    sizes = (f"--rounds={options.rounds}", f"--clients={options.clients}")
    demo = json_line([sys.executable, HERE / "demo_round.py", *sizes])
    result: dict[str, Any] = {"bench": "round", "demo_round": demo}
    result["aggregation"] = aggregation(options)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
