"""What the measurement of the ledger is given, and what it finds, as one JSON line or as a table for people."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from .machine import Machine

__all__ = ["LARGE", "LedgerFigures", "LedgerSetting"]

LARGE: Final = 10_000_000
"""Entries of the large log that the figures `*_10m` are of."""


@dataclass(frozen=True, slots=True)
class LedgerSetting:
    """How much to measure: entries admitted in each run, in batches, by threads; and the size of the large log."""

    entries: int = 24_000
    batch: int = 1000
    callers: int = 4
    workers: int = 2
    runs: int = 3
    large: int = LARGE

    def __post_init__(self) -> None:
        if self.runs < 3:
            raise ValueError("a median is of at least 3 runs")
        if min(self.entries, self.batch, self.callers, self.workers, self.large) < 1:
            raise ValueError("entries, batch, callers, workers and the large log's size are at least 1")

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes at which the growing log is measured: powers of ten from 1,000, then the large one."""
        return (*(10**n for n in range(3, 19) if 10**n < self.large), self.large)


@dataclass(frozen=True, slots=True)
class LedgerFigures:
    """What was measured. Units: in the names; rates are of wall time, medians of `setting.runs`.

    `entries_per_s` is from signed bytes to an index on disk, with the verifier in use; `verify_us` is
    the CPU time of one verification; `signature_ceiling_per_s` what all processors verify if they do nothing else, by
    the CPU time of verifications on all of them at once, in the same run;
    `bare_rows_per_s` the durable insertion of unsigned rows, `log_rows_per_s` the same through the log's tree and
    store. A figure that could not be taken here is None, and `missing` says why.
    """

    setting: LedgerSetting
    machine: Machine
    verifier: str
    processors: int
    verify_us: float
    signature_ceiling_per_s: float
    entries_per_s: float
    cpu_us_per_entry: float | None
    entries_per_s_openssl: float | None
    entries_per_s_libsodium: float | None
    entries_per_s_bundled: float
    cpu_us_per_entry_bundled: float | None
    http_entries_per_s: float | None
    bare_rows_per_s: float
    log_rows_per_s: float
    append_curve: tuple[tuple[int, float], ...]
    large_open_s: float
    large_proof_ms: float
    large_rss_mib: float | None
    large_bytes_per_entry: float
    peers: Mapping[str, Any]
    load_average_before: float | None
    load_average_after: float | None
    missing: Mapping[str, str]

    @property
    def achieved_of_ceiling(self) -> float:
        """The rate of admission over what the signatures alone allow."""
        return round(self.entries_per_s / self.signature_ceiling_per_s, 3)

    @property
    def cpu_share_of_signatures(self) -> float | None:
        """CPU time of the verification over all CPU time an entry took: what other work on the machine spoils less."""
        return None if not self.cpu_us_per_entry else round(self.verify_us / self.cpu_us_per_entry, 3)

    @property
    def log_of_bare(self) -> float:
        """Appending to the log over inserting bare rows."""
        return round(self.log_rows_per_s / self.bare_rows_per_s, 3)

    def to_json(self) -> dict[str, Any]:
        """One flat object, but for the setting, the machine, the curve and the peers' own figures."""
        # Empty mappings first: `asdict` would copy mappings, which need not be copyable.
        plain = asdict(replace(self, peers={}, missing={}))
        size = f"{self.setting.large // 10**6}m" if self.setting.large >= 10**6 else str(self.setting.large)
        of_large = {name: plain.pop(f"large_{name}") for name in ("open_s", "proof_ms", "rss_mib", "bytes_per_entry")}
        named = {
            "open_s": of_large["open_s"],
            "open_rss_mib": of_large["rss_mib"],
            "proof_ms": of_large["proof_ms"],
            "bytes_per_entry": of_large["bytes_per_entry"],
        }
        absent = {} if self.setting.large == LARGE else {f"{name}_10m": None for name in named}
        reasons = dict.fromkeys(absent, f"the large log had {self.setting.large} entries only")
        return {
            "bench": "ledger",
            **plain,
            "append_curve": [list(point) for point in self.append_curve],
            **absent,
            **{f"{name}_{size}": value for name, value in named.items()},
            "achieved_of_ceiling": self.achieved_of_ceiling,
            "cpu_share_of_signatures": self.cpu_share_of_signatures,
            "log_of_bare": self.log_of_bare,
            "peers": dict(self.peers),
            "missing": {**self.missing, **reasons},
        }

    def lines(self) -> list[str]:
        """A table for people."""
        s = self.setting
        rows = [
            (f"signed entries admitted ({self.verifier})", f"{self.entries_per_s:,.0f}/s"),
            ("  with OpenSSL", _rate(self.entries_per_s_openssl)),
            ("  with libsodium", _rate(self.entries_per_s_libsodium)),
            ("  eight under one signature", f"{self.entries_per_s_bundled:,.0f}/s"),
            ("  over loopback HTTP", _rate(self.http_entries_per_s)),
            (f"signatures alone, {self.processors} processors", f"{self.signature_ceiling_per_s:,.0f}/s"),
            ("achieved of that", f"{self.achieved_of_ceiling:.0%}"),
            ("CPU of an entry: all, its signature", f"{_us(self.cpu_us_per_entry)}, {self.verify_us:.0f} us"),
            ("unsigned rows: the log, bare SQLite", f"{self.log_rows_per_s:,.0f}/s, {self.bare_rows_per_s:,.0f}/s"),
            (f"{s.large:,} entries: open", f"{self.large_open_s:.3f} s"),
            ("  memory of the process then", _mib(self.large_rss_mib)),
            ("  an inclusion proof", f"{self.large_proof_ms:.3f} ms"),
            ("  on disk, an entry of 128 bytes", f"{self.large_bytes_per_entry:.0f} bytes"),
            *((f"appending up to {size:,} entries", f"{rate:,.0f}/s") for size, rate in self.append_curve),
        ]
        head = (
            f"{s.entries} entries in batches of {s.batch} by {s.callers} callers, {s.workers} verifier processes, "
            f"{self.machine.cpu}; medians of {s.runs}"
        )
        notes = [f"{name}: {reason}" for name, reason in self.missing.items()]
        return [head, *(f"{name:<42}{value:>26}" for name, value in rows), *notes]


def _rate(value: float | None) -> str:
    return "not measured" if value is None else f"{value:,.0f}/s"


def _us(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f}"


def _mib(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.0f} MiB"
