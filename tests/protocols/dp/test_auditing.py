"""The statistics of an audit: against the definitions, against simulated mechanisms, and what each of them sees."""

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from protocols.dp.auditing import (
    MAX_CANARIES,
    AuditResult,
    OneRun,
    SentinelRound,
    correlation_p_value,
    noise_z_test,
    one_run_lower_bound,
    one_run_p_value,
    sampling_p_value,
    sentinel_reading,
)


def by_definition(run: OneRun, epsilon: float, delta: float) -> float:
    """Theorem 5.2, sum by sum."""
    chance = math.exp(epsilon) / (1 + math.exp(epsilon))
    chances = [
        math.comb(run.guesses, k) * chance**k * (1 - chance) ** (run.guesses - k) for k in range(run.guesses + 1)
    ]

    def tail(v: int) -> float:
        return math.fsum(chances[max(v, 0) :])

    slope = max(
        ((tail(run.correct - i) - tail(run.correct)) / i for i in range(1, run.canaries + 1)),
        default=0.0,
    )
    return min(1.0, tail(run.correct) + 2 * run.canaries * delta * max(0.0, slope))


@pytest.mark.parametrize("epsilon", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("delta", [0.0, 1e-6, 1e-2])
def test_one_run_p_value_is_the_theorem(epsilon: float, delta: float) -> None:
    for guesses, canaries in ((1, 1), (7, 7), (20, 60)):
        for correct in range(guesses + 1):
            run = OneRun(canaries, guesses, correct)
            assert one_run_p_value(run, epsilon, delta) == pytest.approx(by_definition(run, epsilon, delta), rel=1e-9)


def test_one_run_p_value_holds_for_randomized_response() -> None:
    """The mechanism that the theorem is about reports each coin rightly with probability e^eps / (1 + e^eps)."""
    rng, epsilon, guesses = np.random.default_rng(1), 1.0, 40
    correct = rng.binomial(guesses, math.exp(epsilon) / (1 + math.exp(epsilon)), size=20_000)
    p_values = {v: one_run_p_value(OneRun(guesses, guesses, v), epsilon, 0.0) for v in range(guesses + 1)}
    found = np.array([p_values[int(v)] for v in correct])
    for level in (0.3, 0.1, 0.01):
        assert np.mean(found <= level) <= level + 4 * math.sqrt(level / len(found))
    stronger = rng.binomial(guesses, math.exp(4) / (1 + math.exp(4)), size=1000)
    assert np.mean([p_values[int(v)] < 1e-3 for v in stronger]) > 0.5


def test_delta_costs_evidence() -> None:
    run = OneRun(3000, 600, 600)
    assert one_run_p_value(run, 1.0, 0.0) < 1e-80
    assert 1e-6 < one_run_p_value(run, 1.0, 1e-6) < 1e-4
    assert one_run_p_value(run, 1.0, 1e-3) > 1e-3


def test_the_lower_bound_is_where_the_p_value_crosses() -> None:
    run = OneRun(1000, 200, 190)
    bound = one_run_lower_bound(run, 1e-6)
    assert 2.2 < bound < 2.5
    assert one_run_p_value(run, bound, 1e-6) < 0.05 <= one_run_p_value(run, bound + 1e-6, 1e-6)
    assert one_run_lower_bound(run, 1e-6, 0.999) < bound
    assert one_run_lower_bound(OneRun(1000, 200, 110), 1e-6) == 0
    assert one_run_lower_bound(OneRun(1000, 200, 200), 0.0) > 3.5


def test_the_lower_bound_is_below_epsilon_of_a_gaussian_mechanism() -> None:
    rng, mu = np.random.default_rng(2), 0.4
    for _ in range(20):
        coins = rng.random(2000) < 0.5
        scores = rng.normal(size=2000) + mu * coins
        order = np.argsort(scores)
        correct = int((~coins[order[:200]]).sum() + coins[order[-200:]].sum())
        assert one_run_lower_bound(OneRun(2000, 400, correct), 1e-6, 0.9999) < 2.0  # (2.0, 1e-6) bounds mu = 0.4


@pytest.mark.parametrize(
    ("epsilon", "delta", "confidence", "match"),
    [
        (-0.1, 0.0, 0.95, "epsilon"),
        (math.nan, 0.0, 0.95, "epsilon"),
        (math.inf, 0.0, 0.95, "epsilon"),
        (1.0, 1.0, 0.95, "delta"),
        (1.0, -1e-9, 0.95, "delta"),
        (1.0, math.nan, 0.95, "delta"),
        (1.0, 0.0, 1.0, "confidence"),
        (1.0, 0.0, 0.0, "confidence"),
        (1.0, 0.0, math.nan, "confidence"),
    ],
)
def test_one_run_refuses(epsilon: float, delta: float, confidence: float, match: str) -> None:
    run = OneRun(10, 5, 5)
    if match == "confidence":
        with pytest.raises(ValueError, match=match):
            one_run_lower_bound(run, delta, confidence)
        return
    with pytest.raises(ValueError, match=match):
        one_run_p_value(run, epsilon, delta)


@pytest.mark.parametrize("numbers", [(5, 6, 1), (5, 5, 6), (5, 0, 0), (5, 2, -1), (MAX_CANARIES + 1, 5, 5)])
def test_a_run_that_cannot_be(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="must be in"):
        OneRun(*numbers)


def test_a_run_of_ints_only() -> None:
    fraction: Any = 5.0
    with pytest.raises(TypeError, match="guesses must be an int"):
        OneRun(10, fraction, 2)
    with pytest.raises(TypeError, match="correct must be an int"):
        OneRun(10, 5, True)


def test_sentinels_see_half_the_variance_in_one_round() -> None:
    rng = np.random.default_rng(3)
    variance = 1e6
    alarms = 0
    for _ in range(50):
        noise = np.rint(rng.normal(scale=math.sqrt(variance / 2), size=256)).astype(int)
        alarms += sentinel_reading([SentinelRound(256, int((noise**2).sum()), variance)]).p_too_small < 1e-6
    assert alarms >= 48
    exact = sentinel_reading([SentinelRound(256, 128, 1.0)])
    assert exact.ratio == 0.5
    assert exact.p_too_small == pytest.approx(stats.chi2.cdf(128, 256), rel=1e-6)
    assert exact.p_too_small < 2e-12
    assert exact.p_too_large == pytest.approx(1.0)


def test_sentinels_of_right_noise() -> None:
    rng = np.random.default_rng(4)
    readings = [
        sentinel_reading([SentinelRound(64, int((np.rint(rng.normal(scale=500, size=64)) ** 2).sum()), 250_000.0)] * 1)
        for _ in range(400)
    ]
    for tail in ("p_too_small", "p_too_large"):
        assert stats.kstest([getattr(reading, tail) for reading in readings], "uniform").pvalue > 1e-4
    assert all(reading.p_too_small + reading.p_too_large == pytest.approx(1) for reading in readings)


def test_rounds_of_different_variances_add_up() -> None:
    reading = sentinel_reading([SentinelRound(256, 256 * 100, 100.0), SentinelRound(128, 128 * 900, 900.0)])
    assert reading.ratio == pytest.approx(1.0)
    assert reading.coordinates == 384
    more = sentinel_reading([SentinelRound(256, 256 * 80, 100.0)] * 8)
    assert more.ratio == pytest.approx(0.8)
    assert more.p_too_small < 1e-9 < sentinel_reading([SentinelRound(256, 256 * 80, 100.0)]).p_too_small


def test_sentinels_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="no round"):
        sentinel_reading([])
    for count, energy, variance in ((0, 0, 1.0), (1, -1, 1.0), (1, 0, 0.0), (1, 0, math.inf), (1, 0, math.nan)):
        with pytest.raises(ValueError, match="positive variance"):
            SentinelRound(count, energy, variance)
    fraction: Any = 1.5
    for count, energy in ((fraction, 1), (1, fraction)):
        with pytest.raises(TypeError, match="are ints"):
            SentinelRound(count, energy, 1.0)


