"""Ed25519: Wycheproof, and the edge cases of C2SP/CCTV on which libraries disagree."""

import importlib
from typing import Any

import pytest

from ledger import SignatureError, verify_strict
from tests.kat.vectors import folder, load

pytestmark = pytest.mark.external


def _accepts(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        verify_strict(public, signature, message)
    except SignatureError:
        return False
    return True


def _cctv() -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = load(folder("cctv") / "ed25519" / "ed25519vectors.json")
    assert len(cases) == 914
    return cases


def test_wycheproof_signatures_are_decided_as_the_vectors_say() -> None:
    vectors = load(folder("wycheproof") / "testvectors_v1" / "ed25519_test.json")
    checked = 0
    for group in vectors["testGroups"]:
        public = bytes.fromhex(group["publicKey"]["pk"])
        for case in group["tests"]:
            accepted = _accepts(public, bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"]))
            assert accepted == (case["result"] == "valid"), case
            checked += 1
    assert checked == vectors["numberOfTests"] == 151


def test_edge_cases_with_low_order_points_are_refused() -> None:
    refused = {"low_order_A", "low_order_R", "non_canonical_A", "non_canonical_R", "low_order_residue"}
    accepted = 0
    for case in _cctv():
        flags = set(case["flags"] or ())
        verdict = _accepts(bytes.fromhex(case["key"]), bytes.fromhex(case["sig"]), case["msg"].encode())
        assert verdict == (not flags & refused), case
        accepted += verdict
    assert accepted == 43


def test_every_edge_case_is_decided_as_libsodium_decides_it() -> None:
    signing = pytest.importorskip("nacl.signing")
    bad_signature = importlib.import_module("nacl.exceptions").BadSignatureError
    for case in _cctv():
        public, signature, message = bytes.fromhex(case["key"]), bytes.fromhex(case["sig"]), case["msg"].encode()
        try:
            signing.VerifyKey(public).verify(message, signature)
            oracle = True
        except bad_signature:
            oracle = False
        assert _accepts(public, signature, message) == oracle, case
