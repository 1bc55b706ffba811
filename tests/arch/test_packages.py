"""Every package is typed and says which of its names are public."""

import ast
import tomllib

import pytest

from tests.arch.sources import PACKAGES, ROOT, SOURCES, Module


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_every_folder_of_source_is_a_package() -> None:
    folders = {module.path.parent for module in SOURCES}
    assert folders == {module.path.parent for module in SOURCES if module.is_package}


def test_data_files_are_packaged() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["*"]
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and path.suffix not in {".py", ".pyc", ".nbi", ".nbc"}:
                assert any(path.match(pattern) for pattern in patterns), f"{path} would be missing from a wheel"


def public_names(tree: ast.Module) -> list[str] | None:
    """The literal `__all__` of a module, or None."""
    for node in tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id="__all__")], value=value)
                | ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.expr() as value)
            ):
                return [str(name) for name in ast.literal_eval(value)]
    return None


def bound_names(tree: ast.Module) -> set[str]:
    """Names that exist at the top of a module, inside its `if` and `try` blocks too."""
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names.update(alias.asname or alias.name.partition(".")[0] for alias in aliases)
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
    return names


@pytest.mark.parametrize("module", [module for module in SOURCES if module.is_public], ids=lambda module: module.name)
def test_public_names_are_listed(module: Module) -> None:
    listed = public_names(module.tree)
    assert listed is not None, "no literal __all__"
    assert len(listed) == len(set(listed))
    bound = bound_names(module.tree)
    if module.is_package:
        bound |= {path.stem for path in module.path.parent.iterdir()}
    assert [name for name in listed if name not in bound and "__getattr__" not in bound] == []
    assert [name for name in listed if name.startswith("_") and name != "__version__"] == []
