"""What must not stand in the source: sources of chance that nobody passed in, unsafe formats, unfinished work."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.arch.sources import PACKAGES, ROOT, SOURCES, Module, python_files

MAX_LINES = 500
BANNED_MODULES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "random", "shelve"}
BANNED_NAMES = {"make_context_public"}
# Attributes of torch that draw from its global generator, or read pickles.
TORCH_ATTRIBUTES = {
    "Generator", "bernoulli", "default_generator", "load", "manual_seed", "multinomial", "normal", "poisson", "rand",
    "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm", "save", "seed",
}  # fmt: skip
# Tensors filled in place from the global generator.
FILLED_AT_RANDOM = {
    "bernoulli_", "cauchy_", "exponential_", "geometric_", "kaiming_normal_", "kaiming_uniform_", "log_normal_",
    "normal_", "random_", "uniform_", "xavier_normal_", "xavier_uniform_",
}  # fmt: skip
VAGUE = {"common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}
PEERS = "secure_bfl.bench.privacy_peers"  # measures what others call, numpy's noise among it
UNFINISHED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")


def faults(tree: ast.Module, package: str) -> Iterator[str]:
    """Everything in one module that is banned from the product."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    if alias.name.partition(".")[0] in BANNED_MODULES or alias.name.startswith("numpy.random"):
                        yield f"imports {alias.name}"
            case ast.ImportFrom(module=str(module), level=0, names=names):
                if module.partition(".")[0] in BANNED_MODULES or module.startswith("numpy.random"):
                    yield f"imports from {module}"
                for alias in names:
                    whole = f"{module}.{alias.name}"
                    if whole == "numpy.random" or (module == "torch" and alias.name in TORCH_ATTRIBUTES):
                        yield f"imports {whole}"
                    if package != "secure_bfl" and whole in {"os.urandom", "os.getrandom"}:
                        yield f"imports {whole}: randomness is an argument here"
            case ast.Attribute(value=ast.Name(id="np" | "numpy"), attr="random"):
                yield "uses numpy.random"
            case ast.Attribute(value=ast.Name(id="torch"), attr=attribute) if attribute in TORCH_ATTRIBUTES:
                yield f"uses torch.{attribute}"
            case ast.Attribute(attr=attribute) if attribute in FILLED_AT_RANDOM:
                yield f"uses {attribute}"
            case ast.Attribute(value=ast.Name(id="os"), attr="urandom" | "getrandom") if package != "secure_bfl":
                yield "draws randomness: it is an argument here"
            case ast.ExceptHandler(type=None):
                yield "catches everything"
            case ast.ExceptHandler(type=ast.Name(id="Exception" | "BaseException"), body=[ast.Pass()]):
                yield "swallows everything"
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Constant(value=str(name)) if name in BANNED_NAMES:
                yield f"names {name}"
            case ast.Raise(exc=ast.Name(id="NotImplementedError") | ast.Call(func=ast.Name(id="NotImplementedError"))):
                yield "is not finished"


@pytest.mark.parametrize("module", SOURCES, ids=lambda module: module.name)
def test_nothing_banned(module: Module) -> None:
    found = list(faults(module.tree, module.name.partition(".")[0]))
    assert found == (["uses numpy.random"] if module.name == PEERS else [])


@pytest.mark.parametrize(
    "text",
    [
        "import random",
        "import pickle",
        "from pickle import loads",
        "import numpy.random",
        "from numpy import random",
        "from numpy.random import default_rng",
        "np.random.default_rng()",
        "numpy.random.normal()",
        "torch.randn(3)",
        "torch.manual_seed(0)",
        "torch.load(path)",
        "from torch import randn",
        "weights.normal_()",
        "nn.init.xavier_uniform_(w)",
        "os.urandom(32)",
        "from os import urandom",
        "try:\n    f()\nexcept:\n    g()",
        "try:\n    f()\nexcept Exception:\n    pass",
        "context.make_context_public()",
        "getattr(context, 'make_context_public')()",
        "raise NotImplementedError",
        "raise NotImplementedError('later')",
    ],
)
def test_the_check_sees(text: str) -> None:
    assert list(faults(ast.parse(text), "protocols"))


def test_only_the_edge_draws_randomness() -> None:
    assert list(faults(ast.parse("os.urandom(32)"), "secure_bfl")) == []


ALL_FILES = [*python_files(*PACKAGES, "tests", "bench", "docs")]


@pytest.mark.parametrize("path", ALL_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_modules_are_small_well_named_and_finished(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MAX_LINES, f"over {MAX_LINES} lines: divide it by reason to change"
    assert not VAGUE & set(path.relative_to(ROOT).with_suffix("").parts), "name it after what it is about"
    assert not UNFINISHED.search(text)


@pytest.mark.parametrize("module", SOURCES, ids=lambda module: module.name)
def test_every_module_says_what_it_is(module: Module) -> None:
    assert ast.get_docstring(module.tree)
