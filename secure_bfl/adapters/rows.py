"""Per-record gradients on their way out of a training library: without a copy, and without holding all of them."""

from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["Destination", "GradientRows", "Source"]

Gradients = npt.NDArray[np.float32]


class Source(Protocol):
    """What computes per-record gradients: see `GradientEngine`. `rows`: how many to compute at a time."""

    dim: int
    rows: int

    def compute(
        self, features: npt.NDArray[Any], labels: npt.NDArray[np.int64], chosen: npt.NDArray[np.int64]
    ) -> Gradients:
        """The gradients of the chosen rows, float32[len(chosen), dim], in memory that the next call overwrites."""
        ...


class Destination:
    """Rows of the result, in the place where Opacus adds up a parameter's per-record gradients: one copy, no more.

    Opacus says `parameter._current_grad_sample[:rows] += gradients`, once for each use of the parameter.
    """

    def __init__(self, rows: torch.Tensor) -> None:
        self._rows, self._filled, self._count = rows, False, len(rows)

    def __getitem__(self, rows: slice) -> "Destination":
        self._count = rows.stop
        return self

    def __setitem__(self, rows: slice, value: "Destination") -> None:
        """Python's second half of `+=`: nothing is left to do."""

    def __iadd__(self, gradients: torch.Tensor) -> "Destination":
        if self._filled:
            self._rows[: self._count].add_(gradients)
        else:
            self._rows[: self._count].copy_(gradients)
            self._rows[self._count :].zero_()
            self._filled = True
        return self

    def outer(self, left: torch.Tensor, right: torch.Tensor) -> bool:
        """Put the outer product of each row here, without a copy; False if something is here already."""
        if self._filled or len(left) != len(self._rows):
            return False
        torch.mul(left.unsqueeze(2), right.unsqueeze(1), out=self._rows)
        self._filled = True
        return True


class GradientRows:
    """Per-record gradients as an array that is computed while it is read: a batch of any size fits the memory.

    Slices of consecutive rows are computed some rows ahead; whoever goes through them in order has each computed once.
    A slice is valid until the next one is taken, which may overwrite it.

    Shapes: [records, dim], float32.
    """

    __slots__ = ("_chosen", "_features", "_first", "_labels", "_source", "_window")

    dtype: Final = np.dtype(np.float32)
    ndim: Final = 2

    def __init__(
        self,
        source: Source,
        features: npt.NDArray[Any],
        labels: npt.NDArray[np.int64],
        chosen: npt.NDArray[np.int64],
    ) -> None:
        self._source, self._features, self._labels, self._chosen = source, features, labels, chosen
        self._first = 0
        self._window: Gradients = np.empty((0, source.dim), dtype=np.float32)

    def __repr__(self) -> str:
        return f"GradientRows(dim={self._source.dim}, <secret>)"

    def __len__(self) -> int:
        return len(self._chosen)

    @property
    def shape(self) -> tuple[int, int]:
        """Records and coordinates. Secret: it says how many records were chosen."""
        return len(self._chosen), self._source.dim

    def __getitem__(self, rows: slice) -> Gradients:
        """Consecutive rows. Shapes: float32[rows, dim].

        Raises:
            ValueError: the slice leaves rows out.
        """
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError("gradients are read as consecutive rows")
        if stop <= start:
            return np.empty((0, self._source.dim), dtype=np.float32)
        if not self._first <= start < stop <= self._first + len(self._window):
            ahead = self._chosen[start : max(stop, start + self._source.rows)]
            self._window, self._first = self._source.compute(self._features, self._labels, ahead), start
        return self._window[start - self._first : stop - self._first]
