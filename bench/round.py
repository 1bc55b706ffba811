"""What a round costs: one JSON line on standard output, everything else on standard error.

    python bench/round.py [--baselines DIR] [--flower-python PYTHON] [--rounds N]

- `demo_round`: wall time of rounds of the demo, phase by phase, beside the same training without privacy, encryption
  and ledger; and an upload's bytes for each value.
- `aggregation`: the encrypted sum of 1,000,000 values of 10 clients, beside plain TenSEAL (one secret key that one
  party holds, no threshold) and Flower's SecAgg+, where their drivers are given. CPU seconds, medians of three or
  more.

Each measurement runs in a process of its own, so that its peak of memory is its own too; all ratios are of one and the
same run. The drivers of the peers are not part of this repository: --baselines, or the variable BASELINES, names a
folder that holds `tenseal_plain.py` and `flower_secaggplus.py`, which take --params, --clients and --runs and print one
JSON line. A peer whose driver or Python is not there is null, with the reason.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TIMEOUT = 1800  # seconds, for one measurement


def json_line(command: Sequence[str | Path]) -> dict[str, Any]:
    """Run a program and read the JSON object that it prints last.

    Raises:
        RuntimeError: it failed, or printed something else.
    """
    print(f"running {' '.join(map(str, command))}", file=sys.stderr)
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    try:
        run = subprocess.run(
            [*map(str, command)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        if run.returncode != 0:
            raise RuntimeError(
                f"{Path(command[1]).name} failed: {(run.stderr.strip().splitlines() or ['no output'])[-1]}"
            )
        found = json.loads(run.stdout.strip().splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as exc:
        raise RuntimeError(f"{Path(command[1]).name} did not answer with JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise RuntimeError(f"{Path(command[1]).name} did not answer with a JSON object")
    return found


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


def flower_secaggplus(folder: Path, python: Path | None, job: Sequence[str], values: int) -> dict[str, Any]:
    """Flower's SecAgg+ on the same job, all parties in one process, every client a neighbour of every other."""
    if python is None:
        raise RuntimeError("no Python with flwr was given: --flower-python or FLOWER_PYTHON")
    got = json_line([python, folder / "flower_secaggplus.py", *job])
    return {
        "client_wall_s": round(sum(got["client_stage_s_per_client"].values()), 4),
        "round_cpu_s": got["times"]["round"]["cpu_s"],
        "bytes_per_value": round(got["up_bytes_per_client_total"] / values, 3),
        "largest_error": got["max_abs_err"],
        "peak_rss_mib": got["peak_rss_mib"],
        "versions": got["versions"],
    }


def attempt(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A peer's result, or null and why."""
    try:
        return {"result": measure(), "reason": None}
    except (RuntimeError, LookupError) as exc:
        print(f"no result: {exc}", file=sys.stderr)
        return {"result": None, "reason": str(exc)}


def ratios(ours: dict[str, Any], peer: dict[str, Any] | None) -> dict[str, float] | None:
    """The peer's cost over ours, wherever both have the figure: above 1, ours is cheaper."""
    if peer is None:
        return None
    names = ("client_cpu_s", "parse_add_cpu_s", "round_cpu_s", "bytes_per_value", "peak_rss_mib")
    return {name: round(peer[name] / ours[name], 2) for name in names if name in peer}


def aggregation(options: argparse.Namespace) -> dict[str, Any]:
    """The encrypted sum, ours and the peers'."""
    job = ("--params", str(options.values), "--clients", str(options.clients), "--runs", str(options.runs))
    shared = ("--values", str(options.values), *job[2:])
    committee = ("--members", str(options.members), "--threshold", str(options.threshold))
    ours = json_line([sys.executable, HERE / "aggregation.py", *shared, *committee])
    folder: Path | None = options.baselines
    if folder is not None and folder.is_dir():
        tenseal = attempt(lambda: tenseal_plain(folder, job, options.clients))
        flower = attempt(lambda: flower_secaggplus(folder, options.flower_python, job, options.values))
    else:
        missing = "no folder of the peers' drivers was given" if folder is None else f"there is no folder {folder}"
        tenseal = flower = {"result": None, "reason": f"{missing}: --baselines or BASELINES"}
    return {
        "values": options.values,
        "clients": options.clients,
        "runs": options.runs,
        "ours": ours,
        "tenseal_plain": tenseal,
        "flower_secaggplus": flower,
        "peer_over_ours": {
            "tenseal_plain": ratios(ours, tenseal["result"]),
            "flower_secaggplus": ratios(ours, flower["result"]),
        },
    }


def machine() -> dict[str, Any]:
    """Where this was measured."""
    model = platform.processor()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return {
        "cores": os.cpu_count(),
        "cpu": model,
        "load_average_before": os.getloadavg()[0],
        "versions": {"python": platform.python_version(), **{n: version(n) for n in ("numpy", "tenseal", "torch")}},
    }


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, with their defaults from the environment."""
    parser = argparse.ArgumentParser(description="Time, bytes and memory of one round; one JSON line.")
    baselines = os.environ.get("BASELINES")
    parser.add_argument(
        "--baselines",
        type=Path,
        default=Path(baselines) if baselines else None,
        help="folder of the peers' drivers (default: BASELINES; without either, no peer is measured)",
    )
    flower = os.environ.get("FLOWER_PYTHON")
    parser.add_argument(
        "--flower-python",
        type=Path,
        default=Path(flower) if flower else None,
        help="a Python that has flwr (default: FLOWER_PYTHON)",
    )
    parser.add_argument("--rounds", type=int, default=5, help="demo rounds to measure, at least 3 (default: 5)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each aggregation, at least 3 (default: 3)")
    parser.add_argument("--values", type=int, default=1_000_000, help="length of the summed vector")
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--threshold", type=int, default=3)
    options = parser.parse_args(arguments)
    if min(options.rounds, options.runs) < 3:
        parser.error("a median needs at least 3 rounds and 3 runs")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    options = parsed(arguments)
    result: dict[str, Any] = {"bench": "round", **machine()}
    sizes = [f"--{name}={getattr(options, name)}" for name in ("rounds", "clients", "members", "threshold")]
    result["demo_round"] = json_line([sys.executable, HERE / "demo_round.py", *sizes])
    result["aggregation"] = aggregation(options)
    result["load_average_after"] = os.getloadavg()[0]
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
