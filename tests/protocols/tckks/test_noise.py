"""Bounds on noise: computed another way, measured, and never exceeded."""

import math
from fractions import Fraction

import numpy as np
import pytest

from protocols.digits import DigitBlocks, DigitLayout
from protocols.errors import CapacityError
from protocols.suites import RING_DEGREES, suite
from protocols.tckks import NoiseBudget, OpeningProfile, ReplicatedSharing, ShamirSharing, dryrun
from protocols.tckks.encrypt import message_residues
from protocols.tckks.noise import ERROR_BOUND, ERROR_VARIANCE, MINIMUM_LAMBDA
from tests.protocols.tckks.committee import SUITE, committee

BUDGETS = [
    NoiseBudget(suite(degree), addends, answers, clients)
    for degree in RING_DEGREES
    for addends, answers in ((1, 1), (3, 4), (10, 10), (70, 70), (5, 32))
    for clients in (1, 2, 10, 1000)
]

ROUNDING = Fraction(1, 12)  # uniform on [-1/2, 1/2]
TERNARY = Fraction(2, 3)
BINOMIAL = Fraction(42, 4)  # 42 fair coins


def variances(budget: NoiseBudget) -> tuple[Fraction, Fraction]:
    """Of a fresh ciphertext's error and of the test ciphertext's, addend by addend."""
    n, m, p = budget.suite.ring_degree, budget.addends, budget.suite.special_prime
    key_error_times_u = n * (m * BINOMIAL) * TERNARY
    e0, e1_times_s = BINOMIAL, n * BINOMIAL * (m * TERNARY)
    encryption = key_error_times_u + e0 + e1_times_s
    rounding = ROUNDING + n * ROUNDING * (m * TERNARY)
    return rounding + encryption / p**2, encryption


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_standard_deviations_and_bounds_by_another_computation(budget: NoiseBudget) -> None:
    fresh, test = variances(budget)
    assert budget.error_std == pytest.approx(math.sqrt(fresh), rel=1e-12)
    assert budget.test_error_std == pytest.approx(math.sqrt(test), rel=1e-12)
    n, m, p = budget.suite.ring_degree, budget.addends, budget.suite.special_prime
    worst_test = n * (21 * m) + 21 + n * 21 * m
    assert budget.test_error_bound == worst_test
    worst_fresh = Fraction(1, 2) + Fraction(n * m, 2) + Fraction(worst_test, p)
    assert worst_fresh <= budget.error_bound <= worst_fresh + 3
    undivided = budget.answers * 2**budget.suite.smudging_bits + max(budget.clients * worst_fresh, worst_test)
    # Each prime that is dropped rounds by at most one half, and the next division shrinks that again.
    rounding = (budget.answers + 1) * (Fraction(1, 2) + Fraction(1, 2 * budget.suite.data_primes[-2]))
    divided = undivided / budget.suite.dropped_modulus + rounding
    assert divided <= budget.noise_bound <= divided + 3


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_the_scale_and_the_message_leave_room_for_all_noise(budget: NoiseBudget) -> None:
    scale = 1 << budget.scale_shift
    assert budget.scale == scale * budget.suite.dropped_modulus
    assert all(budget.scale % q == 0 for q in budget.suite.data_primes[-2:])  # so no message is in the dropped rows
    assert budget.noise_bound < scale // 2
    assert budget.noise_bound >= scale // 4  # and the scale is the least that does
    largest_message = (1 << (budget.plaintext_bits - 1)) - 1
    assert scale * largest_message + budget.noise_bound <= budget.suite.answer_modulus // 2
    too_large = (1 << (budget.plaintext_bits + 1 - 1)) - 1  # one bit more does not fit
    assert scale * too_large + budget.noise_bound > budget.suite.answer_modulus // 2


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_lambda_by_another_computation(budget: NoiseBudget) -> None:
    n = budget.suite.ring_degree
    fresh, test = (math.sqrt(v) for v in variances(budget))
    for blocks in (1, 2, 11, 5000):
        aggregates, dry_run = (blocks - 1) * n * budget.clients * fresh, n * max(test, budget.clients * fresh)
        variation = (aggregates + dry_run) / (2 * 2.0**budget.suite.smudging_bits)
        assert budget.smudging_lambda(blocks * n) == math.floor(-math.log2(variation))
    for tests in (2, 5):
        aggregates, dry_runs = 40 * n * budget.clients * fresh, tests * n * max(test, budget.clients * fresh)
        variation = (aggregates + dry_runs) / (2 * 2.0**budget.suite.smudging_bits)
        assert budget.smudging_lambda((40 + tests) * n, tests=tests) == math.floor(-math.log2(variation))


def test_the_shift_of_a_uniform_law_is_what_the_formula_says() -> None:
    """Total variation between uniform on [-W, W) and the same moved by e, counted on a small W."""
    width = 64
    for e in range(40):
        inside = set(range(-width, width))
        moved = {x + e for x in inside}
        variation = Fraction(len(inside ^ moved), 2 * len(inside))
        assert variation == Fraction(e, 2 * width)