def test_the_z_test_is_uniform_under_the_claim() -> None:
    rng = np.random.default_rng(5)
    readings = []
    for _ in range(400):
        coins = rng.random(400) < 0.5
        taken = coins * rng.binomial(4, 0.3, size=400)
        scores = rng.normal(scale=2.0, size=400) + 1.5 * taken
        readings.append(
            noise_z_test(scores, coins, shift=1.5 * 1.2, variance=4.0, sampling_variance=1.5**2 * 4 * 0.3 * 0.7)
        )
    for tail in ("p_too_small", "p_too_large", "p_signal"):
        assert stats.kstest([getattr(reading, tail) for reading in readings], "uniform").pvalue > 1e-4
    assert min(reading.p_value for reading in readings) > 1e-5


@pytest.mark.parametrize(
    ("noise", "signal", "seen"),
    [
        (0.0, 1.0, "p_too_small"),
        (0.5, 1.0, "p_too_small"),
        (2.0, 1.0, "p_too_large"),
        (1.0, 5.0, "p_signal"),
        (1.0, 0.0, "p_signal"),
    ],
)
def test_the_z_test_sees(noise: float, signal: float, seen: str) -> None:
    rng = np.random.default_rng(6)
    coins = rng.random(1000) < 0.5
    scores = noise * rng.normal(size=1000) + 0.5 * signal * coins
    reading = noise_z_test(scores, coins, shift=0.5, variance=1.0)
    assert getattr(reading, seen) < 1e-9
    assert reading.p_value < 1e-8
    assert reading.noise_ratio == pytest.approx(noise**2, rel=0.2)
    assert reading.signal_ratio == pytest.approx(signal, abs=0.5)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"scores": np.zeros(3)}, "one length"),
        ({"scores": np.zeros((4, 1))}, "one length"),
        ({"scores": np.array([0.0, 1.0, np.nan, 0.0])}, "finite"),
        ({"included": np.ones(4, dtype=np.bool_)}, "both sides"),
        ({"included": np.zeros(4, dtype=np.bool_)}, "both sides"),
        ({"variance": 0.0}, "positive"),
        ({"variance": math.inf}, "positive"),
        ({"shift": 0.0}, "positive"),
        ({"shift": math.nan}, "positive"),
        ({"sampling_variance": -1.0}, "not negative"),
        ({"sampling_variance": math.nan}, "not negative"),
    ],
)
def test_the_z_test_refuses(changes: dict[str, Any], match: str) -> None:
    arguments: dict[str, Any] = {
        "scores": np.zeros(4),
        "included": np.array([True, False, True, False]),
        "shift": 1.0,
        "variance": 1.0,
    }
    with pytest.raises(ValueError, match=match):
        noise_z_test(**(arguments | changes))


