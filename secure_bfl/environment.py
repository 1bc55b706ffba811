"""What this machine computes with: versions, and which engines do the work."""

import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from ledger import signing
from protocols import ring
from protocols.tckks import CompiledKernels, seal_build

__all__ = ["PACKAGES", "Environment"]

PACKAGES: Final = ("tenseal", "torch", "opacus", "numpy", "cryptography", "numba", "pynacl")
"""The distributions whose versions are told; the last two are the extra `fast`."""


@dataclass(frozen=True, slots=True)
class Environment:
    """One installation on one machine. Nothing in it is secret.

    `kernels` is None where numba is not installed.
    `memory_file`: whether SEAL's ciphertexts are read through an anonymous memory file, or else value by value.
    """

    secure_bfl: str | None
    python: str
    system: str
    cpus: int
    ring: ring.Engine
    kernels: CompiledKernels | None
    signatures: signing.Verifier
    seal: str
    memory_file: bool
    packages: dict[str, str | None]

    @classmethod
    def here(cls) -> "Environment":
        """Look. Where numba has not compiled the ring's kernels yet, this takes a quarter of a minute or more."""
        seal, computes = seal_build(), ring.engine()
        return cls(
            secure_bfl=_version("secure-bfl"),
            python=platform.python_version(),
            system=f"{platform.system()} {platform.machine()}",
            cpus=os.cpu_count() or 1,
            ring=computes,
            kernels=CompiledKernels.here(),
            signatures=signing.verifier(),
            seal=seal.version,
            memory_file=seal.memory_file,
            packages={name: _version(name) for name in PACKAGES},
        )

    def to_json(self) -> dict[str, Any]:
        """Names and values as `secure-bfl info --json` prints them; null for what is not installed."""
        return asdict(self)

    def lines(self) -> list[str]:
        """One line a fact, for people."""
        facts = {
            "secure-bfl": self.secure_bfl or "not installed, run from its source",
            "python": self.python,
            "system": f"{self.system}, {self.cpus} CPUs",
            "ring": f"{self.ring}{'' if self.ring == 'numba' else _SLOWER}",
            "kernels": _told(self.kernels),
            "signatures": f"{self.signatures}{'' if self.signatures == 'libsodium' else _SLOWER}",
            "SEAL": f"{self.seal}, read {'through memory files' if self.memory_file else 'value by value (slower)'}",
            **{name: found or "not installed" for name, found in self.packages.items()},
        }
        return [f"{name:<13}{fact}" for name, fact in facts.items()]


def _told(kernels: CompiledKernels | None) -> str:
    if kernels is None:
        return "none: numba is not installed"
    if kernels.folder is None:
        place = "kept nowhere: no folder can be written, so every process compiles (set NUMBA_CACHE_DIR)"
    else:
        place = f"{'kept' if kernels.kept else 'to be kept'} in {kernels.folder}"
    return f"for {kernels.processor} ({kernels.vectors}), {place}"


_SLOWER: Final = " (same results, slower than with the extra `fast`)"


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
