"""Training settings for the data sets the command line knows, and one rule that scales them.

The settings were tuned once, by cross-validation on the training records of these public data sets, and are published
here; that search is not part of any privacy account. On private data, take settings from public data of the same kind,
or account for the search.

The rule: the noise that the steps of a whole run leave in one client's weights is held at a standard deviation of 5 in
parameter units, by the learning rate, whatever the budget. A softmax layer on rows of length about 1 learns best there
between epsilon 2 and 8; accuracy is flat around it.
"""

import math
from dataclasses import dataclass
from typing import Final

__all__ = ["TRAINING", "Training"]

_WEIGHT_NOISE: Final = 5.0  # standard deviation of a client's accumulated noise, in parameter units
_LARGEST_STEP: Final = 16.0  # bound on learning rate times clip norm: stability where the noise is small
_RANGE_STDS: Final = 7.0  # the grid holds updates of this many standard deviations


@dataclass(frozen=True, slots=True)
class Training:
    """How clients train on one data set. Units as in `FederationPlan`; `records` is the public number of rows."""

    features: int
    classes: int
    records: int
    rounds: int = 10
    local_steps: int = 10
    sampling_rate_ppm: int = 1_000_000
    clip_norm_micro: int = 250_000
    momentum_milli: int = 0
    averaged_rounds: int = 1
    clip_units: int = 1 << 14
    value_bits: int = 16

    def expected_batch(self, clients: int) -> int:
        """Records in a step, on average, if the public total is split evenly."""
        return max(1, round(self.records * self.sampling_rate_ppm / (clients * 1_000_000)))

    def learning_rate_micro(self, noise_multiplier_milli: int, *, clients: int, rounds: int) -> int:
        """The rule above, as a learning rate times 10^6."""
        spread = noise_multiplier_milli / 1000 * math.sqrt(rounds * self.local_steps)
        step = min(_WEIGHT_NOISE * self.expected_batch(clients) / spread, _LARGEST_STEP)
        return max(1, round(step / self.clip_norm_micro * 10**12))

    def step_bits(self, rounds: int) -> int:
        """The finest grid whose range still holds one round's update."""
        widest = _RANGE_STDS * _WEIGHT_NOISE / math.sqrt(rounds)
        return max(0, self.value_bits - 1 - max(0, math.ceil(math.log2(widest))))


TRAINING: Final = {
    "digits": Training(features=64, classes=10, records=1437),
    "breast-cancer": Training(features=30, classes=2, records=455),
    "fashion-mnist": Training(features=784, classes=10, records=60_000, local_steps=50, sampling_rate_ppm=20_000),
}
