"""`secure-bfl ledger run | witness`: what ends them, and what they say then. Real processes."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger import BusyError, parse_equivocation, parse_vkey, sign_entry
from ledger.web import HttpClient
from ledger.web.entries import submit
from ledger.web.service import log_context
from tests.integration.commands import call
from tests.integration.test_ledger_services import PASSPHRASE, SENDER, certified, started

Options = tuple[str | Path, ...]
pytestmark = pytest.mark.slow


@pytest.fixture
def witnessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Options]]:
    """A log with one witness, which runs: the log's public key, and the options of `run`."""
    for name, value in PASSPHRASE.items():
        monkeypatch.setenv(name, value)
    log = call("ledger", "keygen", tmp_path / "log", "--name", "log.example/ward").out.strip()
    key = call("ledger", "keygen", tmp_path / "w", "--name", "w", "--kind", "witness").out.strip()
    (tmp_path / "senders").write_text(f"alice {SENDER.public.hex()}\n", encoding="utf-8")
    with started("witness", tmp_path / "w", "--log", log) as witness:
        policy = tmp_path / "policy"
        policy.write_text(f"log {log}\nwitness w {key} {witness.url}\nquorum w\n", encoding="utf-8")
        yield log, ("run", tmp_path / "log", "--senders", tmp_path / "senders", "--policy", policy)


def entries(log: str, *numbers: int) -> list[bytes]:
    return [sign_entry(1, "alice", {1: i}, SENDER, context=log_context(parse_vkey(log))) for i in numbers]


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((), "holds a checkpoint of size 5 that size 3 of this log does not extend: this log was rolled back"),
        ((6,), "was rolled back: w cosigned more than its 4 entries"),
        ((6, 7), "two roots for size 5"),
    ],
)
def test_a_log_that_was_put_back_ends_and_says_so(
    witnessed: tuple[str, Options], tmp_path: Path, numbers: tuple[int, ...], words: str
) -> None:
    log, arguments = witnessed
    store, copy = tmp_path / "log" / "log.sqlite", tmp_path / "old"
    with started(*arguments, "--every", "0.2") as running, HttpClient(running.url) as client:
        submit(client, entries(log, 1, 2, 3))
        assert certified(client, 3)
    copy.write_bytes(store.read_bytes())
    with started(*arguments, "--every", "0.2") as running, HttpClient(running.url) as client:
        submit(client, entries(log, 4, 5))
        assert certified(client, 5)
    store.write_bytes(copy.read_bytes())
    every = "0.2" if numbers == () else "3"
    with started(*arguments, "--every", every, code=5) as running, HttpClient(running.url) as client:
        if numbers:
            submit(client, entries(log, *numbers))
        assert words in running.process.communicate(timeout=30)[1]
    evidence = tmp_path / "log" / "own.equivocation"
    assert evidence.exists() == (len(numbers) == 2)
    if evidence.exists():
        assert parse_equivocation(evidence.read_bytes()).verify().size == 5
        assert call("ledger", "verify", evidence, "--vkey", log, "--json").json["size"] == 5
        other = call("ledger", "keygen", tmp_path / "other", "--name", "other").out.strip()
        assert call("ledger", "verify", evidence, "--vkey", other).code == 2


def test_a_log_whose_store_failed_ends(witnessed: tuple[str, Options], tmp_path: Path) -> None:
    log, arguments = witnessed
    with started(*arguments, "--every", "0.2", code=8) as running, HttpClient(running.url) as client:
        submit(client, entries(log, 1))
        with sqlite3.connect(tmp_path / "log" / "log.sqlite") as other:  # whoever else has the right to write there
            other.execute("DROP TABLE entries")
        other.close()
        with pytest.raises((BusyError, ConnectionError)):  # it may end before it has answered
            submit(client, entries(log, 2))
        assert "the store failed" in running.process.communicate(timeout=30)[1]


def test_a_witness_that_lost_its_state_does_not_start_anew(witnessed: tuple[str, Options], tmp_path: Path) -> None:
    log, _ = witnessed
    (state,) = (tmp_path / "w").glob("*.sqlite")
    state.rename(state.with_suffix(".lost"))
    answer = call("ledger", "witness", tmp_path / "w", "--log", log, "--port", "0")
    assert answer.code == 8
    assert "another history" in answer.err


@pytest.mark.parametrize("port", ["99999", "-1", "http"])
def test_a_port_is_one(port: str, tmp_path: Path) -> None:
    assert call("ledger", "serve", tmp_path, "--port", port).code == 2
