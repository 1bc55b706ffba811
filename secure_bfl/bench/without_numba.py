"""A client's work without numba, whether it is installed or not. Run with `python -m`; it prints one JSON line."""

import argparse
import json
import sys

__all__ = ["main"]


def main() -> int:
    """Measure; print the engine and the median of a client's CPU milliseconds."""
    sys.modules["numba"] = None  # type: ignore[assignment]  # as if it were not installed
    from protocols.ring import engine

    from .clocks import CpuClock
    from .parties import CryptoSetting, Parties

    parser = argparse.ArgumentParser()
    for name in ("values", "degree", "runs"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    parties = Parties(CryptoSetting(values=options.values, degree=options.degree, runs=options.runs))
    update, clock = parties.updates(1)[0], CpuClock()
    parties.upload(update)
    for _ in range(options.runs):
        with clock("encrypt"):
            parties.upload(update)
    sys.stdout.write(json.dumps({"engine": engine(), "encrypt_cpu_ms": clock.milliseconds("encrypt")}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
