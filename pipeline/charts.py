"""What the report draws: lines with bands, and the time line of one query.

Every picture is a <figure> with its caption, as wide as a phone in its own units.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.drawing import WIDTH, svg
from pipeline.palette import LIGHT, NUM_COLOURS, colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES: tuple[Any, ...] = (  # so that lines differ in grey and to the colour-blind too
    "-",
    (0, (6, 3)),
    (0, (1.5, 1.5)),
    (0, (8, 2.5, 1.5, 2.5)),
    (0, (3.5, 3.5)),
    (0, (11, 3)),
)
assert len(DASHES) == NUM_COLOURS
STEPS = [1, 2, 5, 10]  # between the numbers of an axis
FRAME, LEGEND_ROW, KEY, LETTER = 210, 17, 42, 6.8  # sizes in units of the picture
ROW, ROW_LABEL, AXIS = 30, 20, 40  # of a time line


@dataclass(frozen=True)
class Line:
    """A named line, in a band, between thin edges, with a dot at `marked`; grey without a place."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    place: int | None = 0  # among the colours
    band: tuple[Sequence[float], Sequence[float]] | None = None  # lower and upper ends
    edges: tuple[Sequence[float], Sequence[float]] | None = None
    marked: float | None = None
    dots: bool = False  # at every point


@dataclass(frozen=True)
class TimeRow:
    """A row of a time line: windows in seconds, and the boundaries' probabilities [B, T] by clip."""

    name: str
    windows: Sequence[tuple[float, float]]
    place: int | None = None
    chances_BT: npt.NDArray[np.floating] | None = None


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    x_label: str,
    note: str = "",
    whole: bool = True,
    from_zero: bool = True,
    until: float | None = None,
) -> str:
    """Return a figure of lines; `whole` x are integers, `until` ends a shaded stretch at the left."""
    names = [fill(line.name, int((WIDTH - KEY) / LETTER)) for line in lines]
    longest = max(len(part) for name in names for part in name.split("\n"))
    columns = max(1, min(len(lines), int(WIDTH / (KEY + LETTER * longest))))
    rows = (
        sum(1 + name.count("\n") for name in names) if columns == 1 else -(-len(lines) // columns)
    )

    def paint(figure: "Figure") -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.subplots()
        for line, name in zip(lines, names, strict=True):
            _draw_line(axes, line, name)
        xs = [x for line in lines for x in line.xs]
        if min(xs) == max(xs):
            axes.set_xlim(xs[0] - 1, xs[0] + 1)
        if until:
            axes.axvspan(min(xs), until, color=LIGHT["rule"], alpha=0.35, linewidth=0, zorder=0)
        if from_zero:
            axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]) if _falls_below(lines) else 0.0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=STEPS, integer=whole))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=STEPS))
        axes.grid(axis="y")
        axes.set_xlabel(x_label)
        figure.legend(loc="outside lower left", ncols=columns)

    height = FRAME + LEGEND_ROW * rows
    picture = svg(paint, name=title, height=height, spoken=_spoken(title, lines))
    return figure_html(title, picture, note=note)


def time_line(
    title: str, rows: Sequence[TimeRow], duration_s: float, *, name: str, note: str = ""
) -> str:
    """Return a figure of one query: a bar for each window, stairs for the boundaries' chances.

    Each row is drawn to its own highest chance: the start whole, the end dashed. The edges of the
    first row's windows, the truth, go down through all rows. `name` differs where titles may not.
    """

    def paint(figure: "Figure") -> None:
        figure.get_layout_engine().set(hspace=0.0, h_pad=0.035)  # type: ignore[union-attr,call-arg]
        every = figure.subplots(len(rows), sharex=True, squeeze=False)[:, 0]
        for axes, row in zip(every, rows, strict=True):
            _draw_row(axes, row, duration_s)
            for edge in sorted({edge for window in rows[0].windows for edge in window}):
                axes.axvline(edge, color=LIGHT["soft"], linewidth=0.8, linestyle=":")
        every[-1].set_xlim(0, duration_s)
        every[-1].set_xlabel("seconds")

    height = AXIS + len(rows) * (ROW + ROW_LABEL)
    spoken = "; ".join([title, *(row.name for row in rows)])
    return figure_html(title, svg(paint, name=name, height=height, spoken=spoken), note=note)


def figure_html(title: str, picture: str, *, note: str = "") -> str:
    """Return a picture under its caption."""
    small = f"<small>{escape(note)}</small>" if note else ""
    return f"<figure><figcaption>{escape(title)}{small}</figcaption>{picture}</figure>"


def _draw_line(axes: "Axes", line: Line, name: str) -> None:
    grey = line.place is None
    ink = LIGHT["soft"] if line.place is None else colour(line.place)
    dash = ":" if line.place is None else dashes(line.place)
    lone = len(line.xs) == 1  # a line of one point is invisible
    axes.plot(
        line.xs,
        line.ys,
        color=ink,
        linestyle=dash,
        linewidth=1.0 if grey else 1.8,
        marker="o" if line.dots or lone else None,
        markersize=4,
        label=name,
    )
    if line.band is not None:
        axes.fill_between(line.xs, *line.band, color=ink, alpha=0.2, linewidth=0)
    for edge in line.edges or ():
        axes.plot(line.xs, edge, color=ink, linestyle=dash, linewidth=0.7)
    if line.marked is not None:
        axes.plot([line.marked], [line.ys[list(line.xs).index(line.marked)]], "o", color=ink)


def dashes(place: int) -> Any:
    """Return the dashes of the n-th line; when colours begin again, each has other dashes than before."""
    return DASHES[(place + place // NUM_COLOURS) % NUM_COLOURS]


def _falls_below(lines: Sequence[Line]) -> bool:
    lows = [low for line in lines for ends in (line.band, line.edges) if ends for low in ends[0]]
    return min([*lows, *(y for line in lines for y in line.ys)]) < 0


def _draw_row(axes: "Axes", row: TimeRow, duration_s: float) -> None:
    ink = LIGHT["soft"] if row.place is None else colour(row.place)
    for start_s, end_s in row.windows:
        axes.axvspan(max(start_s, 0.0), min(end_s, duration_s), color=ink, alpha=0.28, linewidth=0)
    if row.chances_BT is not None:
        height_BT = row.chances_BT / (float(row.chances_BT.max()) or 1.0)
        edges = np.linspace(0.0, duration_s, row.chances_BT.shape[1] + 1)
        for height_T, dash in zip(height_BT, ("-", (0, (3, 2))), strict=True):
            axes.stairs(height_T, edges, baseline=None, color=ink, linewidth=1.3, linestyle=dash)
    axes.set_ylim(0, 1.08)
    axes.set_yticks([])
    axes.set_title(row.name, loc="left", pad=2.5, fontsize=11)


def _spoken(title: str, lines: Sequence[Line]) -> str:
    told = [f"{line.name} from {line.ys[0]:.3g} to {line.ys[-1]:.3g}" for line in lines]
    return f"{title}: {'; '.join(told)}"
