"""A whole federation on one machine, on real data, with every party's state on disk.

Every step looks at the ledger first and does nothing if it is done, so a run that was killed anywhere is continued by
running the same command again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger import Certificate, CosigningWitness, publish
from protocols.tckks import EncryptedVector

from .board import Board
from .client import Client
from .datasets import Dataset, load
from .member import KEY_STEPS, Member
from .model import GlobalModel
from .opening import open_sum
from .operator import Operator
from .plan import FederationPlan
from .progress import Progress
from .publication import publish_run
from .results import final_model, first_model
from .signatory import ReportSigner
from .workspace import Workspace

__all__ = ["DemoResult", "Faults", "run_demo"]


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong on purpose: `drop` clients vanish in every round, the last `offline_members` are away."""

    drop: int = 0
    offline_members: int = 0

    def check(self, *, clients: int, members: int) -> None:
        """Raises ValueError if there are not so many parties."""
        if not 0 <= self.drop <= clients:
            raise ValueError(f"--drop must be 0 to {clients}, not {self.drop}")
        if not 0 <= self.offline_members <= members:
            raise ValueError(f"--offline-members must be 0 to {members}, not {self.offline_members}")

    def dropped(self, number: int, clients: int) -> frozenset[int]:
        """The clients that vanish in a round; others each time."""
        return frozenset(((number - 1) * self.drop + i) % clients for i in range(self.drop))


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What a run gives. Units: seconds of this invocation; bytes of one client's upload a round, per parameter."""

    accuracy: float
    epsilon: float | str
    delta: float
    rounds: int
    bytes_per_param: float
    seconds: float
    parameters: int
    clients: int
    genesis: str
    verdict: str
    folder: str

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {name: getattr(self, name) for name in self.__slots__}


def run_demo(
    plan: FederationPlan,
    out: Path,
    *,
    faults: Faults,
    progress: Progress,
    passphrase: str | None = None,
    clock: Callable[[], float] = time.time,
) -> DemoResult:
    """Run the plan from wherever the folder stands to the end.

    Raises:
        OutputError, StoreError: the folder or the disk.
        QuorumError: too few clients or members are there; the same command goes on when they are back.
        DatasetError: the data set is not installed.
    """
    started = time.monotonic()
    faults.check(clients=plan.clients, members=plan.members)
    plan.check_suite()
    dataset = load(plan.dataset, plan.clients)
    workspace = Workspace.claim(out, plan, passphrase=passphrase)
    try:
        run = _Run(workspace, dataset, faults, progress, lambda: int(clock()))
        model, certificate = run.to_the_end()
        genesis = run.board.replay.context.hex()
        signer = ReportSigner(run.operator.identity, {})
        report = publish_run(run.board, certificate, model, workspace.public, sign=signer)
    finally:
        workspace.close()
    size = EncryptedVector.encoded_size(plan.suite, plan.blocks)
    return DemoResult(
        accuracy=model.accuracy(dataset.held_out.features, dataset.held_out.labels),
        epsilon=report["guarantee"]["epsilon"],
        delta=plan.delta,
        rounds=plan.rounds,
        bytes_per_param=size / plan.parameters,
        seconds=time.monotonic() - started,
        parameters=plan.parameters,
        clients=plan.clients,
        genesis=genesis,
        verdict=report["accounting"]["verdict"],
        folder=str(out),
    )


class _Run:
    """The parties at work."""

    def __init__(
        self, workspace: Workspace, dataset: Dataset, faults: Faults, progress: Progress, now: Callable[[], int]
    ) -> None:
        self._workspace, self._faults, self._progress, self._now = workspace, faults, progress, now
        self._held_out = dataset.held_out
        plan = workspace.plan
        parties, done = 1 + plan.members + plan.clients, 0

        def opened() -> None:
            nonlocal done
            done += 1
            progress("open keystores", done, parties)

        self.operator: Operator = workspace.operator()
        opened()
        self.board: Board = workspace.board(self.operator)
        self.members: list[Member] = []
        for number in range(1, plan.members + 1):
            self.members.append(workspace.member(number, self.board.log.verifier))
            opened()
        self.clients: list[Client] = []
        for number, records in enumerate(dataset.shares, start=1):
            self.clients.append(workspace.client(number, records))
            opened()
        self._present = self.members[: plan.members - faults.offline_members]

    def to_the_end(self) -> tuple[GlobalModel, Certificate]:
        """Found, generate the key, run every round, publish."""
        plan = self._workspace.plan
        identities = [self.operator.identity, *(m.identity for m in self.members), *(c.identity for c in self.clients)]
        self.operator.found(self.board, plan, tuple(identity.party for identity in identities))
        self._generate_key()
        model = first_model(self.board)
        for number in range(1, plan.rounds + 1):
            if self._is_finished(number):
                model = self._finished_model(number)
            else:
                model = self._round(number, model)
                publish(self.board.log, self._certificate(), self._workspace.public.ledger)
            self._progress("rounds", number, plan.rounds)
        return final_model(self.board, model), self._certificate()

    def _is_finished(self, number: int) -> bool:
        rounds = self.board.replay.rounds
        return len(rounds) >= number and rounds[number - 1].finished

    def _finished_model(self, number: int) -> GlobalModel:
        plan, state = self._workspace.plan, self.board.round(number)
        data = self.board.blobs.get(state.following, size=plan.model_bytes)
        return GlobalModel.decode(data, plan.tensors)

    def _certificate(self) -> Certificate:
        """The committee's certificate of all entries, asked for if the newest are not covered yet."""
        log, policy = self.board.log, self.board.replay.committee.policy
        note = log.certified()
        certificate = None if note is None else policy.verify(note)
        if certificate is None or certificate.checkpoint.size != log.size:
            certificate = self.board.certify(self._witnesses(), now=self._now())
        return certificate

    def _generate_key(self) -> None:
        """All members take part; one that is away from the first round on was here before."""
        if not self.board.replay.rounds:
            for done, step in enumerate(KEY_STEPS, start=1):
                for member in self.members:
                    step(member, self.board)
                self._progress("generate key", done, len(KEY_STEPS))

    def _witnesses(self) -> dict[str, CosigningWitness | None]:
        here: dict[str, CosigningWitness | None] = {member.name: None for member in self.members}
        here.update({member.name: member.witness for member in self._present})
        return here

    def _round(self, number: int, model: GlobalModel) -> GlobalModel:
        board, plan = self.board, self._workspace.plan
        dropped = self._faults.dropped(number, plan.clients)
        self.operator.open_round(board, number, model)
        for index, client in enumerate(self.clients):
            if board.round(number).closed is not None:
                break
            if index in dropped:
                client.reserve(board, number)  # it spent its privacy, then vanished
            else:
                client.update(board, number, model)
        self.operator.close_round(board, number)
        self.operator.add_up(board, number)
        for member in self._present:
            member.vote(board, number)
        return open_sum(
            board,
            number,
            model,
            operator=self.operator,
            members=self._present,
            witnesses=self._witnesses(),
            now=self._now(),
            accuracy_ppm=lambda following: self._accuracy_ppm(number, following),
        )

    def _accuracy_ppm(self, number: int, following: GlobalModel) -> int:
        """The operator's word on the model to use, once: on public held-out records, with the last round."""
        if number < self._workspace.plan.rounds:
            return -1
        used = final_model(self.board, following)
        return round(1_000_000 * used.accuracy(self._held_out.features, self._held_out.labels))
