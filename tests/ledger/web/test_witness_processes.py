"""Races and crashes of a witness's threads and processes: it never cosigns a fork and never goes back."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from ledger import (
    ED25519,
    Checkpoint,
    ConsistencyError,
    EquivocationError,
    SqliteWitnessStore,
    Tree,
    VerifierKey,
    Witness,
    leaf_hash,
    sign_checkpoint,
)
from ledger.cosign import cosigner
from ledger.errors import SizeConflictError
from ledger.web.client import HttpClient, RemoteError
from ledger.web.server import running
from ledger.web.witness import RemoteWitness, witness_app
from tests.ledger.federation import ORIGIN, key_of

ROOT = Path(__file__).resolve().parents[3]
LOG_KEY = VerifierKey(ORIGIN, ED25519, key_of("sequencer").public)
KEY = cosigner("member-1", key_of("member-1"))
TREE = Tree([leaf_hash(b"%d" % i) for i in range(2000)])
FORK = Tree([leaf_hash(b"%d" % i) for i in range(4)] + [leaf_hash(b"other")] * 1996)
NOW = 1_700_000_000


def note(size: int, tree: Tree = TREE) -> bytes:
    return sign_checkpoint(Checkpoint(ORIGIN, size, tree.root(size)), key_of("sequencer"))


def witness(store: SqliteWitnessStore) -> Witness:
    return Witness("member-1", key_of("member-1"), LOG_KEY, store)


@contextmanager
def process(path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A witness's process and where it serves."""
    command = [sys.executable, "-m", "tests.ledger.web.witness_process", str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as started:
        try:
            assert started.stdout is not None
            yield started, started.stdout.readline().strip()
        finally:
            started.kill()


def cosigned(url: str, old: int, size: int, tree: Tree) -> bytes | None:
    """The root that a witness cosigned, None if it refused."""
    with HttpClient(url) as asking:
        remote = RemoteWitness(asking, KEY)
        try:
            remote.add_checkpoint(old, tree.consistency_proof(old, size) if old else [], note(size, tree), now=0)
        except (ConsistencyError, EquivocationError):
            return None
        return tree.root(size)


def test_threads_of_one_server_never_cosign_two_forks(tmp_path: Path) -> None:
    me = witness(SqliteWitnessStore(tmp_path / "w.db"))
    with running(witness_app({ORIGIN: me}, lambda: NOW), threads=8) as server, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda tree: cosigned(server.url, 0, 10, tree), (TREE, FORK) * 4))
    state = SqliteWitnessStore(tmp_path / "w.db").load()
    assert state is not None
    assert {root for root in found if root is not None} == {state.root}


def test_two_processes_on_one_file_never_cosign_two_forks(tmp_path: Path) -> None:
    path = tmp_path / "w.db"
    with process(path) as (_, one), process(path) as (_, other), ThreadPoolExecutor(8) as pool:
        assert cosigned(one, 0, 4, TREE) == TREE.root(4)
        signed: list[tuple[int, Tree]] = []
        old = 4
        for size in range(8, 48, 8):
            asked = [(url, tree) for url in (one, other) for tree in (TREE, FORK)] * 2
            roots = pool.map(lambda item, frm=old, to=size: cosigned(item[0], frm, to, item[1]), asked)
            found = {root for root in roots if root is not None}
            assert len(found) == 1
            signed.append((size, TREE if found == {TREE.root(size)} else FORK))
            old = size
    assert len({id(tree) for _, tree in signed}) == 1  # the fork that it chose first is the one it stays with


def test_a_killed_witness_never_cosigns_a_fork_and_never_goes_back(tmp_path: Path) -> None:
    path, last = tmp_path / "w.db", 0
    for _ in range(3):
        with process(path) as (started, url):
            size = last + 8
            assert cosigned(url, last, size, TREE) == TREE.root(size)
            with ThreadPoolExecutor(1) as pool:  # killed while it works on more
                answered = threading.Event()
                busy = pool.submit(_grow, url, size, answered)
                assert answered.wait(timeout=30)
                started.send_signal(signal.SIGKILL)
                last = busy.result()
        with process(path) as (started, url):
            with HttpClient(url) as asking, pytest.raises(SizeConflictError) as caught:
                RemoteWitness(asking, KEY).add_checkpoint(3, [], note(3), now=0)
            assert caught.value.size >= last  # all that it had answered is there; it may know one more
            last = caught.value.size
            for tree, to in ((FORK, last), (FORK, last + 4), (TREE, last - 1)):
                assert cosigned(url, min(last, to), to, tree) is None
            started.send_signal(signal.SIGKILL)
    store = SqliteWitnessStore(path)
    kept = witness(store).evidence
    assert kept is not None
    assert kept.verify().origin == ORIGIN
    store.close()


def _grow(url: str, old: int, answered: threading.Event) -> int:
    """Ask for one checkpoint after another until the witness is gone; the size it cosigned last."""
    with HttpClient(url) as asking:
        remote = RemoteWitness(asking, KEY)
        for size in range(old + 1, TREE.size + 1):
            try:
                remote.add_checkpoint(old, TREE.consistency_proof(old, size), note(size), now=0)
            except (OSError, RemoteError):
                return old
            old = size
            answered.set()
    return old
