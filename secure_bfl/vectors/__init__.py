"""The test vectors for other implementers, and a verifier that is written without this library.

The files are JSON beside this module; docs/spec/vectors.md is their format. `plain` computes every value of them again
with Python integers and the standard library alone.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..errors import OutputError

__all__ = ["FOLDER", "VectorFile", "copy_vectors", "vector_files", "verify_vectors"]

FOLDER: Final = Path(__file__).resolve().parent
"""Where the files are."""


@dataclass(frozen=True, slots=True)
class VectorFile:
    """One file of test vectors. Units: size in bytes."""

    name: str
    spec: str
    covers: str
    failures: int
    size: int


def _failures(value: object) -> int:
    if isinstance(value, list):
        return sum(map(_failures, value))
    if isinstance(value, dict):
        return ("error" in value) + sum(map(_failures, value.values()))
    return 0


def vector_files() -> tuple[VectorFile, ...]:
    """Every file: the specification it follows, what it covers, and how many failing operations it holds.

    Run by: anyone.
    """
    files = []
    for path in sorted(FOLDER.glob("*.json")):
        data = path.read_bytes()
        document = json.loads(data)
        counted = _failures(document)
        files.append(VectorFile(path.name, document["spec"], document["covers"], counted, len(data)))
    return tuple(files)


def copy_vectors(folder: Path) -> tuple[Path, ...]:
    """Copy every file into a folder, which is made if need be; a file of another content is not overwritten.

    Run by: anyone.

    Raises:
        OutputError: a file of that name and another content is there, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        targets = tuple(folder / file.name for file in vector_files())
        for target in targets:
            if target.exists() and target.read_bytes() != (FOLDER / target.name).read_bytes():
                raise OutputError(f"{target} holds something else; choose an empty folder")
        for target in targets:
            target.write_bytes((FOLDER / target.name).read_bytes())
    except OSError as exc:
        raise OutputError(f"the vectors cannot be written to {folder}: {exc}") from exc
    return targets


def verify_vectors(say: Callable[[str], None]) -> bool:
    """Run the independent verifier; `say` gets a line for each file as it is done. Whether all are right.

    Run by: anyone. It runs in a Python of its own that sees no installed package, this one included.
    """
    command = [sys.executable, "-I", "-S", str(FOLDER)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            say(line.rstrip("\n"))
    return process.returncode == 0