def test_independent_noise_is_not_alike() -> None:
    rng = np.random.default_rng(7)
    found = []
    for count, width in itertools.product((2, 5, 300), (8, 64)):
        values = np.rint(1000 * rng.normal(size=(count, width))).astype(np.int64)
        found.append(correlation_p_value(values))
    assert min(found) > 1e-3
    pairs = [correlation_p_value(np.rint(1000 * rng.normal(size=(2, 16))).astype(np.int64)) for _ in range(400)]
    assert stats.kstest(pairs, "uniform").pvalue > 1e-4, "for one pair the p-value is exact"


def test_noise_in_common_is_seen() -> None:
    rng = np.random.default_rng(8)
    values = np.rint(1000 * rng.normal(size=(270, 256))).astype(np.int64)
    for changed in (values[3], -values[3], values[3] + values[4], 2 * values[3] - values[5] // 2):
        alike = values.copy()
        alike[260] = changed
        assert correlation_p_value(alike) < 1e-9
    nothing = values.copy()
    nothing[7] = 0
    assert correlation_p_value(nothing) == 0


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (5,), (2, 2, 2)])
def test_correlation_needs_two_vectors(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least two"):
        correlation_p_value(np.ones(shape, dtype=np.int64))


def test_poisson_samples_pass_and_others_do_not() -> None:
    rng = np.random.default_rng(9)
    records = np.full(32, 200, dtype=np.int64)
    good = [sampling_p_value(rng.binomial(200, 0.1, size=32), records, 100_000) for _ in range(400)]
    assert min(good) > 1e-5
    assert np.mean(np.array(good) < 0.05) < 0.1
    assert sampling_p_value(np.full(32, 20, dtype=np.int64), records, 100_000) < 1e-9, "batches of a fixed size"
    assert sampling_p_value(records, records, 100_000) == 0, "everybody"
    assert sampling_p_value(rng.binomial(200, 0.2, size=32), records, 100_000) < 1e-9, "another rate"
    assert sampling_p_value(0 * records, records, 100_000) < 1e-9, "nobody"


def test_rare_records_are_counted_in_total_only() -> None:
    records = np.full(32, 64, dtype=np.int64)
    assert sampling_p_value(0 * records, records, 1000) > 0.1, "equal sizes are likely here"
    assert sampling_p_value(np.full(32, 3, dtype=np.int64), records, 1000) < 1e-9


def test_a_full_batch_is_everybody() -> None:
    records = np.array([3, 5], dtype=np.int64)
    assert sampling_p_value(records, records, 1_000_000) == 1
    assert sampling_p_value(records - 1, records, 1_000_000) == 0
    assert sampling_p_value(0 * records, 0 * records, 500_000) == 1


@pytest.mark.parametrize(
    ("sizes", "records", "rate", "match"),
    [
        ([3], [2], 500_000, "size <= records"),
        ([-1], [2], 500_000, "size <= records"),
        ([1, 1], [2], 500_000, "one length"),
        ([1], [2], 0, "sampling_rate_ppm"),
        ([1], [2], 1_000_001, "sampling_rate_ppm"),
    ],
)
def test_sampling_refuses(sizes: list[int], records: list[int], rate: int, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        sampling_p_value(np.array(sizes, dtype=np.int64), np.array(records, dtype=np.int64), rate)


RESULT = AuditResult(1000, 10**6, 3000, 600, 330, 50, 10**12, 4 * 10**11, 1_003_000, 5 * 10**11, "")


def test_a_result_that_passes() -> None:
    assert RESULT.passes
    assert RESULT.violations == ()
    assert replace(RESULT, one_run_p_e12=10**8, z_p_e12=10**6, sentinel_p_e12=10**6).passes, "at the levels"


@pytest.mark.parametrize(
    ("changes", "violations"),
    [
        ({"one_run_p_e12": 10**8 - 1}, ("one-run",)),
        ({"z_p_e12": 10**6 - 1}, ("z-test",)),
        ({"sentinel_p_e12": 0}, ("sentinels",)),
        ({"structural": "noise-law, record-norm"}, ("noise-law", "record-norm")),
        ({"one_run_p_e12": 1, "structural": "claims"}, ("one-run", "claims")),
    ],
)
def test_a_result_that_does_not_pass(changes: dict[str, Any], violations: tuple[str, ...]) -> None:
    result = replace(RESULT, **changes)
    assert not result.passes
    assert result.violations == violations


@pytest.mark.parametrize(
    "changes",
    [
        {"claimed_epsilon_milli": 0},
        {"claimed_epsilon_milli": 100_001},
        {"delta_e12": -1},
        {"delta_e12": 10**12},
        {"correct": 601},
        {"epsilon_lower_milli": -1},
        {"epsilon_lower_milli": 100_001},
        {"one_run_p_e12": 10**12 + 1},
        {"z_p_e12": -1},
        {"sentinel_p_e12": 10**12 + 1},
        {"noise_ratio_ppm": -1},
        {"noise_ratio_ppm": 1 << 63},
        {"structural": "x" * 257},
        {"structural": "line\n"},
        {"structural": "é"},
    ],
)
def test_a_result_that_cannot_be(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be in|structural is"):
        replace(RESULT, **changes)


@pytest.mark.parametrize("changes", [{"z_p_e12": 1.0}, {"canaries": True}, {"structural": b""}])
def test_a_result_of_other_types(changes: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        replace(RESULT, **changes)
