"""Witnesses that answer slowly or not in HTTP: they count as missing, and hold nobody up."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ledger import Log, MemoryStore, MemoryWitnessStore, Policy, Witness, certify
from ledger.cosign import cosigner
from ledger.web.client import HttpClient
from ledger.web.witness import RemoteWitness
from tests.ledger.federation import ORIGIN, key_of
from tests.ledger.web import hostile

KEY = cosigner("member-1", key_of("member-1"))


def new_log() -> Log:
    log = Log(MemoryStore(), ORIGIN, key_of("sequencer"))
    log.append(b"first")
    return log


def test_a_witness_that_has_not_answered_is_not_asked_again() -> None:
    note = new_log().checkpoint()
    with (
        hostile.answering(hostile.SLOW["the body"]) as url,
        HttpClient(url, timeout=5, deadline=0.5) as slow,
        ThreadPoolExecutor(1) as pool,
    ):
        remote = RemoteWitness(slow, KEY)
        first = pool.submit(remote.add_checkpoint, 0, [], note, now=0)
        while slow._connection.sock is None:
            time.sleep(0.01)
        with pytest.raises(TimeoutError, match="member-1 has not answered the last request yet"):
            remote.add_checkpoint(0, [], note, now=0)
        with pytest.raises(TimeoutError, match="no whole answer"):
            first.result()
        with pytest.raises(TimeoutError, match="no whole answer"):  # and now it is asked
            remote.add_checkpoint(0, [], note, now=0)


BAD_WITNESS = {
    **hostile.SLOW,
    **{f"a chunk of {s[:9]!r}": hostile.once(hostile.CHUNKED + s + b"\r\nabc") for s in (b"-1", b"-2")},
}


@pytest.mark.parametrize("what", BAD_WITNESS)
def test_no_answer_of_one_witness_stops_certification(what: str) -> None:
    log = new_log()
    keys = tuple(cosigner(name, key_of(name)) for name in ("member-1", "w2", "w3", "w4"))
    policy = Policy(ORIGIN, log.verifier, keys)
    near = {k.name: Witness(k.name, key_of(k.name), log.verifier, MemoryWitnessStore()) for k in keys[1:]}
    with hostile.answering(BAD_WITNESS[what]) as url, HttpClient(url, timeout=5, deadline=0.4) as reached:
        far = RemoteWitness(reached, KEY)
        start = time.monotonic()
        for _ in range(3):
            log.append(b"entry")
            assert certify(log, {"member-1": far, **near}, policy, now=1, timeout=0.3).cosigners == ("w2", "w3", "w4")
        assert time.monotonic() - start < 3
