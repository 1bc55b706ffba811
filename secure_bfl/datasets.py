"""The data sets the command line knows. Nothing is downloaded: they ship with packages.

The only importer of `sklearn`. Preprocessing uses each row alone, or public constants, so it costs no privacy. Rows of
images have length 4: beside them, the bias, whose input is 1, takes little of each record's clipped gradient.
"""

import gzip
import hashlib
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split

from protocols.arrays import Float64Array, Int64Array

from .errors import DatasetError
from .records import Records
from .scattering import PROJECTED, features
from .training import DATASETS

__all__ = ["DATASETS", "Dataset", "load"]

FASHION_FOLDER: Final = Path("/usr/share/datasets/fashion-mnist")
_MAX_IDX_BYTES: Final = 60_000 * 784 + 16
_ROW_LENGTH: Final = 4.0

# Public ranges of the 30 measurements of the breast cancer data (ten each: mean, standard error, worst), fixed by hand
# from its published documentation: rows are mapped to about [-1, 1] by them, not by anything computed from the records.
_CANCER_LOW: Final = (
    *(5, 10, 30, 100, 0.05, 0, 0, 0, 0.1, 0.05),
    *(0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    *(5, 10, 30, 100, 0.05, 0, 0, 0, 0.1, 0.05),
)
_CANCER_HIGH: Final = (
    *(25, 40, 170, 2000, 0.15, 0.3, 0.4, 0.2, 0.3, 0.1),
    *(2, 4, 15, 200, 0.02, 0.1, 0.1, 0.05, 0.05, 0.01),
    *(35, 50, 250, 4000, 0.25, 1, 1, 0.3, 0.6, 0.2),
)


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Training records, split over the clients, and public held-out records."""

    shares: tuple[Records, ...]
    held_out: Records


def load(name: str, clients: int, *, split: int = 0, cache: Path | None = None) -> Dataset:
    """Load a data set and deal its training records out to the clients, evenly and always in the same way.

    `split` chooses what is held out, where a data set comes without a test part. Scattering features take minutes to
    compute: they are kept in the folder `cache`, if there is one.

    Raises:
        DatasetError: unknown, or not installed; the message says how to install it. Or the cache is broken.
    """
    if name == "digits":
        pixels, labels = load_digits(return_X_y=True)
        train, test = _split(_centred_rows(pixels / 16.0), labels, split)
    elif name == "breast-cancer":
        values, labels = load_breast_cancer(return_X_y=True)
        low, high = np.array(_CANCER_LOW), np.array(_CANCER_HIGH)
        train, test = _split(2 * (values - low) / (high - low) - 1, labels, split)
    elif name == "fashion-mnist":
        train, test = (_fashion(part) for part in ("train", "t10k"))
    elif name == "fashion-mnist-scattering":
        train, test = (_scattered(part, cache) for part in ("train", "t10k"))
    else:
        raise DatasetError(f"unknown dataset {name!r}; choose one of {', '.join(DATASETS)}")
    order = _public_order(len(train.labels))
    shares = tuple(Records(train.features[part], train.labels[part]) for part in np.array_split(order, clients))
    return Dataset(shares, test)


def _public_order(n: int) -> Int64Array:
    """A fixed shuffle, the same everywhere: the order of hash values."""
    stream = hashlib.shake_256(b"secure-bfl/datasets/v1").digest(8 * n)
    return np.argsort(np.frombuffer(stream, dtype="<u8"), kind="stable").astype(np.int64)


def _centred_rows(values: Float64Array) -> Float64Array:
    """Each row minus its own mean, scaled to length 4."""
    centred = values - values.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    result: Float64Array = _ROW_LENGTH * centred / np.where(length == 0, 1.0, length)
    return result


def _split(values: Float64Array, labels: Int64Array, split: int) -> tuple[Records, Records]:
    parts = train_test_split(values, labels.astype(np.int64), test_size=0.2, stratify=labels, random_state=split)
    return Records(parts[0], parts[2]), Records(parts[1], parts[3])


def _fashion(part: str) -> Records:
    images, labels = _images(part)
    return Records(_centred_rows(images.reshape(len(images), -1).astype(np.float64) / 255.0), labels)


def _scattered(part: str, cache: Path | None) -> Records:
    images, labels = _images(part)
    if cache is None:
        rows = features(images)
    else:
        path = cache / f"scattering-v1-{hashlib.sha256(images.tobytes()).hexdigest()[:32]}.npy"
        if not path.exists():
            cache.mkdir(parents=True, exist_ok=True)
            begun = path.with_suffix(f".{os.getpid()}.tmp")
            with begun.open("wb") as file:
                np.save(file, features(images), allow_pickle=False)
            begun.replace(path)
        rows = _cached(path, len(images))
    return Records(_ROW_LENGTH * rows.astype(np.float64), labels)


def _cached(path: Path, count: int) -> NDArray[np.float32]:
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as exc:
        raise DatasetError(f"{path} cannot be read ({exc}): delete it, and it will be computed again") from exc
    if not isinstance(rows, np.ndarray) or rows.dtype != np.float32 or rows.shape != (count, PROJECTED):
        raise DatasetError(f"{path} does not hold the features of {count} images: delete it")
    return rows


def _images(part: str) -> tuple[NDArray[np.uint8], Int64Array]:
    images = _idx(FASHION_FOLDER / f"{part}-images-idx3-ubyte.gz", 3)
    labels = _idx(FASHION_FOLDER / f"{part}-labels-idx1-ubyte.gz", 1)
    if len(images) != len(labels):
        raise DatasetError(f"fashion-mnist in {FASHION_FOLDER}: {len(images)} images of {part}, {len(labels)} labels")
    return images, labels.astype(np.int64)


def _idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read a gzipped IDX file of bytes, with a bound on what it may unpack to."""
    try:
        with gzip.open(path) as file:
            data = file.read(_MAX_IDX_BYTES + 1)
    except FileNotFoundError as exc:
        raise DatasetError(
            f"fashion-mnist is not installed ({path} is missing); on Debian: apt-get install dataset-fashion-mnist"
        ) from exc
    except (OSError, EOFError, zlib.error) as exc:
        raise DatasetError(f"{path} cannot be read: {exc}") from exc
    head = 4 + 4 * dimensions
    if len(data) > _MAX_IDX_BYTES or len(data) < head or data[:4] != bytes([0, 0, 8, dimensions]):
        raise DatasetError(f"{path} is not an IDX file of bytes in {dimensions} dimensions")
    shape = struct.unpack(f">{dimensions}I", data[4:head])
    if int(np.prod(shape, dtype=object)) != len(data) - head:
        raise DatasetError(f"{path}: its header and its length disagree")
    return np.frombuffer(data, np.uint8, offset=head).reshape(shape)
