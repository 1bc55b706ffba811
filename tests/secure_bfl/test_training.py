"""Training settings, and the rule that scales them."""

import math
from dataclasses import replace

import pytest

from protocols.dp import Mode
from secure_bfl import FederationPlan
from secure_bfl.datasets import load
from secure_bfl.model import Tensor
from secure_bfl.training import DATASETS, TRAINING, Training, settings


def test_settings_are_those_of_the_data() -> None:
    for name in ("digits", "breast-cancer"):
        shares = load(name, 2).shares
        for mode in Mode:
            training = settings(name, mode)
            assert training.records == sum(len(share.labels) for share in shares)
            assert training.record_shape == shares[0].record_shape
            assert training.classes == len(set(shares[0].labels.tolist()))
            assert training.mode is mode


def test_every_data_set_has_settings_for_every_mode() -> None:
    assert set(TRAINING) == {(name, mode) for name in DATASETS for mode in Mode}
    assert {"digits", "breast-cancer", "fashion-mnist", "fashion-mnist-scattering"} == set(DATASETS)
    with pytest.raises(ValueError, match="unknown dataset 'mnist'; choose one of breast-cancer, digits"):
        settings("mnist", Mode.LOCAL)


def test_modes_with_shares_take_one_step_a_round() -> None:
    for (_, mode), training in TRAINING.items():
        if mode is Mode.DISTRIBUTED:
            assert training.local_steps == 1
        if mode is Mode.CLIENT:
            assert training.sampling_rate_ppm == 1_000_000, "who takes part is public"
        if mode is not Mode.LOCAL:
            assert training.clip_units >= 4096


def test_tensors_are_a_softmax_layer_by_default() -> None:
    assert settings("digits", Mode.LOCAL).layout == (Tensor("weight", (10, 64)), Tensor("bias", (10,)))
    own = (Tensor("kernel", (3, 3)),)
    assert Training((8, 8), classes=10, records=9, tensors=own).layout == own
    assert Training((8, 8), classes=2, records=9).layout[0].shape == (2, 64)


def test_expected_batch() -> None:
    training = Training((4,), classes=2, records=1000, sampling_rate_ppm=20_000)
    assert training.expected_batch(10) == 2
    assert training.expected_batch(1000) == 1, "never zero"
    assert Training((4,), classes=2, records=1000).expected_batch(3) == 333


def noise_left(training: Training, noise_milli: int, *, clients: int, rounds: int) -> float:
    """The standard deviation that a run leaves in one weight, each step counted with all that momentum makes of it."""
    rate = training.learning_rate_micro(noise_milli, clients=clients, rounds=rounds) / 1_000_000
    shared = training.mode is Mode.DISTRIBUTED
    batch = training.expected_batch(clients) * (clients if shared else 1)
    one = rate * training.clip_norm_micro / 1_000_000 * noise_milli / 1000 / batch
    return one * math.sqrt(rounds * (1 if shared else training.local_steps)) / (1 - training.momentum_milli / 1000)


@pytest.mark.parametrize("mode", [Mode.LOCAL, Mode.DISTRIBUTED])
@pytest.mark.parametrize("name", ["digits", "breast-cancer", "fashion-mnist-scattering"])
def test_the_noise_left_in_the_weights_is_held(name: str, mode: Mode) -> None:
    training = settings(name, mode)
    held = 0
    for noise in (1_000, 4_000, 40_000):
        for rounds in (1, 10, 40):
            for clients in (10, 100):
                rate = training.learning_rate_micro(noise, clients=clients, rounds=rounds)
                step = rate * training.clip_norm_micro / 10**9 / (1 - training.momentum_milli / 1000)
                left = noise_left(training, noise, clients=clients, rounds=rounds)
                at_bound = step == pytest.approx(training.largest_step_milli, rel=1e-3)
                assert at_bound or left == pytest.approx(training.weight_noise_milli / 1000, rel=1e-3)
                assert left <= training.weight_noise_milli / 1000 * 1.001
                held += not at_bound
    assert held, "somewhere the rule decides, not its bound"


def test_the_step_is_bounded_where_the_noise_is_small() -> None:
    training = settings("digits", Mode.LOCAL)
    rate = training.learning_rate_micro(100, clients=2, rounds=1)
    assert rate * training.clip_norm_micro == pytest.approx(16.0 * 10**12)
    assert training.learning_rate_micro(10**7, clients=1000, rounds=10**5) >= 1


def test_a_clients_own_steps_do_not_depend_on_the_noise() -> None:
    training = settings("digits", Mode.CLIENT)
    assert training.learning_rate_micro(1_000, clients=10, rounds=1) == training.client_rate_micro
    assert training.learning_rate_micro(9_000, clients=100, rounds=50) == training.client_rate_micro


@pytest.mark.parametrize("rounds", [1, 2, 10, 100, 10_000])
def test_the_grid_is_the_finest_that_holds_an_update(rounds: int) -> None:
    for noise_milli in (1_250, 5_000):
        training = replace(settings("digits", Mode.LOCAL), weight_noise_milli=noise_milli)
        bits = training.step_bits(rounds)
        widest = 7 * noise_milli / 1000 / math.sqrt(rounds)
        largest = (2 ** (training.value_bits - 1)) * 2.0**-bits
        assert largest >= widest
        assert largest < 2 * widest or largest == 1.0
        assert bits >= 0


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("clients", [10])
def test_every_setting_gives_a_plan(name: str, mode: Mode, clients: int) -> None:
    plan = FederationPlan.create(name, mode=mode, clients=clients, epsilon=2.0)
    training = settings(name, mode)
    assert (plan.rounds, plan.tensors) == (training.rounds, training.layout)
    if mode is Mode.DISTRIBUTED:
        assert plan.limit >= plan.clip_units * plan.expected_batch, "no sum of an expected batch is ever clamped"
