"""The global model: named tensors, one flat vector, and safetensors bytes.

The only importer of `safetensors`. Spec: round §5 (v1).
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from protocols.arrays import Float64Array, Int64Array, frozen
from protocols.errors import DecodeError

from .body import Body

__all__ = ["GlobalModel", "Layout", "Tensor", "linear_layout", "parameters_of"]


@dataclass(frozen=True, slots=True)
class Tensor(Body):
    """A trainable tensor's name and shape. An entry's plan lists them in the order of the flat vector."""

    name: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and self.name.isascii() and self.name.isprintable() and self.name):
            raise ValueError("a tensor's name is printable ASCII")
        if self.name == "__metadata__":
            raise ValueError("the name __metadata__ means something else in a safetensors file")
        if any(type(side) is not int or not 1 <= side <= 1 << 24 for side in self.shape):
            raise ValueError(f"{self.name}: a side of a tensor is an int from 1 to 2^24, not {self.shape}")

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


Layout = tuple[Tensor, ...]


def linear_layout(features: int, classes: int) -> Layout:
    """One softmax layer: a weight for each class and feature, a bias for each class."""
    return (Tensor("weight", (classes, features)), Tensor("bias", (classes,)))


def parameters_of(layout: Layout) -> int:
    """Number of values in all tensors together."""
    return sum(tensor.size for tensor in layout)


@dataclass(frozen=True, slots=True, eq=False)
class GlobalModel:
    """A released model. Public.

    Shapes: vector float64[parameters], the tensors of `layout` one after the other, each in row-major order. Every
    value is a float32, so that the bytes and the vector say the same.
    """

    layout: Layout
    vector: Float64Array

    def __post_init__(self) -> None:
        with np.errstate(over="ignore"):
            rounded = np.asarray(self.vector).astype(np.float32).astype(np.float64)
        if not np.isfinite(rounded).all():
            raise ValueError("a model holds finite numbers only")
        object.__setattr__(self, "vector", frozen(rounded, np.float64, (parameters_of(self.layout),)))

    @classmethod
    def zero(cls, layout: Layout) -> Self:
        """All zeros: where a linear model starts."""
        return cls(layout, np.zeros(parameters_of(layout)))

    def moved(self, step: Float64Array) -> Self:
        """The model after a step. Shapes: step float64[parameters], in parameter units."""
        return type(self)(self.layout, self.vector + step)

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
        return cls(models[0].layout, total / len(models))

    def tensors(self) -> "dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]":
        """Every tensor by name, float32, copies."""
        flat, found, start = self.vector.astype(np.float32), {}, 0
        for tensor in self.layout:
            found[tensor.name] = flat[start : start + tensor.size].reshape(tensor.shape).copy()
            start += tensor.size
        return found

    def encode(self) -> bytes:
        """safetensors bytes: every tensor as float32, by name."""
        return save(self.tensors())

    @staticmethod
    def encoded_size(layout: Layout) -> int:
        """How many bytes `encode` gives, for any model of the layout."""
        return _encoded_size(layout)

    @classmethod
    def decode(cls, data: bytes, layout: Layout) -> Self:
        """Read a model of this layout.

        Raises:
            DecodeError: not the one encoding of such a model.
        """
        try:
            tensors = load(data)
            flat = [np.asarray(tensors[tensor.name]).reshape(-1) for tensor in layout]
            model = cls(layout, np.concatenate(flat).astype(np.float64))
        except (SafetensorError, KeyError, ValueError, TypeError) as exc:
            raise DecodeError(f"not a model of the tensors {_shown(layout)}: {exc}") from exc
        if model.encode() != data:
            raise DecodeError("not the one encoding of a model")
        return model

    def predict(self, features: Float64Array | Int64Array) -> Int64Array:
        """The most likely class of each row, int64[n], by a linear model.

        Raises:
            ValueError: the model is not one softmax layer; its own network has to predict.
        """
        weight = self.layout[0]
        if len(weight.shape) != 2 or self.layout != linear_layout(weight.shape[1], weight.shape[0]):
            raise ValueError("only a linear model predicts by itself: load the tensors into their network")
        split = weight.size
        scores = features @ self.vector[:split].reshape(weight.shape).T + self.vector[split:]
        best: Int64Array = scores.argmax(axis=1).astype(np.int64)
        return best

    def accuracy(self, features: Float64Array | Int64Array, labels: Int64Array) -> float:
        """The share of rows predicted right, by a linear model."""
        return float((self.predict(features) == labels).mean())


@lru_cache(maxsize=16)
def _encoded_size(layout: Layout) -> int:
    return len(GlobalModel.zero(layout).encode())


def _shown(layout: Layout) -> str:
    return ", ".join(f"{tensor.name} {tensor.shape}" for tensor in layout[:4]) + (", .." if len(layout) > 4 else "")
