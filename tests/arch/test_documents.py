"""Links between documents lead somewhere, and the paths and modules they name exist."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.arch.sources import ROOT, documents

DOCUMENTS = documents()
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|^\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
WIDTH = 120
OUR_PATH = re.compile(r"`((?:ledger|protocols|secure_bfl|tests|docs|bench)/[\w./-]*)`")


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(text: str) -> set[str]:
    """All anchors of a document; a repeated heading gets -1, -2, and so on."""
    seen: dict[str, int] = {}
    found = set()
    for heading in re.findall(r"^#{1,6} +(.+?)\s*#*$", FENCE.sub("", text), re.MULTILINE):
        name = slug(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading))
        count = seen.get(name, 0)
        seen[name] = count + 1
        found.add(f"{name}-{count}" if count else name)
    return found


def broken_links(path: Path, text: str) -> Iterator[str]:
    """Relative links of a document to files or headings that are not there."""
    for inline, reference in LINK.findall(FENCE.sub("", text)):
        link = inline or reference
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        target, _, fragment = link.partition("#")
        file = (path.parent / unquote(target)).resolve() if target else path
        if file != path and not (file.exists() and file.is_relative_to(ROOT)):
            yield link
        elif fragment and file.suffix == ".md":
            there = text if file == path else file.read_text(encoding="utf-8")
            if fragment not in anchors(there):
                yield link


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_and_paths_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert list(broken_links(path, text)) == []
    assert [name for name in OUR_PATH.findall(FENCE.sub("", text)) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    "text",
    [
        "[a](no-such-file.md)",
        "[a](#no-such-heading)",
        "[a]: no-such-file.md",
        "[a](../../outside.md)",
        '[a](nope.md "t")',
    ],
)
def test_the_check_sees_a_broken_link(text: str) -> None:
    assert list(broken_links(ROOT / "README.md", text))


@pytest.mark.parametrize(
    "text", ["[a](pyproject.toml)", "# One `two` (three)\n[a](#one-two-three)", "[a](https://example.org/x)"]
)
def test_the_check_passes_a_good_link(text: str) -> None:
    assert list(broken_links(ROOT / "README.md", text)) == []


def long_lines(text: str) -> Iterator[str]:
    """Lines of prose that are too long; not tables, headings, printed code, or what a link's target makes long."""
    for line in FENCE.sub("", text).splitlines():
        prose = not line.startswith(("|", "#", "    "))
        if prose and len(re.sub(r"\]\([^)]*\)", "]", line)) > WIDTH:
            yield line


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_prose_is_wrapped(path: Path) -> None:
    assert list(long_lines(path.read_text(encoding="utf-8"))) == []


def test_the_check_sees_a_long_line() -> None:
    words = "a word " * 20
    assert list(long_lines(words)) == [words]
    assert list(long_lines(f"- {words}\n")) == [f"- {words}"]
    for other in (
        f"| {words} |",
        f"## {words}",
        f"    {words}",
        f"```\n{words}\n```",
        f"[a]({'b' * WIDTH})",
        "a" * WIDTH,
    ):
        assert list(long_lines(other)) == []


def test_every_document_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {
        (index.parent / (inline or reference).partition("#")[0]).resolve()
        for inline, reference in LINK.findall(index.read_text(encoding="utf-8"))
    }
    missing = [
        path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md")) if path not in linked
    ]
    assert missing in ([], ["docs/README.md"])


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [path.name[:4] for path in sorted((ROOT / "docs" / "adr").glob("*.md"))]
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]
