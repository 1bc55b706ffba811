"""The report's three pictures, as inline SVG built by hand: no library, no script, the same bytes every time.

Colours come from the page's CSS variables (see `stylesheet`), so one picture serves light, dark and print.
Every picture has a `<title>` and a `<desc>` for screen readers; the page puts a table of the same numbers beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from .wording import format_delta, percent_up

__all__ = ["Bound", "Point", "epsilon_over_rounds", "epsilon_profile", "roc_bound"]

_WIDTH, _HEIGHT = 640, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 24, 26, 52


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a curve, in data units; both coordinates are finite.

    Raises:
        ValueError: a coordinate is not finite (an unbounded epsilon is left out of a picture, not drawn).
    """

    x: float
    y: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.x) and math.isfinite(self.y)):
            raise ValueError(f"a point must be finite, got ({self.x}, {self.y})")


@dataclass(frozen=True, slots=True)
class Bound:
    """A named horizontal line, such as the budget."""

    name: str
    y: float


def _ticks(high: float, about: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) from 0 up to the first one at or above `high`."""
    if high <= 0:
        return [0.0, 1.0]
    raw = high / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    count = math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(count + 1)]


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


class _Canvas:
    """A list of SVG elements with one linear map from data units to pixels on each axis."""

    def __init__(self, kind: str, title: str, description: str, *, x_high: float, y_high: float, x_low: float) -> None:
        self.kind = kind
        self._x_low, self._x_high, self._y_high = x_low, x_high, y_high
        self._body: list[str] = [
            f'<title id="{kind}-title">{escape(title)}</title>',
            f'<desc id="{kind}-desc">{escape(description)}</desc>',
        ]

    def x(self, value: float) -> float:
        share = (value - self._x_low) / (self._x_high - self._x_low)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - value / self._y_high * (_HEIGHT - _TOP - _BOTTOM)

    def line(self, css: str, x1: float, y1: float, x2: float, y2: float) -> None:
        ends = f'x1="{_number(x1)}" y1="{_number(y1)}" x2="{_number(x2)}" y2="{_number(y2)}"'
        self._body.append(f'<line class="{css}" {ends}/>')

    def text(self, css: str, x: float, y: float, words: str, *, anchor: str = "start", turn: bool = False) -> None:
        rotate = f' transform="rotate(-90 {_number(x)} {_number(y)})"' if turn else ""
        place = f'x="{_number(x)}" y="{_number(y)}" text-anchor="{anchor}"{rotate}'
        self._body.append(f'<text class="{css}" {place}>{escape(words)}</text>')

    def path(self, css: str, corners: Sequence[tuple[float, float]], *, closed: bool = False) -> None:
        steps = " L".join(f"{_number(x)} {_number(y)}" for x, y in corners)
        self._body.append(f'<path class="{css}" d="M{steps}{" Z" if closed else ""}"/>')

    def dot(self, css: str, x: float, y: float, note: str, radius: float = 4) -> None:
        place = f'cx="{_number(x)}" cy="{_number(y)}" r="{_number(radius)}"'
        self._body.append(f'<circle class="{css}" {place}><title>{escape(note)}</title></circle>')

    def axes(
        self, x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[tuple[float, str]], x_name: str, y_name: str
    ) -> None:
        right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
        for value, label in y_ticks:
            self.line("axis" if value == 0 else "grid", _LEFT, self.y(value), right, self.y(value))
            self.text("tick", _LEFT - 8, self.y(value) + 4, label, anchor="end")
        for value, label in x_ticks:
            self.line("axis", self.x(value), bottom, self.x(value), bottom + 4)
            self.text("tick", self.x(value), bottom + 18, label, anchor="middle")
        self.text("name", (_LEFT + right) / 2, _HEIGHT - 10, x_name, anchor="middle")
        self.text("name", 14, (_TOP + bottom) / 2, y_name, anchor="middle", turn=True)

    def svg(self) -> str:
        head = f'<svg class="plot" id="{self.kind}" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
        names = f"aria-labelledby={quoteattr(f'{self.kind}-title {self.kind}-desc')}"
        return "\n".join([f"{head} {names}>", *self._body, "</svg>"])


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
    y_ticks = _ticks(max([budget.y * 1.05, *(point.y for point in (*spent, *forecast))]), 5)
    last = spent[-1] if spent else Point(0, 0)
    state = (
        f"is unbounded after {_number(unbounded[0])} rounds"
        if unbounded
        else f"rises to {last.y:.2f} after {_number(last.x)} rounds"
    )
    canvas = _Canvas(
        "epsilon-rounds",
        "Privacy spent over the rounds",
        f"Epsilon of the most exposed client {state}; the {budget.name} is {_number(budget.y)}.",
        x_low=0.0,
        x_high=x_high,
        y_high=y_ticks[-1],
    )
    canvas.axes(
        [(tick, f"{tick:g}") for tick in _ticks(x_high, 8) if tick == int(tick) and tick <= x_high],
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
        canvas.text("label", canvas.x(end.x), canvas.y(end.y) - 10, f"whole plan {end.y:.2f}", anchor="end")
    level = canvas.y(budget.y)
    canvas.line("budget", _LEFT, level, _WIDTH - _RIGHT, level)
    canvas.text("label", _LEFT + 8, level - 7, f"{budget.name} {_number(budget.y)}")
    if spent and not unbounded:
        _label_spent(canvas, last)
    return canvas.svg()


def _draw_unbounded(canvas: _Canvas, first: float, top: float) -> None:
    """Fill the rounds before which epsilon left the picture, and say so."""
    left, right = canvas.x(first - 1), _WIDTH - _RIGHT
    canvas.path("alarm", [(left, canvas.y(0)), (left, canvas.y(top)), (right, canvas.y(top)), (right, canvas.y(0))])
    words = f"unbounded after {_number(first)} rounds"
    canvas.text("label strong", (left + right) / 2, canvas.y(top / 2), words, anchor="middle")


def _draw_spent(canvas: _Canvas, spent: Sequence[Point]) -> None:
    corners = [(canvas.x(0), canvas.y(0))]
    for point in spent:
        corners += [(canvas.x(point.x), corners[-1][1]), (canvas.x(point.x), canvas.y(point.y))]
    if not spent:
        return
    canvas.path("area", [*corners, (corners[-1][0], canvas.y(0))], closed=True)
    canvas.path("curve", corners)
    for point in spent:
        radius = 4.5 if point is spent[-1] else 3
        note = f"after {_number(point.x)} rounds: epsilon {point.y:.3f}"
        canvas.dot("dot", canvas.x(point.x), canvas.y(point.y), note, radius)


def _label_spent(canvas: _Canvas, point: Point) -> None:
    """Write what is spent below the last point: to its right, or at the right edge further down inside the area."""
    x, y = canvas.x(point.x), canvas.y(point.y)
    floor = canvas.y(0) - 8
    words = f"spent {point.y:.2f}"
    if x < _WIDTH - _RIGHT - 90:
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
    y_ticks = _ticks(max([y for _, y in points] + [epsilon or 0.0]), 5)
    marked = "unbounded" if epsilon is None else f"{epsilon:.2f}"
    canvas = _Canvas(
        "epsilon-profile",
        "Epsilon for every delta",
        f"The larger the accepted failure probability delta, the smaller epsilon; at delta {format_delta(delta)} "
        f"epsilon is {marked}.",
        x_low=float(low),
        x_high=float(high),
        y_high=y_ticks[-1],
    )
    every = 1 if high - low <= 10 else 2
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
        if x < _WIDTH * 0.62:
            canvas.text("label strong", x + 10, y - 8, words)
        else:
            canvas.text("label strong", x - 10, y + 18 if y + 30 < canvas.y(0) else y - 10, words, anchor="end")
    return canvas.svg()


def roc_bound(curve: Sequence[Point], marked: Point) -> str:
    """Draw the best any attacker can do: detection rate against false alarms, with the diagonal of pure guessing.

    Shapes: `x` = false positive rate, `y` = the largest possible true positive rate, both in [0, 1]; `marked` is
    the pair that is labelled.
    """
    canvas = _Canvas(
        "attacker-roc",
        "What an attacker can learn about one record",
        f"Upper bound on detecting one record: with {marked.x * 100:g} % false alarms at most {percent_up(marked.y)} % "
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
    words = f"{marked.x * 100:g} % false alarms: at most {percent_up(marked.y)} % detections"
    canvas.dot("dot", x, y, words, 4.5)
    key_y = canvas.y(0.07)
    canvas.dot("dot", canvas.x(0.36), key_y, words, 4.5)
    canvas.text("label strong", canvas.x(0.36) + 11, key_y + 4.5, words)
    return canvas.svg()
