"""Charts as SVG text inside HTML: line charts over epochs, and time lines of one query.

They take their colours from the page (classes `c0` to `c5`), read well at the width of a phone,
and are the same bytes wherever they are made.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import numpy.typing as npt

NUM_COLOURS = 6
WIDTH, HEIGHT = 360, 220  # of a line chart, in its own units: one unit is a pixel on a phone
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 8, 36
SPAN = 1000  # width of a time line in its own units; it is stretched to the page
ROW = 40  # height of a time line


@dataclass(frozen=True)
class Line:
    """A named line of a chart, with a dot on the point at `marked` if there is one."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    marked: float | None = None


def line_chart(title: str, lines: Sequence[Line], *, x_label: str, y_label: str) -> str:
    """Return a figure with its caption, its legend and a text for those who do not see it."""
    xs = [x for line in lines for x in line.xs]
    ys = [y for line in lines for y in line.ys]
    x_ticks, y_ticks = ticks(min(xs), max(xs), whole=True), ticks(min(0.0, *ys), max(ys))
    frame = _Frame(min(xs), max(xs), y_ticks[0], max(y_ticks[-1], *ys))
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(_spoken(title, lines))}">'
    ]
    for y in y_ticks:
        at = frame.y(y)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at}" dy="4" text-anchor="end">{y:g}</text>')
    below = HEIGHT - BOTTOM
    parts += [
        f'<text x="{frame.x(x)}" y="{below + 15}" text-anchor="middle">{x:g}</text>'
        for x in x_ticks
    ]
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:g}" y="{HEIGHT - 4}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
    )
    parts += [_drawn(line, frame, colour_class(index)) for index, line in enumerate(lines)]
    caption = f"<figcaption>{escape(title)} <small>{escape(y_label)}</small></figcaption>"
    return f"<figure>{caption}{''.join(parts)}</svg>{_legend(lines)}</figure>"


def colour_class(index: int) -> str:
    """Return the class of the n-th colour and dash pattern; they repeat when they run out."""
    return f"c{index % NUM_COLOURS}"


def ticks(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Return two to seven round numbers from `low` to `high` or just below it, steps of 1, 2 or 5.

    >>> ticks(0, 7.3), ticks(1, 20, whole=True)
    ([0.0, 2.0, 4.0, 6.0], [5.0, 10.0, 15.0, 20.0])
    """
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 5))
    step = next(power * unit for unit in (1, 2, 5, 10) if span / (power * unit) <= 6)
    if whole:
        step = max(step, 1.0)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)] or [low]


@dataclass(frozen=True)
class _Frame:
    """Where values lie on a line chart."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> str:
        share = (value - self.x_low) / ((self.x_high - self.x_low) or 1.0)
        return f"{LEFT + share * (WIDTH - LEFT - RIGHT):.1f}"

    def y(self, value: float) -> str:
        share = (value - self.y_low) / ((self.y_high - self.y_low) or 1.0)
        return f"{HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM):.1f}"


def _drawn(line: Line, frame: _Frame, colour: str) -> str:
    points = [(frame.x(x), frame.y(y)) for x, y in zip(line.xs, line.ys, strict=True)]
    path = " ".join(f"{x},{y}" for x, y in points)
    dots = [
        f'<circle class="{colour}" cx="{at_x}" cy="{at_y}" r="4"/>'
        for x, (at_x, at_y) in zip(line.xs, points, strict=True)
        if x == line.marked or len(points) == 1
    ]
    return f'<polyline class="{colour}" points="{path}"/>{"".join(dots)}'


def _legend(lines: Sequence[Line]) -> str:
    keys = "".join(
        f'<li><svg class="key" viewBox="0 0 24 8" aria-hidden="true">'
        f'<polyline class="{colour_class(index)}" points="0,4 24,4"/></svg>{escape(line.name)}</li>'
        for index, line in enumerate(lines)
    )
    return f'<ul class="legend">{keys}</ul>'


def _spoken(title: str, lines: Sequence[Line]) -> str:
    told = "; ".join(f"{line.name} from {line.ys[0]:.3g} to {line.ys[-1]:.3g}" for line in lines)
    return f"{title}: {told}"


def time_line(
    label: str,
    windows: Sequence[tuple[float, float]],
    duration_s: float,
    *,
    colour: str,
    chances_BT: npt.NDArray[np.floating] | None = None,
) -> str:
    """Return one row of an example: bars for windows in seconds, and curves for the boundaries.

    `chances_BT` holds the probabilities of start and end over the valid clips, drawn to the row's
    highest: the start as a whole line, the end as a dashed one.
    """
    bars = []
    for start_s, end_s in windows:
        left, right = (SPAN * min(max(t / duration_s, 0.0), 1.0) for t in (start_s, end_s))
        bars.append(
            f'<rect class="{colour}" x="{left:.1f}" width="{max(right - left, 2):.1f}" '
            f'y="0" height="{ROW}"/>'
        )
    curves = []
    if chances_BT is not None:
        top = float(chances_BT.max()) or 1.0
        curves = [
            f'<polyline class="{colour} {boundary}" points="{_steps(chance_T / top)}"/>'
            for boundary, chance_T in zip(("start", "end"), chances_BT, strict=True)
        ]
    return (
        f'<div class="row"><p>{escape(label)}</p><svg class="time" viewBox="0 0 {SPAN} {ROW}" '
        f'preserveAspectRatio="none" role="img" aria-label="{escape(label)}">'
        f"{''.join(bars)}{''.join(curves)}</svg></div>"
    )


def time_axis(duration_s: float) -> str:
    """Return the seconds below the rows of an example."""
    marks = "".join(f"<span>{duration_s * part / 4:.1f} s</span>" for part in range(5))
    return f'<div class="axis" aria-hidden="true">{marks}</div>'


def _steps(heights_T: npt.NDArray[np.floating]) -> str:
    """Return the points of a stair: each clip holds its height over its whole width."""
    width = SPAN / len(heights_T)
    points = []
    for clip, height in enumerate(heights_T.tolist()):
        y = ROW - height * (ROW - 2)
        points += [f"{clip * width:.1f},{y:.1f}", f"{(clip + 1) * width:.1f},{y:.1f}"]
    return " ".join(points)
