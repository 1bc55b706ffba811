"""RFC 8949 appendix A: what the restricted profile allows decodes to the stated value, everything else is refused."""

from base64 import b64decode
from typing import Any

import pytest

from ledger import DecodeError, decode, encode
from tests.kat.vectors import folder, load

pytestmark = pytest.mark.external


def _allowed(value: Any) -> bool:
    """Whether a decoded JSON value, known not to be a float or a tag, has a spelling in the profile."""
    if isinstance(value, list):
        return all(_allowed(item) for item in value)
    if isinstance(value, dict):
        return value == {}  # JSON keys are texts; maps with integer keys come as diagnostic notation
    return isinstance(value, int | str) and not isinstance(value, bool)


def test_appendix_a() -> None:
    cases = load(folder("cbor") / "appendix_a.json")
    assert len(cases) == 82
    taken = 0
    for case in cases:
        data = b64decode(case["cbor"])
        assert data.hex() == case["hex"]
        major = data[0] >> 5
        if case["roundtrip"] and "decoded" in case and major < 6 and _allowed(case["decoded"]):
            assert decode(data) == case["decoded"]
            assert encode(case["decoded"]) == data
        elif case["roundtrip"] and "diagnostic" in case and major == 2:
            assert decode(data) == bytes.fromhex(case["diagnostic"][2:-1])
        elif case["hex"] == "a201020304":
            assert decode(data) == {1: 2, 3: 4}
        else:
            with pytest.raises(DecodeError):
                decode(data)
            continue
        taken += 1
    assert taken == 31
