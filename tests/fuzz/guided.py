"""Atheris instead of blind chance: inputs that reach new code of the project are kept and changed further.

Runs where the package `atheris` is installed (Linux). It replaces the driver's process, its alarm and its memory limit
by libFuzzer's own, and does not return. Nothing of the project may be imported before it is instrumented.
"""

import sys
from pathlib import Path
from random import Random

from tests.fuzz.corpus import kept_for
from tests.fuzz.limits import MEMORY, SECONDS

__all__ = ["guided"]

PACKAGES = ["ledger", "protocols", "secure_bfl"]


def guided(name: str, *, runs: int, seed: int, findings: Path) -> None:
    """Fuzz one target. Raises SystemExit when it is done, or if Atheris is not there, or the target is unknown."""
    try:
        import atheris
    except ImportError as exc:
        raise SystemExit("--atheris needs the package atheris: pip install atheris") from exc
    with atheris.instrument_imports(include=PACKAGES):
        from tests.fuzz.mutation import mutated
        from tests.fuzz.runner import resident_peak
        from tests.fuzz.targets import TARGETS
    if name not in TARGETS:
        raise SystemExit(f"no target {name}: one of {', '.join(TARGETS)}")
    target = TARGETS[name]

    def one_input(data: bytes) -> None:
        try:
            target.run(data)
        except Exception as exc:
            if not target.refuses_with(exc):
                raise

    def mutate(data: bytes, most: int, number: int) -> bytes:
        rng = Random(number)
        return mutated(rng, target.seeds, target.reshape, data or None)[:most]

    folder = findings / "atheris" / name  # what it found worth keeping is where the next run starts
    folder.mkdir(parents=True, exist_ok=True)
    seeds = (*target.seeds, *kept_for(name))
    for number, data in enumerate(seeds):
        (folder / f"seed-{number}").write_bytes(data)
        one_input(data)
    limit = (resident_peak() + MEMORY) >> 20
    options = {
        "runs": runs, "seed": seed, "timeout": SECONDS, "rss_limit_mb": limit, "artifact_prefix": f"{findings}/",
        "max_len": max(4096, 2 * max(map(len, seeds))), "print_final_stats": 1,
    }  # fmt: skip
    arguments = [sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), str(folder)]
    atheris.Setup(arguments, one_input, custom_mutator=mutate)
    atheris.Fuzz()
