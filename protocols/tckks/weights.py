"""Weights of a random linear form, from a challenge that came too late to prepare for.

Spec: tckks §3.6 and §5.4 (v1): the degree test of a dealing and the fingerprints of answers.
"""

from typing import Final

import numpy as np

from ..arrays import UInt64Array
from ..ring import WEIGHT_BITS
from ..sampling import Keystream

__all__ = ["CHALLENGE_BYTES", "uniform_weights"]

CHALLENGE_BYTES: Final = 32


def uniform_weights(seed: bytes, shape: tuple[int, int, int], *, purpose: bytes) -> UInt64Array:
    """Uniform weights below 2^39, of the shape (repetitions, blocks, N), from 32 bytes.

    A data prime of 39 bits or fewer sees a weight modulo itself.

    Raises:
        ValueError: the seed is not 32 bytes.
    """
    if len(seed) != CHALLENGE_BYTES:
        raise ValueError(f"a challenge is {CHALLENGE_BYTES} bytes")
    words = Keystream(seed, purpose=purpose).uint64(shape[0] * shape[1] * shape[2])
    weights: UInt64Array = words.reshape(shape) >> np.uint64(64 - WEIGHT_BITS)
    return weights
