"""Data sets: dealt out whole, always in the same way; what is missing or malformed is said, within bounded memory."""

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from protocols.dp import Mode
from secure_bfl import datasets
from secure_bfl.datasets import DATASETS, load
from secure_bfl.errors import DatasetError
from secure_bfl.records import Records
from secure_bfl.training import settings

BUILT_IN = ("digits", "breast-cancer")


def rows(records: tuple[Records, ...] | list[Records]) -> list[bytes]:
    """Every record, as bytes, sorted."""
    return sorted(
        features.tobytes() + label.tobytes()
        for share in records
        for features, label in zip(share.features, share.labels, strict=True)
    )


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("clients", [2, 3, 10])
def test_shares_are_even_disjoint_and_cover_everything(name: str, clients: int) -> None:
    dataset, whole = load(name, clients), load(name, 1).shares[0]
    training = settings(name, Mode.LOCAL)
    sizes = [len(share.labels) for share in dataset.shares]
    assert len(sizes) == clients
    assert max(sizes) - min(sizes) <= 1
    assert sum(sizes) == training.records
    assert rows(list(dataset.shares)) == rows([whole]), "each record in exactly one share"
    for share in (*dataset.shares, dataset.held_out):
        assert share.features.shape == (len(share.labels), *training.record_shape)
        assert set(share.labels.tolist()) == set(range(training.classes)), "every client sees every class"
        assert np.isfinite(share.features).all()
        assert not share.features.flags.writeable
    held_out = set(rows([dataset.held_out]))
    assert len(dataset.held_out.labels) == pytest.approx(training.records / 4, abs=2)
    assert len(held_out & set(rows([whole]))) <= 1, "held out (the data themselves may hold a row twice)"


@pytest.mark.parametrize("name", BUILT_IN)
def test_loading_is_deterministic(name: str) -> None:
    one, two = load(name, 3), load(name, 3)
    for a, b in zip((*one.shares, one.held_out), (*two.shares, two.held_out), strict=True):
        assert np.array_equal(a.features, b.features)
        assert np.array_equal(a.labels, b.labels)


def test_digits_are_centred_rows_of_length_four() -> None:
    features = load("digits", 1).shares[0].features
    assert np.allclose(features.mean(axis=1), 0)
    assert np.allclose(np.linalg.norm(features, axis=1), 4)


def test_a_row_without_content_stays_zero() -> None:
    assert np.array_equal(datasets._centred_rows(np.ones((2, 5))), np.zeros((2, 5)))


def test_cancer_is_scaled_by_public_ranges_only() -> None:
    whole = load("breast-cancer", 1)
    features = np.concatenate([whole.shares[0].features, whole.held_out.features])
    assert np.abs(features).max() < 10
    assert (np.abs(features) <= 1).mean() > 0.9
    assert np.abs(features).max() > 1, "not scaled to the records' own range"


@pytest.mark.parametrize("name", BUILT_IN)
def test_another_split_holds_out_other_records(name: str) -> None:
    one, two = load(name, 2), load(name, 2, split=1)
    assert len(one.held_out.labels) == len(two.held_out.labels)
    assert set(rows([one.held_out])) != set(rows([two.held_out]))
    assert rows([*one.shares, one.held_out]) == rows([*two.shares, two.held_out])


def test_the_order_is_mixed() -> None:
    order = datasets._public_order(1000)
    assert sorted(order.tolist()) == list(range(1000))
    assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.1


