"""When a schedule that was committed to leaves nothing to choose, and when it does."""

import pytest

from protocols.dp import PrivacyEvent, epsilon_pld, epsilon_rdp, gate

DELTA, DIM = 1e-5, 650
FIRST = PrivacyEvent(2_500, 1_000_000, 1)
ONE = PrivacyEvent(5_293, 1_000_000, 1)
OTHER = PrivacyEvent(700, 10_000, 5)
SCHEDULE = (FIRST, ONE, OTHER)


def test_a_part_of_a_schedule_that_does_not_fit_as_a_whole_is_a_choice() -> None:
    """Who takes `ONE` or `OTHER` by what the first release showed loses more than the tight value of either."""
    budget = 1.8
    assert epsilon_pld(SCHEDULE, DELTA, dim=DIM) > budget
    for part in ((FIRST, ONE), (FIRST, OTHER)):
        tight, renyi = epsilon_pld(part, DELTA, dim=DIM), epsilon_rdp(part, DELTA, dim=DIM)
        assert tight < renyi
        found = gate(part, epsilon_budget=10.0 if renyi > budget else budget, delta=DELTA, dim=DIM)
        assert found == renyi
        if renyi <= budget:
            assert gate(part, epsilon_budget=budget, delta=DELTA, dim=DIM, schedule=SCHEDULE) == renyi
        else:
            with pytest.raises(Exception, match="privacy budget"):
                gate(part, epsilon_budget=budget, delta=DELTA, dim=DIM, schedule=SCHEDULE)


def test_what_fits_as_a_whole_leaves_nothing_to_choose() -> None:
    whole = epsilon_pld(SCHEDULE, DELTA, dim=DIM)
    found = gate([FIRST, OTHER], epsilon_budget=whole * 1.001, delta=DELTA, dim=DIM, schedule=SCHEDULE)
    assert found == epsilon_pld([FIRST, OTHER], DELTA, dim=DIM)


def test_of_one_mechanism_only_the_end_can_be_chosen() -> None:
    long = [PrivacyEvent(2_500, 1_000_000, 1000)]
    assert gate([FIRST], epsilon_budget=2.0, delta=DELTA, dim=DIM, schedule=long) == epsilon_pld(
        [FIRST], DELTA, dim=DIM
    )
