"""Keys keep their secret, and verification is strict."""

import copy
import pickle

import pytest

from ledger import SignatureError, SigningKey, verify_strict
from ledger.signing import LOW_ORDER_ENCODINGS, weak

SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")  # RFC 8032 §7.1, test 1
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
P = 2**255 - 19


def _on_curve(y: int) -> bool:
    d = -121665 * pow(121666, -1, P)
    x2 = (y * y - 1) * pow(d * y * y + 1, -1, P) % P
    return pow(x2, (P - 1) // 2, P) in (0, 1)


def _double(y: int) -> int:
    """The y coordinate of twice a point, from y alone: -x^2 + y^2 = 1 + d x^2 y^2."""
    d = -121665 * pow(121666, -1, P)
    x2 = (y * y - 1) * pow(d * y * y + 1, -1, P) % P
    return (y * y + x2) * pow(1 - d * x2 * y * y, -1, P) % P


def test_rfc_8032_test_1() -> None:
    key = SigningKey.from_seed(SEED)
    assert key.public == PUBLIC
    assert key.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e0652249015")
    verify_strict(PUBLIC, key.sign(b""), b"")


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33), "x" * 32])
def test_a_seed_is_32_bytes(seed: bytes) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        SigningKey.from_seed(seed)


def test_a_key_does_not_print_pickle_or_copy() -> None:
    key = SigningKey.from_seed(SEED)
    assert "<secret>" in repr(key)
    assert SEED.hex() not in repr(key)
    for act in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="does not pickle or copy"):
            act(key)


def test_changed_message_signature_or_key_is_refused() -> None:
    key, other = SigningKey.from_seed(SEED), SigningKey.from_seed(bytes(32))
    signature = key.sign(b"text")
    verify_strict(key.public, signature, b"text")
    for public, bad, message in (
        (key.public, signature, b"texu"),
        (key.public, signature[:-1] + bytes([signature[-1] ^ 1]), b"text"),
        (other.public, signature, b"text"),
    ):
        with pytest.raises(SignatureError, match="does not verify"):
            verify_strict(public, bad, message)


@pytest.mark.parametrize(("public", "signature"), [(31, 64), (33, 64), (32, 63), (32, 65), (0, 0)])
def test_sizes_are_checked(public: int, signature: int) -> None:
    with pytest.raises(SignatureError, match="32 bytes"):
        verify_strict(bytes(public), bytes(signature), b"")


def test_the_low_order_encodings_are_all_points_of_order_up_to_8() -> None:
    assert len(LOW_ORDER_ENCODINGS) == 14
    for encoding in LOW_ORDER_ENCODINGS:
        y = int.from_bytes(encoding, "little") % 2**255 % P
        assert _on_curve(y)
        assert _double(_double(_double(y))) == 1  # eight times the point is the neutral element


@pytest.mark.parametrize("encoding", sorted(LOW_ORDER_ENCODINGS))
def test_low_order_points_are_refused_as_key_and_as_r(encoding: bytes) -> None:
    with pytest.raises(SignatureError, match="public key is of low order"):
        verify_strict(encoding, encoding + bytes(32), b"any message verifies under such a key without this check")
    with pytest.raises(SignatureError, match="R of low order"):
        verify_strict(PUBLIC, encoding + bytes(32), b"")


def test_keys_that_are_not_canonical_are_weak() -> None:
    assert not weak(PUBLIC)
    for excess in range(19):
        assert weak((P + excess).to_bytes(32, "little"))
    with pytest.raises(SignatureError, match="not canonical"):
        verify_strict((P + 3).to_bytes(32, "little"), bytes([5]) * 64, b"")


def test_a_key_that_is_no_point_is_refused() -> None:
    no_point = next(y for y in range(2, 50) if not _on_curve(y)).to_bytes(32, "little")
    with pytest.raises(SignatureError):
        verify_strict(no_point, SigningKey.from_seed(SEED).sign(b""), b"")
