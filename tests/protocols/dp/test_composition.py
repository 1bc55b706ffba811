"""Many distinct mechanisms at once: above the exact composition, close to it, and quick."""

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution
from scipy import stats

from protocols.dp import (
    PrivacyEvent,
    accounting,
    composition,
    delta_pld,
    epsilon_pld,
    epsilon_rdp,
    gate,
    profile,
    roc_bound,
)
from protocols.dp.accounting import _charges, _ideal_pld, _ideal_rdp, _loss_distribution

FULL = 1_000_000
Charges = tuple[tuple[PrivacyEvent, int], ...]


def distinct(
    count: int, *, steps: int = 1, noise: tuple[int, int] = (1000, 3000), rate: tuple[int, int] = (10_000, 100_000)
) -> list[PrivacyEvent]:
    """So many different mechanisms, spread evenly and never in step."""
    rng = np.random.default_rng(count)
    return [
        PrivacyEvent(int(s), int(q), steps)
        for s, q in zip(
            rng.integers(*noise, count, endpoint=True), rng.integers(*rate, count, endpoint=True), strict=True
        )
    ]


LISTS = {
    "usual": distinct(10, steps=20),
    "little noise": distinct(9, steps=3, noise=(500, 900)),
    "full and sampled": [*distinct(9, steps=5), PrivacyEvent(3000, FULL, 2), PrivacyEvent(20_000, FULL - 1, 4)],
    "unlike": [*distinct(9, rate=(5000, 9000)), PrivacyEvent(1200, 300_000, 3)],
}


def composed_by_the_library(charges: Charges) -> Any:
    """The same by `dp-accounting`, on a grid that is fine for these lists."""
    total = None
    for event, steps in charges:
        one = privacy_loss_distribution.from_gaussian_mechanism(
            event.accounted_noise_multiplier, sampling_prob=event.sampling_rate, value_discretization_interval=1e-3
        ).self_compose(steps)
        total = one if total is None else total.compose(one)
    return total


@pytest.mark.parametrize("name", LISTS)
def test_above_the_exact_composition_and_within_two_percent(name: str) -> None:
    charges = _charges(LISTS[name])
    assert len(charges) > 8
    exact, curve = composed_by_the_library(charges), composition.compose(charges)
    for delta in (1e-3, 1e-5, 1e-8, 1e-10):
        least = exact.get_epsilon_for_delta(delta)
        # The library's has a grid, too, and is itself above the truth, by less than 2e-3 of it.
        assert least * (1 - 2e-3) <= curve.epsilon(delta) <= least * 1.02
    for epsilon in (0.0, 0.5, 2.0):
        least = exact.get_delta_for_epsilon(epsilon)
        assert least * (1 - 1e-2) <= curve.delta(epsilon) <= least * 1.03 + 1e-11


def test_above_the_truth_where_it_is_known() -> None:
    # At rate 1 the composition is Gaussian, in closed form.
    charges = _charges([PrivacyEvent(8000 + 700 * i, FULL, 1 + i) for i in range(12)])
    mu = math.sqrt(sum(n / e.accounted_noise_multiplier**2 for e, n in charges))
    curve = composition.compose(charges)
    for epsilon in (0.0, 0.3, 1.0, 2.5):
        exact = stats.norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * stats.norm.cdf(-mu / 2 - epsilon / mu)
        assert exact <= curve.delta(epsilon) <= exact * 1.02 + 1e-11
    # One sampled step: integrate its densities.
    event = PrivacyEvent(1000, 200_000, 1)
    x = np.linspace(-15, 16, 400_001)
    absent = stats.norm.pdf(x)
    present = 0.2 * stats.norm.pdf(x, 1) + 0.8 * absent
    one = composition.compose(_charges([event]))
    for epsilon in (0.0, 0.1, 0.5, 1.5):
        truth = max(
            np.trapezoid(np.clip(p - math.exp(epsilon) * q, 0, None), x)
            for p, q in ((present, absent), (absent, present))
        )
        assert truth * (1 - 1e-4) <= one.delta(epsilon) <= truth * 1.02 + 1e-11


def test_few_mechanisms_are_left_to_the_library() -> None:
    events = [*LISTS["full and sampled"][-2:], *distinct(1)]
    charges = _charges(events)
    assert _ideal_pld(charges, 1e-5, 1) == _loss_distribution(charges, 1).get_epsilon_for_delta(1e-5)
    assert _ideal_rdp(charges, 1e-5, None) == pytest.approx(_ideal_rdp(charges[::-1], 1e-5, None), rel=1e-12)
    assert len(charges) <= 8
    more = _charges([*events, *(PrivacyEvent(10_000_000, i, 1) for i in range(1, 9))])  # eight that cost nothing
    assert 1 <= _ideal_pld(more, 1e-5, 1) / _ideal_pld(charges, 1e-5, 1) < 1.02


