"""One curve as an SVG picture that stands alone: no library, no script, light and dark."""

import math
from dataclasses import dataclass
from xml.sax.saxutils import escape

__all__ = ["Curve", "draw"]

_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 24, 44, 56
_STYLE = """\
svg{background:#fff;color:#1b2733;font:14px sans-serif}
text{fill:currentColor}.grid{stroke:#d5dbe1}.curve{fill:none;stroke:#1f5fa8;stroke-width:2}.dot{fill:#1f5fa8}
@media (prefers-color-scheme:dark){svg{background:#14191f;color:#e4e9ee}.grid{stroke:#3a444e}
.curve{stroke:#7db4f0}.dot{fill:#7db4f0}}"""


@dataclass(frozen=True, slots=True)
class Curve:
    """Points to draw, by increasing x, with the words around them.

    Raises:
        ValueError: no points, or a coordinate that is negative or not finite.
    """

    title: str
    x_name: str
    y_name: str
    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if not self.points:
            raise ValueError("there is nothing to draw: epsilon is unbounded everywhere")
        if not all(math.isfinite(value) and value >= 0 for point in self.points for value in point):
            raise ValueError("a picture shows finite numbers from 0 up")


def _ticks(high: float) -> list[float]:
    """0 and up to six round numbers above it: 1, 2 or 5 times a power of ten apart, the last at or above `high`."""
    if high <= 0:
        return [0.0, 1.0]
    raw = high / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    return [round(i * step, 12) for i in range(math.ceil(high / step - 1e-9) + 1)]


def draw(curve: Curve) -> str:
    """The picture, as the text of an SVG file. The same curve gives the same bytes."""
    points = sorted(curve.points)
    x_ticks, y_ticks = _ticks(points[-1][0]), _ticks(max(y for _, y in points))

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + x / x_ticks[-1] * (_WIDTH - _LEFT - _RIGHT)
        return round(across, 2), round(_HEIGHT - _BOTTOM - y / y_ticks[-1] * (_HEIGHT - _TOP - _BOTTOM), 2)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>{escape(curve.title)}</title>",
        f"<style>{_STYLE}</style>",
        f'<text x="{_LEFT}" y="24" font-weight="bold">{escape(curve.title)}</text>',
    ]
    for tick in y_ticks:
        _, y = place(0, tick)
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{y:g}" x2="{_WIDTH - _RIGHT}" y2="{y:g}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 5:g}" text-anchor="end">{tick:g}</text>')
    for tick in x_ticks:
        x, _ = place(tick, 0)
        parts.append(f'<text x="{x:g}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">{tick:g}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle:g}" y="{_HEIGHT - 10}" text-anchor="middle">{escape(curve.x_name)}</text>')
    side = (_TOP + _HEIGHT - _BOTTOM) / 2
    turned = f'x="18" y="{side:g}" text-anchor="middle" transform="rotate(-90 18 {side:g})"'
    parts.append(f"<text {turned}>{escape(curve.y_name)}</text>")
    spots = [place(x, y) for x, y in points]
    parts.append(f'<path class="curve" d="M{" L".join(f"{x:g} {y:g}" for x, y in spots)}"/>')
    for (x, y), (at, height) in zip(points, spots, strict=True):
        note = f"{curve.x_name} {x:g}: {curve.y_name} {y:.4g}"
        parts.append(f'<circle class="dot" cx="{at:g}" cy="{height:g}" r="4"><title>{escape(note)}</title></circle>')
    return "\n".join([*parts, "</svg>", ""])
