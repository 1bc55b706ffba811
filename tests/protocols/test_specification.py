"""The specifications have the sections that the code cites, name functions that exist, and print the right numbers."""

import importlib
import re
from pathlib import Path

import pytest

from protocols.suites import MAX_MODULUS_BITS, RING_DEGREES, suite
from protocols.tckks import EncryptedVector, NoiseBudget

ROOT = Path(__file__).resolve().parents[2]
SPEC = ROOT / "docs" / "spec"
CITED = re.compile(r"Spec: (\w+) §([\d.]+\d|\d)(?:\.)? ?\((v\d+)\)")
CITATIONS = sorted(
    {
        (match[1], match[2], match[3], path.relative_to(ROOT).as_posix())
        for path in (ROOT / "protocols").rglob("*.py")
        for match in CITED.finditer(path.read_text(encoding="utf-8"))
    }
)
DOCUMENTS = ("conventions", "packing", "wire", "tckks")
MODULES = (
    "protocols.grid", "protocols.digits", "protocols.packing", "protocols.suites", "protocols.ring", "protocols.errors",
    "protocols.tckks.wire", "protocols.tckks.sharing", "protocols.tckks.keys", "protocols.tckks.keygen",
    "protocols.tckks.noise", "protocols.tckks.encrypt", "protocols.tckks.aggregate", "protocols.tckks.decrypt",
    "protocols.tckks.dryrun",
)  # fmt: skip


def text(document: str) -> str:
    return (SPEC / f"{document}.md").read_text(encoding="utf-8")


def test_the_code_cites_the_specifications() -> None:
    assert {document for document, *_ in CITATIONS} >= {"packing", "tckks", "wire"}
    assert len(CITATIONS) >= 15


@pytest.mark.parametrize(("document", "section", "version", "path"), CITATIONS, ids=str)
def test_every_cited_section_exists(document: str, section: str, version: str, path: str) -> None:
    words = text(document)
    assert re.match(rf"# {document}, version {version[1:]}\b", words), path
    assert re.search(rf"^#+ {re.escape(section)}\.? ", words, re.MULTILINE), f"{path} cites {document} §{section}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_section_that_a_specification_cites_exists(document: str) -> None:
    for other, section in re.findall(r"\b(packing|wire|tckks) §([\d.]*\d)", text(document)):
        assert re.search(rf"^#+ {re.escape(section)}\.? ", text(other), re.MULTILINE), f"{other} §{section}"
    for section in re.findall(r"(?<!packing )(?<!wire )(?<!tckks )(?<!\*document\* )§([\d.]*\d)", text(document)):
        assert re.search(rf"^#+ {re.escape(section)}\.? ", text(document), re.MULTILINE), f"§{section}"


@pytest.mark.parametrize("document", ["packing", "wire", "tckks"])
def test_the_functions_named_in_a_specification_exist(document: str) -> None:
    modules = [importlib.import_module(name) for name in MODULES]
    named = re.findall(r" {6,}((?:`?[A-Za-z_]+(?:\.[a-z_0-9]+)?`?(?:, )?)+)$", text(document), re.MULTILINE)
    names = [name.strip("` ") for line in named for name in line.split(",")]
    assert len(names) >= 5
    for name in names:
        first, _, rest = name.partition(".")
        homes = [getattr(module, first) for module in modules if hasattr(module, first)]
        assert homes, name
        assert not rest or any(hasattr(home, rest) for home in homes), name


def test_the_table_of_suites() -> None:
    rows = re.findall(
        r"^\| `(tckks-\d+-v1)` \| (\d+) \| .* \| (\d+) \| 17 \| (\d+) \| (\d+) \|$", text("tckks"), re.MULTILINE
    )
    assert rows == [
        (s.name, str(d), str(s.data_modulus.bit_length()), str(s.smudging_bits), str(MAX_MODULUS_BITS[d]))
        for d, s in ((d, suite(d)) for d in RING_DEGREES)
    ]


def test_numbers_in_the_text() -> None:
    assert f"std = {NoiseBudget(suite(8192), 10, 10).error_std:.1f}" in text("tckks")
    assert f"44 + {EncryptedVector.encoded_size(suite(8192), 1) - 44}" in text("wire")
