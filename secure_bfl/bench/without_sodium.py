"""Admission without libsodium, whether it is installed or not. Run by its path; it prints one JSON line.

The verifier processes run this file too, under the name that `multiprocessing` gives it: it loads little by itself.
"""

import argparse
import json
import sys

__all__ = ["main"]

if __name__ in ("__main__", "__mp_main__"):
    sys.modules["nacl"] = None  # type: ignore[assignment]  # as if it were not installed


def main() -> int:
    """Measure; print the verifier, its cost, and the rate of admission."""
    from ledger.signing import verifier
    from secure_bfl.bench.admission import Prepared, admit_all, median_rate, verification_us

    parser = argparse.ArgumentParser()
    for name in ("entries", "batch", "callers", "workers", "runs"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    prepared = Prepared.sign(options.entries, batch=options.batch, together=1)
    cost = verification_us()
    runs = [admit_all(prepared, callers=options.callers, workers=options.workers) for _ in range(options.runs)]
    found = {"verifier": verifier(), "verify_us": cost, "entries_per_s": median_rate(runs).entries_per_s}
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
