"""Time the encrypted sum alone: many clients, one long vector, a committee that opens the sum.

    python bench/aggregation.py [--values N] [--clients N] [--runs N]

Prints one JSON line. It runs in a process of its own, so that its peak of memory is its own too. Nothing but
`protocols` is imported: no training, no ledger. Seconds are CPU seconds (user and system) of this single-threaded
process, medians over runs, so other work on the machine does not count.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from protocols import Grid, digit_width, pack, unpack
from protocols.arrays import Float64Array, Int64Array
from protocols.ring import engine
from protocols.suites import for_model
from protocols.tckks import (
    Ceremony,
    EncryptedVector,
    Encryptor,
    JointKey,
    MemberKey,
    NoiseBudget,
    PartialDecryption,
    PieceKey,
    ReplicatedSharing,
    aggregate,
    combine,
    deal,
    derive_piece,
    join,
    partial_decrypt,
)

VALUE_BITS = 16
STEP_BITS = 15  # the grid covers (-1, 1)
SPREAD = 0.05  # standard deviation of the made-up updates


@dataclass(frozen=True, slots=True)
class Committee:
    """A key that was generated here and now, all parties in one process."""

    key: JointKey
    members: tuple[MemberKey, ...]


def found(sharing: ReplicatedSharing, values: int) -> Committee:
    """Generate a key for vectors of this length."""
    ceremony = Ceremony(for_model(values), sharing, os.urandom(32))
    pieces: dict[int, PieceKey] = {}
    parts: dict[int, bytes] = {}
    for member in range(1, sharing.members + 1):
        for seed in deal(ceremony, member, rand=os.urandom(32)):
            pieces[seed.piece], parts[seed.piece] = derive_piece(ceremony, seed)
    key = join(ceremony, parts)
    held = [{p: pieces[p] for p in sharing.held_by(m)} for m in range(1, sharing.members + 1)]
    return Committee(key, tuple(MemberKey(m, key, own) for m, own in enumerate(held, start=1)))


class Samples:
    """CPU seconds by step; the median of each."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self._seconds[step].append(time.process_time() - began)

    def median(self, step: str) -> float:
        """Seconds of one execution of the step."""
        return statistics.median(self._seconds[step])


def measure(values: int, clients: int, runs: int, sharing: ReplicatedSharing) -> dict[str, object]:
    """The whole job, `runs` times, every opened sum compared with the sum in the clear."""
    grid = Grid(VALUE_BITS, STEP_BITS)
    committee = found(sharing, values)
    key, suite = committee.key, committee.key.suite
    budget = NoiseBudget(suite, sharing.pieces, clients)
    layout = budget.layout(digit_width(grid, clients))
    blocks = layout.blocks(values)
    encryptor = Encryptor(key, budget, layout)
    active = tuple(range(1, sharing.threshold + 1))
    chance = np.random.default_rng(0)
    updates = [chance.normal(0, SPREAD, values) for _ in range(2)]

    def upload(update: Float64Array) -> bytes:
        digits = pack(grid.quantize(update), layout, clients=clients)
        return encryptor.encrypt(digits, rand=os.urandom(32)).encode()

    def opened(total: EncryptedVector, answers: dict[str, bytes]) -> Int64Array:
        shares = {n: PartialDecryption.decode(a, key, sender=n, blocks=blocks).residues for n, a in answers.items()}
        return unpack(combine(total, shares, budget, layout), values)

    expected = sum(grid.quantize(updates[client % 2]).values for client in range(clients))
    unrounded = sum(updates[client % 2] for client in range(clients))
    samples, size, error = Samples(), 0, 0.0
    for run in range(-1, runs):  # one more, first, that warms up and is not counted
        timed = samples if run >= 0 else Samples()
        with timed("client"):
            first = upload(updates[0])
        second, size = upload(updates[1]), len(first)
        with timed("parse_add"):
            total = aggregate(
                EncryptedVector.decode((first, second)[client % 2], key, blocks=blocks) for client in range(clients)
            )
        answers: dict[str, bytes] = {}
        with timed("partials"):
            for number in active:
                with timed("partial"):
                    share = partial_decrypt(committee.members[number - 1], total, active)
                    answers[f"member-{number}"] = share.encode()
        with timed("combine"):
            sums = opened(total, answers)
        if not np.array_equal(sums, expected):
            raise RuntimeError("the opened sum differs from the sum in the clear")
        error = float(np.abs(sums * grid.step - unrounded).max())  # all of it is the rounding to 16 bits
        print(f"aggregation: run {run + 1} of {runs}", file=sys.stderr)
    client, add = samples.median("client"), samples.median("parse_add")
    opening = samples.median("partials") + samples.median("combine")
    # As deployed: the operator parses once to close and once to add, every member adds to vote, a quorum to answer.
    sums_as_deployed = 2 + sharing.members + sharing.threshold
    return {
        "suite": suite.name,
        "engine": engine(),
        "members": sharing.members,
        "threshold": sharing.threshold,
        "ciphertexts": blocks,
        "digits_per_coefficient": layout.per_coefficient,
        "bytes_per_client": size,
        "bytes_per_value": round(size / values, 3),
        "client_cpu_s": round(client, 4),
        "parse_add_cpu_s": round(add, 4),
        "partial_cpu_s_per_member": round(samples.median("partial"), 4),
        "combine_unpack_cpu_s": round(samples.median("combine"), 4),
        "round_cpu_s": round(clients * client + add + opening, 4),
        "round_cpu_s_with_every_check": round(clients * client + sums_as_deployed * add + opening, 4),
        "largest_error": error,
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Time the encrypted sum of long vectors; one JSON line.")
    parser.add_argument("--values", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--threshold", type=int, default=3)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    if options.runs < 3:
        parser.error("a median needs at least 3 runs")
    sharing = ReplicatedSharing(options.members, options.threshold)
    print(json.dumps(measure(options.values, options.clients, options.runs, sharing)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
