"""Records: shapes, dtypes, and that they are secret and nobody else's to change."""

import numpy as np
import pytest

from secure_bfl.records import Records

LABELS = np.zeros(3, dtype=np.int64)


def test_values_and_tokens() -> None:
    values, tokens = Records(np.zeros((3, 2, 5)), LABELS), Records(np.zeros((3, 4), np.int64), LABELS)
    assert (values.record_shape, values.tokens) == ((2, 5), False)
    assert (tokens.record_shape, tokens.tokens) == ((4,), True)
    assert tokens.features.dtype == np.int64


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint8, np.bool_])
def test_nothing_is_converted_silently(dtype: type) -> None:
    with pytest.raises(TypeError, match="dtype"):
        Records(np.zeros((3, 4), dtype), LABELS)


def test_shapes() -> None:
    with pytest.raises(ValueError, match="shape"):
        Records(np.zeros((3, 4)), LABELS[:2])
    with pytest.raises(TypeError, match="dtype"):
        Records(np.zeros((3, 4)), LABELS.astype(np.float64))
    with pytest.raises(TypeError, match="features must be a numpy array, not a list"):
        Records([[1.0]], LABELS)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="labels must be a numpy array, not a list"):
        Records(np.zeros((1, 1)), [1])  # type: ignore[arg-type]
    for features in (np.zeros(3), np.zeros(())):
        with pytest.raises(ValueError, match=r"features have the shape \[records, ...\]"):
            Records(features, LABELS)


def test_records_are_secret_and_copied() -> None:
    features = np.ones((3, 2))
    records = Records(features, LABELS)
    features[:] = 7
    assert records.features.max() == 1
    assert not records.features.flags.writeable
    assert repr(records) == "Records(<secret>)"