def test_measured_error_is_the_predicted_one() -> None:
    """N = 8192, ten pieces, eight ciphertexts: within 2 %, and never above the bound."""
    team = committee()
    secret = team.secret()
    errors = []
    for index in range(8):
        (ciphertext,) = team.encrypt(DigitBlocks(team.layout, np.zeros((1, 5, 8192), dtype=np.int64)), index).residues
        opened = team.data.add(ciphertext[0], team.data.multiply(ciphertext[1], secret))
        errors.append(team.data.compose(team.data.inverse_ntt(opened)).astype(np.float64))
    assert np.std(errors) == pytest.approx(team.budget.error_std, rel=0.02)
    assert np.abs(errors).max() <= team.budget.error_bound


def test_measured_error_of_the_dry_run_is_the_predicted_one() -> None:
    team = committee()
    (ciphertext,) = dryrun.trial_ciphertext(
        team.joint, team.budget, team.layout, epoch=0, trial=0, binding=bytes(32)
    ).residues
    digits = dryrun.trial_digits(team.joint, team.layout, epoch=0, trial=0, binding=bytes(32))
    message = message_residues(team.data, digits, team.budget.scale, 0)
    opened = team.data.add(ciphertext[0], team.data.multiply(ciphertext[1], team.secret()))
    error = team.data.compose(team.data.subtract(team.data.inverse_ntt(opened), message)).astype(np.float64)
    assert np.std(error) == pytest.approx(team.budget.test_error_std, rel=0.03)
    assert np.abs(error).max() <= team.budget.test_error_bound


def test_the_layout_takes_as_many_digits_as_fit_and_one_more_would_wrap() -> None:
    team = committee()
    layout, scale = team.layout, team.budget.scale
    assert layout.per_coefficient == team.budget.plaintext_bits // layout.width == 5
    for count, exact in ((layout.per_coefficient, True), (layout.per_coefficient + 1, False)):
        wide = DigitLayout(layout.width, count, layout.coefficients)
        digits = DigitBlocks(wide, np.full((1, count, layout.coefficients), wide.largest, dtype=np.int64))
        value = team.data.compose(message_residues(team.data, digits, scale, 0))
        wanted = sum(wide.largest << (layout.width * d) for d in range(count)) * scale
        assert (set(value.tolist()) == {wanted}) is exact


def test_a_digit_that_does_not_fit_is_refused_with_the_numbers() -> None:
    tight = NoiseBudget(suite(8192), 10, 10, 10)
    assert tight.plaintext_bits == 119
    with pytest.raises(CapacityError, match="a digit of 120 bits does not fit the 119 message bits of tckks-8192-v1"):
        tight.layout(120)


def test_a_suite_without_room_for_a_message_is_refused() -> None:
    with pytest.raises(CapacityError, match="no room left for a message"):
        NoiseBudget(suite(8192), 1, 1, 1 << 190)


@pytest.mark.parametrize(("addends", "answers", "clients"), [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-1, 1, 5)])
def test_a_budget_has_addends_answers_and_clients(addends: int, answers: int, clients: int) -> None:
    with pytest.raises(ValueError, match="at least one addend and one answer, and serves at least one client"):
        NoiseBudget(SUITE, addends, answers, clients)


def test_a_later_committee_is_admitted_while_its_noise_fits_the_scale() -> None:
    budget = NoiseBudget.of(suite(16384), ReplicatedSharing(5, 3), 100)
    assert budget.admits(ReplicatedSharing(5, 3))
    assert budget.admits(ShamirSharing(32, 10))
    assert not budget.admits(ShamirSharing(32, 11))  # though the scale would hold 13 noises, `combine` takes ten
    for answers in (1, 9, 10, 11, 13, 14):
        other = NoiseBudget(budget.suite, budget.addends, answers, budget.clients)
        assert (other.noise_bound <= budget.noise_bound) is (answers <= 10)
        assert (other.scale_shift <= budget.scale_shift) is (answers <= 13)


@pytest.mark.parametrize(("bits", "dropped"), [(0, 0), (96, 0), (-1, 1)])
def test_a_profile_has_smudging(bits: int, dropped: int) -> None:
    with pytest.raises(ValueError, match="smudging has 1 to 95 bits"):
        OpeningProfile(bits, dropped)
    with pytest.raises(ValueError, match="is not negative"):
        OpeningProfile(75, -1)


def test_require_refuses_with_the_numbers_exactly_at_the_limit() -> None:
    budget = NoiseBudget(suite(8192), 10, 10, 10)
    least = next(k for k in range(1, 1 << 20) if budget.smudging_lambda(k << 13) < MINIMUM_LAMBDA)
    assert budget.require((least - 1) << 13) == MINIMUM_LAMBDA
    with pytest.raises(CapacityError) as caught:
        budget.require(least << 13)
    for fragment in (
        str(least << 13),
        "10 clients",
        "at most 2^-39,",
        "tckks-8192-v1",
        "at most 2^-40 is",
        "fewer rounds or",
    ):
        assert fragment in str(caught.value)
    with pytest.raises(CapacityError, match=r"distance at most 2\^[0-9]+,"):
        budget.require(1 << 90)
    with pytest.raises(ValueError, match="at least one coefficient"):
        budget.smudging_lambda(0)


def test_the_error_law_has_the_stated_variance_and_bound() -> None:
    weights = [math.comb(42, k) for k in range(43)]  # heads of 42 coins, centred at 21
    variance = Fraction(sum(w * (k - 21) ** 2 for k, w in enumerate(weights)), 2**42)
    assert (variance, len(weights) // 2) == (Fraction(ERROR_VARIANCE), ERROR_BOUND)
