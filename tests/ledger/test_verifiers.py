"""OpenSSL and libsodium accept the same signatures, and a libsodium that would not is left aside."""

import hashlib
import sys
from collections.abc import Iterator
from functools import lru_cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import SignatureError, SigningKey, signing, verify_strict
from tests.kat.vectors import folder, load

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]


def add(a: Point, b: Point) -> Point:
    """The sum of two points of edwards25519 (RFC 8032 §5.1.4, affine)."""
    k = D * a[0] * b[0] * a[1] * b[1]
    x, y = a[0] * b[1] + b[0] * a[1], a[1] * b[1] + a[0] * b[0]
    return x * pow(1 + k, -1, P) % P, y * pow(1 - k, -1, P) % P


@lru_cache(maxsize=64)
def times(n: int, point: Point) -> Point:
    total = (0, 1)
    for bit in reversed(range(n.bit_length())):
        total = add(total, total)
        if n >> bit & 1:
            total = add(total, point)
    return total


def encoded(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def even_point(y: int) -> Point:
    """The point with this y and an even x (RFC 8032 §5.1.3)."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    x = x if x * x % P == square else x * pow(2, (P - 1) // 4, P) % P
    assert x * x % P == square
    return (P - x if x & 1 else x), y


BASE = even_point(4 * pow(5, -1, P) % P)
ORDER_8 = even_point(2707385501144840649318225287225658788936804267575313519463743609750303402022)


def secret(seed: bytes) -> tuple[int, bytes]:
    """The scalar and the prefix of a seed (RFC 8032 §5.1.5)."""
    digest = hashlib.sha512(seed).digest()
    return int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | 1 << 254, digest[32:]


def scalar(*parts: bytes) -> int:
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % L


def signed(seed: bytes, message: bytes, *, shift_r: int = 0, shift_a: int = 0) -> tuple[bytes, bytes]:
    """Public key and signature, with so many times the point of order 8 added to R and to A."""
    a, prefix = secret(seed)
    public = encoded(add(times(a, BASE), times(shift_a, ORDER_8)))
    r = scalar(prefix, message)
    point = encoded(add(times(r, BASE), times(shift_r, ORDER_8)))
    return public, point + ((r + scalar(point, public, message) * a) % L).to_bytes(32, "little")


def verdicts(public: bytes, signature: bytes, message: bytes) -> set[bool]:
    """What `verify_strict` decides with each library."""
    found = set()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("openssl", "libsodium"):
            patch.setattr(signing, "verifier", lambda name=name: name)
            try:
                verify_strict(public, signature, message)
                found.add(True)
            except SignatureError:
                found.add(False)
    return found


@pytest.fixture
def fresh_choice() -> Iterator[None]:
    """`verifier` decides anew in this test, and again after it."""
    signing.verifier.cache_clear()
    yield
    signing.verifier.cache_clear()


@pytest.fixture
def _both() -> None:
    pytest.importorskip("nacl")


def test_the_arithmetic_of_this_file_signs_as_rfc_8032() -> None:
    key = SigningKey.from_seed(bytes(32))
    assert signed(bytes(32), b"cofactor") == (key.public, key.sign(b"cofactor"))
    assert times(8, ORDER_8) == (0, 1) != times(4, ORDER_8)


@pytest.mark.external
@pytest.mark.usefixtures("_both")
def test_both_decide_the_edge_cases_of_cctv_alike() -> None:
    cases = load(folder("cctv") / "ed25519" / "ed25519vectors.json")
    accepted = 0
    for case in cases:
        found = verdicts(bytes.fromhex(case["key"]), bytes.fromhex(case["sig"]), case["msg"].encode())
        assert len(found) == 1, case
        accepted += found == {True}
    assert (len(cases), accepted) == (914, 43)


@pytest.mark.external
@pytest.mark.usefixtures("_both")
def test_both_decide_wycheproof_as_it_says() -> None:
    vectors = load(folder("wycheproof") / "testvectors_v1" / "ed25519_test.json")
    for group in vectors["testGroups"]:
        public = bytes.fromhex(group["publicKey"]["pk"])
        for case in group["tests"]:
            found = verdicts(public, bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"]))
            assert found == {case["result"] == "valid"}, case


@pytest.mark.usefixtures("_both")
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300), st.integers(0, 96 * 8 - 1), st.binary(max_size=40))
def test_both_accept_what_was_signed_and_refuse_any_changed_bit(
    seed: bytes, message: bytes, bit: int, other: bytes
) -> None:
    key = SigningKey.from_seed(seed)
    signature = key.sign(message)
    assert verdicts(key.public, signature, message) == {True}
    changed = bytearray(key.public + signature)
    changed[bit // 8] ^= 1 << bit % 8
    assert verdicts(bytes(changed[:32]), bytes(changed[32:]), message) == {False}
    assert verdicts(key.public, signature, other) == {other == message}


@pytest.mark.usefixtures("_both")
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=64, max_size=64))
def test_both_decide_random_bytes_alike(public: bytes, signature: bytes) -> None:
    assert verdicts(public, signature, b"message") == {False}


@pytest.mark.usefixtures("_both")
def test_both_decide_low_order_parts_of_key_and_r_alike() -> None:
    accepted = 0
    for attempt in range(4):
        for shift_a in range(8):
            for shift_r in range(8):
                message = b"%d" % attempt
                found = verdicts(*signed(bytes([attempt]) * 32, message, shift_a=shift_a, shift_r=shift_r), message)
                assert len(found) == 1, (attempt, shift_a, shift_r)
                accepted += found == {True}
    assert 4 < accepted < 128  # without the cofactor about one in eight holds; with it all 256 would


@pytest.mark.usefixtures("_both")
def test_both_refuse_an_s_that_is_not_reduced() -> None:
    public, signature = signed(bytes(32), b"message")
    unreduced = int.from_bytes(signature[32:], "little") + L
    assert verdicts(public, signature[:32] + unreduced.to_bytes(32, "little"), b"message") == {False}


@pytest.mark.usefixtures("_both")
def test_the_signatures_that_probe_libsodium_are_what_they_are_said_to_be() -> None:
    from ledger import _sodium

    made = [signed(bytes(32), _sodium._MESSAGE, shift_r=shift) for shift in range(8)]
    assert {public for public, _ in made} == {_sodium._PUBLIC}
    assert b"".join(signature for _, signature in made) == _sodium._SIGNATURES


def with_the_cofactor(public: bytes, signature: bytes, message: bytes) -> bool:
    """8SB = 8R + 8kA, as some builds of libsodium decide (RFC 8032 §5.1.7 allows it)."""
    points = []
    for part in (signature[:32], public):
        number = int.from_bytes(part, "little")
        x, y = even_point(number & (2**255 - 1))
        points.append((P - x if number >> 255 else x, y))
    s, k = int.from_bytes(signature[32:], "little"), scalar(signature[:32], public, message)
    return s < L and times(8 * s, BASE) == add(times(8, points[0]), times(8 * k, points[1]))


@pytest.mark.usefixtures("_both", "fresh_choice")
def test_a_libsodium_that_uses_the_cofactor_is_left_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    from ledger import _sodium

    monkeypatch.setattr(_sodium, "verifies", with_the_cofactor)
    assert with_the_cofactor(*signed(bytes(32), b"m", shift_r=3), b"m")
    assert signing.verifier() == "openssl"


@pytest.mark.usefixtures("_both", "fresh_choice")
def test_a_libsodium_that_takes_an_unreduced_s_is_left_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    from ledger import _sodium

    real = _sodium.verifies

    def reducing(public: bytes, signature: bytes, message: bytes) -> bool:
        s = int.from_bytes(signature[32:], "little") % L
        return real(public, signature[:32] + s.to_bytes(32, "little"), message)

    monkeypatch.setattr(_sodium, "verifies", reducing)
    assert signing.verifier() == "openssl"


@pytest.mark.usefixtures("_both", "fresh_choice")
def test_a_libsodium_that_refuses_everything_is_left_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    from ledger import _sodium

    monkeypatch.setattr(_sodium, "verifies", lambda *_: False)
    assert signing.verifier() == "openssl"


@pytest.mark.usefixtures("_both", "fresh_choice")
def test_libsodium_is_asked_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    from ledger import _sodium

    assert signing.verifier() == "libsodium"
    public, signature = signed(bytes(32), b"message")
    verify_strict(public, signature, b"message")
    monkeypatch.setattr(_sodium, "verifies", lambda *_: False)
    with pytest.raises(SignatureError, match="does not verify"):
        verify_strict(public, signature, b"message")


@pytest.mark.usefixtures("fresh_choice")
def test_openssl_is_asked_without_libsodium(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nacl", "nacl.bindings", "nacl.exceptions"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "ledger._sodium", raising=False)
    monkeypatch.delattr("ledger._sodium", raising=False)
    assert signing.verifier() == "openssl"
    public, signature = signed(bytes(32), b"message")
    verify_strict(public, signature, b"message")
    with pytest.raises(SignatureError, match="does not verify"):
        verify_strict(public, signature, b"other")


@pytest.mark.parametrize("name", ["openssl", "libsodium"])
def test_the_checks_before_hold_with_either(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "libsodium":
        pytest.importorskip("nacl")
    monkeypatch.setattr(signing, "verifier", lambda: name)
    public, signature = signed(bytes(32), b"message")
    encoding = min(signing.LOW_ORDER_ENCODINGS)
    with pytest.raises(SignatureError, match="public key is of low order"):
        verify_strict(encoding, signature, b"message")
    with pytest.raises(SignatureError, match="R of low order"):
        verify_strict(public, encoding + signature[32:], b"message")
    with pytest.raises(SignatureError, match="32 bytes"):
        verify_strict(public, signature + b"\0", b"message")
