"""The primary killed under load, its standby promoted: every acknowledged entry is there, and the log goes on."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import pytest

from ledger.errors import StoreError
from ledger.log import Log
from ledger.postgres import PostgresStore
from tests.ledger.federation import ORIGIN, key_of
from tests.ledger.postgres.cluster import Cluster
from tests.ledger.postgres.loader import entry_of

SCHEMA = "log_under_load"
MOMENTS = (0.4, 0.9, 1.6)
"""Seconds of load before the primary is killed."""


@dataclass
class Load:
    """The loader's process and the file with what it says is acknowledged."""

    process: subprocess.Popen[bytes]
    said: Path

    @classmethod
    def start(cls, dsn: str, folder: Path) -> "Load":
        said = folder / "acknowledged"
        with said.open("wb") as stdout, (folder / "errors").open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.ledger.postgres.loader", SCHEMA],
                stdout=stdout,
                stderr=stderr,
                env={**os.environ, "LOADER_DSN": dsn},
                cwd=Path(__file__).parents[3],
            )
        return cls(process, said)

    def acknowledged(self) -> int:
        lines = self.said.read_bytes().split(b"\n")[:-1]
        return int(lines[-1]) if lines else 0

    def await_first(self) -> None:
        deadline = monotonic() + 30
        while not self.acknowledged():
            assert self.process.poll() is None, (self.said.parent / "errors").read_text()
            assert monotonic() < deadline
            sleep(0.01)


def opened(dsn: str) -> Log:
    return Log(PostgresStore(dsn, schema=SCHEMA, timeout=10.0, create=True), ORIGIN, key_of("sequencer"))


def check_whole(log: Log, acknowledged: int) -> None:
    """Every acknowledged entry, and whatever follows, has the bytes that were appended."""
    assert log.size >= acknowledged
    for start in range(0, log.size, 5000):
        stop = min(start + 5000, log.size)
        assert log.entries(start, stop) == [entry_of(i) for i in range(start, stop)]
    log.checkpoint()


@pytest.mark.slow
def test_every_acknowledged_entry_survives_the_primary(own_cluster: Cluster, tmp_path: Path) -> None:
    primary, standby = own_cluster.servers
    counts = []
    for number, moment in enumerate(MOMENTS):
        folder = tmp_path / str(number)
        folder.mkdir()
        load = Load.start(own_cluster.dsn(), folder)
        load.await_first()
        sleep(moment)
        primary.kill()
        assert load.process.wait(timeout=30) == 1
        assert "StoreError" not in (folder / "errors").read_text()
        acknowledged = load.acknowledged()
        with pytest.raises(StoreError, match="no server lets us in"):
            opened(own_cluster.dsn())
        standby.promote()
        with pytest.raises(StoreError, match="no synchronous standby is connected"):
            opened(own_cluster.dsn())
        if number == 0:
            primary.start()  # as it was, by itself
            with pytest.raises(StoreError, match="no synchronous standby is connected"):
                opened(primary.dsn())
        primary.clone(standby)
        log = opened(own_cluster.dsn())
        check_whole(log, acknowledged)
        log.append(entry_of(log.size))
        counts.append((acknowledged, log.size))
        log.close()
        primary, standby = standby, primary
    print("acknowledged before each kill, and held after it:", counts)
    assert all(before <= after for before, after in counts)


@pytest.mark.slow
def test_a_writer_on_a_primary_that_was_cut_off_cannot_append(own_cluster: Cluster) -> None:
    servers = own_cluster.servers
    primary = next(server for server in servers if server.run("SELECT pg_is_in_recovery()") == [(False,)])
    standby = next(server for server in servers if server is not primary)
    zombie = Log(PostgresStore(primary.dsn(), schema=SCHEMA, timeout=2.0, create=True), ORIGIN, key_of("sequencer"))
    size = zombie.size
    standby.promote()  # the primary runs on and was not told
    with pytest.raises(StoreError, match="not known whether the last write was committed"):
        zombie.append(b"on the old primary only")
    zombie.close()
    primary.clone(standby)
    log = opened(own_cluster.dsn())
    assert log.size == size
    assert log.append(b"on both") == size
    assert log.entry(size) == b"on both"
    log.close()


def test_a_killed_writer_lets_the_next_one_in(pair: Cluster, tmp_path: Path) -> None:
    load = Load.start(pair.dsn(), tmp_path)
    load.await_first()
    load.process.kill()
    load.process.wait()
    log = opened(pair.dsn())
    check_whole(log, load.acknowledged())
    log.close()
