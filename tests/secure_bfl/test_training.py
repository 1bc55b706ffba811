"""Training settings, and the rule that scales them."""

import math

import pytest

from secure_bfl.datasets import DATASETS, load
from secure_bfl.training import TRAINING, Training


def test_settings_are_those_of_the_data() -> None:
    assert set(TRAINING) == set(DATASETS)
    for name in ("digits", "breast-cancer"):
        shares = load(name, 2).shares
        assert TRAINING[name].records == sum(len(share.labels) for share in shares)
        assert TRAINING[name].features == shares[0].features.shape[1]
        assert TRAINING[name].classes == len(set(shares[0].labels.tolist()))


def test_expected_batch() -> None:
    training = Training(features=4, classes=2, records=1000, sampling_rate_ppm=20_000)
    assert training.expected_batch(10) == 2
    assert training.expected_batch(1000) == 1, "never zero"
    assert Training(features=4, classes=2, records=1000).expected_batch(3) == 333


def test_the_noise_left_in_the_weights_is_held() -> None:
    training = TRAINING["digits"]
    for noise in (4_000, 8_000, 40_000):
        for rounds in (1, 10, 40):
            rate = training.learning_rate_micro(noise, clients=10, rounds=rounds) / 1_000_000
            one_step = rate * training.clip_norm_micro / 1_000_000 * noise / 1000 / training.expected_batch(10)
            left = one_step * math.sqrt(rounds * training.local_steps)
            assert left == pytest.approx(5.0, rel=1e-3) or rate * training.clip_norm_micro / 1e6 == pytest.approx(16.0)
            assert left <= 5.001


def test_the_step_is_bounded_where_the_noise_is_small() -> None:
    training = TRAINING["digits"]
    rate = training.learning_rate_micro(100, clients=2, rounds=1)
    assert rate * training.clip_norm_micro == pytest.approx(16.0 * 10**12)
    assert training.learning_rate_micro(10**7, clients=1000, rounds=10**5) >= 1


@pytest.mark.parametrize("rounds", [1, 2, 10, 100, 10_000])
def test_the_grid_is_the_finest_that_holds_an_update(rounds: int) -> None:
    training = TRAINING["digits"]
    bits = training.step_bits(rounds)
    widest = 7 * 5.0 / math.sqrt(rounds)
    largest = (2 ** (training.value_bits - 1)) * 2.0**-bits
    assert largest >= widest
    assert largest < 2 * widest or largest == 1.0
    assert bits >= 0
