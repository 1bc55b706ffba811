"""Accounting: published values, independent formulas, and a gate that does not open for nonsense."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from protocols.dp import (
    MAX_DIM,
    PrivacyEvent,
    accounting,
    budget,
    calibrate,
    delta_pld,
    epsilon_pld,
    epsilon_rdp,
    gate,
    group_epsilon,
    profile,
    roc_bound,
)
from protocols.dp.events import MAX_STEPS, merged, totals
from protocols.dp.gaussian import gaussian_delta, gaussian_epsilon
from protocols.dp.noise import MAX_DISTANCE
from protocols.errors import PrivacyError

FULL = 1_000_000
ABADI = [PrivacyEvent(4000, 10_000, 10_000)]
OPACUS = [PrivacyEvent(1500, 40_000, 2250)]


def test_closed_form_against_quadrature() -> None:
    # delta(epsilon) is the integral of (p - e^epsilon q)+ for N(mu, 1) against N(0, 1).
    x = np.linspace(-12, 16, 400_001)
    for mu, epsilon in ((0.3, 0.1), (1.0, 0.0), (1.0, 2.0), (3.0, 9.0)):
        excess = np.clip(stats.norm.pdf(x, mu) - math.exp(epsilon) * stats.norm.pdf(x), 0, None)
        assert gaussian_delta(mu, epsilon) == pytest.approx(float(np.trapezoid(excess, x)), rel=1e-6)
    assert gaussian_epsilon(1e-6, 1e-3) == 0.0
    for mu in (0.01, 1.0, 20.0):
        assert gaussian_delta(mu, gaussian_epsilon(mu, 1e-6)) <= 1e-6


@pytest.mark.parametrize(
    "events", [ABADI, OPACUS, [PrivacyEvent(1000, FULL, 3)], [*OPACUS, PrivacyEvent(3000, FULL, 2)]]
)
def test_renyi_is_above_the_tight_value(events: list[PrivacyEvent]) -> None:
    assert epsilon_rdp(events, 1e-5) > epsilon_pld(events, 1e-5) > 0


def hockey_stick(p: npt.NDArray[np.float64], q: npt.NDArray[np.float64], x: npt.NDArray[np.float64], e: float) -> float:
    one = float(np.trapezoid(np.clip(p - math.exp(e) * q, 0, None), x))
    return max(one, float(np.trapezoid(np.clip(q - math.exp(e) * p, 0, None), x)))


@pytest.mark.parametrize(("k", "sigma", "rate"), [(1, 1000, 200_000), (2, 2000, 200_000), (4, 4000, 100_000)])
def test_sampled_steps_and_groups_against_quadrature(k: int, sigma: int, rate: int) -> None:
    s, q = sigma / 1000, rate / 1e6
    x = np.linspace(-15 * s, 15 * s + k, 200_001)
    present = sum(stats.binom.pmf(j, k, q) * stats.norm.pdf(x, j, s) for j in range(k + 1))
    absent = stats.norm.pdf(x, 0, s)
    epsilon = group_epsilon([PrivacyEvent(sigma, rate, 1)], 1e-4, k)
    assert hockey_stick(present, absent, x, epsilon) == pytest.approx(1e-4, rel=0.02)
    assert hockey_stick(present, absent, x, epsilon) < 1e-4 * (1 + 1e-4)


def test_groups_at_full_batch() -> None:
    events, sigma = [PrivacyEvent(2000, FULL, 1)], 2.0
    x = np.linspace(-30, 45, 400_001)
    for k in (1, 2, 4, 8):
        epsilon = group_epsilon(events, 1e-5, k)
        exact = hockey_stick(stats.norm.pdf(x, k, sigma), stats.norm.pdf(x, 0, sigma), x, epsilon)
        assert exact == pytest.approx(1e-5, rel=1e-3)
    almost_full = [PrivacyEvent(2000, FULL - 1, 1)]
    assert group_epsilon(almost_full, 1e-5, 4) == pytest.approx(group_epsilon(events, 1e-5, 4), rel=1e-3)


def test_groups_are_within_the_general_bound() -> None:
    # (epsilon, delta) for one record gives (k epsilon, delta (e^(k epsilon) - 1) / (e^epsilon - 1)) for k.
    events, k, delta = [PrivacyEvent(8000, 100_000, 500)], 4, 1e-5
    epsilon = min(
        e for e in np.linspace(0.5, 6, 111) if delta_pld(events, e) * math.expm1(k * e) / math.expm1(e) <= delta
    )
    assert epsilon_pld(events, delta) < group_epsilon(events, delta, k) < k * epsilon


def test_only_totals_count() -> None:
    one = [PrivacyEvent(1500, 40_000, 30), PrivacyEvent(3000, 100_000, 5)]
    split = [PrivacyEvent(3000, 100_000, 5), PrivacyEvent(1500, 40_000, 10), PrivacyEvent(1500, 40_000, 20)]
    for function in (epsilon_pld, epsilon_rdp):
        assert function(one, 1e-5) == function(split, 1e-5) > function(one[:1], 1e-5) > function([], 1e-5) == 0.0


def test_delta_is_the_inverse_of_epsilon() -> None:
    for events in (OPACUS, [PrivacyEvent(1000, FULL, 1)]):
        for delta in (1e-4, 1e-8):
            assert delta_pld(events, epsilon_pld(events, delta)) == pytest.approx(delta, rel=1e-6)
    assert delta_pld([], 0.0) == 0.0
    assert delta_pld(OPACUS, 101.0) == 1.0
    assert delta_pld([PrivacyEvent(100, 500_000, 10_000)], 5.0) == 1.0


def test_hopeless_runs_are_infinite() -> None:
    for events in ([PrivacyEvent(100, 500_000, 10_000)], [PrivacyEvent(100, FULL, 10_000)]):
        assert epsilon_pld(events, 1e-5) == math.inf
        assert epsilon_rdp(events, 1e-5) == math.inf
        assert profile(events).epsilons == ()
        assert roc_bound(events, [0.01]).true_positive_rates == (1.0,)


def test_the_noise_is_charged_as_a_rounded_continuous_gaussian() -> None:
    event = PrivacyEvent(100, FULL, 1)
    assert event.accounted_noise_multiplier**2 == pytest.approx(0.01 - (8 / 4096) ** 2, rel=1e-12)
    assert event.accounted_noise_multiplier < 0.1


def test_the_distance_of_the_sampler_is_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    events, dim = [PrivacyEvent(1000, FULL, 10)], 1000
    exact = delta_pld(events, 9.0, dim=dim)
    assert MAX_DIM * 10 * MAX_DISTANCE < 1e-57
    monkeypatch.setattr(accounting, "MAX_DISTANCE", 1e-16)
    accounting._epsilon_pld.cache_clear()
    try:
        charge = (1 + math.exp(9.0)) * 10 * dim * 1e-16
        assert delta_pld(events, 9.0, dim=dim) - exact == pytest.approx(charge, rel=1e-3)
        assert epsilon_pld(events, 1e-5, dim=dim) > gaussian_epsilon(math.sqrt(10), 1e-5) + 1e-3
        monkeypatch.setattr(accounting, "MAX_DISTANCE", 1e-10)
        accounting._epsilon_pld.cache_clear()
        assert epsilon_pld(events, 1e-5, dim=dim) == math.inf
        assert epsilon_rdp(events, 1e-5, dim=dim) == math.inf
    finally:
        accounting._epsilon_pld.cache_clear()


def test_profile_is_one_decreasing_curve() -> None:
    curve = profile(OPACUS)
    assert len(curve.epsilons) == len(curve.deltas) > 100
    assert curve.epsilons[0] == 0.0
    assert list(curve.epsilons) == sorted(curve.epsilons)
    assert list(curve.deltas) == sorted(curve.deltas, reverse=True)
    assert dict(zip(curve.epsilons, curve.deltas, strict=True))[epsilon_pld(OPACUS, 1e-5)] == 1e-5


def test_roc_bound_of_the_gaussian() -> None:
    rates = (0.0, 1e-3, 0.01, 0.1, 0.5, 1.0)
    bound = roc_bound([PrivacyEvent(1000, FULL, 1)], rates)
    assert bound.false_positive_rates == rates
    for rate, best in zip(rates, bound.true_positive_rates, strict=True):
        optimal = stats.norm.cdf(stats.norm.ppf(rate) + 1)  # the likelihood-ratio test at mu = 1
        assert optimal - 1e-9 <= best <= optimal + 5e-3
    assert bound.true_positive_rates[-1] == 1.0
    with pytest.raises(ValueError, match="false-positive"):
        roc_bound(OPACUS, [1.5])


@pytest.mark.parametrize(
    ("epsilon", "rate", "steps"), [(8.0, FULL, 500), (0.1, FULL, 10), (2.0, 100_000, 500), (4.0, 10_000, 2000)]
)
def test_calibration_is_the_least_on_its_grid_and_never_stops_the_run(epsilon: float, rate: int, steps: int) -> None:
    noise = calibrate(epsilon=epsilon, delta=1e-5, sampling_rate_ppm=rate, steps=steps, dim=650)
    planned = [PrivacyEvent(noise, rate, steps)]
    passed = gate(planned, epsilon_budget=epsilon, delta=1e-5, dim=650, schedule=planned)
    assert passed == epsilon_pld(planned, 1e-5, dim=650) <= epsilon
    assert epsilon_pld([PrivacyEvent(int(noise / 1.0101), rate, steps)], 1e-5, dim=650) > epsilon
    half = [PrivacyEvent(noise, rate, steps // 2)]
    assert gate(half, epsilon_budget=epsilon, delta=1e-5, dim=650, schedule=planned) < epsilon


def test_the_lowest_noise_of_the_grid() -> None:
    assert calibrate(epsilon=99.0, delta=0.5, sampling_rate_ppm=FULL, steps=1) == 100


@pytest.mark.parametrize("epsilon", [math.nan, math.inf, 0.0, -1.0, 101.0])
def test_calibration_refuses_such_epsilons(epsilon: float) -> None:
    with pytest.raises(ValueError, match="epsilon must be"):
        calibrate(epsilon=epsilon, delta=1e-5, sampling_rate_ppm=FULL, steps=1)


def test_calibration_refuses_the_impossible() -> None:
    with pytest.raises(ValueError, match="fewer steps"):
        calibrate(epsilon=1e-6, delta=1e-10, sampling_rate_ppm=FULL, steps=1 << 24)
    with pytest.raises(ValueError, match="steps"):
        calibrate(epsilon=1.0, delta=1e-5, sampling_rate_ppm=FULL, steps=0)


def test_gate_refuses_over_budget() -> None:
    events = [PrivacyEvent(1000, FULL, 1)]
    epsilon = epsilon_pld(events, 1e-5)
    assert gate(events, epsilon_budget=epsilon, delta=1e-5, schedule=events) == epsilon
    assert gate([], epsilon_budget=1.0, delta=1e-5) == 0.0
    assert gate([], epsilon_budget=1.0, delta=1e-5, schedule=[]) == 0.0
    for least in (math.nextafter(epsilon, 0), 1e-3):
        with pytest.raises(PrivacyError, match="budget"):
            gate(events, epsilon_budget=least, delta=1e-5, schedule=events)
    with pytest.raises(PrivacyError, match="inf"):
        gate([PrivacyEvent(100, FULL, 10_000)], epsilon_budget=1e300, delta=1e-5)


def test_the_gate_takes_the_tight_value_within_a_committed_schedule_only() -> None:
    schedule = [PrivacyEvent(4000, 100_000, 30)] * 3
    tight, formal = epsilon_pld(schedule, 1e-5), epsilon_rdp(schedule, 1e-5)
    between = (tight + formal) / 2
    assert gate(schedule, epsilon_budget=between, delta=1e-5, schedule=schedule) == tight
    # However the steps are divided among events: only the totals of a mechanism count.
    assert gate(schedule, epsilon_budget=between, delta=1e-5, schedule=[PrivacyEvent(4000, 100_000, 90)]) == tight
    outside: tuple[list[PrivacyEvent] | None, ...] = (
        None,  # nothing was committed to
        [],
        schedule[:2],  # fewer steps
        [PrivacyEvent(4001, 100_000, 1000)],  # other mechanisms
        [PrivacyEvent(4000, 100_001, 1000)],
    )
    for other in outside:
        with pytest.raises(PrivacyError, match="budget"):
            gate(schedule, epsilon_budget=between, delta=1e-5, schedule=other)
        assert gate(schedule, epsilon_budget=2 * formal, delta=1e-5, schedule=other) == formal


@pytest.mark.parametrize("nonsense", [math.nan, -1.0, -math.inf, math.inf])
def test_gate_refuses_nonsense_from_the_accountants(nonsense: float, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("epsilon_pld", "epsilon_rdp"):
        monkeypatch.setattr(budget, name, lambda events, delta, *, dim: nonsense)
    for schedule in (None, OPACUS):
        with pytest.raises(PrivacyError, match="budget"):
            gate(OPACUS, epsilon_budget=10.0, delta=1e-5, schedule=schedule)


@pytest.mark.parametrize("budget", [math.nan, math.inf, 0.0, -1.0])
def test_gate_refuses_such_budgets(budget: float) -> None:
    with pytest.raises(ValueError, match="finite and positive"):
        gate([], epsilon_budget=budget, delta=1e-5)


@pytest.mark.parametrize("delta", [0.0, 9e-11, 1.0, -1.0, math.nan, math.inf])
def test_deltas_out_of_range(delta: float) -> None:
    for call in (epsilon_pld, epsilon_rdp, lambda e, d: group_epsilon(e, d, 2)):
        with pytest.raises(ValueError, match="delta"):
            call(OPACUS, delta)
    with pytest.raises(ValueError, match="delta"):
        gate(OPACUS, epsilon_budget=1.0, delta=delta)
    with pytest.raises(ValueError, match="delta"):
        calibrate(epsilon=1.0, delta=delta, sampling_rate_ppm=FULL, steps=1)


def test_other_arguments_out_of_range() -> None:
    epsilon_pld(OPACUS, 1e-5, dim=2)  # which a cache may take for 2.0
    takes_dim: Any = (epsilon_pld, epsilon_rdp, delta_pld, lambda e, d, dim: group_epsilon(e, d, 2, dim=dim))
    for dim, error in ((0, ValueError), (MAX_DIM + 1, ValueError), (2.0, TypeError), (True, TypeError)):
        for call in takes_dim:
            with pytest.raises(error, match="dim must be"):
                call(OPACUS, 1e-5, dim=dim)
        with pytest.raises(error, match="dim must be"):
            calibrate(epsilon=1.0, delta=1e-5, sampling_rate_ppm=FULL, steps=1, dim=dim)  # type: ignore[arg-type]
    for epsilon in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="epsilon"):
            delta_pld(OPACUS, epsilon)
    for k, error in ((0, ValueError), (65, ValueError), (1.5, TypeError)):
        with pytest.raises(error, match="k must"):
            group_epsilon(OPACUS, 1e-5, k)  # type: ignore[arg-type]
    for orders in ((), (1.0,), (math.inf,)):
        with pytest.raises(ValueError, match="orders"):
            epsilon_rdp(OPACUS, 1e-5, orders=orders)


@pytest.mark.parametrize(
    "fields",
    [(99, 1, 1), (10_000_001, 1, 1), (1000, 0, 1), (1000, 1_000_001, 1), (1000, 1, 0), (1000, 1, (1 << 24) + 1)],
)
def test_event_ranges(fields: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="must be in"):
        PrivacyEvent(*fields)
    with pytest.raises(TypeError, match="must be an int"):
        PrivacyEvent(1000.0, 1, 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be an int"):
        PrivacyEvent(1000, 1, True)


def test_events_with_part_of_the_noise() -> None:
    event = PrivacyEvent(2000, 50_000, 7)
    assert event.with_shares(1, 1) == event.with_shares(9, 4) == event
    assert event.with_shares(1, 4) == PrivacyEvent(1000, 50_000, 7)
    assert event.with_shares(1, 5) == PrivacyEvent(894, 50_000, 7)  # 2000 / sqrt(5) = 894.4, rounded down
    assert event.with_shares(3, 4) == PrivacyEvent(1732, 50_000, 7)
    with pytest.raises(ValueError, match="protect nothing"):
        event.with_shares(1, 401)
    for numbers in ((0, 4), (1, 0), (-1, 2)):
        with pytest.raises(ValueError, match="positive"):
            event.with_shares(*numbers)
    for wrong in (2.0, True):
        with pytest.raises(TypeError, match="ints"):
            event.with_shares(1, wrong)  # type: ignore[arg-type]


def test_merging_keeps_the_steps_of_every_mechanism() -> None:
    one, two, three = PrivacyEvent(2000, 10_000, 3), PrivacyEvent(2000, 9_000, 4), PrivacyEvent(1000, FULL, 1)
    assert merged([one, two, one, three]) == (three, two, PrivacyEvent(2000, 10_000, 6))
    assert merged([]) == ()
    assert list(totals([one, three, one]).items()) == [(three, 1), (PrivacyEvent(2000, 10_000, 1), 6)]
    most = PrivacyEvent(2000, 10_000, MAX_STEPS)
    assert sum(totals([most, one]).values()) == MAX_STEPS + 3, "accountants take any number of steps"
    with pytest.raises(ValueError, match="steps must be in"):
        merged([most, one])
