"""A signed report is its signer's, whole and unchanged, or an error says who did what."""

import copy
import json
import math
from typing import Any

import jsonschema
import pytest

from ledger import SignatureError, SigningKey
from secure_bfl.report import Signature, check_signature, encode, schema, sign
from secure_bfl.report.signature import PACKAGES
from tests.secure_bfl.report.made_up import KEY, PARTIES, Party, full_batch, signed

OTHER = SigningKey.from_seed(bytes(32))


def copied() -> Any:
    return json.loads(encode(signed()))


def test_a_signed_report_is_its_signers() -> None:
    block = check_signature(copied(), PARTIES)
    assert (block.signer, block.role, block.purpose) == ("operator", "operator", "triage of scans")
    assert set(block.made_with) <= set(PACKAGES)
    assert "dp-accounting" in block.made_with
    jsonschema.Draft202012Validator(schema()).validate(signed())


def test_signing_changes_nothing_else_and_can_be_repeated() -> None:
    report = full_batch()
    before = copy.deepcopy(report)
    first = sign(report, KEY, signer="operator", role="operator")
    assert report == before
    assert {name: value for name, value in first.items() if name != "signature"} == report
    again = sign(first, KEY, signer="operator", role="operator", purpose="another")
    assert check_signature(again, PARTIES).purpose == "another"
    assert sign(report, KEY, signer="operator", role="operator") == first


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key))]
    if isinstance(value, list):
        return [leaf for key, inner in enumerate(value) for leaf in leaves(inner, (*path, key))]
    return [path]


def test_any_change_breaks_it() -> None:
    for path in leaves(signed())[::7]:
        report = copied()
        inner = report
        for step in path[:-1]:
            inner = inner[step]
        value = inner[path[-1]]
        inner[path[-1]] = f"{value}x" if isinstance(value, str) or value is None else value + 1
        with pytest.raises(SignatureError):
            check_signature(report, PARTIES)


def test_a_removed_or_added_part_breaks_it() -> None:
    report = copied()
    del report["utility"]
    with pytest.raises(SignatureError, match="changed after signing") as caught:
        check_signature(report, PARTIES)
    assert caught.value.culprits == ("operator",)
    with pytest.raises(SignatureError, match="changed after signing"):
        check_signature({**copied(), "more": 1}, PARTIES)


def test_a_signature_is_by_a_party_with_its_key_and_role() -> None:
    with pytest.raises(SignatureError, match="not signed"):
        check_signature(full_batch(), PARTIES)
    with pytest.raises(SignatureError, match="who is no party of this ledger"):
        check_signature(copied(), {})
    with pytest.raises(SignatureError, match="another key than the ledger has"):
        check_signature(copied(), {"operator": Party(OTHER)})
    forged = sign(full_batch(), OTHER, signer="operator", role="operator")
    with pytest.raises(SignatureError, match="another key than the ledger has"):
        check_signature(forged, PARTIES)
    forged["signature"]["public_key"] = KEY.public.hex()
    with pytest.raises(SignatureError, match="changed after signing"):
        check_signature(forged, PARTIES)
    member = sign(full_batch(), KEY, signer="operator", role="member")
    with pytest.raises(SignatureError, match="signed the report as member, which it is not"):
        check_signature(member, PARTIES)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("algorithm", "none", "is not Ed25519"),
        ("value", "0" * 127, "malformed: value is 128"),
        ("value", "G" * 128, "malformed: value is 128"),
        ("value", None, "malformed: value is 128"),
        ("public_key", "00", "malformed: public_key is 64"),
        ("supersedes", "yes", "malformed: supersedes is 32"),
        ("signer", "", "malformed: signer must be"),
        ("signer", ["operator"], "malformed: signer must be"),
        ("purpose", "x" * 2001, "malformed: purpose must be"),
        ("controller", "a\nb", "malformed: controller must be"),
        ("made_with", [], "malformed: made_with maps"),
        ("made_with", {str(i): "1" for i in range(65)}, "malformed: made_with maps"),
        ("made_with", {"numpy": 2}, "a version of made_with"),
        ("made_with", {"": "2"}, "a package of made_with"),
    ],
)
def test_a_malformed_block_is_refused(name: str, value: Any, words: str) -> None:
    report = copied()
    report["signature"][name] = value
    with pytest.raises(SignatureError, match=words):
        check_signature(report, PARTIES)


@pytest.mark.parametrize("block", ["signed", [], {}, {"signer": "operator"}])
def test_a_block_has_its_fields(block: Any) -> None:
    with pytest.raises(SignatureError, match="has the fields signer,"):
        Signature.of({**full_batch(), "signature": block})


def test_a_report_without_canonical_form_is_refused() -> None:
    report = {**copied(), "utility": math.nan}
    with pytest.raises(SignatureError, match="no canonical form"):
        check_signature(report, PARTIES)
    report["utility"] = "\ud800"
    with pytest.raises(SignatureError, match="no canonical form"):
        check_signature(report, PARTIES)


def test_sign_refuses_what_it_could_not_check() -> None:
    with pytest.raises(ValueError, match="purpose must be"):
        sign(full_batch(), KEY, signer="operator", role="operator", purpose="")
    with pytest.raises(ValueError, match="supersedes is 32"):
        sign(full_batch(), KEY, signer="operator", role="operator", supersedes="the last one")
