"""Charts: well-formed SVG whose places follow from the numbers."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from pipeline.charts import Line, line_chart, ticks, time_axis, time_line


def places(figure):
    """Return the points of each line of a chart, legend keys left out."""
    drawn = figure[: figure.index("<ul")]
    found = re.findall(r'<polyline class="c\d" points="([^"]+)"', drawn)
    return [
        [tuple(float(at) for at in point.split(",")) for point in line.split()] for line in found
    ]


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (0, 1, False, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 53.1, False, [0, 10, 20, 30, 40, 50]),
        (1, 12, True, [2, 4, 6, 8, 10, 12]),
        (1, 3, True, [1, 2, 3]),
        (1, 1, True, [1]),
    ],
)
def test_ticks(low, high, whole, expected):
    """Ticks are round numbers within the range; epochs are whole."""
    assert ticks(low, high, whole=whole) == expected


def test_line_goes_through_its_points():
    """The axes run from 0 to the highest value and from the first epoch to the last."""
    line = Line("span", [1, 2, 3], [4.0, 0.0, 2.0])
    (points,) = places(line_chart("loss", [line], x_label="epoch", y_label="loss"))

    assert [x for x, _ in points] == [44.0, 198.0, 352.0]
    assert [y for _, y in points] == [8.0, 184.0, 96.0]


def test_chart_is_well_formed_and_spoken():
    """A chart parses as XML, escapes names, and tells first and last values in words."""
    lines = [Line("a <b> & c", [1, 2], [3.0, 1.5]), Line("d", [1, 2], [0.25, 0.5], marked=2)]
    figure = line_chart("losses", lines, x_label="epoch", y_label="")

    tree = ET.fromstring(figure)
    svg = tree.find("svg")
    assert svg.get("aria-label") == "losses: a <b> & c from 3 to 1.5; d from 0.25 to 0.5"
    assert [item.findtext(".") or item.find("svg").tail for item in tree.iter("li")] == [
        "a <b> & c",
        "d",
    ]
    assert len(svg.findall("circle")) == 1


def test_one_epoch_is_a_dot():
    """A run of one epoch shows as a dot, for a line of one point is invisible."""
    figure = line_chart("loss", [Line("span", [1], [4.0])], x_label="epoch", y_label="loss")

    assert figure.count("<circle") == 1


def test_time_line_places_bars():
    """A window from 2 to 5 of 10 seconds covers the second to the fifth tenth of 1000 units."""
    row = ET.fromstring(time_line("ground truth", [(2.0, 5.0), (8.0, 30.0)], 10.0, colour="c0"))

    bars = [(float(bar.get("x")), float(bar.get("width"))) for bar in row.iter("rect")]
    assert bars == [(200.0, 300.0), (800.0, 200.0)]  # what lies past the end is not drawn


def test_time_line_draws_probabilities_as_stairs():
    """Each clip holds its probability over its whole width; the row's highest reaches the top."""
    chances = np.array([[0.5, 0.25], [0.0, 1.0]])
    row = ET.fromstring(time_line("x", [(0.0, 1.0)], 2.0, colour="c1", chances_BT=chances))

    start, end = [line.get("points") for line in row.iter("polyline")]
    assert start == "0.0,21.0 500.0,21.0 500.0,30.5 1000.0,30.5"
    assert end == "0.0,40.0 500.0,40.0 500.0,2.0 1000.0,2.0"


def test_time_axis():
    """The axis tells seconds at the quarters."""
    assert re.findall(r"([\d.]+) s", time_axis(10.0)) == ["0.0", "2.5", "5.0", "7.5", "10.0"]
