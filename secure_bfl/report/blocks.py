"""The kinds of text a report is made of, before any markup."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .wording import number

__all__ = ["Block", "Figure", "Items", "Section", "Table", "Words", "pairs", "rows_of", "text"]


@dataclass(frozen=True, slots=True)
class Words:
    """One paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Items:
    """A list of sentences."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of finished strings.

    `numeric` are the columns set flush right, `code` those set in a fixed width, `keep` those whose words stay on one
    line. With `cards`, a narrow screen shows each row as a card, its cells one below the other.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    code: frozenset[int] = frozenset()
    keep: frozenset[int] = frozenset()
    cards: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture with its caption, the table of the same numbers, and the names of its axes for narrow screens."""

    svg: str
    caption: str
    table: Table
    axes: str


Block = Words | Items | Table | Figure


def text(value: Any) -> str:
    """Write any of the report's values for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "not stated"
    if isinstance(value, list):
        return ", ".join(text(item) for item in value) or "none"
    return number(value)


def rows_of(rows: Sequence[Mapping[str, Any]], *keys: str) -> tuple[tuple[str, ...], ...]:
    """Pick `keys` of every row, in words."""
    return tuple(tuple(text(row[key]) for key in keys) for row in rows)


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what is under it; `anchor` is its name in links."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


def pairs(caption: str, rows: Iterable[tuple[str, Any]], *, code: bool = False) -> Table:
    """A table of names and values."""
    cells = tuple((name, text(value)) for name, value in rows)
    return Table(caption, ("what", "value"), cells, code=frozenset({1}) if code else frozenset())
