"""transparency-dev/merkle test data: RFC 6962 inclusion and consistency proofs, good and bad."""

from base64 import b64decode
from typing import Any

import pytest

from ledger import ConsistencyError, ProofError, verify_consistency, verify_inclusion
from tests.kat.vectors import folder, load

pytestmark = pytest.mark.external


def _proof(case: dict[str, Any]) -> list[bytes]:
    return [b64decode(item) for item in case["proof"] or []]


def _inclusion_holds(case: dict[str, Any]) -> bool:
    leaf, root = b64decode(case["leafHash"] or ""), b64decode(case["root"] or "")
    try:
        verify_inclusion(leaf, case["leafIdx"], case["treeSize"], _proof(case), root)
    except ProofError:
        return False
    return True


def _consistency_holds(case: dict[str, Any]) -> bool:
    old, new = b64decode(case["root1"] or ""), b64decode(case["root2"] or "")
    try:
        verify_consistency(case["size1"], case["size2"], _proof(case), old, new)
    except ConsistencyError:
        return False
    return True


def test_inclusion_proofs_are_decided_as_the_vectors_say() -> None:
    files = sorted((folder("merkle") / "testdata" / "inclusion").rglob("*.json"))
    assert len(files) == 98
    wrong = [str(path) for path in files if _inclusion_holds(case := load(path)) == case["wantErr"]]
    assert wrong == []


def test_consistency_proofs_are_decided_as_the_vectors_say() -> None:
    files = sorted((folder("merkle") / "testdata" / "consistency").rglob("*.json"))
    assert len(files) == 98
    # the set wants some proofs from size 0 to pass; here a proof from the empty tree proves nothing and is refused
    cases = {str(path): load(path) for path in files}
    wrong = [
        name for name, case in cases.items() if _consistency_holds(case) != (case["size1"] > 0 and not case["wantErr"])
    ]
    assert wrong == []
