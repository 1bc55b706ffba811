"""The project's own source, parsed: what the checks in this folder read."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

__all__ = ["PACKAGES", "ROOT", "SOURCES", "Module", "documents", "python_files"]

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("ledger", "protocols", "secure_bfl")


@dataclass(frozen=True)
class Module:
    """One module of the product: its dotted name, its file and its text."""

    name: str
    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> "Module":
        """Read a file below `ROOT`."""
        parts = path.relative_to(ROOT).with_suffix("").parts
        return cls(".".join(parts[:-1] if parts[-1] == "__init__" else parts), path, path.read_text(encoding="utf-8"))

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text, filename=str(self.path))

    @property
    def is_package(self) -> bool:
        """Whether this is an `__init__`."""
        return self.path.name == "__init__.py"

    @property
    def is_public(self) -> bool:
        """Whether no part of the name starts with an underscore."""
        return not any(part.startswith("_") for part in self.name.split("."))


def python_files(*folders: str) -> Iterator[Path]:
    """Every Python file below these folders of the checkout."""
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def documents() -> list[Path]:
    """Every Markdown file of the checkout that is part of the project."""
    below = (path for folder in ("docs", "tests", "bench", *PACKAGES) for path in sorted((ROOT / folder).rglob("*.md")))
    return [*sorted(ROOT.glob("*.md")), *below]


SOURCES = tuple(Module.read(path) for path in python_files(*PACKAGES))
