"""Interpolation over R_Q, prime by prime: what turns the points of Shamir's sharing back into the value at zero.

Spec: tckks §3.5 (v1). Member i holds the value at the point i. A factor multiplies a share before any noise is added:
factors are as large as the primes, and would make small noise large.

Source: Shamir, "How to share a secret", CACM 1979.
"""

from collections.abc import Sequence

import numpy as np

from ..arrays import UInt64Array
from .sharing import MAX_MEMBERS

__all__ = ["interpolation", "lagrange"]


def interpolation(points: Sequence[int], at: int, primes: Sequence[int]) -> dict[int, UInt64Array]:
    """The factors with which the values at `points` sum to the value at `at`, for a polynomial of lower degree.

    Shapes: for each point uint64[K, 1], one residue for each prime.

    Raises:
        ValueError: no points, a point named twice, or one that is not between 0 and 32.
    """
    if not points or len(set(points)) != len(points) or any(not 0 <= x <= MAX_MEMBERS for x in (*points, at)):
        raise ValueError(f"points must be distinct and between 0 and {MAX_MEMBERS}: {tuple(points)}, at {at}")
    factors = {}
    for point in points:
        above = below = 1
        for other in points:
            if other != point:
                above *= at - other
                below *= point - other
        residues = [above % q * pow(below, -1, q) % q for q in primes]
        factors[point] = np.array(residues, dtype=np.uint64)[:, None]
    return factors


def lagrange(active: Sequence[int], primes: Sequence[int]) -> dict[int, UInt64Array]:
    """The factors with which the shares of the active members sum to the secret.

    Run by: a member that answers, or that hands its share over.

    Shapes: for each active member uint64[K, 1].

    Raises:
        ValueError: no members, one named twice, or a number that is not between 1 and 32.
    """
    if any(not 1 <= member <= MAX_MEMBERS for member in active):
        raise ValueError(f"members are numbered from 1 to {MAX_MEMBERS}: {tuple(active)}")
    return interpolation(active, 0, primes)