@pytest.mark.parametrize("name", ["usual", "full and sampled", "unlike"])
def test_renyi_is_above_the_library_and_within_two_percent(name: str) -> None:
    charges = _charges(LISTS[name])
    exact = min(_ideal_rdp(charges, 1e-5, (order,)) for order in (*np.arange(1.5, 8, 0.1), *range(8, 40)))
    assert exact <= _ideal_rdp(charges, 1e-5, None) <= exact * 1.02
    assert _ideal_rdp(charges, 1e-5, None) > _ideal_pld(charges, 1e-5, 1)


def test_renyi_divergences_at_integer_orders() -> None:
    event = PrivacyEvent(1500, 40_000, 1)
    ours = dict(zip(composition.RENYI_ORDERS, composition.renyi_divergences([(event, 7)]), strict=True))
    for order in (2.0, 3.0, 10.0, 20.0):
        conversion = math.log1p(-1 / order) - math.log(1e-5 * order) / (order - 1)
        library = epsilon_rdp([PrivacyEvent(1500, 40_000, 7)], 1e-5, orders=(order,)) - conversion
        assert ours[order] == pytest.approx(library, rel=1e-6)
    full = composition.renyi_divergences([(PrivacyEvent(2000, FULL, 1), 1)])
    at = composition.RENYI_ORDERS.index(8.0)
    assert full[at] == pytest.approx(8 / (2 * 4), rel=1e-4)


def test_the_public_functions_agree_on_long_lists() -> None:
    events = LISTS["usual"]
    epsilon = epsilon_pld(events, 1e-5)
    assert delta_pld(events, epsilon) == pytest.approx(1e-5, rel=1e-6)
    assert epsilon < epsilon_rdp(events, 1e-5) < 1.3 * epsilon
    assert gate(events, epsilon_budget=100.0, delta=1e-5, schedule=events) == epsilon
    assert gate(events, epsilon_budget=100.0, delta=1e-5) == epsilon_rdp(events, 1e-5)
    assert epsilon_pld([*events, PrivacyEvent(1000, 50_000, 1)], 1e-5) > epsilon
    curve = profile(events)
    assert list(curve.deltas) == sorted(curve.deltas, reverse=True)
    assert 0.01 < roc_bound(events, [0.01]).true_positive_rates[0] < 1
    hopeless = [PrivacyEvent(100 + i, 500_000, 1000) for i in range(9)]
    assert epsilon_pld(hopeless, 1e-5) == math.inf
    assert delta_pld(hopeless, 5.0) == 1.0


def test_snapping_never_flatters_and_costs_one_percent() -> None:
    for noise, rate in ((100, 1), (101, 2), (999, 99_999), (1000, 100_000), (12_345, 543_210), (10_000_000, FULL)):
        event = PrivacyEvent(noise, rate, 3)
        snapped = composition.snap(event)
        assert snapped.steps == 3
        assert noise / 1.02 - 1 <= snapped.noise_multiplier_milli <= noise
        assert rate <= snapped.sampling_rate_ppm <= min(FULL, rate * 1.02 + 1)
        assert composition.snap(snapped) == snapped
    values = {composition.snap(PrivacyEvent(1000 + i, 50_000 + i, 1)) for i in range(1000)}
    assert len(values) < 150


def test_very_many_are_snapped(monkeypatch: pytest.MonkeyPatch) -> None:
    events = distinct(40, steps=2, noise=(1500, 1600), rate=(50_000, 52_000))
    exact, formal = epsilon_pld(events, 1e-5), epsilon_rdp(events, 1e-5)
    monkeypatch.setattr(accounting, "_MANY", 20)
    for cache in (accounting._epsilon_pld, accounting._loss_curve):
        cache.cache_clear()
    try:
        assert len(accounting._snapped(_charges(events))) < 40
        assert exact < epsilon_pld(events, 1e-5) < 1.03 * exact
        assert formal < epsilon_rdp(events, 1e-5) < 1.03 * formal
    finally:
        for cache in (accounting._epsilon_pld, accounting._loss_curve):
            cache.cache_clear()


def test_curves_at_their_ends() -> None:
    curve = composition.compose(_charges([PrivacyEvent(1000, 100_000, 1)]))
    assert curve.epsilon(curve.extra) == math.inf
    assert curve.epsilon(0.9) == 0.0
    assert curve.delta(50.0) == pytest.approx(curve.extra, abs=1e-12)
    assert curve.delta(curve.epsilon(1e-6)) == pytest.approx(1e-6, rel=1e-9)


@pytest.mark.slow
def test_a_thousand_distinct_rounds_are_quick() -> None:
    events = distinct(1000)
    assert len(_charges(events)) == 1000
    epsilon_pld([PrivacyEvent(2000, 50_000, 1)], 1e-5)  # warm imports
    composition._one_step.cache_clear()
    start = time.process_time()
    tight, formal = epsilon_pld(events, 1e-5), epsilon_rdp(events, 1e-5)
    assert time.process_time() - start < 15  # seconds; measured: 2 to 4
    assert 1 < tight < formal < 1.2 * tight


def test_the_module_is_independent_of_the_library() -> None:
    assert "dp_accounting" not in Path(composition.__file__).read_text(encoding="utf-8")
