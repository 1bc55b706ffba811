"""The pictures' geometry: round ticks, refused points, bounds that stay bounds."""

import math
import re

import pytest

from secure_bfl.report.canvas import ticks
from secure_bfl.report.plots import (
    Bound,
    GaugePoint,
    Point,
    epsilon_over_rounds,
    epsilon_profile,
    roc_bound,
    sentinel_gauge,
)
from secure_bfl.report.wording import format_delta, number, percent_up


@pytest.mark.parametrize("x", [math.nan, math.inf, -math.inf])
def test_a_point_is_finite(x: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Point(x, 0.0)
    with pytest.raises(ValueError, match="finite"):
        Point(0.0, x)


@pytest.mark.parametrize("high", [1e-4, 0.3, 1, 2.4, 7.93, 8, 10, 99.9, 12_345])
def test_ticks_are_round_and_cover(high: float) -> None:
    found = ticks(high, 5)
    assert found[0] == 0
    assert found[-2] < high <= found[-1] * (1 + 1e-9)
    step = found[1]
    leading = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(leading - round_one) for round_one in (1, 2, 5, 10)) < 1e-6
    assert 3 <= len(found) <= 12


def test_ticks_of_nothing() -> None:
    assert ticks(0, 5) == [0.0, 1.0]


def heights(svg: str, css: str) -> list[float]:
    return [float(y) for y in re.findall(rf'<circle class="{css}" cx="[\d.]+" cy="([\d.]+)"', svg)]


def test_the_budget_line_is_above_what_fits_and_below_what_does_not() -> None:
    svg = epsilon_over_rounds([Point(1, 2.0), Point(2, 9.0)], [], Bound("budget", 8.0), delta=1e-5)
    level = float(re.findall(r'<line class="budget" x1="[\d.]+" y1="([\d.]+)"', svg)[0])
    first, second = heights(svg, "dot")
    assert first > level > second  # y grows downwards
    assert "budget 8" in svg
    assert "δ = 1e-5" in svg


def test_the_forecast_starts_where_spending_ends() -> None:
    svg = epsilon_over_rounds([Point(1, 2.0)], [Point(2, 3.0)], Bound("budget", 8.0), delta=1e-5)
    curve = re.findall(r'<path class="curve" d="M([^"]+)"', svg)[0].split(" L")
    ahead = re.findall(r'<path class="forecast" d="M([^"]+)"', svg)[0].split(" L")
    assert ahead[0] == curve[-1]


def test_profile_refuses_delta_zero_and_marks_the_pair() -> None:
    svg = epsilon_profile([Point(1e-8, 4.0), Point(1e-3, 2.0)], delta=1e-5, epsilon=3.0)
    assert "ε = 3.00 at δ = 1e-5" in svg
    with pytest.raises(ValueError, match=r"math domain|positive"):
        epsilon_profile([Point(0.0, 4.0)], delta=1e-5, epsilon=3.0)


def test_profile_without_a_bound_has_no_mark() -> None:
    assert "<circle" not in epsilon_profile([], delta=1e-5, epsilon=None)


def test_roc_has_its_diagonal_and_its_mark() -> None:
    svg = roc_bound([Point(0, 0), Point(0.01, 0.2), Point(1, 1)], Point(0.01, 0.2), about="whether it rained")
    assert "Upper bound on detecting whether it rained" in svg
    assert "1 % false alarms: at most 20.0 % detections" in svg
    assert 'class="guide"' in svg


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0.0"), (0.19901, "20.0"), (0.199, "19.9"), (0.0421, "4.3"), (1.0, "100.0")]
)
def test_an_upper_bound_is_rounded_up(share: float, text: str) -> None:
    assert percent_up(share) == text


def test_an_upper_bound_with_more_digits_is_rounded_up_too() -> None:
    assert (percent_up(0.1990001, 4), percent_up(0.199, 4), percent_up(1.0, 4)) == ("19.9001", "19.9000", "100.0000")


@pytest.mark.parametrize(("delta", "text"), [(1e-5, "1e-5"), (2.5e-6, "2.5e-6"), (1e-10, "1e-10"), (0.1, "1e-1")])
def test_delta_reads_as_people_write_it(delta: float, text: str) -> None:
    assert format_delta(delta) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(7.93, "7.93"), (12_345, "12,345"), (131072.0, "131,072.0"), (0.0, "0"), ("unbounded", "unbounded")],
)
def test_numbers_for_people(value: float | str, text: str) -> None:
    assert number(value) == text


def test_a_reading_below_the_alarm_line_is_drawn_below_it_and_in_red() -> None:
    points = [GaugePoint(1, 1.02, 0.7, True), GaugePoint(2, 0.3, 0.7, False)]
    svg = sentinel_gauge(points, 0.75, 1.3, 0.999)
    ((good,), (bad,)) = (heights(svg, "dot"), heights(svg, "dot bad"))
    line = re.findall(r'<path class="budget-step" d="M([^"]+)"', svg)[0]
    level = float(line.split(" L")[0].split()[1])
    assert good < level < bad  # y grows downwards
    assert "1 of them far too small" in svg


def test_the_gauge_has_no_alarm_line_where_a_sum_cannot_show_it() -> None:
    svg = sentinel_gauge([GaugePoint(4, 1.02, None, True)], 0.75, 1.3, 0.999)
    assert "budget-step" not in svg
    assert "none of them far too small" in svg


def test_a_long_run_is_a_line_with_only_its_bad_rounds_marked() -> None:
    points = [GaugePoint(n, 1.0, 0.7, n != 70) for n in range(1, 101)]
    svg = sentinel_gauge(points, 0.75, 1.3, 0.999)
    assert svg.count("<circle") == 1
    assert 'class="curve"' in svg
