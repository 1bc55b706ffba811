"""Each foreign library has the few importers named here; nothing else of it leaks through the code."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.arch.sources import PACKAGES, ROOT, SOURCES, Module

# Import name -> the modules that may import it.
IMPORTERS = {
    "cbor2": ("ledger.cbor",),
    "cryptography": (
        "ledger.mldsa",
        "ledger.signing",
        "protocols.sampling",
        "secure_bfl.keystore",
        "secure_bfl.sealing",
    ),
    "dp_accounting": ("protocols.dp.accounting", "protocols.dp.mixture"),
    "nacl": ("ledger._sodium",),
    "numba": ("protocols._*numba*",),
    "numpy": ("protocols.*", "secure_bfl.*"),
    "obstore": ("ledger.object_blobs",),
    "opacus": ("secure_bfl.adapters.opacus", "secure_bfl.bench.privacy_peers"),
    "opendp": ("secure_bfl.bench.privacy_peers",),
    "psycopg": ("ledger._postgres",),
    "rich": ("secure_bfl.progress",),
    "safetensors": ("secure_bfl.model",),
    "scipy": ("protocols.dp.*",),
    "sklearn": ("secure_bfl.datasets",),
    "tenseal": ("protocols._seal", "secure_bfl.bench.tenseal_peer"),
    "torch": (
        "secure_bfl.adapters.*",
        "secure_bfl.bench.privacy_peers",
        "secure_bfl.local_training",
        "secure_bfl.networks",
    ),
    "waitress": ("ledger.web.server",),
    "zstandard": ("protocols._seal", "protocols.tckks._tenseal_bytes"),
}
# Where the name to install differs from the name to import.
DISTRIBUTIONS = {"dp_accounting": "dp-accounting", "nacl": "pynacl", "sklearn": "scikit-learn"}
# The modules of each extra: nothing imports them when it is itself imported, so that all else works without the extra.
EXTRAS = {
    "fast": (
        "ledger._sodium",
        "protocols._encryption",
        "protocols._fused_numba",
        "protocols._ntt_numba",
        "protocols._numba_vectors",
        "protocols._opening_numba",
        "protocols._ring_numba",
        "protocols._wire_numba",
    ),
    "object-store": ("ledger.object_blobs",),
    "postgres": ("ledger._postgres", "ledger.postgres"),
    "server": ("ledger.web.server",),
}
MEASURED_WHERE_INSTALLED = {"opendp"}  # a peer in a bench, imported when it is called
OPTIONAL = tuple(name for names in EXTRAS.values() for name in names)

# The standard library's effects, and who may have them.
EFFECTS = {
    "datetime": ("secure_bfl.*",),
    "secrets": ("secure_bfl.*",),
    "http": ("ledger.web.*",),
    "socket": ("ledger.web.client",),
    "ssl": ("ledger.web.*",),
    "threading": (
        "ledger.certifying",
        "ledger.files",
        "ledger.sequencer",
        "ledger.verifying",
        "ledger.web.*",
        "ledger.witness",
        "protocols.*",
        "secure_bfl.*",
    ),
    "time": ("secure_bfl.*",),
    "urllib": ("ledger.web.*",),
}


def imported_names(tree: ast.Module) -> Iterator[str]:
    """The first part of every absolute import, `importlib.import_module` with a literal name included."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.partition(".")[0]
            case ast.Call(
                func=ast.Attribute(attr="import_module" | "find_spec") | ast.Name(id="__import__" | "import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name.partition(".")[0]


def strangers(module: Module) -> list[str]:
    """Imports of this module that no table allows."""
    refused = []
    for name in sorted(set(imported_names(module.tree))):
        if name in PACKAGES:
            continue
        allowed = IMPORTERS.get(name, EFFECTS.get(name))
        if allowed is None and name in sys.stdlib_module_names:
            continue
        if not any(fnmatchcase(module.name, pattern) for pattern in allowed or ()):
            refused.append(name)
    return refused


@pytest.mark.parametrize("module", SOURCES, ids=lambda module: module.name)
def test_only_the_importers_of_the_table(module: Module) -> None:
    assert strangers(module) == [], "import it through its one importer, or change the table and say why in an ADR"


@pytest.mark.parametrize(
    ("name", "text", "refused"),
    [
        ("secure_bfl.client", "import torch.nn", ["torch"]),
        ("secure_bfl.client", "def f():\n    from cryptography.hazmat import primitives", ["cryptography"]),
        ("ledger.log", "import importlib\nimportlib.import_module('numpy')", ["numpy"]),
        ("ledger.log", "__import__('numpy.linalg')", ["numpy"]),
        ("protocols.grid", "import time", ["time"]),
        ("protocols.grid", "import unheard_of", ["unheard_of"]),
        ("protocols.grid", "import numpy\nfrom . import errors\nimport hashlib", []),
    ],
)
def test_the_check_sees_each_form_of_import(name: str, text: str, refused: list[str]) -> None:
    assert strangers(Module(name, Path("made-up.py"), text)) == refused


def _required(extra: str | None = None) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = project["dependencies"] if extra is None else project["optional-dependencies"][extra]
    return {re.split(r"[^\w.-]", line, maxsplit=1)[0].lower() for line in lines}


def _imported(modules: Iterable[Module]) -> set[str]:
    names = {name for module in modules for name in imported_names(module.tree)} & set(IMPORTERS)
    names -= MEASURED_WHERE_INSTALLED
    return {DISTRIBUTIONS.get(name, name) for name in names}


def test_what_is_required_is_imported_and_what_is_imported_is_required() -> None:
    assert _imported(module for module in SOURCES if module.name not in OPTIONAL) == _required()
    for extra, names in EXTRAS.items():
        assert _imported(module for module in SOURCES if module.name in names) - _required() == _required(extra), extra


def test_nothing_imports_an_optional_module_when_it_is_itself_imported() -> None:
    packages = (
        "ledger",
        "protocols",
    )  # `secure_bfl` takes no private module of theirs: it is slow to import, and left out
    names = ", ".join(m.name for m in SOURCES if m.name.startswith(packages) and m.name not in OPTIONAL)
    command = f"import sys, {names}; sys.exit(any(name in sys.modules for name in {OPTIONAL}))"
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", command], cwd=ROOT, check=False).returncode == 0


def test_every_requirement_is_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(r"torch==[\d.]+", lines[0]), "the Makefile installs torch first, from the first line"
    pinned = {line.partition("==")[0] for line in lines}
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in lines)
    assert _required().union(*(_required(extra) for extra in EXTRAS)) <= pinned
