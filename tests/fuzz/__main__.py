"""Many mutations of every reader of hostile bytes: `python -m tests.fuzz --mutations 100000`."""

import argparse
import hashlib
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fuzz.limits import ACCEPTED, MEMORY, SECONDS

if TYPE_CHECKING:
    from tests.fuzz.runner import Finding, Result

_LINE = "{:26} {:>8} {:>9} {:>9} {:>9} {:>9} {:>8}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--mutations", type=int, default=100_000, help="over all targets, by their shares")
    parser.add_argument("--target", action="append", help="only this one; may be repeated")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other mutations")
    parser.add_argument("--findings", type=Path, default=Path("out/fuzz"), help="where inputs at fault are written")
    parser.add_argument("--atheris", action="store_true", help="choose the mutations of one --target by coverage")
    arguments = parser.parse_args()
    if arguments.atheris:
        if len(arguments.target or ()) != 1:
            parser.error("--atheris needs exactly one --target")
        from tests.fuzz.guided import guided

        guided(arguments.target[0], runs=arguments.mutations, seed=arguments.seed, findings=arguments.findings)
    return run(arguments.target, arguments.mutations, arguments.seed, arguments.findings)


def run(names: list[str] | None, mutations: int, seed: int, findings: Path) -> int:
    """Every target in turn, then one table. The exit code is 1 if there is a finding, 2 for a target that is not."""
    from tests.fuzz.corpus import kept_for
    from tests.fuzz.isolated import isolated
    from tests.fuzz.targets import TARGETS, divided

    unknown = sorted(set(names or ()) - set(TARGETS))
    if unknown:
        sys.stderr.write(f"no target {', '.join(unknown)}: one of {', '.join(TARGETS)}\n")
        return 2
    targets = [TARGETS[name] for name in names or TARGETS]
    counts, done, began = divided(mutations, targets), 0, time.monotonic()
    results: list[tuple[Result, float]] = []
    for target in targets:
        started, before = time.monotonic(), done

        def progress(number: int, name: str = target.name, before: int = before) -> None:
            share = (before + number) / mutations
            sys.stderr.write(f"\r[{'#' * round(30 * share):30}] {share:4.0%}  {name:26}")
            sys.stderr.flush()

        progress(0)
        numbers = range(counts[target.name])
        result = isolated(target, numbers, seed=seed, extra=kept_for(target.name), progress=progress)
        results.append((result, time.monotonic() - started))
        done += len(numbers)
    sys.stderr.write("\r" + " " * 72 + "\r")
    _show(results, time.monotonic() - began)
    return _keep([finding for result, _ in results for finding in result.findings], findings)


def _show(results: "list[tuple[Result, float]]", seconds: float) -> None:
    print(_LINE.format("target", "inputs", "accepted", "refused", "findings", "peak KiB", "seconds"))
    for result, taken in results:
        accepted = result.outcomes[ACCEPTED]
        refused = result.outcomes.total() - accepted
        row = (result.inputs, accepted, refused, len(result.findings), result.peak >> 10, f"{taken:.1f}")
        print(_LINE.format(result.target, *row))
    inputs, found = sum(result.inputs for result, _ in results), sum(len(result.findings) for result, _ in results)
    print(f"{inputs} inputs to {len(results)} targets in {seconds:.0f} s: {found} findings")
    print(
        f"A finding is an error that is not listed, a false assertion, a dead process, {SECONDS} s for one input, or a "
        f"resident set that peaks more than {MEMORY >> 20} MiB above what the seeds needed."
    )


def _keep(found: "list[Finding]", findings: Path) -> int:
    for finding in found:
        folder = findings / finding.target
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{hashlib.sha256(finding.data).hexdigest()[:16]}.bin"
        path.write_bytes(finding.data)
        print(f"{path}: {finding.reason}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
