"""Log-log charts as SVG files of their own: no library, no script, the same bytes for the same numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

__all__ = ["Line", "Spot", "log_log", "slope"]

_WIDTH, _HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 210, 44, 56
_COLOURS = ("#1b6ac9", "#c2410c", "#15803d", "#7e22ce", "#b91c1c", "#0f766e")
_STYLE = """
svg { background: #ffffff; font: 13px system-ui, sans-serif; }
text { fill: #1f2328; } .tick { fill: #59636e; font-size: 12px; } .title { font-size: 15px; font-weight: 600; }
.grid { stroke: #d1d9e0; stroke-width: 1; } .curve { fill: none; stroke-width: 2; } .hollow { fill: #ffffff; }
@media (prefers-color-scheme: dark) {
  svg { background: #0d1117; } text { fill: #f0f6fc; } .tick { fill: #9198a1; } .grid { stroke: #3d444d; }
  .hollow { fill: #0d1117; }
}
""".strip()


@dataclass(frozen=True, slots=True)
class Spot:
    """One figure: positive coordinates, and whether all of it was measured or a measured part was scaled up.

    Raises:
        ValueError: a coordinate has no logarithm.
    """

    x: float
    y: float
    measured: bool = True

    def __post_init__(self) -> None:
        if not (0 < self.x < math.inf and 0 < self.y < math.inf):
            raise ValueError(f"a point of a logarithmic chart is positive and finite, not ({self.x}, {self.y})")


@dataclass(frozen=True, slots=True)
class Line:
    """A named series, in the order of x."""

    name: str
    spots: tuple[Spot, ...]


def slope(spots: Sequence[Spot]) -> float:
    """The exponent e of y = c * x^e that fits best: 1 is linear, 0 is flat.

    Raises:
        ValueError: fewer than two different x.
    """
    xs, ys = [math.log(s.x) for s in spots], [math.log(s.y) for s in spots]
    if len(set(xs)) < 2:
        raise ValueError("a slope needs two different x")
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) - 1e-9)
    return low, max(high, low + 1)


def _power(exponent: int) -> str:
    if -3 <= exponent <= 4:
        return f"{10.0**exponent:,.{max(0, -exponent)}f}"
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def log_log(title: str, lines: Sequence[Line], *, x_name: str, y_name: str) -> str:
    """Draw lines on two logarithmic axes; a hollow point is one that was scaled up."""
    spots = [spot for line in lines for spot in line.spots]
    x_low, x_high = _decades([spot.x for spot in spots])
    y_low, y_high = _decades([spot.y for spot in spots])
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def place(spot: Spot) -> tuple[float, float]:
        x = _LEFT + (math.log10(spot.x) - x_low) / (x_high - x_low) * (right - _LEFT)
        y = bottom - (math.log10(spot.y) - y_low) / (y_high - y_low) * (bottom - _TOP)
        return round(x, 1), round(y, 1)

    named = "; ".join(f"{line.name}: " + ", ".join(f"{s.y:.3g} at {s.x:g}" for s in line.spots) for line in lines)
    body = [f"<title>{escape(title)}</title>", f"<desc>{escape(f'{y_name} against {x_name}. {named}.')}</desc>"]
    body += [f"<style>{_STYLE}</style>", f'<text class="title" x="{_LEFT}" y="24">{escape(title)}</text>']
    for exponent in range(y_low, y_high + 1):
        _, y = place(Spot(10.0**x_low, 10.0**exponent))
        body.append(f'<line class="grid" x1="{_LEFT}" y1="{y}" x2="{right}" y2="{y}"/>')
        body.append(f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_power(exponent)}</text>')
    for exponent in range(x_low, x_high + 1):
        x, _ = place(Spot(10.0**exponent, 10.0**y_low))
        body.append(f'<line class="grid" x1="{x}" y1="{_TOP}" x2="{x}" y2="{bottom}"/>')
        body.append(f'<text class="tick" x="{x}" y="{bottom + 18}" text-anchor="middle">{_power(exponent)}</text>')
    middle = (_TOP + bottom) / 2
    body.append(f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 14}" text-anchor="middle">{escape(x_name)}</text>')
    body.append(
        f'<text x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">{escape(y_name)}</text>'
    )
    labels = _label_heights([place(line.spots[-1])[1] for line in lines])
    for index, line in enumerate(lines):
        colour, corners = _COLOURS[index % len(_COLOURS)], [place(spot) for spot in line.spots]
        path = " L".join(f"{x} {y}" for x, y in corners)
        body.append(f'<path class="curve" stroke="{colour}" d="M{path}"/>')
        for spot, (x, y) in zip(line.spots, corners, strict=True):
            fill = f'fill="{colour}"' if spot.measured else 'class="hollow"'
            note = f"{line.name}: {spot.y:.3g}{'' if spot.measured else ' (scaled up)'}"
            body.append(
                f'<circle {fill} stroke="{colour}" stroke-width="2" cx="{x}" cy="{y}" r="4">'
                f"<title>{escape(note)}</title></circle>"
            )
        body.append(
            f'<text x="{right + 14}" y="{labels[index] + 4:.1f}" style="fill:{colour}">{escape(line.name)}</text>'
        )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">'
    return "\n".join([head, *body, "</svg>"]) + "\n"


def _label_heights(heights: Sequence[float]) -> list[float]:
    """Near the lines' ends, but no two closer than a line of text."""
    placed: dict[int, float] = {}
    lowest = -math.inf
    for index in sorted(range(len(heights)), key=lambda i: heights[i]):
        lowest = max(heights[index], lowest + 17)
        placed[index] = lowest
    return [placed[index] for index in range(len(heights))]
