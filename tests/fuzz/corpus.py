"""Inputs that are kept: small files under `corpus/<target>/`, named after what the target must do with them."""

from collections.abc import Iterator
from pathlib import Path

__all__ = ["CORPUS", "kept", "kept_for"]

CORPUS = Path(__file__).parent / "corpus"


def kept() -> Iterator[tuple[str, Path]]:
    """Every kept input with its target's name. A name begins with `refused-` or `accepted-`."""
    for path in sorted(CORPUS.glob("*/*.bin")):
        yield path.parent.name, path


def kept_for(target: str) -> tuple[bytes, ...]:
    """The kept inputs of one target."""
    return tuple(path.read_bytes() for name, path in kept() if name == target)
