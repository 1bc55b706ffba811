"""The global model: one linear softmax layer as named tensors, one flat vector, and safetensors bytes.

The only importer of `safetensors`. Spec: round §5 (v1).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from protocols.arrays import Float64Array, Int64Array, frozen
from protocols.errors import DecodeError
from protocols.grid import Grid

__all__ = ["GlobalModel"]


@dataclass(frozen=True, slots=True, eq=False)
class GlobalModel:
    """A released model. Public.

    Shapes: vector float64[classes * features + classes], the weight row by row, then the bias. Every value is a
    float32, so that the bytes and the vector say the same.
    """

    features: int
    classes: int
    vector: Float64Array

    def __post_init__(self) -> None:
        parameters = (self.features + 1) * self.classes
        rounded = np.asarray(self.vector).astype(np.float32).astype(np.float64)
        if not np.isfinite(rounded).all():
            raise ValueError("a model holds finite numbers only")
        object.__setattr__(self, "vector", frozen(rounded, np.float64, (parameters,)))

    @classmethod
    def zero(cls, features: int, classes: int) -> Self:
        """The model every run starts from."""
        return cls(features, classes, np.zeros((features + 1) * classes))

    def apply(self, sums: Int64Array, contributors: int, grid: Grid) -> Self:
        """Add the mean of the opened updates. Run by: anyone; the same bytes on every machine.

        Shapes: sums int64[parameters], grid units. `contributors` is the public size of the cohort.
        """
        return type(self)(self.features, self.classes, self.vector + sums * (grid.step / contributors))

    @classmethod
    def mean(cls, models: "list[GlobalModel]") -> "GlobalModel":
        """The mean of released models, which costs no privacy (Polyak averaging).

        Raises:
            ValueError: there is none.
        """
        if not models:
            raise ValueError("the mean of no models")
        total = np.zeros_like(models[0].vector)
        for model in models:
            total = total + model.vector
        return cls(models[0].features, models[0].classes, total / len(models))

    def encode(self) -> bytes:
        """safetensors bytes: `weight` float32[classes, features] and `bias` float32[classes]."""
        split = self.classes * self.features
        flat = self.vector.astype(np.float32)
        return save({"weight": flat[:split].reshape(self.classes, self.features), "bias": flat[split:]})

    @classmethod
    def decode(cls, data: bytes, features: int, classes: int) -> Self:
        """Read a model of the plan's shape.

        Raises:
            DecodeError: not the one encoding of such a model.
        """
        try:
            tensors = load(data)
            weight, bias = tensors["weight"], tensors["bias"]
            vector = np.concatenate([weight.reshape(-1), bias.reshape(-1)]).astype(np.float64)
            model = cls(features, classes, vector)
        except (SafetensorError, KeyError, ValueError, TypeError) as exc:
            raise DecodeError(f"not a model of {classes} x {features} weights: {exc}") from exc
        if model.encode() != data:
            raise DecodeError("not the one encoding of a model")
        return model

    def predict(self, features: Float64Array) -> Int64Array:
        """The most likely class of each row, int64[n]."""
        split = self.classes * self.features
        scores = features @ self.vector[:split].reshape(self.classes, self.features).T + self.vector[split:]
        best: Int64Array = scores.argmax(axis=1).astype(np.int64)
        return best

    def accuracy(self, features: Float64Array, labels: Int64Array) -> float:
        """The share of rows predicted right."""
        return float((self.predict(features) == labels).mean())
