"""The attacks' two pictures as SVG: images beside what was recovered of them, and ROC curves on logarithmic axes.

No library, no script, the same bytes for the same numbers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt

__all__ = ["Curve", "Strip", "gallery", "roc_chart"]

_LEVELS = 16
_STYLE = """
svg { background: #ffffff; font: 13px system-ui, sans-serif; }
text { fill: #1f2328; } .tick { fill: #59636e; font-size: 12px; } .title { font-size: 15px; font-weight: 600; }
.grid { stroke: #d1d9e0; stroke-width: 1; } .guess { stroke: #59636e; stroke-width: 1; }
.curve { fill: none; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
  svg { background: #0d1117; } text { fill: #f0f6fc; } .tick { fill: #9198a1; } .grid { stroke: #3d444d; }
  .guess { stroke: #9198a1; }
}
""".strip()
_DASHES = {"solid": "", "dashed": ' stroke-dasharray="7 4"', "dotted": ' stroke-dasharray="2 3"'}


@dataclass(frozen=True, slots=True, eq=False)
class Strip:
    """A row of images with a name and a remark. Shapes: images float64[n, pixels], square, first row on top."""

    name: str
    remark: str
    images: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.images.ndim != 2 or math.isqrt(self.images.shape[1]) ** 2 != self.images.shape[1]:
            raise ValueError("images must be rows of square images")
        if not np.isfinite(self.images).all():
            raise ValueError("an image must be finite")


@dataclass(frozen=True, slots=True)
class Curve:
    """A named curve: `line` is solid, dashed or dotted. Both coordinates of a point are rates in [0, 1]."""

    name: str
    colour: str
    line: str
    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if self.line not in _DASHES:
            raise ValueError(f"a line is one of {', '.join(_DASHES)}")
        if not all(0 <= rate <= 1 for point in self.points for rate in point):
            raise ValueError("a rate must be in [0, 1]")


def _document(width: int, height: int, title: str, words: str, body: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">'
    told = [f"<title>{escape(title)}</title>", f"<desc>{escape(words)}</desc>", f"<style>{_STYLE}</style>"]
    return "\n".join([head, *told, *body, "</svg>"]) + "\n"


def _image(image: npt.NDArray[np.float64], left: float, top: float, size: float) -> str:
    """One image: black is its least value, white its greatest; equal neighbours of a line are one stroke."""
    side = math.isqrt(image.size)
    span = float(np.ptp(image)) or 1.0
    levels = np.minimum((image - image.min()) / span * _LEVELS, _LEVELS - 1).astype(int).reshape(side, side)
    strokes: dict[int, list[str]] = {}
    for y, row in enumerate(levels.tolist()):
        x = 0
        while x < side:
            end = x + 1
            while end < side and row[end] == row[x]:
                end += 1
            strokes.setdefault(row[x], []).append(f"M{x} {y}h{end - x}")
            x = end
    paths = []
    for level, moves in sorted(strokes.items()):
        grey = f"{level * 255 // (_LEVELS - 1):02x}" * 3
        paths.append(f'<path stroke="#{grey}" d="{"".join(moves)}"/>')
    place = f"translate({left:g} {top:g}) scale({size / side:g}) translate(0 .5)"
    return f'<g transform="{place}" shape-rendering="crispEdges">{"".join(paths)}</g>'


def gallery(title: str, strips: Sequence[Strip]) -> str:
    """Rows of images under each other, with their names at the left."""
    size, gap, left, top = 48, 8, 300, 44
    columns = max(len(strip.images) for strip in strips)
    width, height = left + columns * (size + gap) + 16, top + len(strips) * (size + gap) + 8
    body = [f'<text class="title" x="16" y="26">{escape(title)}</text>']
    for row, strip in enumerate(strips):
        y = top + row * (size + gap)
        body.append(f'<text x="16" y="{y + 22}">{escape(strip.name)}</text>')
        body.append(f'<text class="tick" x="16" y="{y + 39}">{escape(strip.remark)}</text>')
        body += [_image(image, left + i * (size + gap), y, size) for i, image in enumerate(strip.images)]
    words = "; ".join(f"{strip.name}: {strip.remark}" if strip.remark else strip.name for strip in strips)
    return _document(width, height, title, words, body)


def roc_chart(title: str, curves: Sequence[Curve], *, least: float = 1e-3) -> str:
    """True-positive against false-positive rate, both logarithmic from `least` (what is below is on the edge) to 1."""
    width, height, left, right, top, bottom = 720, 460, 76, 470, 44, 404
    decades = round(-math.log10(least))

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = (math.log10(max(value, least)) / decades + 1 for value in (x, y))
        return round(left + across * (right - left), 1), round(bottom - up * (bottom - top), 1)

    body = [f'<text class="title" x="{left}" y="24">{escape(title)}</text>']
    for exponent in range(-decades, 1):
        rate = 10.0**exponent
        (x, _), (_, y) = place(rate, 1), place(1, rate)
        name = f"{100 * rate:g} %"
        body.append(f'<line class="grid" x1="{left}" y1="{y}" x2="{right}" y2="{y}"/>')
        body.append(f'<line class="grid" x1="{x}" y1="{top}" x2="{x}" y2="{bottom}"/>')
        body.append(f'<text class="tick" x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{name}</text>')
        body.append(f'<text class="tick" x="{x}" y="{bottom + 18}" text-anchor="middle">{name}</text>')
    middle = (top + bottom) / 2
    body.append(f'<text x="{(left + right) / 2}" y="{bottom + 42}" text-anchor="middle">false-positive rate</text>')
    body.append(
        f'<text x="20" y="{middle}" text-anchor="middle" transform="rotate(-90 20 {middle})">true-positive rate</text>'
    )
    body.append(f'<line class="guess" x1="{left}" y1="{bottom}" x2="{right}" y2="{top}"/>')
    for index, curve in enumerate(curves):
        corners = " L".join("{} {}".format(*place(*point)) for point in curve.points)
        look = f'class="curve" stroke="{curve.colour}"{_DASHES[curve.line]}'
        body.append(f'<path {look} d="M{corners}"><title>{escape(curve.name)}</title></path>')
        y = top + 12 + 24 * index
        body.append(f'<path {look} d="M{right + 16} {y}h28"/>')
        body.append(f'<text x="{right + 52}" y="{y + 4}">{escape(curve.name)}</text>')
    y = top + 12 + 24 * len(curves)
    body.append(f'<path class="guess" d="M{right + 16} {y}h28"/><text x="{right + 52}" y="{y + 4}">guessing</text>')
    told = "; ".join(f"{curve.name}: " + ", ".join(f"{y:.3g} at {x:.3g}" for x, y in curve.points) for curve in curves)
    return _document(width, height, title, f"True-positive rate at a false-positive rate. {told}.", body)
