"""Numbers and tables for people, and numbers for JSON, which has no infinity."""

import math
from collections.abc import Sequence

__all__ = ["columns", "pairs", "real", "shown"]

UNBOUNDED = "unbounded"


def real(value: float) -> float | str:
    """A number for JSON; what is not a usable bound is `unbounded`."""
    return float(f"{value:.9g}") if math.isfinite(value) else UNBOUNDED


def shown(value: float) -> str:
    """A number for people: four significant digits, or `unbounded`."""
    return f"{value:.4g}" if math.isfinite(value) else UNBOUNDED


def pairs(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Lines of a name and what there is to say about it, aligned."""
    width = max(len(name) for name, _ in rows) + 2
    return [f"{name:<{width}}{text}" for name, text in rows]


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, numbers to the right."""
    cells = [list(head), *map(list, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
