"""Plans of a run's privacy: who adds which part of the noise, drop-outs and colluders included."""

import math
from dataclasses import replace
from typing import Any

import pytest

from protocols.dp import Mode, PrivacyEvent, PrivacyPlan, epsilon_pld, epsilon_rdp

PLAN = PrivacyPlan.solve(epsilon=2.0, delta=1e-5, rounds=40, q=0.2, clients=10, honest_min=4, colluders=1, dim=906)


def test_a_solved_plan_keeps_its_budget() -> None:
    assert 1.95 < PLAN.spent() <= 2.0 < PLAN.spent_formal()
    assert PLAN.mode is Mode.DISTRIBUTED
    assert PLAN.schedule == (PLAN.round_event,) * 40
    assert PLAN.round_event == PrivacyEvent(PLAN.noise_multiplier_milli, 200_000, 1)
    assert PLAN.spent() == epsilon_pld(PLAN.schedule, 1e-5, dim=906)
    assert PLAN.spent_formal() == epsilon_rdp(PLAN.schedule, 1e-5, dim=906)
    assert PLAN.share_noise_multiplier == pytest.approx(PLAN.noise_multiplier_milli / 1000 / 2)
    spent = [PLAN.spent(rounds) for rounds in (0, 1, 10, 39, 40)]
    assert spent[0] == 0.0 == PLAN.spent_formal(0) == PLAN.naive_epsilon(1, 0)
    assert spent == sorted(spent)


def test_drop_outs_and_colluders_are_covered() -> None:
    assert (PLAN.shares, PLAN.minimum_contributors) == (4, 5)
    # Of the fewest contributors whose sum is opened, the colluders take their shares out: the rest is what is counted.
    for contributors in range(PLAN.minimum_contributors, PLAN.clients + 1):
        honest = contributors - PLAN.colluders
        assert PLAN.naive_epsilon(honest) <= 2.0
    assert PLAN.naive_epsilon(PLAN.minimum_contributors - PLAN.colluders - 1) > 2.0


def test_naive_shares_are_too_small_when_clients_drop_out() -> None:
    # Noise divided by all of ten clients: three of them drop out.
    values = {}
    for q in (1.0, 0.2, 0.1):
        naive = PrivacyPlan.solve(epsilon=2.0, delta=1e-5, rounds=40, q=q, clients=10, honest_min=10)
        assert naive.naive_epsilon(10) == naive.spent() <= 2.0
        values[q] = round(naive.naive_epsilon(7), 2)
    assert values == {1.0: 2.43, 0.2: 2.51, 0.1: 2.65}


def test_one_share_alone_protects_little() -> None:
    assert PLAN.naive_epsilon(1) > 2 * PLAN.spent()
    assert PLAN.naive_epsilon(1, 1) < PLAN.naive_epsilon(1)
    many = PrivacyPlan.solve(epsilon=8.0, delta=1e-5, rounds=3, clients=1000, honest_min=500)
    assert many.naive_epsilon(1) == math.inf
    assert many.naive_epsilon(0) == math.inf
    assert many.naive_epsilon(0, 0) == 0.0


def test_defaults_let_three_tenths_of_the_clients_drop_out() -> None:
    def solved(**arguments: Any) -> PrivacyPlan:
        return PrivacyPlan.solve(epsilon=4.0, delta=1e-5, rounds=5, **arguments)

    assert solved(clients=10).shares == 7
    assert solved(clients=11, colluders=2).shares == 6
    assert solved(clients=11, colluders=2).minimum_contributors == 8
    assert solved(clients=2, colluders=1).shares == 1
    assert solved(clients=3, colluders=2).shares == 1
    assert solved(clients=10, mode=Mode.LOCAL, steps=7).shares == 1
    local = solved(clients=10, mode=Mode.LOCAL, q=0.1, steps=7)
    assert local.round_event.steps == 7
    assert local.naive_epsilon(1) == local.spent()
    assert solved(clients=200, mode=Mode.CLIENT).shares == 140


