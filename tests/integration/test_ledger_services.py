"""`secure-bfl ledger keygen | witness | run`: what they refuse, and as real processes, a log and four witnesses."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from ledger import (
    Certificate,
    Log,
    MemoryStore,
    SigningKey,
    SqliteWitnessStore,
    StoreError,
    Witness,
    parse_vkey,
    sign_entry,
)
from ledger.errors import RolledBackError
from ledger.web import HttpClient
from ledger.web.entries import submit
from ledger.web.service import log_context
from secure_bfl.errors import KeystoreError
from secure_bfl.exitcodes import ExitCode
from secure_bfl.ledger_cli.recurring import Recurring
from secure_bfl.log_keys import KeyKind, create_key, open_key
from tests.integration.commands import call
from tests.ledger.web import hostile

ROOT = Path(__file__).resolve().parents[2]
SENDER = SigningKey.from_seed(bytes(32))
PASSPHRASE = {"SECURE_BFL_PASSPHRASE": "correct horse"}


CONTROLS = "\x9b2J\u202e\x7f"


@dataclass
class Process:
    """One `secure-bfl ledger` process and where it listens."""

    process: subprocess.Popen[str]
    url: str


@contextmanager
def started(*arguments: str | Path, code: int = 0) -> Iterator[Process]:
    """Start a service, wait until it listens, and stop it in the end as a service manager would."""
    command = [sys.executable, "-W", "ignore", "-m", "secure_bfl", "ledger", *map(str, arguments), "--port", "0"]
    environment = {**os.environ, **PASSPHRASE, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
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
            assert process.wait(timeout=20) in (code, -signal.SIGKILL)


class Failing:
    """A service whose every call fails in another way; the last one, in a way that ends it."""

    def __init__(self) -> None:
        self.errors = [
            ValueError(f"a chunk of {CONTROLS}"),
            KeyError("a defect"),
            TimeoutError("late"),
            RolledBackError(needed=1, have=(), missing=("w",), reasons=("an old copy",)),
        ]

    def certify_and_publish(self) -> Certificate | None:
        raise self.errors.pop(0)


def test_certification_goes_on_whatever_happens(capsys: pytest.CaptureFixture[str]) -> None:
    service, ended = Failing(), []
    recurring = Recurring(service, lambda: None, 0.001, lambda: ended.append("once"))
    recurring.run()
    assert service.errors == []
    assert ended == ["once"]
    assert isinstance(recurring.ended, RolledBackError)
    assert capsys.readouterr().err.splitlines() == [
        r"secure-bfl: not certified: ValueError: a chunk of \x9b2J\u202e\x7f",
        "secure-bfl: not certified: KeyError: 'a defect'",
        "secure-bfl: not certified: TimeoutError: late",
    ]  # and the reason of its end is the caller's to tell


def test_certification_ends_with_its_store() -> None:
    class Idle:
        def certify_and_publish(self) -> None:
            return None

    recurring = Recurring(Idle(), lambda: "the disk is gone", 0.001, lambda: None)
    recurring.run()
    assert isinstance(recurring.ended, StoreError)
    assert "the disk is gone" in str(recurring.ended)


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A witness's key in `w`, and the keys of three logs, two of them of one origin, in `a`, `b` and `c`."""
    monkeypatch.setenv("SECURE_BFL_PASSPHRASE", "correct horse")
    names = {"w": "w", "a": "log.example", "b": "log.example", "c": "other.example"}
    made = {}
    for folder, name in names.items():
        kind = "witness" if folder == "w" else "log"
        made[folder] = call("ledger", "keygen", tmp_path / folder, "--name", name, "--kind", kind).out.strip()
    return made


def test_a_witness_knows_one_key_of_a_log(tmp_path: Path, keys: dict[str, str]) -> None:
    answer = call("ledger", "witness", tmp_path / "w", "--log", keys["a"], "--log", keys["c"], "--log", keys["b"])
    assert answer.code == 2
    assert "two keys of log.example" in answer.err
    assert list((tmp_path / "w").glob("*.sqlite")) == []


def test_a_log_that_changes_its_key_meets_what_the_witness_remembers(tmp_path: Path, keys: dict[str, str]) -> None:
    """Else an honest witness cosigns a second history under the new key, which the old one can then sign as well."""
    old, new = parse_vkey(keys["a"]), parse_vkey(keys["b"])
    assert (old.name, old == new) == (new.name, False)
    state = tmp_path / "w" / f"{hashlib.sha256(b'log.example').hexdigest()[:16]}.sqlite"
    _, secret = open_key(tmp_path / "a", "correct horse")
    assert isinstance(secret, SigningKey)
    _, own = open_key(tmp_path / "w", "correct horse")
    log = Log(MemoryStore(), "log.example", secret)
    log.append(b"history")
    store = SqliteWitnessStore(state)
    Witness("w", own, old, store).add_checkpoint(0, [], log.checkpoint(), now=1)
    store.close()
    answer = call("ledger", "witness", tmp_path / "w", "--log", keys["b"], "--port", "0")
    assert answer.code == 8
    assert "if the log has a new key, it needs a new origin" in answer.err
    assert "listening" not in answer.out


