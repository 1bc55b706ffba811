"""A model or a report that was changed after publication is found: the file, and in the report the field."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from ledger import SignatureError
from secure_bfl.auditor import Auditor
from secure_bfl.layout import PublicFolder
from secure_bfl.report import Signature, compare, encode, html, markdown
from secure_bfl.signatory import signer_of

from .commands import call, rejected, verify
from .conftest import FinishedRun
from .published import flip


def test_the_model_file(public: PublicFolder) -> None:
    data = public.model.read_bytes()
    for at in (8, len(data) // 2, len(data) - 1):
        flip(public.model, at=at)
        assert rejected(public.path) == ["model.safetensors: is not the model that follows from the ledger"]
        public.model.write_bytes(data)
    public.model.write_bytes(data + b"\0")
    assert "more than the" in rejected(public.path)[0]
    public.model.unlink()
    assert rejected(public.path) == ["model.safetensors: is not the model that follows from the ledger"]


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every number, text and flag of a report, with the way to it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index))
    else:
        yield path, value


def replaced(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    """A copy of a report with one leaf replaced."""
    if not path:
        return new
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def other_than(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value * 1.001 + 1
    return f"{value}x"


def shown(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)[1:]


def test_every_part_of_the_report(public: PublicFolder) -> None:
    report = json.loads(public.report_json.read_bytes())
    found = list(leaves(report))
    assert len(found) > 100
    for path in {path[0]: path for path, _ in found if path[0] != "signature"}.values():
        value = next(v for p, v in found if p == path)
        public.report_json.write_bytes(encode(replaced(report, path, other_than(value))))
        errors = rejected(public.path)
        assert len(errors) == 1
        assert errors[0].startswith(f"budget-report.json: does not follow from the ledger: {shown(path)}: ledger says")


def test_every_leaf_of_the_report(finished: FinishedRun) -> None:
    """The ledger contradicts every figure that was changed; the signature, every word of its own block."""
    public = PublicFolder.of(finished.out)
    report = json.loads(public.report_json.read_bytes())
    transcript = Auditor(public).verify(with_report=False).transcript
    assert transcript is not None
    assert signer_of(report, transcript.replay) == "operator"
    signed = 0
    for path, value in leaves(report):
        changed = replaced(report, path, other_than(value))
        with pytest.raises(SignatureError):
            signer_of(changed, transcript.replay)
        if path[0] == "signature":
            signed += 1
        else:
            assert [found.partition(":")[0] for found in compare(report, changed)] == [shown(path)]
    assert signed > len(Signature.__slots__)


def test_a_signature_that_is_not_the_signer_s(public: PublicFolder) -> None:
    """The figures are the ledger's: what is told is that nobody signed this."""
    report = json.loads(public.report_json.read_bytes())
    for path, new, told in (
        (("signature", "purpose"), "anything", "the report is not what operator signed: it was changed after signing"),
        (("signature", "value"), "00" * 64, "the report is not what operator signed: it was changed after signing"),
        (("signature", "signer"), "nobody", "the report is signed by nobody, who is no party of this ledger"),
        (("signature", "role"), "member", "operator signed the report as member, which it is not"),
    ):
        forged = replaced(report, path, new)
        public.report_json.write_bytes(encode(forged))
        public.report_markdown.write_text(markdown(forged))
        public.report_html.write_text(html(forged))
        assert rejected(public.path) == [f"budget-report.json: {told}"]


def test_a_report_whose_signature_was_taken_off_is_noted(public: PublicFolder) -> None:
    report = json.loads(public.report_json.read_bytes())
    del report["signature"]
    public.report_json.write_bytes(encode(report))
    public.report_markdown.write_text(markdown(report))
    public.report_html.write_text(html(report))
    answer = verify(public.path)
    told = "is not signed: its figures follow from the ledger, nobody vouches for the rest"
    assert (answer.code, answer.errors(), answer.notes()) == (0, [], [f"budget-report.json: {told}"])


def test_the_report_in_other_bytes(public: PublicFolder) -> None:
    report = json.loads(public.report_json.read_bytes())
    public.report_json.write_text(json.dumps(report))
    assert rejected(public.path) == ["budget-report.json: is not in canonical form"]
    for data, told in (
        (b"{", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"1" * 10_000, "is not JSON"),
        (b"[]", "does not follow from the ledger"),
        (b'{"budget": NaN}', "does not follow from the ledger"),
    ):
        public.report_json.write_bytes(data)
        assert told in rejected(public.path)[0]
    public.report_json.write_bytes(b"")
    os.truncate(public.report_json, 1 << 40)
    assert "more than the" in rejected(public.path)[0]


def test_a_report_that_is_missing(public: PublicFolder) -> None:
    public.report_json.unlink()
    assert rejected(public.path) == [
        "budget-report.json: is missing; `secure-bfl report` writes it from the ledger",
    ]
    assert call("report", public.path).code == 0
    assert verify(public.path).code == 0


@pytest.mark.parametrize("name", ["budget-report.md", "budget-report.html"])
def test_a_page_that_says_something_else(public: PublicFolder, name: str) -> None:
    path = public.path / name
    text = path.read_text()
    assert "7.9" in text
    path.write_text(text.replace("7.9", "0.9", 1))
    assert rejected(public.path) == [f"{name}: is not what budget-report.json says"]
    path.unlink()
    assert rejected(public.path) == [f"{name}: is not what budget-report.json says"]


def test_no_report_is_written_for_a_run_that_does_not_verify(public: PublicFolder) -> None:
    flip(public.model)
    before = public.report_json.read_bytes()
    answer = call("report", public.path, "--unsigned")
    assert answer.code == 1
    assert "does not verify, so no report is written: model.safetensors: is not the model" in answer.err
    assert public.report_json.read_bytes() == before
