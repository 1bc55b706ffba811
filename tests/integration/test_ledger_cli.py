"""`secure-bfl ledger …` on a real run, and as real processes: a log, four witnesses, and those who verify it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ledger import SigningKey, parse_vkey, sign_entry
from ledger.web import HttpClient
from ledger.web.entries import submit
from ledger.web.service import log_context
from secure_bfl import PublicFolder
from tests.integration.commands import call
from tests.integration.conftest import FinishedRun
from tests.integration.published import flip

ROOT = Path(__file__).resolve().parents[2]
SENDER = SigningKey.from_seed(bytes(32))
PASSPHRASE = {"SECURE_BFL_PASSPHRASE": "correct horse"}


@pytest.fixture(scope="module")
def policy(finished: FinishedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The policy file of the finished run, as the command prints it."""
    answer = call("ledger", "policy", finished.out, "--genesis", finished.answer.json["genesis"])
    assert answer.code == 0, answer.err
    path = tmp_path_factory.mktemp("policy") / "run.policy"
    path.write_text(answer.out, encoding="utf-8")
    return path


def test_verify_a_run_by_its_policy_and_by_its_key(public: PublicFolder, policy: Path) -> None:
    answer = call("ledger", "verify", public.ledger, "--policy", policy, "--json")
    assert answer.code == 0, answer.out
    assert len(answer.json["signers"]) >= 4
    vkey = policy.read_text(encoding="utf-8").split()[1]
    alone = call("ledger", "verify", public.ledger, "--vkey", vkey, "--json")
    assert alone.code == 0
    assert alone.json["signers"] == [alone.json["origin"]]


def test_a_changed_entry_is_found(public: PublicFolder, policy: Path) -> None:
    flip(next(path for path in (public.ledger / "tile" / "entries").rglob("*") if path.is_file()))
    answer = call("ledger", "verify", public.ledger, "--policy", policy)
    assert answer.code == 1
    assert re.search(r"does not verify: entry \d+ was changed", answer.out)


def test_the_policy_of_another_federation_is_not_printed(public: PublicFolder) -> None:
    answer = call("ledger", "policy", public.path, "--genesis", "00" * 32)
    assert answer.code == 2
    assert "another federation" in answer.err


def test_prove_and_verify_offline(public: PublicFolder, policy: Path, tmp_path: Path) -> None:
    answer = call("ledger", "prove", public.ledger, "3", "--policy", policy, "--out", tmp_path)
    assert answer.code == 0, answer.err
    proof, entry = tmp_path / "3.tlog-proof", tmp_path / "3.entry"
    assert answer.out.split() == [str(proof), str(entry)]
    assert call("ledger", "verify", proof, "--entry", entry, "--policy", policy).code == 0
    entry.write_bytes(entry.read_bytes()[:-1] + b"\x00")
    wrong = call("ledger", "verify", proof, "--entry", entry, "--policy", policy)
    assert wrong.code == 1
    assert "another root" in wrong.out


def test_a_proof_needs_its_entry_and_a_log_does_not(public: PublicFolder, policy: Path, tmp_path: Path) -> None:
    call("ledger", "prove", public.ledger, "0", "--policy", policy, "--out", tmp_path)
    assert call("ledger", "verify", tmp_path / "0.tlog-proof", "--policy", policy).code == 2
    assert call("ledger", "verify", public.ledger, "--entry", tmp_path / "0.entry", "--policy", policy).code == 2
    assert call("ledger", "verify", tmp_path / "nowhere", "--policy", policy).code == 8


def test_prove_does_not_overwrite_something_else(public: PublicFolder, policy: Path, tmp_path: Path) -> None:
    (tmp_path / "1.entry").write_bytes(b"mine")
    answer = call("ledger", "prove", public.ledger, "1", "--policy", policy, "--out", tmp_path)
    assert answer.code == 8
    assert (tmp_path / "1.entry").read_bytes() == b"mine"


def test_an_older_checkpoint_is_extended_and_a_foreign_one_is_not(
    public: PublicFolder, policy: Path, tmp_path: Path
) -> None:
    old = public.ledger / "checkpoint"
    assert call("ledger", "verify", public.ledger, "--policy", policy, "--old", old, "--json").json["since"] > 0
    (tmp_path / "checkpoint").write_bytes(old.read_bytes().replace(b"\n", b"0\n", 2))
    answer = call("ledger", "verify", public.ledger, "--policy", policy, "--old", tmp_path / "checkpoint")
    assert answer.code == 1


def test_fsck_finds_nothing_in_a_finished_run(finished: FinishedRun) -> None:
    answer = call("ledger", "fsck", finished.out, "--json")
    assert answer.code == 0, answer.out
    assert answer.json["findings"] == []


