"""The vectors are what the library makes, an independent computation agrees, and it would see a difference."""

import copy
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from protocols.sampling import Keystream
from protocols.suites import suite
from secure_bfl.cli import main
from secure_bfl.errors import OutputError
from secure_bfl.vectors import FOLDER, copy_vectors, vector_files
from secure_bfl.vectors.plain import dealing, verify
from secure_bfl.vectors.plain.arithmetic import ExpectedFailure, MismatchError, caught
from secure_bfl.vectors.plain.key import preset
from secure_bfl.vectors.plain.keystream import expand, keystream
from tests.vectors import generate

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
NAMES = sorted(verify.DOCUMENTS)
# What each file's failing operations must at least hold: class, operation, change.
REQUIRED = {
    "aggregation": ("DecodeError", "add", "c1_zero"),
    "dealing": ("KeyGenerationError", "check_subshare", "last_residue"),
    "decryption": ("BadShareError", "combine", "answer_to_another_ciphertext"),
    "dry_run": ("BadShareError", "check_test", None),
    "encryption": ("DecodeError", "decode", "c1_zero_modulo_the_second_prime"),
    "fingerprints": ("BadShareError", "check_answer", "flipped_answer"),
    "handover": ("KeyGenerationError", "agree", "digest of piece 0"),
    "keygen": ("KeyGenerationError", "check_piece", None),
    "ledger": ("SizeConflictError", "rolled_back", None),
    "noise": ("CapacityError", "require", None),
    "packing": ("ValueError", "grid_vector", None),
    "shamir_decryption": ("BadShareError", "combine", "answer_of_a_second_active_set"),
    "sharing": ("QuorumError", "assignment", None),
    "suites": ("ValueError", "suite", None),
    "wire": ("DecodeError", "decode", "kind"),
}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)


@cache
def stored(name: str) -> Any:
    return verify.load(name)