def test_less_is_never_cheaper() -> None:
    def noise(**changes: Any) -> int:
        arguments: dict[str, Any] = {"epsilon": 2.0, "delta": 1e-5, "rounds": 40, "q": 0.2, "clients": 10} | changes
        return PrivacyPlan.solve(**arguments).noise_multiplier_milli

    assert noise() < noise(epsilon=1.0)
    assert noise() < noise(delta=1e-8)
    assert noise() < noise(rounds=80)
    assert noise() < noise(q=0.4)
    assert noise() == noise(clients=100) == noise(honest_min=2)
    # The same noise in all is more for each client, the fewer are counted on.
    shares = [replace(PLAN, honest_minimum=t, colluders=0).share_noise_multiplier for t in (1, 2, 5, 10)]
    assert shares == sorted(shares, reverse=True)


def test_rates_are_rounded_up_to_millionths() -> None:
    for q, ppm in ((0.07, 70_000), (1 / 3, 333_334), (1.0, 1_000_000)):
        assert PrivacyPlan.solve(epsilon=2.0, delta=1e-5, rounds=2, q=q, clients=4).sampling_rate_ppm == ppm


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epsilon": math.nan}, "epsilon"),
        ({"epsilon": math.inf}, "epsilon"),
        ({"epsilon": -1.0}, "epsilon"),
        ({"delta": math.nan}, "delta"),
        ({"delta": 1e-11}, "delta"),
        ({"rounds": 0}, "rounds"),
        ({"rounds": 1 << 25}, "rounds"),
        ({"steps": 2}, "one step"),
        ({"steps": 0}, "steps"),
        ({"sampling_rate_ppm": 0}, "sampling_rate_ppm"),
        ({"noise_multiplier_milli": 99}, "noise_multiplier_milli"),
        ({"clients": 0}, "clients"),
        ({"honest_minimum": 0}, "honest_minimum"),
        ({"honest_minimum": 1025, "clients": 5000}, "honest_minimum"),
        ({"honest_minimum": 10}, "more than the 10 clients"),
        ({"colluders": -1}, "colluders"),
        ({"colluders": 10}, "colluders"),
        ({"dim": 0}, "dim"),
        ({"mode": Mode.CLIENT}, "sampling rate must be 1"),
        ({"mode": Mode.LOCAL}, "honest_minimum must be 1"),
        ({"mode": Mode.LOCAL, "honest_minimum": 1, "rounds": 1 << 20, "steps": 17}, "rounds \\* steps"),
    ],
)
def test_plans_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(PLAN, **changes)


def test_arguments_that_cannot_be() -> None:
    for q in (0.0, -0.1, 1.5, math.nan, math.inf):
        with pytest.raises(ValueError, match="sampling rate q"):
            PrivacyPlan.solve(epsilon=2.0, delta=1e-5, rounds=4, q=q, clients=10)
    for rounds in (0, -1):
        with pytest.raises(ValueError, match="rounds"):
            PrivacyPlan.solve(epsilon=2.0, delta=1e-5, rounds=rounds, clients=10)
    with pytest.raises(ValueError, match="steps"):
        PrivacyPlan.solve(epsilon=2.0, delta=1e-5, rounds=4, clients=10, mode=Mode.LOCAL, steps=0)
    with pytest.raises(ValueError, match="epsilon"):
        PrivacyPlan.solve(epsilon=math.nan, delta=1e-5, rounds=4, clients=10)
    with pytest.raises(ValueError, match="fewer steps"):
        PrivacyPlan.solve(epsilon=1e-6, delta=1e-10, rounds=1 << 24, clients=10)
    with pytest.raises(TypeError, match="Mode"):
        replace(PLAN, mode=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="rounds"):
        replace(PLAN, rounds=4.0)  # type: ignore[arg-type]
    for survivors in (-1, 11):
        with pytest.raises(ValueError, match="survivors"):
            PLAN.naive_epsilon(survivors)
    for rounds in (-1, 41):
        with pytest.raises(ValueError, match="rounds"):
            PLAN.spent(rounds)
        with pytest.raises(ValueError, match="rounds"):
            PLAN.naive_epsilon(2, rounds)
