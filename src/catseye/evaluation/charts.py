"""Charts as SVG text, for a page without network or library.

Enters: numbers. Leaves: `Markup`, with every text in it escaped; colours come from the page's own CSS. Called by
`report_charts.py`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 380, 270
LEFT, RIGHT, TOP, BOTTOM = 46, 18, 10, 40


@dataclass(frozen=True)
class Line:
    """One curve of a chart.

    `kind` is its CSS class (a to f, faint, guide); `dots` marks the points; a page finds the curve by `key`.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    kind: str = "a"
    dots: bool = False
    key: str = ""


@dataclass(frozen=True)
class Axis:
    """A linear axis from `low` to `high`.

    `percent` writes 0.5 as 50 %, `whole` marks whole numbers only.
    """

    label: str
    low: float = 0.0
    high: float = 1.0
    percent: bool = False
    whole: bool = False

    def place(self, value: float, start: float, end: float) -> float:
        """The pixel of a value between two pixels; values outside the axis are clipped."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return start + min(1.0, max(0.0, share)) * (end - start)

    def ticks(self) -> list[float]:
        """At most six round values within the axis.

        >>> Axis("epoch", 1, 30, whole=True).ticks()
        [10.0, 20.0, 30.0]
        """
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
        step = max(1.0, step) if self.whole else step
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]

    def text(self, value: float) -> str:
        """A tick's label."""
        return f"{value * 100:.3g}%" if self.percent else f"{value:.3g}"


def axis_of(
    label: str, values: Iterable[float], *, percent: bool = False, whole: bool = False, from_zero: bool = False
) -> Axis:
    """The smallest axis that contains the values."""
    numbers = [float(value) for value in values]
    low, high = (min(numbers), max(numbers)) if numbers else (0.0, 1.0)
    low = 0.0 if from_zero else low
    return Axis(label, low, high if high > low else low + 1, percent, whole)


def line_chart(title: str, lines: Sequence[Line], x: Axis, y: Axis, *, mark_x: float | None = None) -> Markup:
    """Curves over axes, with a legend for the named ones.

    `mark_x` draws a vertical line.

    >>> "&lt;b&gt;" in line_chart("<b>", [], Axis("x"), Axis("y"))
    True
    """
    parts = [*_frame(x, y)]
    if mark_x is not None:
        at = x.place(mark_x, LEFT, WIDTH - RIGHT)
        parts.append(_polyline(at, TOP, at, HEIGHT - BOTTOM, "mark"))
    for line in lines:
        places = [(_x(x, a), _y(y, b)) for a, b in zip(line.x, line.y, strict=True)]
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        parts.append(
            Markup('<polyline class="line {}" data-key="{}" points="{}"><title>{}</title></polyline>').format(
                line.kind, line.key, points, line.name
            )
        )
        if line.dots:
            parts += [
                Markup('<circle class="dot {}" cx="{:.1f}" cy="{:.1f}" r="3.2"></circle>').format(line.kind, a, b)
                for a, b in places
            ]
    svg = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, title, Markup("").join(parts)
    )
    named = [line for line in lines if line.kind not in ("faint", "guide")]
    return svg + (_legend(named) if len(named) > 1 else Markup(""))


def bar_chart(title: str, heights: Sequence[float], x: Axis, y: Axis) -> Markup:
    """Vertical bars of equal width along the whole x axis."""
    parts = [*_frame(x, y)]
    width = (WIDTH - LEFT - RIGHT) / max(1, len(heights))
    for number, height in enumerate(heights):
        top = _y(y, height)
        parts.append(
            Markup('<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"></rect>').format(
                LEFT + number * width + 1, top, max(0.5, width - 2), HEIGHT - BOTTOM - top
            )
        )
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, title, Markup("").join(parts)
    )


def _frame(x: Axis, y: Axis) -> list[Markup]:
    parts = []
    for value in y.ticks():
        at = _y(y, value)
        parts += [_polyline(LEFT, at, WIDTH - RIGHT, at, "grid"), _svg_text(LEFT - 6, at + 4, y.text(value), "end")]
    for value in x.ticks():
        parts.append(_svg_text(_x(x, value), HEIGHT - BOTTOM + 16, x.text(value), "middle"))
    parts.append(_svg_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 5, x.label, "middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        Markup('<text class="tick" text-anchor="middle" transform="translate(11 {:.1f}) rotate(-90)">{}</text>').format(
            middle, y.label
        )
    )
    return parts


def _x(axis: Axis, value: float) -> float:
    return axis.place(value, LEFT, WIDTH - RIGHT)


def _y(axis: Axis, value: float) -> float:
    return axis.place(value, HEIGHT - BOTTOM, TOP)


def _polyline(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"></line>').format(
        kind, x1, y1, x2, y2
    )


def _svg_text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text class="tick" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _legend(lines: Sequence[Line]) -> Markup:
    items = [Markup('<span><i class="key {}"></i>{}</span>').format(line.kind, line.name) for line in lines]
    return Markup('<p class="legend">{}</p>').format(Markup("").join(items))
