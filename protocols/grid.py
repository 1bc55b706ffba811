"""Real parameters on an integer grid, and back.

Spec: packing §1 (v1). The grid is public and fixed by the plan: step = 2^-step_bits, values in
[-(2^(value_bits-1) - 1), 2^(value_bits-1) - 1].
"""

from dataclasses import dataclass

import numpy as np

from .arrays import Float64Array, Int64Array, exceeds, frozen

__all__ = ["Grid", "GridVector"]


@dataclass(frozen=True, slots=True)
class Grid:
    """A fixed-point grid. Units: 1 grid unit = 2^-step_bits in parameter units."""

    value_bits: int
    step_bits: int

    def __post_init__(self) -> None:
        if not 2 <= self.value_bits <= 32:
            raise ValueError(f"value_bits must be 2 to 32, not {self.value_bits}")
        if not 0 <= self.step_bits <= 40:
            raise ValueError(f"step_bits must be 0 to 40, not {self.step_bits}")

    @property
    def step(self) -> float:
        """The grid's step in parameter units (a power of two, so exact)."""
        return 2.0**-self.step_bits

    @property
    def largest(self) -> int:
        """The largest magnitude of a value, in grid units."""
        return (1 << (self.value_bits - 1)) - 1

    def quantize(self, update: Float64Array) -> "GridVector":
        """Round to the nearest grid point and clip to the grid's range. Run by: a client.

        Shapes: update float64[n] -> int64[n].

        Raises:
            ValueError: a value is NaN or infinite (nothing sensible can be sent for it).
        """
        if not np.isfinite(update).all():
            raise ValueError("the update holds a value that is not finite; nothing was sent")
        edge = self.largest * self.step  # clipping first gives the same result, and the quotient cannot overflow
        clipped = np.clip(np.asarray(update, dtype=np.float64), -edge, edge)
        clipped /= self.step
        units = np.rint(clipped, out=clipped).astype(np.int64)
        units.setflags(write=False)
        return GridVector(self, units)


@dataclass(frozen=True, slots=True, eq=False)
class GridVector:
    """One client's update, or a part of it, in grid units. Secret to its owner.

    Shapes: values int64[n]. Units: 1 = grid.step.
    """

    grid: Grid
    values: Int64Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", frozen(self.values, np.int64, (None,)))
        if exceeds(self.values, self.grid.largest):
            raise ValueError(f"a value exceeds the grid's {self.grid.value_bits} bits")

    def __repr__(self) -> str:
        return f"GridVector({self.grid}, n={len(self.values)}, <secret>)"
