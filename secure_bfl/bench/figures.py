"""The figures of one measurement of the cryptography, as one JSON line or as a table for people."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from .machine import Machine
from .parties import CryptoSetting

__all__ = ["CryptoFigures"]

# Times that are also given as multiples of SEAL's NTT: figures that travel between machines.
_TRAVELLING: Final = (
    "encrypt_cpu_ms",
    "seal_engine_encrypt_cpu_ms",
    "add_cpu_ms",
    "total_cpu_ms",
    "partial_cpu_ms",
    "combine_cpu_ms",
    "ntt_cpu_ms",
    "tenseal_encrypt_cpu_ms",
)


@dataclass(frozen=True, slots=True)
class CryptoFigures:
    """What was measured. Units: in the names; CPU is user and system time of all threads of the measuring process.

    Of one execution: `encrypt` is a client's, from grid integers to bytes; `add` the sum's, for each client's bytes;
    `total` the sum's end, from the last addition to its bytes; `partial` a member's answer; `combine` from the answers'
    bytes to integers. A figure that could not be taken here is None, and `missing` says why.
    """

    setting: CryptoSetting
    machine: Machine
    engine: str
    suite: str
    ciphertexts: int
    digits_per_coefficient: int
    digit_width: int
    bytes_per_client: int
    bytes_per_param: float
    share_bytes_per_param: float
    bytes_per_param_8192: float
    bytes_per_param_16384: float
    bytes_per_param_32768: float
    encrypt_cpu_ms: float
    add_cpu_ms: float
    total_cpu_ms: float
    partial_cpu_ms: float
    combine_cpu_ms: float
    round_cpu_s: float
    round_cpu_s_every_check: float
    sums_compared: int
    peak_rss_mib: float | None
    ntt_cpu_ms: float
    seal_ntt_cpu_ms: float
    tenseal_encrypt_cpu_ms: float
    tenseal_bytes_per_param: float
    tenseal_runs: int
    speedup_vs_tenseal: float
    scaling_2_workers: float | None
    scaling_2_workers_best: float | None
    seal_engine_encrypt_cpu_ms: float | None
    secaggplus: Mapping[str, Any] | None
    load_average_before: float | None
    load_average_after: float | None
    missing: Mapping[str, str]

    @property
    def secaggplus_round_cpu_s(self) -> float | None:
        """CPU seconds of the same job under Flower's SecAgg+."""
        return None if self.secaggplus is None else float(self.secaggplus["round_cpu_s"])

    @property
    def ratios_to_seal_ntt(self) -> dict[str, float]:
        """Each time as a multiple of SEAL's NTT of one polynomial, taken in the same process."""
        times = {name: getattr(self, name) for name in _TRAVELLING}
        return {name: round(ms / self.seal_ntt_cpu_ms, 3) for name, ms in times.items() if ms is not None}

    @property
    def reasons(self) -> dict[str, str]:
        """Why each figure that is None could not be taken, under every key that it would have had."""
        derived = {"secaggplus_round_cpu_s": self.missing["secaggplus"]} if "secaggplus" in self.missing else {}
        return {**self.missing, **derived}

    def to_json(self) -> dict[str, Any]:
        """One flat object, but for the setting, the machine and the peer's own figures."""
        # An empty mapping first: `asdict` would copy mappings, which need not be copyable.
        plain = asdict(replace(self, secaggplus=None, missing={}))
        return {
            "bench": "crypto",
            **plain,
            "secaggplus": None if self.secaggplus is None else dict(self.secaggplus),
            "secaggplus_round_cpu_s": self.secaggplus_round_cpu_s,
            "ratios_to_seal_ntt": self.ratios_to_seal_ntt,
            "missing": self.reasons,
        }

    def lines(self) -> list[str]:
        """A table for people."""
        s = self.setting
        rows = [
            ("a client: pack, encrypt, serialise", f"{self.encrypt_cpu_ms:.1f} ms"),
            ("a client's upload: parse, check, add", f"{self.add_cpu_ms:.1f} ms"),
            (f"a member's answer, {s.threshold} of {s.members}", f"{self.partial_cpu_ms:.1f} ms"),
            ("combine and unpack", f"{self.combine_cpu_ms:.1f} ms"),
            (f"whole round, {s.clients} clients", f"{self.round_cpu_s:.3f} s"),
            ("the same, with every member's checks", f"{self.round_cpu_s_every_check:.3f} s"),
            ("bytes a value: upload, answer", f"{self.bytes_per_param:.2f}, {self.share_bytes_per_param:.2f}"),
            ("bytes a value, N = 32768: upload", f"{self.bytes_per_param_32768:.2f}"),
            ("NTT of one polynomial: this, SEAL", f"{self.ntt_cpu_ms:.2f} ms, {self.seal_ntt_cpu_ms:.2f} ms"),
            ("TenSEAL: encrypt, serialise", f"{self.tenseal_encrypt_cpu_ms:.0f} ms"),
            ("times faster than TenSEAL", f"{self.speedup_vs_tenseal:.1f}"),
            ("times faster with two threads", _shown(self.scaling_2_workers, "{:.2f}")),
            ("a client without numba (SEAL)", _shown(self.seal_engine_encrypt_cpu_ms, "{:.0f} ms")),
            ("Flower SecAgg+, whole round", _shown(self.secaggplus_round_cpu_s, "{:.2f} s")),
        ]
        head = (
            f"{s.values} values of 16 bits, {s.clients} clients (room for {s.head_room}), {self.suite}, "
            f"engine {self.engine}, {self.machine.cpu}; CPU time, medians of {s.runs}"
        )
        notes = [f"{name}: {reason}" for name, reason in self.missing.items()]
        return [head, *(f"{name:<40}{value:>18}" for name, value in rows), *notes]


def _shown(value: float | None, form: str) -> str:
    return "not measured" if value is None else form.format(value)
