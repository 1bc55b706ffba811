"""The vectors are what the library makes, an independent computation agrees, and it would see a difference."""

import copy
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.vectors import verify
from tests.vectors.plain import ExpectedFailure

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def run(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(script), *arguments], cwd=ROOT, capture_output=True, text=True)


def test_the_library_makes_these_vectors() -> None:
    checked = run(HERE / "generate.py", "--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "11 vector files are current" in checked.stdout


@pytest.mark.slow
def test_an_independent_computation_agrees() -> None:
    verified = run(HERE / "verify.py")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "10 of 10 files verified with the standard library alone" in verified.stdout


def copied(folder: Path) -> Path:
    there = folder / "tests" / "vectors"
    shutil.copytree(HERE, there, ignore=shutil.ignore_patterns("__pycache__"))
    return there


def test_a_changed_vector_is_seen_by_the_generator(tmp_path: Path) -> None:
    there = copied(tmp_path)
    (tmp_path / "protocols").symlink_to(ROOT / "protocols")
    path = there / "packing.json"
    path.write_text(path.read_text(encoding="ascii").replace("7", "8", 1), encoding="ascii")
    checked = run(there / "generate.py", "--check")
    assert checked.returncode == 1
    assert checked.stdout.startswith("packing.json is not what the library makes")


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for name, part in value.items():
            if name not in {"vectors", "version", "spec", "operation", "change"}:
                yield from leaves(part, (*path, name))
    elif isinstance(value, list) and value:
        for index, part in enumerate(value):
            yield from leaves(part, (*path, index))
    elif value is not None:
        yield path


def changed(value: Any) -> Any:
    """Another value of the same kind."""
    match value:
        case bool():
            return not value
        case int() | float():
            return 1000 * value + 1
        case str() if "0x" in value:
            return (3.0).hex()
        case str() if re.fullmatch(r"(?:[0-9a-f]{2})+", value):
            return ("0" if value[0] != "0" else "1") + value[1:]
        case str():
            return value + "1"
        case _:
            return ["another"]


@pytest.mark.parametrize("name", ["suites", "packing", "noise", "wire"])
def test_every_stored_value_counts(name: str) -> None:
    vectors = verify.load(name)
    verify.CHECKS[name](copy.deepcopy(vectors))
    free = []
    for path in leaves(vectors):
        spoiled = copy.deepcopy(vectors)
        at = spoiled
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = changed(at[path[-1]])
        try:
            verify.CHECKS[name](spoiled)
        except (
            verify.MismatchError,
            ExpectedFailure,
            ArithmeticError,
            LookupError,
            StopIteration,
            TypeError,
            ValueError,
        ):
            continue
        free.append(path)
    # Inputs of a failing operation may change and still fail; everything else is computed again and compared.
    assert [path for path in free if path[0] != "failures"] == []


def test_a_file_must_be_what_its_name_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    there = copied(tmp_path)
    (there / "wire.json").write_bytes((there / "noise.json").read_bytes())
    monkeypatch.setattr(verify, "HERE", there)
    with pytest.raises(verify.MismatchError, match="what the file says it is"):
        verify.load("wire")


def test_every_file_is_listed_with_its_source() -> None:
    listed = set(re.findall(r"^\| `(\w+\.json)` \|", (HERE / "SOURCES.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert listed == {path.name for path in HERE.glob("*.json")}


@pytest.mark.parametrize("path", sorted(HERE.glob("*.json")), ids=lambda path: path.stem)
def test_files_are_small_and_canonical_json(path: Path) -> None:
    data = path.read_bytes()
    assert len(data) < 100_000
    assert (json.dumps(json.loads(data), indent=1, ensure_ascii=True) + "\n").encode() == data
