"""The specifications have the sections that the code cites, name functions that exist, and print the right numbers."""

import importlib
import math
import re
from fractions import Fraction
from pathlib import Path

import pytest

from protocols.suites import MAX_MODULUS_BITS, RING_DEGREES, suite
from protocols.tckks import EncryptedVector, NoiseBudget, PartialDecryption, fingerprint_bytes, share_among
from protocols.tckks.sharing import MAX_MEMBERS, MAX_REPLICATED_PIECES
from protocols.tckks.wire import HEADER_BYTES

ROOT = Path(__file__).resolve().parents[2]
SPEC = ROOT / "docs" / "spec"
PITFALLS = (ROOT / "docs" / "security" / "pitfalls.md").read_text(encoding="utf-8")
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
    "protocols.sampling", "protocols.tckks.wire", "protocols.tckks.sharing", "protocols.tckks.keys",
    "protocols.tckks.keygen", "protocols.tckks.noise", "protocols.tckks.encrypt", "protocols.tckks.aggregate",
    "protocols.tckks.decrypt", "protocols.tckks.crosscheck", "protocols.tckks.dryrun", "protocols.tckks.shamir",
    "protocols.tckks.subshare", "protocols.tckks.dealing", "protocols.tckks.degree", "protocols.tckks.founding",
    "protocols.tckks.handover", "protocols.tckks.vector", "protocols.tckks.compat", "protocols.tckks.stream",
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
    cited = re.findall(r"(?:\b(packing|wire|tckks|round) |(\*document\* ))?§([\d.]*\d)", text(document))
    for other, placeholder, section in cited:
        if not placeholder:
            heading = rf"^#+ {re.escape(section)}\.? "
            assert re.search(heading, text(other or document), re.MULTILINE), f"{other} §{section}"


@pytest.mark.parametrize("document", ["packing", "wire", "tckks"])
def test_the_functions_named_in_a_specification_exist(document: str) -> None:
    modules = [importlib.import_module(name) for name in MODULES]
    one = r"(?:`[A-Za-z_.0-9]+`|[A-Za-z_.0-9]+)"
    named = re.findall(rf"→ ({one}(?:, {one})*)", text(document))
    assert len(named) == text(document).count("→")
    names = [name.strip("` ") for line in named for name in line.split(",")]
    assert len(names) >= 5
    for name in names:
        first, _, rest = name.partition(".")
        homes = [getattr(module, first) for module in modules if hasattr(module, first)]
        assert homes, name
        assert not rest or any(hasattr(home, rest) for home in homes), name


def bits(primes: tuple[int, ...]) -> str:
    """Sizes of primes as the table of suites writes them: runs of three or more as a product."""
    sizes = [q.bit_length() for q in primes]
    run = next((i for i, size in enumerate(sizes) if size != sizes[0]), len(sizes))
    parts = [f"{run} x {sizes[0]}", *map(str, sizes[run:])] if run > 2 else [str(size) for size in sizes]
    return ", ".join(parts)


def test_the_table_of_suites() -> None:
    row = r"^\| `(tckks-\d+-v1)` \| (\d+) \| ([\d, x]+) \| ([\d, ]+) \| (\d+) \| 17 \| (\d+) \| (\d+) \|$"
    expected = [
        (
            s.name,
            str(degree),
            bits(s.answer_primes),
            bits(s.data_primes[-s.dropped :]),
            str(s.data_modulus.bit_length()),
            str(s.smudging_bits),
            str(MAX_MODULUS_BITS[degree]),
        )
        for degree, s in ((degree, suite(degree)) for degree in RING_DEGREES)
    ]
    assert re.findall(row, text("tckks"), re.MULTILINE) == expected


def test_the_table_of_bytes() -> None:
    row = r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \|$"
    expected = []
    for degree in RING_DEGREES:
        preset = suite(degree)
        for width in (20, 23):
            layout = NoiseBudget.of(preset, share_among(5, 3), 128).layout(width)
            sizes = (EncryptedVector.encoded_size(preset, 1), PartialDecryption.encoded_size(preset, 1))
            each = [f"{(size - HEADER_BYTES) / layout.values_per_block:.2f}" for size in sizes]
            expected.append((str(degree), str(width), str(layout.per_coefficient), str(layout.values_per_block), *each))
    assert re.findall(row, text("packing"), re.MULTILINE) == expected


def test_numbers_in_the_text() -> None:
    small, large = suite(8192), suite(16384)
    budget = NoiseBudget.of(small, share_among(5, 3), 10)
    words = text("tckks")
    assert f"std = {budget.error_std:.1f}" in words
    assert f"`B = {budget.noise_bound}`, `s = {budget.scale_shift}`, `p_b = {budget.plaintext_bits}`" in words
    assert f"while `C(n, t-1) <= {MAX_REPLICATED_PIECES}`" in words
    assert f"`2 <= t <= n <= {MAX_MEMBERS}`" in words
    assert [s.smudging_bits - s.dropped_modulus.bit_length() for s in (small, large)] == [3, 2]
    assert f"44 + {EncryptedVector.encoded_size(small, 1) - 44}" in text("wire")
    assert f"44 + {PartialDecryption.encoded_size(small, 1) - 44}" in text("wire")
    assert f"{fingerprint_bytes(small)} bytes for a piece" in text("wire")


def test_a_colluding_inactive_member_sees_a_fraction_of_the_error() -> None:
    """The number of tckks §8.4: what the answers of the honest active members give the error modulo."""
    active, coalition = {1, 2, 3, 6, 9}, {4, 5, 7, 8}
    denominators = []
    for j in active:
        others = [Fraction(k, k - j) for k in active - {j}] + [Fraction(i - j, i) for i in coalition]
        denominators.append(math.prod(others, start=Fraction(1)).denominator)
    assert f"{math.lcm(*denominators):,}" in text("tckks")


def test_every_pitfall_names_a_test_that_exists() -> None:
    rows = re.findall(r"^\| .+ \| (?:critical|high|medium) \| .+ \| (.+) \|$", PITFALLS, re.MULTILINE)
    assert len(rows) >= 20
    assert len(rows) == len(re.findall(r"^\| .+ \| (?:critical|high|medium) \|", PITFALLS, re.MULTILINE))
    for row in rows:
        path, name = row.strip("`").split("::")
        assert f"\ndef {name}(" in (ROOT / path).read_text(encoding="utf-8"), row