def test_the_library_makes_these_vectors() -> None:
    checked = run("tests/vectors/generate.py", "--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(NAMES)} vector files are current" in checked.stdout


@pytest.mark.slow
def test_an_independent_computation_agrees(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vectors", "--verify"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[:-1]] == list(verify.DOCUMENTS)
    assert all(": verified (" in line for line in lines[:-1])
    assert lines[-1] == f"{len(NAMES)} files verified"


def test_the_script_verifies_another_folder(tmp_path: Path) -> None:
    (tmp_path / "wire.json").write_text("{}", encoding="ascii")
    verified = run("tests/vectors/verify.py", str(tmp_path))
    assert verified.returncode == 1, verified.stdout + verified.stderr
    assert "wire: WRONG: wire.json is not the file its name says" in verified.stdout
    assert "suites: WRONG: suites.json cannot be read" in verified.stdout


def test_the_verifier_knows_nothing_of_this_library() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (FOLDER / "plain").glob("*.py")]
    imported = {name for text in texts for name in re.findall(r"^\s*(?:from|import) +([\w.]+)", text, re.MULTILINE)}
    assert {".arithmetic", "hashlib"} <= imported
    assert not [name for name in imported if name.startswith("..")]
    outside = {name.partition(".")[0] for name in imported if not name.startswith(".")}
    assert outside <= sys.stdlib_module_names


def test_a_changed_file_is_seen_by_the_generator(tmp_path: Path) -> None:
    copy_vectors(tmp_path)
    path = tmp_path / "packing.json"
    path.write_text(path.read_text(encoding="ascii").replace("7", "8", 1), encoding="ascii")
    (tmp_path / "wire.json").unlink()
    checked = run("tests/vectors/generate.py", "--check", "--folder", str(tmp_path))
    assert checked.returncode == 1
    assert [line.partition(" ")[0] for line in checked.stdout.splitlines()] == ["wire.json", "packing.json"]


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for name, part in value.items():
            if name not in verify.TEXTS:
                yield from leaves(part, (*path, name))
    elif isinstance(value, list) and value:
        for index, part in enumerate(value):
            yield from leaves(part, (*path, index))
    else:
        yield path


def changed(value: Any) -> Any:
    """Another value of the same kind, as near as can be."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return value * (1 + 1e-9) + 1e-9
        case str() if re.fullmatch(r"(?:[0-9a-f]{2})+", value):
            return ("0" if value[0] != "0" else "1") + value[1:]
        case str():
            return value + "1"
        case _:
            return ["another"]


@cache
def computed(name: str) -> Any:
    """What the verifier computes; of the slow files, what `test_an_independent_computation_agrees` shows it to."""
    if name in SLOW:
        return stored(name)
    return json.loads(json.dumps(verify.DOCUMENTS[name]()))


SLOW = {"aggregation", "decryption", "dry_run", "encryption", "fingerprints", "keygen", "ring"}


@pytest.mark.parametrize("name", NAMES)
def test_every_stored_value_counts(name: str) -> None:
    mine, theirs = computed(name), copy.deepcopy(stored(name))
    assert next(verify.differences(mine, theirs), None) is None
    paths = list(leaves(theirs))
    for path in paths[:: max(1, len(paths) // 40)]:
        at = theirs
        for step in path[:-1]:
            at = at[step]
        before, at[path[-1]] = at[path[-1]], changed(at[path[-1]])
        found = list(verify.differences(mine, theirs))
        at[path[-1]] = before
        where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
        assert len(found) == 1, where
        assert found[0].startswith(f"{where}: "), found


def test_a_value_that_is_missing_or_too_many_is_seen() -> None:
    document = {"a": [1, 2], "b": 1.0, "why": "x"}
    assert list(verify.differences(document, {**document, "why": "y"})) == []
    assert list(verify.differences(document, {"a": [1, 2], "why": "x"})) == [".b: not stored"]
    assert list(verify.differences(document, {**document, "c": 3})) == [".c: not of the specification"]
    assert list(verify.differences(document, {**document, "a": [1]})) == [".a: 2 values computed, 1 stored"]
    assert list(verify.differences(document, {**document, "b": 1})) == [".b: computed 1.0, stored 1"]
    assert list(verify.differences({"b": True}, {"b": 1})) == [".b: computed True, stored 1"]


def test_a_file_must_be_what_its_name_says(tmp_path: Path) -> None:
    copy_vectors(tmp_path)
    (tmp_path / "wire.json").write_bytes((tmp_path / "noise.json").read_bytes())
    with pytest.raises(MismatchError, match="not the file its name says"):
        verify.load("wire", tmp_path)
    (tmp_path / "wire.json").write_text("{", encoding="ascii")
    with pytest.raises(MismatchError, match="cannot be read"):
        verify.load("wire", tmp_path)
    (tmp_path / "ring.json").unlink()
    with pytest.raises(MismatchError, match="cannot be read"):
        verify.load("ring", tmp_path)


def test_the_verifier_says_which_file_is_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy_vectors(tmp_path)
    path = tmp_path / "suites.json"
    path.write_text(path.read_text(encoding="ascii").replace("8192", "8193", 1), encoding="ascii")
    (tmp_path / "stray.json").write_text("{}", encoding="ascii")

    def failing() -> Any:
        raise ExpectedFailure("DecodeError")

    monkeypatch.setattr(verify, "FOREIGN", {"numpy"})
    documents = {"suites": verify.DOCUMENTS["suites"], "wire": failing, "sharing": verify.DOCUMENTS["sharing"]}
    monkeypatch.setattr(verify, "DOCUMENTS", documents)
    assert verify.main(tmp_path) == 1
    said = capsys.readouterr().out
    assert "the files are not those of the specification" in said
    assert "'stray'" in said
    assert "suites: WRONG: .suites[0].name: computed tckks-8192-v1, stored tckks-8193-v1" in said
    assert "wire: WRONG: an operation that must succeed failed with DecodeError" in said
    assert "sharing: verified" in said
    assert "other code than the standard library was loaded: ['numpy']" in said


def test_an_operation_that_must_fail_and_does_not_is_a_mismatch() -> None:
    with pytest.raises(MismatchError, match="did not"):
        caught(lambda: None)


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_the_failing_operations_are_there(name: str) -> None:
    cases = stored(name)["failures"]
    assert all(case["why"] and case["error"] for case in cases)
    found = {(case["error"], case["operation"], case.get("change")) for case in cases}
    assert REQUIRED[name] in found


def test_two_blocks_and_two_calls_share_nothing() -> None:
    document = stored("encryption")
    streams = [stream for call in document["calls"] for stream in call["streams"]]
    digests = {stream[part]["sha256"] for stream in streams for part in ("u", "e0", "e1")}
    assert len(digests) == document["different_polynomials"] == document["polynomials_drawn"] == 12
    assert len({stream["seed"] for stream in streams}) == 4


def test_a_handover_keeps_the_secret_and_changes_the_pieces() -> None:
    document = stored("handover")
    assert {stage["secret"]["sha256"] for stage in document["stages"]} == {document["secret"]["sha256"]}
    pieces = [piece["secret_ntt"]["sha256"] for stage in document["stages"] for piece in stage["pieces"]]
    assert len(set(pieces)) == len(pieces) == 7


def test_the_verifiers_keystream_is_chacha20() -> None:
    key = bytes(range(32))
    assert keystream(key, b"purpose", 1000) == Keystream(key, purpose=b"purpose").read(1000)
    zero = "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"  # RFC 8439, A.1, vector 1
    assert keystream(bytes(32), b"", 32).hex() == zero
    assert dealing.unpack(b"\1\0\0\2\0\0", 2, [65_537 * 8])[0] == [1, 2]
    assert len(expand(key, 3000, (preset(8192).data[0],))[0]) == 3000


def test_the_example_suites_are_the_librarys() -> None:
    for degree in (8192, 16384, 32768):
        assert preset(degree).data == suite(degree).data_primes


def test_every_file_is_described() -> None:
    documented = set(
        re.findall(r"^## `(\w+\.json)`", (ROOT / "docs/spec/vectors.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert documented == {f"{name}.json" for name in NAMES} == {file.name for file in vector_files()}
    assert {f"{name}.json" for name in generate.FILES} == documented


def test_files_are_packaged_and_small() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "*.json" in project["tool"]["setuptools"]["package-data"]["*"]
    assert sum(file.size for file in vector_files()) < 3_000_000


@pytest.mark.parametrize("name", NAMES)
def test_files_are_canonical_json(name: str) -> None:
    data = (FOLDER / f"{name}.json").read_bytes()
    assert len(data) < 100_000
    document = json.loads(data)
    assert list(document)[:4] == ["vectors", "version", "spec", "covers"]
    assert (json.dumps(document, indent=1, ensure_ascii=True) + "\n").encode() == data


def test_the_command_lists_the_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vectors"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == [f"{name}.json" for name in NAMES]
    assert "rolled-back checkpoint" in next(line for line in listed if line.startswith("ledger.json"))


def test_the_command_copies_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = tmp_path / "new" / "vectors"
    assert main(["vectors", "--out", str(there)]) == 0
    assert capsys.readouterr().out == f"{len(NAMES)} files copied to {there}\n"
    for path in there.iterdir():
        assert sha256(path.read_bytes()).digest() == sha256((FOLDER / path.name).read_bytes()).digest()
    assert main(["vectors", "--out", str(there), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (len(answer["copied"]), answer["verified"], answer["lines"]) == (len(NAMES), None, [])


def test_another_file_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wire.json").write_text("mine", encoding="ascii")
    assert main(["vectors", "--out", str(tmp_path)]) == 8
    assert "holds something else" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["wire.json"]
    file = tmp_path / "file"
    file.write_text("", encoding="ascii")
    with pytest.raises(OutputError, match="cannot be written"):
        copy_vectors(file / "below")


@pytest.mark.parametrize(
    ("script", "code"),
    [("print('wire: verified'); raise SystemExit(0)", 0), ("print('wire: WRONG'); raise SystemExit(1)", 1)],
)
def test_the_command_reports_what_the_verifier_finds(
    script: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "__main__.py").write_text(script, encoding="ascii")
    monkeypatch.setattr("secure_bfl.vectors.FOLDER", tmp_path)
    assert main(["vectors", "--verify"]) == code
    line = capsys.readouterr().out
    assert line.startswith("wire: ")
    assert main(["vectors", "--verify", "--json"]) == code
    answer = json.loads(capsys.readouterr().out)
    assert (answer["verified"], answer["lines"]) == (code == 0, [line.rstrip()])
