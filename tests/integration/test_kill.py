"""SIGKILL at any durable step, again and again: the same command finishes the run, and no promise is broken.

A run is played in a forked child that counts its durable steps (each fsync, rename, link and SQLite commit: just before
and just after) and kills itself at one chosen by a seeded generator. Each chain of kills ends with a run to the end.
"""

import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ledger import DirectoryBlobs, Log, read_published
from ledger.sqlite import Database
from secure_bfl.auditor import Auditor
from secure_bfl.board import Transcript
from secure_bfl.journal import SqliteJournal
from secure_bfl.layout import PrivateFolder, PublicFolder
from secure_bfl.odometer import FileOdometer
from secure_bfl.plan import FederationPlan
from secure_bfl.roster import client_name

from .commands import TINY, Answer, demo, verify

KILLS = 20
CLIENTS = 2
FINISHED = 0
HASH = 32


@dataclass(frozen=True)
class Promise:
    """The moment after the `nth` durable step of one file of a party: a database's commit, a line of an odometer."""

    file: str
    nth: int


class Steps:
    """Counts durable steps and kills this process at the chosen one. Installed in a forked child only."""

    def __init__(self, deadly: int | Promise | None) -> None:
        self.count, self._deadly, self._promises = 0, deadly, Counter[str]()

    def step(self) -> None:
        self.count += 1
        if self.count == self._deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    def promised(self, path: Path) -> None:
        """A transaction of this database, or a line of this odometer, is on disk."""
        name = f"{path.parent.name}/{path.name}"
        self._promises[name] += 1
        if Promise(name, self._promises[name]) == self._deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            self.step()
            result = call(*arguments, **named)
            self.step()
            return result

        return wrapped

    def install(self, acknowledge: Callable[[bytes], None]) -> None:
        """Watch every durable effect of this process; each appended entry's hash is told when it was acknowledged."""
        for name in ("fsync", "replace", "link", "unlink"):
            setattr(os, name, self.around(getattr(os, name)))
        real_transaction, real_append = Database.transaction, Log.append_all
        real_persist = FileOdometer._persist

        @contextmanager
        def transaction(database: Database) -> Iterator[Any]:
            self.step()
            with real_transaction(database) as sql:
                yield sql
                self.step()
            self.promised(database.path)
            self.step()

        def persist(odometer: FileOdometer, line: bytes) -> None:
            real_persist(odometer, line)
            self.promised(odometer.path)

        def append_all(log: Log, entries: Sequence[bytes]) -> range:
            indices = real_append(log, entries)
            acknowledge(b"".join(sha256(entry).digest() for entry in entries))
            return indices

        for owner, name, watched in (
            (Database, "transaction", transaction),
            (FileOdometer, "_persist", persist),
            (Log, "append_all", append_all),
        ):
            setattr(owner, name, watched)


