"""A run through the command line: what it leaves, what it says, and that nothing secret is in public."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load

from ledger import read_published
from secure_bfl.auditor import Auditor
from secure_bfl.datasets import load as load_dataset
from secure_bfl.exitcodes import ExitCode
from secure_bfl.identity import Identity
from secure_bfl.keystore import PASSPHRASE_VARIABLE, Keystore
from secure_bfl.layout import PrivateFolder, PublicFolder
from secure_bfl.messages import Role
from secure_bfl.roster import client_name

from .commands import TINY, call, demo, rejected, verify
from .conftest import FinishedRun


def test_the_answer_is_one_json_object_and_nothing_else(finished: FinishedRun) -> None:
    answer = finished.answer.json
    assert {"accuracy", "epsilon", "delta", "rounds", "bytes_per_param", "seconds"} <= answer.keys()
    assert finished.answer.err == ""
    assert finished.answer.out.count("\n") == 1
    assert answer["accuracy"] > 0.8
    assert 0 < answer["epsilon"] <= 8
    assert (answer["delta"], answer["rounds"], answer["clients"], answer["verdict"]) == (1e-5, 2, 4, "agree")


def test_verify_confirms_the_run_and_names_its_genesis(finished: FinishedRun) -> None:
    answer = verify(finished.out)
    assert answer.code == 0
    assert answer.json == {"ok": True, "findings": [], "genesis": finished.answer.json["genesis"], "rounds": 2}
    assert answer.err == ""


def test_the_public_folder_is_enough(public: PublicFolder, finished: FinishedRun) -> None:
    assert sorted(path.name for path in public.path.iterdir()) == [
        "blobs", "budget-report.html", "budget-report.json", "budget-report.md", "ledger", "model.safetensors",
    ]  # fmt: skip
    assert verify(public.path, "--genesis", finished.answer.json["genesis"]).code == 0


def test_the_published_model_has_the_stated_accuracy(public: PublicFolder, finished: FinishedRun) -> None:
    tensors = load(public.model.read_bytes())
    held_out = load_dataset("digits", 4).held_out
    predicted = (held_out.features @ tensors["weight"].T.astype(np.float64) + tensors["bias"]).argmax(axis=1)
    assert float((predicted == held_out.labels).mean()) == finished.answer.json["accuracy"]
    report = json.loads(public.report_json.read_bytes())
    assert report["guarantee"]["epsilon"] == finished.answer.json["epsilon"]


def test_every_update_is_on_the_ledger_as_its_client_s_own(public: PublicFolder) -> None:
    transcript = Auditor(public).verify().transcript
    assert transcript is not None
    assert transcript.replay.ignored == []
    for state in transcript.replay.rounds:
        assert state.cohort == tuple(client_name(i) for i in range(1, 5))
        assert len(set(state.ciphertexts())) == 4
        assert set(state.spends) == set(state.cohort)
        assert len(state.answers) == 3


def spellings(secret: bytes) -> dict[str, bytes]:
    return {
        "plain": secret,
        "hexadecimal": secret.hex().encode(),
        "base64": base64.b64encode(secret).rstrip(b"=")[:-1],
        "url-safe base64": base64.urlsafe_b64encode(secret).rstrip(b"=")[:-1],
    }


def private_secrets(out: Path) -> dict[str, bytes]:
    """Every secret of every party: what the keystores hold, the private keys derived from it, and the passphrases."""
    found = {}
    for folder in sorted((out / "private").iterdir()):
        if not folder.is_dir():
            continue
        party = PrivateFolder(folder)
        passphrase = party.passphrase.read_text().strip()
        found[f"{folder.name}: passphrase"] = passphrase.encode()
        keystore = Keystore.open(party.keystore, passphrase)
        for name, secret in keystore._secrets.items():  # a test may look
            found[f"{folder.name}: {name}"] = secret
    return found


def found_in(folder: Path, secrets: dict[str, bytes]) -> list[str]:
    files = [(path, path.read_bytes()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [
        f"{name} ({spelling}) in {path.name}"
        for name, secret in secrets.items()
        for spelling, text in spellings(secret).items()
        for path, data in files
        if text in data
    ]


def test_nothing_secret_is_in_public(finished: FinishedRun, tmp_path: Path) -> None:
    secrets = private_secrets(finished.out)
    assert len(secrets) == 9 + (2 + 3 * 4 + 4) + 4  # passphrases, keys, and what each member drew to deal from
    assert all(len(secret) >= 32 for secret in secrets.values())
    assert found_in(finished.out / "public", secrets) == []
    assert found_in(tmp_path, secrets) == []
    planted = tmp_path / "planted"
    planted.write_bytes(b"x" + secrets["member-2: signing"] + b"y" + secrets["client-1: signing"].hex().encode())
    assert found_in(tmp_path, secrets) == [
        "client-1: signing (hexadecimal) in planted",
        "member-2: signing (plain) in planted",
    ]


def test_secret_files_are_for_their_owner_only(finished: FinishedRun) -> None:
    for folder in (finished.out / "private").iterdir():
        for name in ("keystore", "passphrase.txt", "odometer.jsonl"):
            path = folder / name
            if path.exists():
                assert path.stat().st_mode & 0o077 == 0, path


def test_a_passphrase_from_the_environment_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "correct horse battery staple")
    out = tmp_path / "out"
    assert demo(out, *TINY).code == 0
    files = [path for path in out.rglob("*") if path.is_file()]
    assert not [path for path in files if path.name == "passphrase.txt"]
    assert not [path for path in files if b"correct horse" in path.read_bytes()]
    keystore = Keystore.open(out / "private" / "client-1" / "keystore", "correct horse battery staple")
    assert Identity("client-1", Role.CLIENT, keystore).party.name == "client-1"
    assert verify(out).code == 0
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "wrong")
    answer = demo(out, *TINY)
    assert answer.code == ExitCode.KEYSTORE
    assert "the passphrase is wrong or the file is damaged" in answer.err


def test_another_federation_is_not_the_one_pinned(finished: FinishedRun) -> None:
    errors = rejected(finished.out, "--genesis", "00" * 32)
    genesis = finished.answer.json["genesis"]
    assert errors == [
        f"ledger: this is another federation: its genesis is {genesis}, you pinned {'00' * 32}",
    ]


def test_report_writes_the_same_report_again(finished: FinishedRun, public: PublicFolder) -> None:
    paths = (public.report_json, public.report_markdown, public.report_html)
    before = [path.read_bytes() for path in paths]
    signed = json.loads(before[0])
    genesis = ("--genesis", finished.answer.json["genesis"])
    for signer in (("--sign-as", "operator", "--keystore", finished.out / "private" / "operator"), ()):
        for path in paths:
            path.unlink()
        answer = call("report", public.path, *genesis, *signer)
        assert answer.code == 0
        assert answer.out.strip() == str(public.report_html)
        if signer:
            assert [path.read_bytes() for path in paths] == before
    assert signed.pop("signature")["signer"] == "operator"
    assert json.loads(public.report_json.read_bytes()) == signed
    assert verify(public.path).code == 0


def test_the_ledger_holds_nothing_but_what_the_protocol_calls_for(public: PublicFolder) -> None:
    transcript = Auditor(public).verify().transcript
    assert transcript is not None
    entries = read_published(public.ledger).entries
    members, clients, threshold, rounds = 4, 4, 3, 2
    key_steps = 5 * members
    each = 1 + 2 * clients + 1 + 1 + members + 1 + threshold + members + 1
    assert len(entries) == 1 + key_steps + rounds * each


def test_a_passphrase_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["correct horse", "correct horse"])
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)
    monkeypatch.setattr("secure_bfl.keystore.getpass", lambda prompt: next(typed))
    out = tmp_path / "out"
    assert demo(out, *TINY, "--ask-passphrase").code == 0
    assert not list(out.rglob("passphrase.txt"))
    Keystore.open(out / "private" / "member-1" / "keystore", "correct horse")
    answer = demo(out, *TINY)
    assert answer.code == ExitCode.KEYSTORE
    assert "has a passphrase of your own: set SECURE_BFL_PASSPHRASE" in answer.err
    assert not list(out.rglob("passphrase.txt")), "no wrong one is written beside a keystore that has another"


@pytest.mark.parametrize(("typed", "message"), [([""], "empty"), (["one", "two"], "differ")])
def test_a_passphrase_that_is_mistyped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: list[str], message: str
) -> None:
    answers = iter(typed)
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)
    monkeypatch.setattr("secure_bfl.keystore.getpass", lambda prompt: next(answers))
    answer = demo(tmp_path / "out", *TINY, "--ask-passphrase")
    assert answer.code == ExitCode.KEYSTORE
    assert message in answer.err
    assert not (tmp_path / "out").exists()
