"""The vectorised search gives the library's own numbers."""

import math

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld

from protocols.dp.mixture import group_distribution


@pytest.mark.parametrize(("sigma", "rate", "group"), [(1.5, 0.1, 2), (0.8, 0.02, 3), (4.0, 0.5, 4)])
def test_a_groups_distribution_is_the_librarys(sigma: float, rate: float, group: int) -> None:
    chances = [math.comb(group, j) * rate**j * (1 - rate) ** (group - j) for j in range(group + 1)]
    counts = [float(j) for j in range(group + 1)]
    ours = group_distribution(sigma, rate, group, 0.05)
    theirs = pld.from_mixture_gaussian_mechanism(sigma, counts, chances, value_discretization_interval=0.05)
    for epsilon in np.linspace(0, 4, 9):
        for steps in (1, 20):
            assert ours.self_compose(steps).get_delta_for_epsilon(epsilon) == pytest.approx(
                theirs.self_compose(steps).get_delta_for_epsilon(epsilon), rel=1e-9, abs=1e-15
            )


def test_a_group_of_one_is_a_sampled_gaussian() -> None:
    ours = group_distribution(2.0, 0.1, 1, 1e-3).self_compose(50)
    theirs = pld.from_gaussian_mechanism(2.0, sampling_prob=0.1, value_discretization_interval=1e-3).self_compose(50)
    assert ours.get_epsilon_for_delta(1e-5) == pytest.approx(theirs.get_epsilon_for_delta(1e-5), rel=1e-4)
