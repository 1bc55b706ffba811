"""Time rounds of the demo, phase by phase, beside the same training without any of it.

    python bench/demo_round.py [--rounds N] [--clients N] [--members N] [--threshold N]

Prints one JSON line. All parties are in this process, with the stores of the demo: keystores, journals, odometers and
blobs on disk, in a temporary folder. Wall seconds, medians over rounds, after one that warms up. Then the size of an
upload, for this model and for ciphertexts that are full.
"""

import argparse
import functools
import json
import resource
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

import secure_bfl.client
import secure_bfl.opening
from ledger import DirectoryBlobs, publish
from protocols import DigitLayout, Grid, digit_width, suite
from protocols.arrays import Float64Array
from protocols.dp import Mode
from protocols.tckks import EncryptedVector, NoiseBudget
from secure_bfl import Board, Client, FederationPlan, GlobalModel, Member, Operator, Records
from secure_bfl.datasets import load
from secure_bfl.journal import SqliteJournal
from secure_bfl.member import KEY_STEPS
from secure_bfl.odometer import FileOdometer
from secure_bfl.opening import open_sum
from secure_bfl.workspace import Workspace

# The phase that a call belongs to. Of nested calls each counts for itself alone: `DirectoryBlobs.put` inside `vote` is
# ledger, the rest of `vote` is aggregate_votes. Ledger is all that makes things durable, signed and public.
PHASES: tuple[tuple[object, str, str], ...] = (
    (secure_bfl.client, "train_round", "train"),
    (Client, "_train_and_encrypt", "encrypt"),
    (Client, "update", "ledger"),
    (Board, "append", "ledger"),
    (DirectoryBlobs, "put", "ledger"),
    (SqliteJournal, "claim", "ledger"),
    (FileOdometer, "_persist", "ledger"),
    (Operator, "open_round", "ledger"),
    (Operator, "close_round", "aggregate_votes"),
    (Operator, "add_up", "aggregate_votes"),
    (Member, "vote", "aggregate_votes"),
    (Operator, "request", "ledger"),
    (Operator, "settle", "check"),
    (Operator, "publish_model", "ledger"),
    (Member, "answer", "decrypt"),
    (Member, "check_pieces", "check"),
    (secure_bfl.opening, "opened_sum", "model"),
    (secure_bfl.opening, "following_model", "model"),
)


class Stopwatch:
    """Wall seconds by phase; time inside an inner phase is taken off the outer one."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inner: list[float] = []

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens inside as `name`."""
        self._inner.append(0.0)
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            self.seconds[name] += spent - self._inner.pop()
            if self._inner:
                self._inner[-1] += spent

    @contextmanager
    def watching(self, calls: Sequence[tuple[object, str, str]]) -> Iterator[None]:
        """Count these calls, (owner, attribute, phase), as long as this is open."""
        originals = [(owner, attribute, getattr(owner, attribute)) for owner, attribute, _ in calls]
        try:
            for (owner, attribute, original), (_, _, phase) in zip(originals, calls, strict=True):
                setattr(owner, attribute, self._counted(original, phase))
            yield
        finally:
            for owner, attribute, original in originals:
                setattr(owner, attribute, original)

    def _counted(self, call: Callable[..., Any], phase: str) -> Callable[..., Any]:
        @functools.wraps(call)
        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.phase(phase):
                return call(*args, **kwargs)

        return counted


class Federation:
    """A demo federation in a folder, its key generated, ready for rounds."""

    def __init__(self, plan: FederationPlan, shares: Sequence[Records], workspace: Workspace) -> None:
        self.plan, self._public = plan, workspace.public
        self.operator = workspace.operator()
        self.board = workspace.board(self.operator)
        self.members = [workspace.member(number, self.board.log.verifier) for number in range(1, plan.members + 1)]
        self.clients = [workspace.client(number, share) for number, share in enumerate(shares, start=1)]
        identities = [self.operator.identity, *(m.identity for m in self.members), *(c.identity for c in self.clients)]
        self.operator.found(self.board, plan, tuple(identity.party for identity in identities))
        for step in KEY_STEPS:
            for member in self.members:
                step(member, self.board)
        self.model = GlobalModel.zero(plan.tensors)

    def round(self, number: int, watch: Stopwatch) -> None:
        """One whole round, as the demo runs it, publication included."""
        board, model = self.board, self.model
        witnesses = {member.name: member.witness for member in self.members}
        self.operator.open_round(board, number, model)
        for client in self.clients:
            client.update(board, number, model)
        self.operator.close_round(board, number)
        self.operator.add_up(board, number)
        for member in self.members:
            member.vote(board, number)
        now = int(time.time())
        self.model = open_sum(
            board, number, model, operator=self.operator, members=self.members, witnesses=witnesses, now=now
        )
        with watch.phase("ledger"):
            publish(board.log, board.certify(witnesses, now=int(time.time())), self._public.ledger)


