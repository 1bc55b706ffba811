"""A client's records.

Spec: dp §2 (v1).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Float64Array, Int64Array, frozen

__all__ = ["Records"]


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """One client's data. Secret to its owner.

    Shapes: features float64[n, ...], or int64[n, ...] if they are tokens; labels int64[n]. The sides after the first
    are the plan's `record_shape`.

    Raises:
        TypeError: not numpy arrays, or of another dtype; nothing is converted silently.
        ValueError: a record has no side of its own, or there are not as many labels as records.
    """

    features: Float64Array | Int64Array
    labels: Int64Array

    def __post_init__(self) -> None:
        for name in ("features", "labels"):
            if not isinstance(getattr(self, name), np.ndarray):
                raise TypeError(f"{name} must be a numpy array, not a {type(getattr(self, name)).__name__}")
        features: NDArray[np.float64] | NDArray[np.int64] = self.features
        if features.ndim < 2:
            raise ValueError(f"features have the shape [records, ...], not {features.shape}")
        dtype = np.int64 if features.dtype == np.int64 else np.float64
        object.__setattr__(self, "features", frozen(features, dtype, (None,) * features.ndim))
        object.__setattr__(self, "labels", frozen(self.labels, np.int64, (len(features),)))

    def __repr__(self) -> str:
        return "Records(<secret>)"

    @property
    def record_shape(self) -> tuple[int, ...]:
        """Shape of one record."""
        return self.features.shape[1:]

    @property
    def tokens(self) -> bool:
        """Whether records are integers, as an embedding takes them."""
        return self.features.dtype == np.int64
