"""Programs that measure others, or us without numba, each in a process of its own.

Drivers of peers are not part of this project: the variable BASELINES names a folder of drivers. A driver takes
--params, --clients and --runs, and prints one JSON line.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from .parties import CryptoSetting

__all__ = ["DriverError", "Outcome", "attempt", "json_line", "seal_engine", "secaggplus"]

TIMEOUT: Final = 1800  # seconds, for one measurement
_PEER_RUNS: Final = 3
_ROOT: Final = Path(__file__).resolve().parents[2]


class DriverError(Exception):
    """A program that should measure is missing, failed, or printed something else than a JSON object."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a program measured, or nothing and why."""

    result: Mapping[str, Any] | None
    reason: str | None


def json_line(command: Sequence[str | Path]) -> dict[str, Any]:
    """Run a program on one thread and read the JSON object that it prints last.

    Raises:
        DriverError: it failed, or printed something else.
    """
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    name = Path(command[1]).name if len(command) > 1 else str(command[0])
    try:
        run = subprocess.run(
            [*map(str, command)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        if run.returncode != 0:
            raise DriverError(f"{name} failed: {(run.stderr.strip().splitlines() or ['no output'])[-1]}")
        found = json.loads(run.stdout.strip().splitlines()[-1])
    except (OSError, ValueError, IndexError, subprocess.TimeoutExpired) as exc:
        raise DriverError(f"{name} did not answer with JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise DriverError(f"{name} did not answer with a JSON object")
    return found


def attempt(measure: Callable[[], Mapping[str, Any]]) -> Outcome:
    """The result of a program that may not be there, or why there is none."""
    try:
        return Outcome(measure(), None)
    except DriverError as exc:
        return Outcome(None, str(exc))
    except LookupError as exc:
        return Outcome(None, f"the driver's answer has no {exc}")


def secaggplus(setting: CryptoSetting) -> Outcome:
    """Flower's SecAgg+ on the same job: all parties in one process, every client a neighbour of every other."""

    def measure() -> Mapping[str, Any]:
        folder, python = os.environ.get("BASELINES"), os.environ.get("FLOWER_PYTHON")
        if not folder or not python:
            raise DriverError("the variables BASELINES (a folder of drivers) and FLOWER_PYTHON are not both set")
        job = ("--params", str(setting.values), "--clients", str(setting.clients), "--runs", str(_PEER_RUNS))
        found = json_line([python, Path(folder) / "flower_secaggplus.py", *job])
        return {
            "round_cpu_s": found["times"]["round"]["cpu_s"],
            "bytes_per_value": round(found["up_bytes_per_client_total"] / setting.values, 3),
            "largest_error": found["max_abs_err"],
            "peak_rss_mib": found["peak_rss_mib"],
            "versions": found["versions"],
        }

    return attempt(measure)


def seal_engine(setting: CryptoSetting) -> Outcome:
    """A client's work where numba is not installed, so that SEAL does the transforms."""

    def measure() -> Mapping[str, Any]:
        options = (f"--values={setting.values}", f"--degree={setting.degree}", f"--runs={setting.runs}")
        found = json_line([sys.executable, "-m", "secure_bfl.bench.without_numba", *options])
        if found["engine"] != "seal":
            raise DriverError(f"without numba this installation computes with {found['engine']}, not with SEAL")
        return found

    return attempt(measure)
