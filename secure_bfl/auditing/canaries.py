"""Canaries: made-up records, each with a feature of its own, that are in the data or not by a fair coin.

A canary's gradient is not zero at the two weights of its own feature alone (and, a hundred times smaller, at the bias),
always points the same way and is always longer than the clip bound. So its whole contribution is known, and its score,
the difference of its two weights, holds nothing else but noise.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from protocols.arrays import Float64Array, Int64Array
from protocols.dp.auditing import OneRun

from ..local_training import Records

__all__ = ["FEATURE", "Canaries", "contribution"]

FEATURE = 100.0
"""The value of a canary's own feature: so large that its gradient is clipped, and all but at its own weights."""


@dataclass(frozen=True, slots=True, eq=False)
class Canaries:
    """The coins. Client k of n has the canaries whose number leaves the remainder k.

    Shapes: included bool[canaries].
    """

    included: npt.NDArray[np.bool_]

    @classmethod
    def toss(cls, canaries: int, rand: bytes) -> Self:
        """Independent fair coins: the bits of `rand`, fresh bytes of the operating system, one bit each.

        Raises:
            ValueError: `rand` has not one bit for each canary.
        """
        if len(rand) != -(-canaries // 8):
            raise ValueError(f"{canaries} canaries need {-(-canaries // 8)} random bytes")
        return cls(np.unpackbits(np.frombuffer(rand, np.uint8), count=canaries).astype(np.bool_))

    def of_client(self, client: int, clients: int) -> Int64Array:
        """The numbers of a client's canaries, those left out too."""
        return np.arange(client, len(self.included), clients, dtype=np.int64)

    def records(self, client: int, clients: int) -> Records:
        """A client's records: its canaries that are included, and nothing else."""
        own = self.of_client(client, clients)
        own = own[self.included[own]]
        features = np.zeros((len(own), len(self.included)))
        features[np.arange(len(own)), own] = FEATURE
        return Records(features, np.ones(len(own), dtype=np.int64))

    def scores(self, weights: Float64Array) -> Float64Array:
        """One score for each canary, larger for those that are in: its weight for its class less that for the other.

        Shapes: weights float64[>= 2 canaries], row by row. Result float64[canaries].
        """
        count = len(self.included)
        scores: Float64Array = weights[count : 2 * count] - weights[:count]
        return scores

    def guess(self, scores: Float64Array, guesses: int) -> OneRun:
        """Call the highest scores included and the lowest excluded, half of the guesses each; abstain between."""
        order = np.argsort(scores, kind="stable")
        low, high = order[: guesses // 2], order[len(order) - guesses // 2 :]
        correct = int((~self.included[low]).sum()) + int(self.included[high].sum())
        return OneRun(len(scores), guesses, correct)


def contribution(clip_units: int) -> int:
    """What one included canary adds to its score in one step, in units of the mechanism's grid."""
    share = clip_units / math.sqrt(2) * FEATURE / math.hypot(FEATURE, 1)
    return 2 * math.trunc(share)
