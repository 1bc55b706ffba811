"""Noise and samples come from integers and a keystream: nothing in the product draws floating-point noise."""

import ast
from collections.abc import Iterator

import pytest

from tests.arch.sources import SOURCES, Module

# Functions and methods of torch, numpy, scipy and the standard library that draw from a continuous law.
DRAWN = {
    "bernoulli", "betavariate", "dropout", "expovariate", "exponential", "gauss", "laplace", "lognormvariate",
    "multivariate_normal", "normal", "normal_", "normalvariate", "poisson", "rand", "rand_like", "randn", "randn_like",
    "random_", "rvs", "standard_normal", "uniform", "uniform_",
}  # fmt: skip
RANDOM_MODULES = {"numpy.random", "random", "scipy.stats", "torch.distributions"}
# Of Opacus, everything that adds noise, samples or accounts by itself; the accountants are cross-checks.
OPACUS = {
    "opacus.data_loader",
    "opacus.optimizers",
    "opacus.privacy_engine",
    "opacus.schedulers",
    "opacus.utils.uniform_sampler",
}
OPACUS_NAMES = {"DPDataLoader", "DPOptimizer", "PrivacyEngine", "UniformWithReplacementSampler"}
# What others do is timed beside what we do; none of it touches a record or a release.
MEASURES_OTHERS = {"secure_bfl.bench.privacy_peers"}


def faults(tree: ast.Module) -> Iterator[str]:
    """Every place where a module could draw noise in floating point."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (f"imports {a.name}" for a in names if _is_random(a.name))
            case ast.ImportFrom(module=str(module), level=0, names=names):
                for alias in names:
                    whole = f"{module}.{alias.name}"
                    drawn = module.partition(".")[0] in {"numpy", "torch"} and alias.name in DRAWN
                    if drawn or _is_random(module) or _is_random(whole) or alias.name in OPACUS_NAMES:
                        yield f"imports {whole}"
            case ast.Attribute(value=ast.Name(id="np" | "numpy"), attr="random") | ast.Attribute(attr="distributions"):
                yield f"uses {ast.unparse(node)}"
            case ast.Call(func=ast.Attribute(attr=name)) if name in DRAWN | OPACUS_NAMES:
                yield f"calls {name}"
            case ast.Call(func=ast.Name(id=name)) if (
                name in OPACUS_NAMES
            ):  # a bare name of DRAWN was imported: see above
                yield f"calls {name}"


def _is_random(module: str) -> bool:
    return any(module == name or module.startswith(name + ".") for name in RANDOM_MODULES | OPACUS)


@pytest.mark.parametrize(
    "module", [m for m in SOURCES if m.name not in MEASURES_OTHERS], ids=lambda module: module.name
)
def test_no_float_noise(module: Module) -> None:
    assert list(faults(module.tree)) == []


@pytest.mark.parametrize(
    "text",
    [
        "torch.normal(0.0, 1.0, (3,))",
        "noise = torch.randn_like(gradient)",
        "gradient.normal_()",
        "np.random.default_rng().normal()",
        "rng.standard_normal(5)",
        "rng.normal(size=5)",
        "from numpy.random import Generator",
        "import scipy.stats",
        "from scipy import stats\nstats.norm.rvs(3)",
        "torch.distributions.Normal(0, 1)",
        "from torch.distributions import Normal",
        "from torch import normal",
        "from torch.nn.init import uniform_",
        "from opacus import PrivacyEngine",
        "from opacus.optimizers import DPOptimizer",
        "import opacus.optimizers",
        "from opacus import optimizers",
        "opacus.PrivacyEngine()",
        "import random",
    ],
)
def test_the_check_sees(text: str) -> None:
    assert list(faults(ast.parse(text)))


@pytest.mark.parametrize(
    "text",
    [
        "from opacus.grad_sample import GradSampleModule",
        "from opacus.accountants import RDPAccountant",
        "law.sample(5, rand)",
    ],
)
def test_the_check_lets_pass(text: str) -> None:
    assert list(faults(ast.parse(text))) == []
