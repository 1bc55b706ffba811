"""`secure-bfl ledger …` on a real run, and on published logs of strangers."""

import contextlib
import io
import re
import sqlite3
from pathlib import Path

import pytest

from ledger import (
    Checkpoint,
    Log,
    MemoryStore,
    Policy,
    SigningKey,
)
from ledger.note import sign_note
from ledger.tile import Tile, encode_bundle
from secure_bfl import PublicFolder
from secure_bfl.cli import main
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


def test_where_the_log_is_is_said(public: PublicFolder, policy: Path) -> None:
    answer = call("ledger", "verify", public.path, "--policy", policy)
    assert answer.code == 8
    assert f"did you mean {public.ledger}?" in answer.err


def test_a_server_that_is_not_there_proves_nothing(policy: Path) -> None:
    answer = call("ledger", "verify", "http://127.0.0.1:9", "--policy", policy)
    assert answer.code == 8
    assert "nothing is known about the log" in answer.err


def test_a_mistake_in_ones_own_policy_is_ones_own(public: PublicFolder, tmp_path: Path) -> None:
    (tmp_path / "policy").write_text("quorum nobody\n", encoding="utf-8")
    answer = call("ledger", "verify", public.ledger, "--policy", tmp_path / "policy")
    assert answer.code == 2
    assert str(tmp_path / "policy") in answer.err


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


CONTROLS = "x\x9b2J\x9b1;32mverified\x9b0m\u202e\x7f"


def test_nothing_that_strangers_write_reaches_the_terminal(tmp_path: Path) -> None:
    log = Log(MemoryStore(), "log.example", SENDER)
    log.append(b"entry")
    publish_with(log, tmp_path / "extended", f"{CONTROLS}\n")
    found = call("ledger", "verify", tmp_path / "extended", "--vkey", log.verifier.to_vkey())
    assert found.code == 0, found.err
    assert r"extension  x\x9b2J\x9b1;32mverified\x9b0m\u202e\x7f (the" in found.out
    other = Log(MemoryStore(), CONTROLS, SENDER)
    other.append(b"entry")
    publish_with(other, tmp_path / "other", "")
    refused = call("ledger", "verify", tmp_path / "other", "--vkey", log.verifier.to_vkey())
    assert refused.code == 1
    missing = call("ledger", "verify", tmp_path / CONTROLS, "--vkey", log.verifier.to_vkey())
    assert missing.code == 8
    assert r"x\x9b2J" in missing.err
    usage = call("ledger", "verify", tmp_path, "--vkey", f"a+{CONTROLS}")
    assert usage.code == 2
    for answer in (found, refused, missing, usage):
        for line in (answer.out + answer.err).split("\n"):
            assert line.isprintable()


def publish_with(log: Log, folder: Path, extension: str) -> None:
    """Publish a log of one entry, with an extension line that the log signed."""
    tile = folder / "tile"
    for path, data in (("0/000.p/1", log.tile(Tile(0, 0, 1))), ("entries/000.p/1", encode_bundle([log.entry(0)]))):
        (tile / path).parent.mkdir(parents=True)
        (tile / path).write_bytes(data)
    text = Checkpoint(log.origin, 1, log.root(1)).text() + extension
    (folder / "checkpoint").write_bytes(sign_note(text, log.origin, SENDER).encode())


class Terminal(io.StringIO):
    """What standard output is when somebody looks at it."""

    def isatty(self) -> bool:
        return True


def test_a_policy_on_a_terminal_has_no_controls(
    public: PublicFolder, finished: FinishedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["ledger", "policy", str(public.path), "--genesis", finished.answer.json["genesis"]]

    def shown(out: io.StringIO) -> str:
        with contextlib.redirect_stdout(out):
            assert main(arguments) == 0
        return out.getvalue()

    assert shown(Terminal()) == shown(io.StringIO())
    text = f"log {CONTROLS}\nquorum none\n"
    monkeypatch.setattr(Policy, "to_file", lambda _: text.encode())
    assert shown(io.StringIO()) == text  # a file gets the policy as it is
    assert shown(Terminal()).split("\n") == [r"log x\x9b2J\x9b1;32mverified\x9b0m\u202e\x7f", "quorum none", ""]


def test_fsck_writes_nothing_beside_a_witness(finished: FinishedRun, tmp_path: Path) -> None:
    run = finished.copy(tmp_path / "run")
    states = sorted((run / "private").glob("*/witness.sqlite"))
    assert states
    for state in states:  # as an earlier version left it: whoever opens it for writing converts it
        with contextlib.closing(sqlite3.connect(state)) as sql:
            sql.execute("PRAGMA journal_mode=WAL")
    before = [state.read_bytes() for state in states]
    assert call("ledger", "fsck", run).code == 0
    assert [state.read_bytes() for state in states] == before
