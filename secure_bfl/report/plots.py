"""The report's pictures, as inline SVG built by hand: no library, no script, the same bytes every time.

Colours come from the page's CSS variables (see `stylesheet`), so one picture serves light, dark and print.
Every picture has a `<title>` and a `<desc>` for screen readers; the page puts a table of the same numbers beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .canvas import LEFT, RIGHT, WIDTH, Bound, Canvas, Point, plain, ticks
from .wording import format_delta, percent_up

__all__ = ["Bound", "GaugePoint", "Point", "epsilon_over_rounds", "epsilon_profile", "roc_bound", "sentinel_gauge"]


def epsilon_over_rounds(
    spent: Sequence[Point],
    forecast: Sequence[Point],
    budget: Bound,
    *,
    delta: float,
    unbounded: tuple[float, float] | None = None,
) -> str:
    """Draw the privacy spent after each round as steps, the plan's remaining rounds dashed, and the budget line.

    Shapes: points in round order, `x` = number of rounds, `y` = epsilon at `delta` of the most exposed client.
    `unbounded` = (first, last) number of rounds after which epsilon is unbounded: drawn as a band that says so.
    """
    x_high = max([1.0, *(point.x for point in (*spent, *forecast)), *(unbounded or ())])
    y_ticks = ticks(max([budget.y * 1.05, *(point.y for point in (*spent, *forecast))]), 5)
    last = spent[-1] if spent else Point(0, 0)
    state = (
        f"is unbounded after {plain(unbounded[0])} rounds"
        if unbounded
        else f"rises to {last.y:.2f} after {plain(last.x)} rounds"
    )
    canvas = Canvas(
        "epsilon-rounds",
        "Privacy spent over the rounds",
        f"Epsilon of the most exposed client {state}; the {budget.name} is {plain(budget.y)}.",
        x_low=0.0,
        x_high=x_high,
        y_high=y_ticks[-1],
    )
    canvas.axes(
        [(tick, f"{tick:g}") for tick in ticks(x_high, 8) if tick == int(tick) and tick <= x_high],
        [(tick, f"{tick:g}") for tick in y_ticks],
        "rounds",
        f"ε at δ = {format_delta(delta)}",
    )
    if unbounded:
        _draw_unbounded(canvas, unbounded[0], y_ticks[-1])
    _draw_spent(canvas, spent)
    if forecast:
        end = forecast[-1]
        canvas.path("forecast", [(canvas.x(point.x), canvas.y(point.y)) for point in (last, *forecast)])
        canvas.dot("forecast-end", canvas.x(end.x), canvas.y(end.y), f"end of the plan: epsilon {end.y:.3f}", 3.5)
        above = min(canvas.y(end.y) - 10, canvas.y(0) - 38)  # what is spent may be written below it
        canvas.text("label", canvas.x(end.x), above, f"whole plan {end.y:.2f}", anchor="end")
    level = canvas.y(budget.y)
    canvas.line("budget", LEFT, level, WIDTH - RIGHT, level)
    canvas.text("label", LEFT + 8, level - 7, f"{budget.name} {plain(budget.y)}")
    if spent and not unbounded:
        _label_spent(canvas, last)
    return canvas.svg()


def _draw_unbounded(canvas: Canvas, first: float, top: float) -> None:
    """Fill the rounds before which epsilon left the picture, and say so."""
    left, right = canvas.x(first - 1), WIDTH - RIGHT
    canvas.path("alarm", [(left, canvas.y(0)), (left, canvas.y(top)), (right, canvas.y(top)), (right, canvas.y(0))])
    words = f"unbounded after {plain(first)} rounds"
    canvas.text("label strong", (left + right) / 2, canvas.y(top / 2), words, anchor="middle")


def _draw_spent(canvas: Canvas, spent: Sequence[Point]) -> None:
    corners = [(canvas.x(0), canvas.y(0))]
    for point in spent:
        corners += [(canvas.x(point.x), corners[-1][1]), (canvas.x(point.x), canvas.y(point.y))]
    if not spent:
        return
    canvas.path("area", [*corners, (corners[-1][0], canvas.y(0))], closed=True)
    canvas.path("curve", corners)
    for point in spent:
        radius = 4.5 if point is spent[-1] else 3
        note = f"after {plain(point.x)} rounds: epsilon {point.y:.3f}"
        canvas.dot("dot", canvas.x(point.x), canvas.y(point.y), note, radius)


def _label_spent(canvas: Canvas, point: Point) -> None:
    """Write what is spent below the last point: to its right, or at the right edge further down inside the area."""
    x, y = canvas.x(point.x), canvas.y(point.y)
    floor = canvas.y(0) - 8
    words = f"spent {point.y:.2f}"
    if x < WIDTH - RIGHT - 150:
        canvas.text("label strong", x + 10, min(y + 20, floor), words)
    else:
        canvas.text("label strong", x - 10, min(y + 44, floor), words, anchor="end")


def epsilon_profile(profile: Sequence[Point], *, delta: float, epsilon: float | None) -> str:
    """Draw epsilon against delta on a logarithmic axis, with the reported pair marked.

    Shapes: `x` = delta in (0, 1), `y` = epsilon. Points outside are refused with `ValueError` by the logarithm.
    """
    points = sorted(((math.log10(point.x), point.y) for point in profile), key=lambda pair: pair[0])
    logs = [log for log, _ in points] or [math.log10(delta)]
    low, high = math.floor(min(*logs, math.log10(delta))), math.ceil(max(*logs, math.log10(delta)))
    high = max(high, low + 1)
    y_ticks = ticks(max([y for _, y in points] + [epsilon or 0.0]), 5)
    marked = "unbounded" if epsilon is None else f"{epsilon:.2f}"
    canvas = Canvas(
        "epsilon-profile",
        "Epsilon for every delta",
        f"The larger the accepted failure probability delta, the smaller epsilon; at delta {format_delta(delta)} "
        f"epsilon is {marked}.",
        x_low=float(low),
        x_high=float(high),
        y_high=y_ticks[-1],
    )
    every = 1 if high - low <= 5 else 2
    canvas.axes(
        [(float(power), f"1e{power}" if power else "1") for power in range(low, high + 1, every)],
        [(tick, f"{tick:g}") for tick in y_ticks],
        "δ, the accepted probability of failure (logarithmic)",
        "ε, privacy loss",
    )
    if points:
        canvas.path("curve", [(canvas.x(log), canvas.y(y)) for log, y in points])
    if epsilon is not None:
        x, y = canvas.x(math.log10(delta)), canvas.y(epsilon)
        canvas.line("guide", x, y, x, canvas.y(0))
        words = f"ε = {epsilon:.2f} at δ = {format_delta(delta)}"
        canvas.dot("dot", x, y, words, 4.5)
        if x < WIDTH * 0.62:
            canvas.text("label strong", x + 10, y - 8, words)
        else:
            canvas.text("label strong", x - 10, y + 18 if y + 30 < canvas.y(0) else y - 10, words, anchor="end")
    return canvas.svg()


def roc_bound(curve: Sequence[Point], marked: Point, *, about: str) -> str:
    """Draw the best any attacker can do: detection rate against false alarms, with the diagonal of pure guessing.

    Shapes: `x` = false positive rate, `y` = the largest possible true positive rate, both in [0, 1]; `marked` is
    the pair that is labelled. `about`: what the attacker wants to know, such as "whether one record was used".
    """
    canvas = Canvas(
        "attacker-roc",
        f"What an attacker can learn: {about}",
        f"Upper bound on detecting {about}: with {marked.x * 100:g} % false alarms at most {percent_up(marked.y)} % "
        "detections. The diagonal is guessing.",
        x_low=0.0,
        x_high=1.0,
        y_high=1.0,
    )
    percent = [(tick / 5, f"{tick * 20} %") for tick in range(6)]
    canvas.axes(percent, percent, "false positive rate (false alarms)", "true positive rate (detections), at most")
    corners = [(canvas.x(point.x), canvas.y(point.y)) for point in sorted(curve, key=lambda point: (point.x, point.y))]
    if corners:
        canvas.path("area", [*corners, (canvas.x(1), canvas.y(1)), (canvas.x(0), canvas.y(0))], closed=True)
        canvas.path("curve", corners)
    canvas.line("guide", canvas.x(0), canvas.y(0), canvas.x(1), canvas.y(1))
    canvas.text("label", canvas.x(0.62), canvas.y(0.62) + 22, "guessing")
    x, y = canvas.x(marked.x), canvas.y(marked.y)
    alarms, found = f"{marked.x * 100:g} % false alarms:", f"at most {percent_up(marked.y)} % detections"
    words = f"{alarms} {found}"
    canvas.dot("dot", x, y, words, 4.5)
    key_y = canvas.y(0.16)
    canvas.dot("dot", canvas.x(0.3), key_y, words, 4.5)
    canvas.text("label strong", canvas.x(0.3) + 14, key_y + 4.5, alarms)
    canvas.text("label strong", canvas.x(0.3) + 14, key_y + 28.5, found)
    return canvas.svg()


@dataclass(frozen=True, slots=True)
class GaugePoint:
    """One round of the sentinel gauge: noise variance seen, and accounted for, over the one planned.

    `accounted` is None where a sum cannot show it.
    """

    round: int
    ratio: float
    accounted: float | None
    holds: bool


_MOST_DOTS = 60


def sentinel_gauge(points: Sequence[GaugePoint], low: float, high: float, probability: float) -> str:
    """Draw the noise seen in each round's sum over the noise planned, with the band in which chance keeps it.

    The alarm line is the noise that epsilon is computed from: below it there was less than accounted for.
    Shapes: points in the order of rounds, at least one; `low`, `high` bound the band, which has `probability`.
    """
    known = [point.accounted for point in points if point.accounted is not None]
    y_ticks = ticks(max([high * 1.05, *(point.ratio for point in points), *known]), 5)
    first, last = points[0].round, points[-1].round
    bad = sum(not point.holds for point in points)
    canvas = Canvas(
        "sentinel-gauge",
        "Noise seen over noise planned",
        f"The noise variance seen in {len(points)} opened sums over the variance planned for them: between "
        f"{min(point.ratio for point in points):.2f} and {max(point.ratio for point in points):.2f}; "
        f"{bad or 'none'} of them far too small.",
        x_low=first - 0.5,
        x_high=last + 0.5,
        y_high=y_ticks[-1],
    )
    x_ticks = sorted({first, last, *(int(t) for t in ticks(last, 8) if t == int(t) and first < t < last)})
    canvas.axes(
        [(float(tick), f"{tick}") for tick in x_ticks if tick in (first, last) or last - tick > (last - first) / 12],
        [(tick, f"{tick:g}") for tick in y_ticks],
        "round",
        "noise variance, seen / planned",
    )
    left, right = float(LEFT), float(WIDTH - RIGHT)
    top, bottom = canvas.y(high), canvas.y(low)
    canvas.path("area", [(left, top), (right, top), (right, bottom), (left, bottom)], closed=True)
    canvas.line("guide", left, canvas.y(1.0), right, canvas.y(1.0))
    canvas.text("label", left + 8, top - 6, f"chance keeps {probability:.1%} of rounds in this band")
    if len(known) == len(points):
        _draw_alarm(canvas, points)
    if len(points) > 1:
        canvas.path("curve", [(canvas.x(point.round), canvas.y(point.ratio)) for point in points])
    for point in points:
        if not point.holds or len(points) <= _MOST_DOTS:
            note = f"round {point.round}: {point.ratio:.3f} of the planned noise variance"
            canvas.dot("dot" if point.holds else "dot bad", canvas.x(point.round), canvas.y(point.ratio), note, 3.5)
    return canvas.svg()


def _draw_alarm(canvas: Canvas, points: Sequence[GaugePoint]) -> None:
    corners = []
    for point in points:
        level = canvas.y(point.accounted or 0.0)
        corners += [(canvas.x(point.round - 0.5), level), (canvas.x(point.round + 0.5), level)]
    canvas.path("budget-step", corners)
    canvas.text("label", LEFT + 8, max(y for _, y in corners) + 16, "alarm: the noise that epsilon counts on")