def attempt(out: Path, deadly: int | Promise | None) -> tuple[bool, int, list[bytes]]:
    """One run in a child: whether it finished, its number of durable steps, the entries it acknowledged."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            steps = Steps(deadly)
            steps.install(lambda hashes: _write_all(writing, hashes))
            code = demo(out, *TINY).code
            _write_all(writing, steps.count.to_bytes(8, "big"))
        finally:
            os._exit(code)
    os.close(writing)
    told = b""
    while piece := os.read(reading, 1 << 16):
        told += piece
    os.close(reading)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        assert len(told) % HASH == 0
        return False, -1, _hashes(told)
    assert os.WEXITSTATUS(status) == FINISHED
    return True, int.from_bytes(told[-8:], "big"), _hashes(told[:-8])


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _hashes(data: bytes) -> list[bytes]:
    return [data[i : i + HASH] for i in range(0, len(data), HASH)]


def plan() -> FederationPlan:
    return FederationPlan.create("breast-cancer", clients=CLIENTS, members=2, threshold=2, rounds=1)


def check_promises(out: Path, acknowledged: list[bytes]) -> None:
    """Everything that must hold after a run to the end, however often it was killed before."""
    answer: Answer = verify(out)
    assert answer.code == 0, answer.out
    assert answer.json["findings"] == []  # no dead entry, no second answer among the blobs, no temporary file
    folder = PublicFolder.of(out)
    transcript = Auditor(folder).verify().transcript
    assert transcript is not None
    check_log(out, transcript, acknowledged)
    for number in range(1, CLIENTS + 1):
        check_client(out, transcript, client_name(number))
    for name in transcript.replay.committee.members:
        check_member(out, transcript, name)


def check_log(out: Path, transcript: Transcript, acknowledged: list[bytes]) -> None:
    """Every acknowledged entry is there, once, in the order in which it was acknowledged."""
    hashes = [sha256(entry).digest() for entry in read_published(PublicFolder.of(out).ledger).entries]
    assert [h for h in hashes if h in set(acknowledged)] == acknowledged
    assert len(set(hashes)) == len(hashes)
    for state in transcript.replay.rounds:
        assert state.request is not None
        assert len(state.answers) == len(state.request.active)


def check_client(out: Path, transcript: Transcript, name: str) -> None:
    """One reservation a round, which the spend on the ledger shows; what was committed is what was persisted."""
    private = PrivateFolder(out / "private" / name)
    odometer = FileOdometer(private.odometer, dataset=f"{plan().dataset}/{name}", unit=plan().unit_of_privacy)
    reservations, (run,) = {r.round: r for r in odometer.reservations}, odometer.status.runs
    odometer.close()
    rounds = plan().rounds
    assert (run.run, run.reserved, run.persisted, run.committed) == (transcript.replay.context, rounds, rounds, rounds)
    outbox = DirectoryBlobs(private.outbox)
    for state in transcript.replay.rounds:
        reservation, (index, commit) = reservations[state.number], state.commits[name]
        assert state.spends[name].odometer == reservation.head
        assert (reservation.upload, reservation.index) == (commit.opened, index)
        assert outbox.has(commit.opened)


def check_member(out: Path, transcript: Transcript, name: str) -> None:
    """One aggregate a round was ever promised an answer, the one on the ledger."""
    journal = SqliteJournal(PrivateFolder(out / "private" / name).journal)
    key = transcript.joint_key.digest.hex()
    for state in transcript.replay.rounds:
        assert state.aggregate is not None
        assert journal.get(f"aggregate/{key}/{state.number}") == state.aggregate.ciphertext
    assert journal.count("aggregate/") == len(transcript.replay.rounds)
    journal.close()


@pytest.fixture(scope="module")
def _warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Load and compile everything before the first fork, by a run."""
    assert demo(tmp_path_factory.mktemp("warm") / "out", *TINY).code == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.usefixtures("_warm"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked children"),
]

# An odometer's lines are begin, reserve, persist and commit, and after a restart what is left of them. The first commit
# of a journal makes the table, or finds it there. The second is a member's claim of the aggregate; the third and fourth
# are its claims of the two ciphertexts.
PROMISES = (
    Promise("client-1/odometer.jsonl", 1),
    Promise("client-1/odometer.jsonl", 1),
    Promise("client-1/odometer.jsonl", 1),
    Promise("client-1/odometer.jsonl", 1),
    Promise("client-2/odometer.jsonl", 2),
    Promise("client-2/odometer.jsonl", 1),
    Promise("member-1/journal.sqlite", 2),
    Promise("member-1/journal.sqlite", 4),
    Promise("member-2/journal.sqlite", 3),
)


def test_killed_right_after_each_promise(tmp_path: Path) -> None:
    """A promise is on disk and nothing that rests on it has left: what is done again must be the same thing."""
    acknowledged = []
    for promise in PROMISES:
        finished, _, more = attempt(tmp_path / "out", promise)
        assert not finished, f"{promise} was never made"
        acknowledged += more
    finished, _, more = attempt(tmp_path / "out", None)
    assert finished
    check_promises(tmp_path / "out", acknowledged + more)


def test_killed_at_twenty_points(tmp_path: Path) -> None:
    finished, total, acknowledged = attempt(tmp_path / "whole", None)
    assert finished
    check_promises(tmp_path / "whole", acknowledged)
    assert total > 200, "the steps of a whole run are counted"
    chance = random.Random(20240229)
    kills = chains = 0
    while kills < KILLS:
        chains += 1
        out, acknowledged, finished = tmp_path / f"chain-{chains}", [], False
        deadly: int | None = chance.randrange(1, total)
        while not finished:
            finished, _, more = attempt(out, deadly)
            acknowledged += more
            if not finished:
                kills += 1
                answer = verify(out)
                assert answer.code == (0 if answer.json["rounds"] == plan().rounds and not answer.errors() else 1)
            deadly = chance.randrange(total // 6, total // 2) if kills < KILLS else None
        check_promises(out, acknowledged)
    assert chains >= 3