def plain_round(
    plan: FederationPlan, model: GlobalModel, before: GlobalModel, shares: Sequence[Records]
) -> Float64Array:
    """The same step with torch's own gradients, and the mean over the clients. Nothing protects anyone."""
    classes, features = plan.tensors[0].shape
    rate, momentum = plan.learning_rate_micro / 1_000_000, plan.momentum_milli / 1000
    total = np.zeros(plan.parameters)
    for share in shares:
        records, labels = torch.from_numpy(share.features.astype(np.float32)), torch.from_numpy(share.labels.copy())
        layer = torch.nn.Linear(features, classes)
        with torch.no_grad():
            flat = torch.from_numpy(model.vector.astype(np.float32))
            layer.weight.copy_(flat[: classes * features].view_as(layer.weight))
            layer.bias.copy_(flat[classes * features :])
        loss = torch.nn.functional.cross_entropy(layer(records), labels)
        gradients = torch.autograd.grad(loss, list(layer.parameters()))
        total += torch.cat([gradient.reshape(-1) for gradient in gradients]).numpy()
    stepped: Float64Array = model.vector - rate * total / len(shares) + momentum * (model.vector - before.vector)
    return stepped


def demo_round(plan: FederationPlan, rounds: int) -> dict[str, Any]:
    """Time `rounds` rounds after one that warms up, and the plain training beside them."""
    shares = load(plan.dataset, plan.clients).shares
    walls: list[float] = []
    plain: list[float] = []
    phases: defaultdict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.claim(Path(folder) / "run", plan)
        try:
            federation = Federation(plan, shares, workspace)
            before = federation.model
            for number in range(1, rounds + 2):
                watch, model = Stopwatch(), federation.model
                began = time.perf_counter()
                with watch.watching(PHASES):
                    federation.round(number, watch)
                wall = time.perf_counter() - began
                began = time.perf_counter()
                plain_round(plan, model, before, shares)
                without_any, before = time.perf_counter() - began, model
                if number > 1:
                    walls.append(wall)
                    plain.append(without_any)
                    for name, seconds in watch.seconds.items():
                        phases[name].append(seconds)
                print(f"demo round {number} of {rounds + 1}: {wall:.2f} s", file=sys.stderr)
        finally:
            workspace.close()
    wall, without = statistics.median(walls), statistics.median(plain)
    return {
        "dataset": plan.dataset,
        "parameters": plan.parameters,
        "clients": plan.clients,
        "members": plan.members,
        "threshold": plan.threshold,
        "mode": Mode(plan.mode).name.lower(),
        "steps": plan.round_event.steps,
        "rounds_measured": rounds,
        "wall_s": round(wall, 4),
        "phases_s": {name: round(statistics.median(seconds), 4) for name, seconds in phases.items()},
        "plain_wall_s": round(without, 4),
        "ratio_to_plain": round(wall / without, 1),
        "train_ratio_to_plain": round(statistics.median(phases["train"]) / without, 1),
    }


def bytes_per_value(plan: FederationPlan) -> dict[str, float]:
    """An upload's bytes for each value: the plan's model, and ciphertexts that are full (16 bits, same committee)."""
    sizes = {"demo_model": EncryptedVector.encoded_size(plan.suite, plan.blocks) / plan.parameters}
    width = digit_width(Grid(16, 15), plan.clients)
    for degree in (8192, 16384):
        chosen = suite(degree)
        layout: DigitLayout = NoiseBudget.of(chosen, plan.sharing, plan.clients).layout(width)
        sizes[f"full_blocks_{degree}"] = EncryptedVector.encoded_size(chosen, 1) / layout.values_per_block
    return {name: round(size, 3) for name, size in sizes.items()}


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Time rounds of the demo; one JSON line.")
    parser.add_argument("--rounds", type=int, default=5, help="rounds to measure, at least 3 (default: 5)")
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--threshold", type=int, default=3)
    options = parser.parse_args()
    if options.rounds < 3:
        parser.error("a median needs at least 3 rounds")
    plan = FederationPlan.create(
        "digits",
        mode=Mode.DISTRIBUTED,
        clients=options.clients,
        members=options.members,
        threshold=options.threshold,
        rounds=max(10, options.rounds + 1),
    )
    torch.set_num_threads(1)
    measured = demo_round(plan, options.rounds)
    measured["bytes_per_value"] = bytes_per_value(plan)
    measured["peak_rss_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    print(json.dumps(measured))
    return 0


if __name__ == "__main__":
    sys.exit(main())
