"""How many signed entries the ledger takes, durably, and how it behaves when it is large.

Rates are of wall time: other work on the machine lowers them, and the CPU times beside them less. The runs of what is
compared take turns. Entries are signed before the clock starts, and every index given is checked.
"""

import os
import statistics
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from ledger.signing import verifier

from .admission import (
    TOGETHER,
    AdmissionRun,
    Prepared,
    admit_all,
    admit_over_http,
    median_rate,
    verification_us,
)
from .drivers import DriverError, Outcome, attempt, json_line
from .large_log import append_rate, bare_rate, grow
from .ledger_figures import LedgerFigures, LedgerSetting
from .machine import Machine, load_average

__all__ = ["bench_ledger"]

Say = Callable[[str], None]
_PEERS: Final = ("ledger_sqlite", "ledger_postgres", "sign_hash")


def bench_ledger(setting: LedgerSetting, *, say: Say, peers: bool = True) -> LedgerFigures:
    """Measure. Run by: anyone; some minutes, and 3 GB of disk for a log of 10 million; `say` gets a line of news.

    Without `peers`, none of the programs in the folder BASELINES is run.

    Raises:
        RuntimeError: not every entry was admitted.
        DriverError: the large log could not be opened in a process of its own.
    """
    before = load_average()
    missing: dict[str, str] = {}
    say("signing entries")
    plain = Prepared.sign(setting.entries, batch=setting.batch, together=1)
    bundled = Prepared.sign(setting.entries, batch=setting.batch, together=TOGETHER)
    processors = os.cpu_count() or 1
    costs, ceilings = [], []
    runs: dict[str, list[AdmissionRun]] = {"plain": [], "bundled": [], "http": []}
    bare, ours = [], []
    for run in range(setting.runs):
        costs.append(verification_us())
        ceilings.append(_ceiling(processors))
        runs["plain"].append(admit_all(plain, callers=setting.callers, workers=setting.workers))
        runs["bundled"].append(admit_all(bundled, callers=setting.callers, workers=setting.workers))
        try:
            runs["http"].append(admit_over_http(plain, callers=setting.callers, workers=setting.workers))
        except ImportError:
            missing["http_entries_per_s"] = "the extra `server` is not installed"
        bare.append(bare_rate(setting.entries, setting.batch))
        ours.append(append_rate(setting.entries, setting.batch))
        say(f"admission: {run + 1} of {setting.runs}; {runs['plain'][-1].entries_per_s:.0f} entries a second")
    median = {name: median_rate(found) for name, found in runs.items() if found}
    by_verifier: dict[str, float | None] = {"openssl": None, "libsodium": None}
    by_verifier[verifier()] = median["plain"].entries_per_s
    if verifier() == "openssl":
        missing["entries_per_s_libsodium"] = "libsodium is not installed here (the extra `fast`), or breaks the rule"
    else:
        say("starting another process to measure with OpenSSL")
        other = attempt(lambda: _without_sodium(setting))
        if other.result is None:
            missing["entries_per_s_openssl"] = str(other.reason)
        else:
            by_verifier["openssl"] = float(other.result["entries_per_s"])
    curve, large, size = _large(setting, say)
    found = {name: _peer(name, setting) for name in _PEERS} if peers else {}
    missing.update({name: str(outcome.reason) for name, outcome in found.items() if outcome.result is None})
    return LedgerFigures(
        setting=setting,
        machine=Machine.here(),
        verifier=verifier(),
        processors=processors,
        verify_us=statistics.median(costs),
        signature_ceiling_per_s=statistics.median(ceilings),
        entries_per_s=median["plain"].entries_per_s,
        cpu_us_per_entry=median["plain"].cpu_us_per_entry,
        entries_per_s_openssl=by_verifier["openssl"],
        entries_per_s_libsodium=by_verifier["libsodium"],
        entries_per_s_bundled=median["bundled"].entries_per_s,
        cpu_us_per_entry_bundled=median["bundled"].cpu_us_per_entry,
        http_entries_per_s=median["http"].entries_per_s if "http" in median else None,
        bare_rows_per_s=statistics.median(bare),
        log_rows_per_s=statistics.median(ours),
        append_curve=curve,
        large_open_s=float(large["open_s"]),
        large_proof_ms=float(large["proof_ms"]),
        large_rss_mib=None if large["peak_rss_mib"] is None else float(large["peak_rss_mib"]),
        large_bytes_per_entry=round(size / setting.large, 1),
        peers={name: dict(outcome.result) for name, outcome in found.items() if outcome.result is not None},
        load_average_before=before,
        load_average_after=load_average(),
        missing=missing,
    )


def _ceiling(processors: int) -> float:
    """Strict verifications a second if all processors do nothing else: as many processes at once, by their CPU time.

    It is less than `processors` over the cost of one, where two processors share one core.
    """
    program = Path(__file__).with_name("admission.py")
    with ThreadPoolExecutor(processors) as threads:
        found = list(threads.map(json_line, [[sys.executable, "-P", program]] * processors))
    return round(sum(1e6 / float(each["verify_us"]) for each in found), 1)


def _without_sodium(setting: LedgerSetting) -> Mapping[str, Any]:
    names = ("entries", "batch", "callers", "workers", "runs")
    options = [f"--{name}={getattr(setting, name)}" for name in names]
    found = json_line([sys.executable, "-P", Path(__file__).with_name("without_sodium.py"), *options])
    if found["verifier"] != "openssl":
        raise DriverError(f"without libsodium this installation verifies with {found['verifier']}, not with OpenSSL")
    return found


def _large(setting: LedgerSetting, say: Say) -> tuple[tuple[tuple[int, float], ...], Mapping[str, Any], int]:
    """The curve of a growing log, what opening it takes, and its bytes on disk."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "large.sqlite"
        curve = grow(path, setting.sizes, say)
        program = Path(__file__).with_name("large_log.py")  # by its path: the package would load much else
        found = json_line([sys.executable, "-P", program, path])
        if found["size"] != setting.large:
            raise DriverError(f"the large log has {found['size']} entries, not {setting.large}")
        return tuple(curve), found, sum(file.stat().st_size for file in Path(folder).iterdir())


def _peer(name: str, setting: LedgerSetting) -> Outcome:
    def measure() -> Mapping[str, Any]:
        folder = os.environ.get("BASELINES")
        if not folder:
            raise DriverError("the variable BASELINES (a folder of drivers) is not set")
        options = () if name == "sign_hash" else ("--entries", str(setting.entries))
        found = json_line([sys.executable, Path(folder) / f"{name}.py", *options, "--runs", str(setting.runs)])
        return {"results": found["results"], "versions": found["versions"]}

    return attempt(measure)