def test_fsck_names_a_rotten_byte_and_repair_refuses_it(finished: FinishedRun, tmp_path: Path) -> None:
    run = finished.copy(tmp_path / "run")
    store = next((run / "private").glob("operator/log.sqlite"))
    data = store.read_bytes()
    at = data.rindex(b"Signature") if b"Signature" in data else len(data) - 100
    store.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    answer = call("ledger", "fsck", run, "--json")
    assert answer.code in (1, 5), answer.out
    before = store.read_bytes()
    assert call("ledger", "fsck", run, "--repair", "--give-up").code in (1, 5)
    assert store.read_bytes() == before


def test_inspect_shows_rounds_and_finality(finished: FinishedRun) -> None:
    answer = call("ledger", "inspect", finished.out)
    assert answer.code == 0, answer.err
    assert "certified" in answer.out
    assert "round 1" in answer.out
    only = call("ledger", "inspect", finished.out, "--round", "1", "--json")
    assert only.code == 0
    assert [each["number"] for each in only.json["rounds"]] == [1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "x"),
        ("verify", "x", "--vkey", "no key"),
        ("policy", "x", "--genesis", "12"),
        ("fsck", "nowhere", "--give-up"),
        ("serve", "nowhere"),
    ],
)
def test_refused_usage(arguments: tuple[str, ...]) -> None:
    assert call("ledger", *arguments).code in (2, 8)


@dataclass
class Process:
    """One `secure-bfl ledger` process and where it listens."""

    process: subprocess.Popen[str]
    url: str


@contextmanager
def started(*arguments: str | Path) -> Iterator[Process]:
    """Start a service, wait until it listens, and stop it in the end as a service manager would."""
    command = [sys.executable, "-W", "ignore", "-m", "secure_bfl", "ledger", *map(str, arguments), "--port", "0"]
    environment = {**os.environ, **PASSPHRASE, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith("listening on "):
                    yield Process(process, line.split()[-1])
                    break
            else:
                raise AssertionError(f"{command} did not listen, exit code {process.wait()}")
        finally:
            process.terminate()
            assert process.wait(timeout=20) in (0, -signal.SIGKILL)


@pytest.mark.slow
def test_a_log_and_four_witnesses_as_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PASSPHRASE.items():
        monkeypatch.setenv(name, value)
    log = call("ledger", "keygen", tmp_path / "log", "--name", "log.example/ward").out.strip()
    kinds = {"w1": "witness", "w2": "witness", "w3": "witness", "w4": "witness-ml-dsa"}
    keys = {
        name: call("ledger", "keygen", tmp_path / name, "--name", name, "--kind", kind).out.strip()
        for name, kind in kinds.items()
    }
    assert call("ledger", "keygen", tmp_path / "log", "--name", "again").code == 6
    (tmp_path / "senders").write_text(f"# who may append\nalice {SENDER.public.hex()}\n", encoding="utf-8")
    with (
        started("witness", tmp_path / "w1", "--log", log) as one,
        started("witness", tmp_path / "w2", "--log", log) as two,
        started("witness", tmp_path / "w4", "--log", log) as four,
    ):
        urls = {"w1": one.url, "w2": two.url, "w3": "http://127.0.0.1:9", "w4": four.url}
        lines = [f"log {log}", *(f"witness {n} {key} {urls[n]}" for n, key in keys.items())]
        lines += ["group all 3 w1 w2 w3 w4", "quorum all", ""]
        policy = tmp_path / "log.policy"
        policy.write_text("\n".join(lines), encoding="utf-8")
        arguments = ("run", tmp_path / "log", "--senders", tmp_path / "senders", "--policy", policy, "--every", "0.2")
        context = log_context(parse_vkey(log))
        entries = [sign_entry(1, "alice", {1: i}, SENDER, context=context) for i in range(300)]
        with started(*arguments) as running, HttpClient(running.url) as client:
            assert [a.index for a in submit(client, entries)] == list(range(300))
            assert _certified(client, 300)
            answer = call("ledger", "verify", running.url, "--policy", policy, "--json")
            assert answer.code == 0, answer.out
            assert answer.json["signers"] == ["log.example/ward", "w1", "w2", "w4"]
            stranger = sign_entry(1, "mallory", {1: 1}, SENDER, context=context)
            assert [a.index for a in submit(client, [stranger])] == [None]
            running.process.kill()  # the plug is pulled
        with started(*arguments) as running, HttpClient(running.url) as client:
            assert [a.index for a in submit(client, entries[:5])] == list(range(300, 305))
            assert _certified(client, 305)
    assert call("ledger", "fsck", tmp_path / "log").code == 0
    with started("serve", tmp_path / "log" / "public") as copy:
        assert call("ledger", "verify", copy.url, "--policy", policy, "--json").json["size"] == 305


def _certified(client: HttpClient, size: int) -> bool:
    """Whether a checkpoint of this size is published within some seconds."""
    for _ in range(100):
        note = client.get("checkpoint", limit=1 << 16)
        if note is not None and note.split(b"\n")[1] == str(size).encode():
            return True
        time.sleep(0.1)
    return False
