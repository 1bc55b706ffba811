"""Training settings for the data sets the command line knows, in each mode, and one rule that scales them.

The settings were chosen by cross-validation on the training records of these public data sets, and are published here;
that search is not part of any privacy account. On private data, take settings from public data of the same kind, or
account for the search.

The rule: the learning rate holds the noise that a whole run leaves in the weights at one standard deviation, whatever
the budget, the rounds and the clients: in distributed mode that of the global model if no more clients than needed take
part, in local mode that of one client's model. On rows of length 4 a softmax layer learns best there between epsilon 1
and 8; accuracy is flat around it.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

from protocols.dp import Mode

from .model import Layout, linear_layout

__all__ = ["DATASETS", "TRAINING", "Training", "settings"]

_RANGE_STDS: Final = 7.0  # the grid holds updates of this many standard deviations


@dataclass(frozen=True, slots=True)
class Training:
    """How clients train on one data set, in one mode. Units as in `FederationPlan`; `records` is public: rows in all.

    `tensors` are the network's trainable tensors (`layout_of`), by default one softmax layer on the flat record;
    `initial` is the digest of the first model's bytes, by default that of zeros, which only a linear model learns from.
    `weight_noise_milli` is the rule's standard deviation, in parameter units, `largest_step_milli` a bound on learning
    rate times clip norm, for stability where the noise is small. In client mode there is no such rule:
    `client_rate_micro` is the learning rate of the local steps, and their sum is clipped.
    """

    record_shape: tuple[int, ...]
    classes: int
    records: int
    mode: Mode = Mode.LOCAL
    tensors: Layout | None = None
    initial: bytes | None = None
    rounds: int = 10
    local_steps: int = 10
    sampling_rate_ppm: int = 1_000_000
    clip_norm_micro: int = 250_000
    weight_noise_milli: int = 5_000
    largest_step_milli: int = 16_000
    client_rate_micro: int = 500_000
    momentum_milli: int = 0
    averaged_rounds: int = 1
    clip_units: int = 1 << 14
    value_bits: int = 16

    @property
    def layout(self) -> Layout:
        """The trainable tensors."""
        return linear_layout(math.prod(self.record_shape), self.classes) if self.tensors is None else self.tensors

    def expected_batch(self, clients: int) -> int:
        """Records of one client in a step, on average, if the public total is split evenly."""
        return max(1, round(self.records * self.sampling_rate_ppm / (clients * 1_000_000)))

    def learning_rate_micro(self, noise_multiplier_milli: int, *, clients: int, rounds: int) -> int:
        """The rule above, as a learning rate times 10^6; with momentum, its sum over all later steps is the rule's."""
        if self.mode is Mode.CLIENT:
            return self.client_rate_micro
        shared = self.mode is Mode.DISTRIBUTED
        batch = self.expected_batch(clients) * (clients if shared else 1)
        spread = noise_multiplier_milli / 1000 * math.sqrt(rounds * (1 if shared else self.local_steps))
        step = min(self.weight_noise_milli / 1000 * batch / spread, self.largest_step_milli / 1000)
        return max(1, round(step * (1 - self.momentum_milli / 1000) / self.clip_norm_micro * 10**12))

    def step_bits(self, rounds: int) -> int:
        """The finest grid whose range still holds one round's update. In local mode; else values are integers."""
        widest = _RANGE_STDS * self.weight_noise_milli / 1000 / math.sqrt(rounds)
        return max(0, self.value_bits - 1 - max(0, math.ceil(math.log2(widest))))


_DIGITS: Final = Training((64,), classes=10, records=1437, weight_noise_milli=1_250)
_CANCER: Final = Training((30,), classes=2, records=455)
_FASHION: Final = Training(
    (784,), classes=10, records=60_000, local_steps=50, sampling_rate_ppm=20_000, weight_noise_milli=3_000
)
_SCATTERING: Final = replace(_FASHION, record_shape=(768,))


def _shared(local: Training) -> Training:
    """Distributed mode: one step a round, on a grid coarse enough for the sums of many records."""
    base = replace(local, mode=Mode.DISTRIBUTED, local_steps=1, clip_units=1 << 12, clip_norm_micro=300_000)
    return replace(base, rounds=40, averaged_rounds=10, weight_noise_milli=450)


def _sampled(local: Training) -> Training:
    """The same for many records: a tenth of them in a round, and momentum."""
    base = replace(_shared(local), rounds=100, averaged_rounds=25, sampling_rate_ppm=100_000, momentum_milli=900)
    return replace(
        base, clip_units=1 << 14, clip_norm_micro=1_000_000, weight_noise_milli=600, largest_step_milli=200_000
    )


def _by_client(local: Training) -> Training:
    """Client mode: whole updates, each clipped to length 1."""
    base = replace(local, mode=Mode.CLIENT, clip_units=1 << 12, clip_norm_micro=1_000_000)
    return replace(base, sampling_rate_ppm=1_000_000, rounds=10, local_steps=10)


TRAINING: Final = {
    ("digits", Mode.LOCAL): _DIGITS,
    ("digits", Mode.DISTRIBUTED): _shared(_DIGITS),
    ("digits", Mode.CLIENT): _by_client(_DIGITS),
    ("breast-cancer", Mode.LOCAL): _CANCER,
    ("breast-cancer", Mode.DISTRIBUTED): _shared(_CANCER),
    ("breast-cancer", Mode.CLIENT): _by_client(_CANCER),
    ("fashion-mnist", Mode.LOCAL): _FASHION,
    ("fashion-mnist", Mode.DISTRIBUTED): _sampled(_FASHION),
    ("fashion-mnist", Mode.CLIENT): _by_client(_FASHION),
    ("fashion-mnist-scattering", Mode.LOCAL): _SCATTERING,
    ("fashion-mnist-scattering", Mode.DISTRIBUTED): _sampled(_SCATTERING),
    ("fashion-mnist-scattering", Mode.CLIENT): _by_client(_SCATTERING),
}
DATASETS: Final = tuple(dict.fromkeys(name for name, _ in TRAINING))


def settings(dataset: str, mode: Mode) -> Training:
    """The settings for a data set that the command line knows.

    Raises:
        ValueError: there are none.
    """
    if dataset not in DATASETS:
        raise ValueError(f"unknown dataset {dataset!r}; choose one of {', '.join(sorted(DATASETS))}")
    return TRAINING[dataset, mode]
