"""Where something was measured: processor, what it can do, load, versions."""

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ..environment import Environment

__all__ = ["FEATURES", "Machine", "load_average", "peak_memory_mib"]

FEATURES: Final = ("avx2", "fma", "avx512f", "avx512dq", "avx512ifma", "avx512vbmi", "sha_ni", "vaes", "asimd", "sve")
"""Extensions of the processor that matter to this arithmetic, as Linux names them."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine and installation."""

    cpu: str
    cpu_features: tuple[str, ...]
    environment: Environment

    @classmethod
    def here(cls) -> "Machine":
        """Look."""
        facts = _processor_facts(Path("/proc/cpuinfo"))
        flags = facts.get("flags", facts.get("Features", "")).split()
        return cls(
            facts.get("model name", platform.processor() or platform.machine()),
            tuple(feature for feature in FEATURES if feature in flags),
            Environment.here(),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def _processor_facts(file: Path) -> dict[str, str]:
    """The first processor of Linux's list; empty where there is none."""
    try:
        first = file.read_text(encoding="utf-8").strip().split("\n\n", 1)[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def load_average() -> float | None:
    """Processes that ran or waited during the last minute; None where the system does not tell."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def peak_memory_mib() -> float | None:
    """The most memory this process ever had, in MiB; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if platform.system() == "Darwin" else 1024), 1)
