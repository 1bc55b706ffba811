"""Sealed seeds: they open for one key and one purpose; whoever sealed garbage is named."""

import copy
import pickle

import pytest

from protocols.errors import KeyGenerationError
from secure_bfl.sealing import OVERHEAD_BYTES, PUBLIC_KEY_BYTES, SealingKey, check_public_key, seal

KEY, OTHER = SealingKey.from_seed(bytes(range(32))), SealingKey.from_seed(bytes(32))
SEED = bytes(range(100, 132))


def test_round_trip() -> None:
    sealed = seal(SEED, KEY.public, info=b"piece 1")
    assert len(sealed) == len(SEED) + OVERHEAD_BYTES == 32 + 1136
    assert SEED not in sealed
    assert KEY.open(sealed, info=b"piece 1", sender="member-1") == SEED
    assert seal(SEED, KEY.public, info=b"piece 1") != sealed, "every sealing is fresh"
    assert KEY.open(seal(b"", KEY.public, info=b""), info=b"", sender="member-1") == b""


def test_keys_follow_from_the_seed() -> None:
    assert SealingKey.from_seed(bytes(32)).public == OTHER.public != KEY.public
    assert len(KEY.public) == PUBLIC_KEY_BYTES


@pytest.mark.parametrize("info", [b"", b"piece 2", b"piece 1 "])
def test_another_purpose_is_refused(info: bytes) -> None:
    sealed = seal(SEED, KEY.public, info=b"piece 1")
    with pytest.raises(KeyGenerationError, match="member-3 sealed something that does not open") as caught:
        KEY.open(sealed, info=info, sender="member-3")
    assert caught.value.culprits == ("member-3",)


def test_another_key_is_refused() -> None:
    sealed = seal(SEED, KEY.public, info=b"piece 1")
    with pytest.raises(KeyGenerationError) as caught:
        OTHER.open(sealed, info=b"piece 1", sender="member-2")
    assert caught.value.culprits == ("member-2",)


def test_garbage_is_refused() -> None:
    sealed = seal(SEED, KEY.public, info=b"piece 1")
    flipped = [sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in (0, 600, 1100, 1125, len(sealed) - 1)]
    for wrong in (b"", b"short", sealed[:-1], sealed + b"\x00", bytes(len(sealed)), bytes(32_768), *flipped):
        with pytest.raises(KeyGenerationError, match="member-2") as caught:
            KEY.open(wrong, info=b"piece 1", sender="member-2")
        assert caught.value.culprits == ("member-2",)


def test_keys_have_a_length() -> None:
    check_public_key(KEY.public)
    for wrong in (b"", KEY.public[:-1], KEY.public + b"\x00", bytes(32)):
        with pytest.raises(ValueError, match=f"a sealing key is {PUBLIC_KEY_BYTES} bytes"):
            check_public_key(wrong)
        with pytest.raises(ValueError, match="a sealing key is"):
            seal(SEED, wrong, info=b"")
    with pytest.raises(ValueError, match="a sealing key's seed is 32 bytes"):
        SealingKey.from_seed(bytes(31))


def test_keys_that_cannot_be_are_refused_before_use() -> None:
    not_reduced = b"\xff" * (PUBLIC_KEY_BYTES - 32) + KEY.public[-32:]
    for wrong in (not_reduced, KEY.public[:-32] + bytes(32), KEY.public[:-32] + b"\x01" + bytes(31)):
        with pytest.raises(ValueError):  # the library words it
            check_public_key(wrong)


def test_secret_hygiene() -> None:
    assert repr(KEY) == "SealingKey(<secret>)"
    for action in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            action(KEY)
