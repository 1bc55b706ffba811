"""A small canvas for inline SVG: one linear map from data to pixels on each axis, lines, paths, dots and words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

__all__ = ["BOTTOM", "HEIGHT", "LEFT", "RIGHT", "TOP", "WIDTH", "Bound", "Canvas", "Point", "plain", "ticks"]

WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 72, 24, 26, 52


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


def ticks(high: float, about: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) from 0 up to the first one at or above `high`."""
    if high <= 0:
        return [0.0, 1.0]
    raw = high / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    count = math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(count + 1)]


def plain(value: float) -> str:
    """A number with up to two decimals, for coordinates and labels."""
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


class Canvas:
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
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - value / self._y_high * (HEIGHT - TOP - BOTTOM)

    def line(self, css: str, x1: float, y1: float, x2: float, y2: float) -> None:
        ends = f'x1="{plain(x1)}" y1="{plain(y1)}" x2="{plain(x2)}" y2="{plain(y2)}"'
        self._body.append(f'<line class="{css}" {ends}/>')

    def text(self, css: str, x: float, y: float, words: str, *, anchor: str = "start", turn: bool = False) -> None:
        rotate = f' transform="rotate(-90 {plain(x)} {plain(y)})"' if turn else ""
        place = f'x="{plain(x)}" y="{plain(y)}" text-anchor="{anchor}"{rotate}'
        self._body.append(f'<text class="{css}" {place}>{escape(words)}</text>')

    def path(self, css: str, corners: Sequence[tuple[float, float]], *, closed: bool = False) -> None:
        steps = " L".join(f"{plain(x)} {plain(y)}" for x, y in corners)
        self._body.append(f'<path class="{css}" d="M{steps}{" Z" if closed else ""}"/>')

    def dot(self, css: str, x: float, y: float, note: str, radius: float = 4) -> None:
        place = f'cx="{plain(x)}" cy="{plain(y)}" r="{plain(radius)}"'
        self._body.append(f'<circle class="{css}" {place}><title>{escape(note)}</title></circle>')

    def axes(
        self, x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[tuple[float, str]], x_name: str, y_name: str
    ) -> None:
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        for value, label in y_ticks:
            self.line("axis" if value == 0 else "grid", LEFT, self.y(value), right, self.y(value))
            self.text("tick", LEFT - 8, self.y(value) + 4, label, anchor="end")
        for value, label in x_ticks:
            self.line("axis", self.x(value), bottom, self.x(value), bottom + 4)
            self.text("tick below", self.x(value), bottom + 18, label, anchor="middle")
        self.text("name", (LEFT + right) / 2, HEIGHT - 10, x_name, anchor="middle")
        self.text("name", 14, (TOP + bottom) / 2, y_name, anchor="middle", turn=True)

    def svg(self) -> str:
        head = f'<svg class="plot" id="{self.kind}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        names = f"aria-labelledby={quoteattr(f'{self.kind}-title {self.kind}-desc')}"
        return "\n".join([f"{head} {names}>", *self._body, "</svg>"])