@pytest.mark.parametrize("name", ["", "mnist", "../digits", "Digits"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(DatasetError, match=f"choose one of {', '.join(DATASETS)}"):
        load(name, 2)


# Fashion-MNIST: files of the system, in IDX format.


def idx(array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with small, right files."""
    monkeypatch.setattr(datasets, "FASHION_FOLDER", tmp_path)
    for part, count in (("train", 12), ("t10k", 5)):
        images = (np.arange(count * 28 * 28) % 251).astype(np.uint8).reshape(count, 28, 28)
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        labels = (np.arange(count) % 10).astype(np.uint8)
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return tmp_path


def test_fashion_is_read(folder: Path) -> None:
    dataset = load("fashion-mnist", 3)
    assert [len(share.labels) for share in dataset.shares] == [4, 4, 4]
    assert dataset.held_out.features.shape == (5, 784)
    assert sorted(np.concatenate([s.labels for s in dataset.shares]).tolist()) == [0, 0, 1, 1, *range(2, 10)]
    assert np.allclose(np.linalg.norm(dataset.held_out.features, axis=1), 4)


def test_fashion_that_is_not_installed(folder: Path) -> None:
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DatasetError, match=r"t10k-labels.* is missing.*apt-get install dataset-fashion-mnist"):
        load("fashion-mnist", 2)


def test_images_and_labels_must_be_as_many(folder: Path) -> None:
    labels = folder / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(idx(np.zeros(11, np.uint8))))
    with pytest.raises(DatasetError, match="12 images of train, 11 labels"):
        load("fashion-mnist", 2)


def test_scattering_features_are_computed_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "features"
    computed = load("fashion-mnist-scattering", 3)
    first = load("fashion-mnist-scattering", 3, cache=cache)
    assert len(list(cache.iterdir())) == 2, "no file is left half written"
    monkeypatch.setattr(datasets, "features", None)  # from here on nothing can be computed
    again = load("fashion-mnist-scattering", 3, cache=cache)
    for a, b, c in zip(computed.shares, first.shares, again.shares, strict=True):
        assert np.array_equal(a.features, b.features)
        assert np.array_equal(b.features, c.features)
        assert np.array_equal(b.labels, c.labels)
    assert computed.held_out.features.shape == (5, 768)
    assert np.allclose(np.linalg.norm(computed.held_out.features, axis=1), 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nothing", "cannot be read"),
        (np.zeros((12, 768), np.float64), "does not hold the features of 12 images"),
        (np.zeros((11, 768), np.float32), "does not hold the features of 12 images"),
        (np.array([[None]], dtype=object), "cannot be read"),
    ],
    ids=("noise", "doubles", "too few", "objects"),
)
def test_a_broken_cache_is_refused(
    folder: Path, tmp_path: Path, content: "bytes | np.ndarray[tuple[int, ...], np.dtype[np.generic]]", message: str
) -> None:
    cache = tmp_path / "features"
    load("fashion-mnist-scattering", 3, cache=cache)
    for path in cache.iterdir():
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            np.save(path, content, allow_pickle=True)
    with pytest.raises(DatasetError, match=message):
        load("fashion-mnist-scattering", 3, cache=cache)


GOOD = idx(np.zeros((2, 28, 28), np.uint8))
COMPRESSED = gzip.compress(idx((np.arange(1568) * 7 % 256).astype(np.uint8).reshape(2, 28, 28)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"not gzip at all", "cannot be read"),
        (COMPRESSED[:-5], "cannot be read"),
        (COMPRESSED[:-8] + bytes(8), "cannot be read"),
        (COMPRESSED[:12] + b"\xff" * 20 + COMPRESSED[32:], "cannot be read"),
        (gzip.compress(b""), "is not an IDX file of bytes in 3 dimensions"),
        (gzip.compress(GOOD[:10]), "is not an IDX file"),
        (gzip.compress(b"\x00\x00\x08\x01" + GOOD[4:]), "is not an IDX file"),
        (gzip.compress(b"\x00\x00\x0d\x03" + GOOD[4:]), "is not an IDX file"),
        (gzip.compress(GOOD[:-1]), "its header and its length disagree"),
        (gzip.compress(GOOD + b"\x00"), "its header and its length disagree"),
        (gzip.compress(GOOD[:4] + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1)), "header and its length"),
    ],
    ids=range(11),
)
def test_malformed_files(folder: Path, data: bytes, message: str) -> None:
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=message) as caught:
        load("fashion-mnist", 2)
    assert str(path) in str(caught.value)


def test_a_bomb_is_not_unpacked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "_MAX_IDX_BYTES", 1 << 16)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(GOOD[:4] + bytes(64 << 20), compresslevel=1))
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match="is not an IDX file"):
            load("fashion-mnist", 2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20
