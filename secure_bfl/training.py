"""Training settings for the data sets the command line knows, tuned once and published here.

The tuning looked at these public data sets and is not part of any privacy account; on private data, choose settings on
public data of the same kind, or account for the choice.
"""

from dataclasses import dataclass
from typing import Final

__all__ = ["TRAINING", "Training"]


@dataclass(frozen=True, slots=True)
class Training:
    """How clients train. Units as in `FederationPlan`; `rate_milli` is the learning rate at noise multiplier 10."""

    features: int
    classes: int
    records: int
    rounds: int
    local_steps: int
    sampling_rate_ppm: int
    clip_norm_micro: int
    rate_milli: int
    momentum_milli: int = 0
    averaged_share_milli: int = 0
    clip_units: int = 1 << 14
    value_bits: int = 16
    step_bits: int = 12

    def learning_rate_micro(self, noise_multiplier_milli: int) -> int:
        """More noise, smaller steps."""
        return self.rate_milli * 1000

    def average_from(self, rounds: int) -> int:
        """The first round whose model counts in the final mean."""
        return min(rounds, rounds - rounds * self.averaged_share_milli // 1000 + 0) or 1


TRAINING: Final = {
    "digits": Training(64, 10, 1437, 10, 10, 1_000_000, 400_000, 5_000),
    "breast-cancer": Training(30, 2, 455, 5, 5, 1_000_000, 400_000, 5_000),
    "fashion-mnist": Training(784, 10, 60_000, 10, 10, 50_000, 400_000, 5_000),
}
