"""A log as one service: what fails on one side of it does not stop the other."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pytest

from ledger import (
    ED25519,
    CosigningWitness,
    Log,
    MemoryWitnessStore,
    Policy,
    QuorumError,
    SqliteStore,
    StoreError,
    VerifierKey,
    Witness,
    sign_entry,
    verify_checkpoint,
)
from ledger.cosign import cosigner
from ledger.errors import DamagedStoreError
from ledger.sequencer import Sequencer
from ledger.verifying import VerifierPool
from ledger.web.client import HttpClient
from ledger.web.service import LogService, log_context
from ledger.web.witness import RemoteWitness
from tests.ledger.federation import ORIGIN, key_of
from tests.ledger.web.hostile import SLOW, answering

LOG_KEY = VerifierKey(ORIGIN, ED25519, key_of("sequencer").public)
NAMES = ("w1", "w2", "w3", "w4")


def policy_of(*seeds: str) -> Policy:
    """Witnesses w1, w2, …, whose keys come from these seeds."""
    keys = tuple(cosigner(f"w{i}", key_of(seed)) for i, seed in enumerate(seeds, start=1))
    return Policy(ORIGIN, LOG_KEY, keys)


def near(*seeds: str) -> dict[str, CosigningWitness | None]:
    names = [f"w{i}" for i in range(1, len(seeds) + 1)]
    return {n: Witness(n, key_of(seed), LOG_KEY, MemoryWitnessStore()) for n, seed in zip(names, seeds, strict=True)}


@dataclass
class Running:
    """A sequencer whose log is in a file, and a folder to publish in."""

    sequencer: Sequencer
    public: Path
    number: int = 0

    def service(
        self,
        policy: Policy | None = None,
        witnesses: Mapping[str, CosigningWitness | None] | None = None,
        *,
        timeout: float = 5.0,
    ) -> LogService:
        chosen = near(*NAMES) if witnesses is None else witnesses
        return LogService(self.sequencer, policy or policy_of(*NAMES), chosen, self.public, lambda: 1, timeout=timeout)

    def append(self) -> int | None:
        self.number += 1
        entry = sign_entry(1, "alice", {1: self.number}, key_of("alice"), context=log_context(LOG_KEY))
        return self.sequencer.admit([entry])[0].index

    def published(self) -> int:
        """The size that is published."""
        return verify_checkpoint((self.public / "checkpoint").read_bytes(), LOG_KEY).size


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    log = Log(SqliteStore(tmp_path / "log.sqlite", create=True), ORIGIN, key_of("sequencer"))
    with VerifierPool({"alice": key_of("alice").public}, context=log_context(LOG_KEY), workers=0) as pool:
        yield Running(Sequencer(log, pool), tmp_path / "public")
    log.close()


def test_what_is_new_is_certified_and_published(running: Running) -> None:
    service = running.service()
    assert service.certify_and_publish() is None  # an empty log
    for size in (1, 2):
        running.append()
        certificate = service.certify_and_publish()
        assert certificate is not None
        assert (certificate.checkpoint.size, certificate.cosigners) == (size, NAMES)
        assert running.published() == size
    assert service.certify_and_publish() is None
    (running.public / "checkpoint").unlink()
    assert service.certify_and_publish() is None
    assert running.published() == 2


def test_a_folder_that_cannot_be_written_does_not_stop_admission(running: Running) -> None:
    service = running.service()
    running.append()
    running.public.write_text("in the way")  # as a full disk, a missing right or a read-only mount would be
    for size in (1, 2):
        with pytest.raises(StoreError):
            service.certify_and_publish()
        assert running.append() == size
    running.public.unlink()
    certificate = service.certify_and_publish()
    assert certificate is not None
    assert certificate.checkpoint.size == running.published() == 3
    assert service.certify_and_publish() is None


def test_what_was_not_published_is_published_though_the_witnesses_are_away(running: Running) -> None:
    running.append()
    running.public.write_text("in the way")
    witnesses = near(*NAMES)
    service = running.service(witnesses=witnesses)
    with pytest.raises(StoreError):
        service.certify_and_publish()
    running.append()
    running.public.unlink()
    away = running.service(witnesses=dict.fromkeys(NAMES))
    for _ in range(2):
        with pytest.raises(QuorumError):
            away.certify_and_publish()
        assert running.published() == 1


def test_a_damaged_store_stops_admission(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: object) -> None:
        raise DamagedStoreError("an entry changed")

    running.append()
    monkeypatch.setattr("ledger.web.service.publish", damaged)
    with pytest.raises(DamagedStoreError):
        running.service().certify_and_publish()
    with pytest.raises(StoreError, match="open the log again: an entry changed"):
        running.append()


def test_an_idle_log_is_certified_again_when_its_policy_was_changed(running: Running) -> None:
    running.append()
    assert running.service().certify_and_publish() is not None
    changed = ("w1", "new key", "w3", "new key too")
    service = running.service(policy_of(*changed), near(*changed))
    certificate = service.certify_and_publish()
    assert certificate is not None
    assert certificate.checkpoint.size == 1
    assert (running.public / "checkpoint").read_bytes() == certificate.note
    assert service.certify_and_publish() is None
    assert policy_of(*changed).verify((running.public / "checkpoint").read_bytes()) == certificate


def test_entries_are_taken_while_a_witness_does_not_answer(running: Running) -> None:
    running.append()
    with answering(SLOW["the body"]) as url, HttpClient(url, timeout=5, deadline=4) as client:
        far = RemoteWitness(client, policy_of(*NAMES).witnesses[0])
        service = running.service(witnesses={**near(*NAMES), "w1": far}, timeout=0.4)
        found: list[object] = []
        thread = Thread(target=lambda: found.append(service.certify_and_publish()))
        start = time.monotonic()
        thread.start()
        indices = []
        while thread.is_alive():
            indices.append(running.append())
        thread.join()
        assert time.monotonic() - start < 3
    assert len(indices) > 3
    assert indices == list(range(1, len(indices) + 1))
    assert running.published() == 1
    assert len(found) == 1
