"""Compute every vector file again and compare it, value by value, with what is stored.

Everything is compared but the texts for people (`why`, `spec`, `covers`).
"""

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import cipher_documents, key_documents, log_documents, opening_documents, packing_documents, parameter_documents
from .arithmetic import ExpectedFailure, Json, MismatchError

__all__ = ["DOCUMENTS", "FOLDER", "VERSION", "differences", "load", "main"]

FOLDER = Path(__file__).resolve().parents[1]
VERSION = 2
TEXTS = {"why", "spec", "covers"}
FOREIGN = {"cryptography", "ledger", "numpy", "protocols", "secure_bfl", "tenseal", "torch"}

DOCUMENTS: dict[str, Callable[[], Json]] = {
    "suites": parameter_documents.suites,
    "ring": parameter_documents.ring,
    "hash_to_polynomial": parameter_documents.hash_to_polynomial,
    "wire": parameter_documents.wire,
    "sharing": parameter_documents.sharing,
    "noise": parameter_documents.noise,
    "packing": packing_documents.packing,
    "keygen": key_documents.keygen,
    "dealing": key_documents.dealing,
    "handover": key_documents.handover,
    "encryption": cipher_documents.encryption,
    "aggregation": cipher_documents.aggregation,
    "decryption": opening_documents.decryption,
    "shamir_decryption": opening_documents.shamir_decryption,
    "dry_run": opening_documents.dry_run,
    "fingerprints": opening_documents.fingerprints,
    "ledger": log_documents.ledger,
}


def differences(computed: Any, stored: Any, where: str = "") -> Iterator[str]:
    """Where two documents differ."""
    if isinstance(computed, dict) and isinstance(stored, dict):
        names = [name for name in (*computed, *(n for n in stored if n not in computed)) if name not in TEXTS]
        for name in names:
            if name not in computed or name not in stored:
                yield f"{where}.{name}: {'not stored' if name in computed else 'not of the specification'}"
            else:
                yield from differences(computed[name], stored[name], f"{where}.{name}")
    elif isinstance(computed, list | tuple) and isinstance(stored, list):
        if len(computed) != len(stored):
            yield f"{where}: {len(computed)} values computed, {len(stored)} stored"
        for i, (mine, theirs) in enumerate(zip(computed, stored, strict=False)):
            yield from differences(mine, theirs, f"{where}[{i}]")
    elif isinstance(computed, float) and isinstance(stored, float):
        if not math.isclose(computed, stored, rel_tol=1e-12):
            yield f"{where}: computed {computed}, stored {stored}"
    elif type(computed) is not type(stored) or computed != stored:
        yield f"{where}: computed {str(computed)[:80]}, stored {str(stored)[:80]}"


def load(name: str, folder: Path = FOLDER) -> Json:
    """Read a file, which must say that it is what its name says.

    Raises:
        MismatchError: it does not, or cannot be read.
    """
    try:
        document: Json = json.loads((folder / f"{name}.json").read_text(encoding="ascii"))
    except (OSError, ValueError) as exc:
        raise MismatchError(f"{name}.json cannot be read: {exc}") from exc
    if (document.pop("vectors", None), document.pop("version", None)) != (name, VERSION):
        raise MismatchError(f"{name}.json is not the file its name says, or of another version")
    return document


def _verify(name: str, folder: Path) -> str | None:
    try:
        stored = load(name, folder)
        return next(differences(DOCUMENTS[name](), stored), None)
    except MismatchError as exc:
        return str(exc)
    except ExpectedFailure as exc:
        return f"an operation that must succeed failed with {exc.name}"


def main(folder: Path = FOLDER) -> int:
    """Verify all files in a folder; 0 if all are right, else 1."""
    say = sys.stdout.write
    files = sorted(path.stem for path in folder.glob("*.json"))
    wrong = len(set(files) ^ set(DOCUMENTS))
    if wrong:
        say(f"the files are not those of the specification: {sorted(set(files) ^ set(DOCUMENTS))}\n")
    for name in DOCUMENTS:
        started = time.perf_counter()
        difference = _verify(name, folder)
        wrong += difference is not None
        verdict = "verified" if difference is None else f"WRONG: {difference}"
        say(f"{name}: {verdict} ({time.perf_counter() - started:.1f} s)\n")
        sys.stdout.flush()
    if foreign := FOREIGN & {module.partition(".")[0] for module in sys.modules}:
        say(f"other code than the standard library was loaded: {sorted(foreign)}\n")
        wrong += 1
    say(f"{len(DOCUMENTS)} files, {wrong} wrong\n" if wrong else f"{len(DOCUMENTS)} files verified\n")
    return 1 if wrong else 0