def test_a_logs_key_is_no_witnesss_and_a_witnesss_no_logs(tmp_path: Path, keys: dict[str, str]) -> None:
    answer = call("ledger", "witness", tmp_path / "a", "--log", keys["c"])
    assert answer.code == ExitCode.KEYSTORE
    assert "has a log's key" in answer.err
    (tmp_path / "senders").write_text(f"alice {SENDER.public.hex()}\n", encoding="utf-8")
    policy = tmp_path / "policy"
    policy.write_text(f"log {keys['a']}\nwitness w {keys['w']}\nquorum w\n", encoding="utf-8")
    answer = call("ledger", "run", tmp_path / "w", "--senders", tmp_path / "senders", "--policy", policy)
    assert answer.code == 2
    assert "the log's key is another" in answer.err


def test_the_key_that_is_printed_is_the_one_that_is_kept(tmp_path: Path, keys: dict[str, str]) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "vkey").write_text(keys["a"] + "\n", encoding="utf-8")
    answer = call("ledger", "keygen", folder, "--name", "good.example")
    assert (answer.code, answer.out) == (ExitCode.KEYSTORE, "")
    assert "vkey exists" in answer.err
    assert not (folder / "keystore").exists()
    (folder / "vkey").unlink()
    made = call("ledger", "keygen", folder, "--name", "good.example").out
    (folder / "vkey").unlink()  # a keystore alone is not overwritten either, and gets no other public key
    assert call("ledger", "keygen", folder, "--name", "good.example").code == ExitCode.KEYSTORE
    assert not (folder / "vkey").exists()
    (folder / "vkey").write_text(made, encoding="utf-8")
    assert open_key(folder, "correct horse")[0].to_vkey() == made.strip()


def test_a_passphrase_that_is_no_text_is_refused_without_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECURE_BFL_PASSPHRASE", "hunter2\udcff")
    answer = call("ledger", "keygen", tmp_path, "--name", "a")
    assert answer.code == ExitCode.KEYSTORE
    assert "not UTF-8 text" in answer.err
    assert "hunter2" not in answer.out + answer.err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeystoreError) as caught:
        create_key(tmp_path, "a", KeyKind.LOG, "hunter2\udcff")
    assert caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.slow
@pytest.mark.parametrize(("what", "rounds"), [("a body up to the end", 1), ("a chunk without a size", 3)])
def test_one_hostile_witness_stops_neither_certification_nor_the_process(
    what: str, rounds: int, tmp_path: Path, keys: dict[str, str]
) -> None:
    names = ["w", "w2", "w3", "w4"]
    vkeys = {"w": keys["w"]}
    for name in names[1:]:
        made = call("ledger", "keygen", tmp_path / name, "--name", name, "--kind", "witness")
        vkeys[name] = made.out.strip()
    behave = hostile.SLOW.get(what, hostile.once(hostile.CHUNKED + b"-2\r\nabc\r\n"))
    with contextlib.ExitStack() as stack:
        urls = {"w": stack.enter_context(hostile.answering(behave))}
        for name in names[1:]:
            urls[name] = stack.enter_context(started("witness", tmp_path / name, "--log", keys["a"])).url
        lines = [f"log {keys['a']}", *(f"witness {n} {vkeys[n]} {urls[n]}" for n in names)]
        policy = tmp_path / "log.policy"
        policy.write_text("\n".join([*lines, f"group all 3 {' '.join(names)}", "quorum all", ""]), encoding="utf-8")
        (tmp_path / "senders").write_text(f"alice {SENDER.public.hex()}\n", encoding="utf-8")
        context = log_context(parse_vkey(keys["a"]))
        arguments = ("--senders", tmp_path / "senders", "--policy", policy, "--every", "0.1", "--workers", "0")
        with started("run", tmp_path / "a", *arguments) as running:
            with HttpClient(running.url) as client:
                for number in range(rounds):
                    submit(client, [sign_entry(1, "alice", {1: number}, SENDER, context=context)])
                    assert certified(client, number + 1)
                submit(client, [sign_entry(1, "alice", {1: 9}, SENDER, context=context)])
            time.sleep(0.5)  # it is asking the witnesses again
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(timeout=10) == 0


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
    assert call("ledger", "keygen", tmp_path / "log", "--name", "again").code == ExitCode.KEYSTORE
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
            assert certified(client, 300)
            answer = call("ledger", "verify", running.url, "--policy", policy, "--json")
            assert answer.code == 0, answer.out
            assert answer.json["signers"] == ["log.example/ward", "w1", "w2", "w4"]
            stranger = sign_entry(1, "mallory", {1: 1}, SENDER, context=context)
            assert [a.index for a in submit(client, [stranger])] == [None]
            running.process.kill()  # the plug is pulled
        with started(*arguments) as running, HttpClient(running.url) as client:
            more = [sign_entry(1, "alice", {2: i}, SENDER, context=context) for i in range(5)]
            assert [a.index for a in submit(client, entries[:5] + more)] == [*range(5), *range(300, 305)]
            assert certified(client, 305)
    assert call("ledger", "fsck", tmp_path / "log").code == 0
    with started("serve", tmp_path / "log" / "public") as copy:
        assert call("ledger", "verify", copy.url, "--policy", policy, "--json").json["size"] == 305


def certified(client: HttpClient, size: int) -> bool:
    """Whether a checkpoint of this size is published within some seconds."""
    for _ in range(100):
        note = client.get("checkpoint", limit=1 << 16)
        if note is not None and note.split(b"\n")[1] == str(size).encode():
            return True
        time.sleep(0.1)
    return False
