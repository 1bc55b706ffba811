"""The keystream: known bytes, exact ranges, no byte twice, and no way to print or copy it."""

import copy
import pickle

import numpy as np
import pytest

from protocols import sampling
from protocols.sampling import Keystream

SEED = bytes(range(32))


def test_rfc_8439_appendix_a1_vector_1() -> None:
    expected = (
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
    )
    assert Keystream(bytes(32)).read(64).hex() == expected


def test_pieces_are_one_stream_without_repeats() -> None:
    whole = Keystream(SEED).read(1000)
    stream = Keystream(SEED)
    assert b"".join(stream.read(n) for n in (1, 0, 63, 64, 65, 807)) == whole
    blocks = [whole[i : i + 16] for i in range(0, 992, 16)]
    assert len(set(blocks)) == len(blocks)


def test_words_are_little_endian_and_read_only() -> None:
    words = Keystream(SEED).uint64(3)
    assert words.tobytes() == Keystream(SEED).read(24)
    assert words.dtype == np.uint64
    with pytest.raises(ValueError, match="read-only"):
        words[0] = 0


def test_purposes_and_seeds_give_different_streams() -> None:
    streams = [Keystream(SEED), Keystream(SEED, purpose=b"a"), Keystream(SEED, purpose=b"b"), Keystream(bytes(32))]
    assert len({s.read(32) for s in streams}) == 4


@pytest.mark.parametrize("bound", [1, 2, 3, 1000, 1 << 32, (1 << 63) + 1, (1 << 64) - 1, 1 << 64])
def test_below_is_in_range_and_has_the_length(bound: int) -> None:
    values = Keystream(SEED).below(1000, bound)
    assert values.shape == (1000,)
    assert int(values.max()) < bound
    if bound > 1:
        assert int(values.max()) > 0.9 * bound - 1


def test_below_rejects_words_instead_of_folding_them() -> None:
    # Just above half the range: without rejection the low values would come out twice as often as the high ones.
    bound = (1 << 63) + (1 << 62)
    values = Keystream(SEED).below(8000, bound)
    low_third = int((values < np.uint64(1 << 62)).sum())
    assert abs(low_third - 8000 / 3) < 5 * (8000 * 2 / 9) ** 0.5
    words = Keystream(SEED).uint64(8000)
    assert (values[:1000] == words[words < np.uint64(bound)][:1000]).all()


def test_below_is_uniform() -> None:
    counts = np.bincount(Keystream(SEED).below(60_000, 6).astype(np.int64), minlength=6)
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 30  # chi-square, 5 degrees of freedom: p = 1e-5


def test_secret_hygiene() -> None:
    stream = Keystream(SEED)
    assert repr(stream) == "Keystream(<secret>)"
    for action in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="secret"):
            action(stream)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Keystream(b"short")
    with pytest.raises(ValueError, match="12 bytes"):
        Keystream(SEED, purpose=b"thirteen byte")
    with pytest.raises(TypeError, match="bytes"):
        Keystream("x" * 32)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="negative"):
        Keystream(SEED).read(-1)
    with pytest.raises(ValueError, match="negative"):
        Keystream(SEED).below(-1, 3)
    for bound in (0, -1, (1 << 64) + 1):
        with pytest.raises(ValueError, match="bound"):
            Keystream(SEED).below(1, bound)


def test_the_end_of_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sampling.MAX_KEYSTREAM_BYTES == 1 << 37
    with pytest.raises(ValueError, match="new seed"):
        Keystream(SEED).read((1 << 37) + 1)
    monkeypatch.setattr(sampling, "MAX_KEYSTREAM_BYTES", 100)
    stream = Keystream(SEED)
    stream.read(99)
    with pytest.raises(ValueError, match="new seed"):
        stream.read(2)
    assert len(stream.read(1)) == 1
