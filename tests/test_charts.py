"""Charts: well-formed figures whose places follow from the numbers."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from pipeline.charts import Line, TimeRow, dashes, line_chart, time_line
from pipeline.palette import colour


def parsed(figure):
    return ET.fromstring(figure)


def strokes(figure, colour):
    """Return the points of each line of a colour among the data, not those of the legend."""
    found = []
    for path in parsed(figure).iter("path"):
        if "clip-path" in path.attrib and f"stroke: var(--{colour})" in path.get("style"):
            numbers = [float(x) for x in re.findall(r"-?[\d.]+", path.get("d"))]
            found.append(list(zip(numbers[::2], numbers[1::2], strict=True)))
    return found


def texts(figure):
    return ["".join(text.itertext()) for text in parsed(figure).iter("text")]


def test_line_goes_through_its_points():
    """Equal steps are equally wide; half the value is half as high above 0."""
    line = Line("span", [1, 2, 3], [4.0, 0.0, 2.0])
    ((first, second, third),) = strokes(line_chart("loss", [line], x_label="epoch"), "c0")

    assert second[0] - first[0] == pytest.approx(third[0] - second[0], abs=0.02)
    assert second[1] - third[1] == pytest.approx((second[1] - first[1]) / 2, abs=0.02)


def test_many_lines_are_told_apart():
    """Thirty-six lines, more than any network has losses, differ in colour or in dashes."""
    assert len({(colour(place), dashes(place)) for place in range(36)}) == 36
    assert dashes(0) == "-"


def test_axis_from_zero_or_not():
    """Losses stand on 0; scores by warm-up use the height for their differences."""
    line = Line("mIoU", [1, 2], [40.0, 41.0])

    assert "0" in texts(line_chart("a", [line], x_label="", whole=True))
    assert "0" not in texts(line_chart("a", [line], x_label="", from_zero=False))


def test_what_those_hear_who_cannot_see():
    """Caption, note and legend are text; first and last values are told."""
    lines = [Line("a <b> & c", [1, 2], [3.0, 1.5]), Line("d", [1, 2], [0.25, 0.5], 1, marked=2)]
    figure = line_chart("losses", lines, x_label="epoch", note="weighted")

    tree = parsed(figure)
    assert (
        tree.find("svg").get("aria-label") == "losses: a <b> & c from 3 to 1.5; d from 0.25 to 0.5"
    )
    assert "".join(tree.find("figcaption").itertext()) == "lossesweighted"
    assert {"a <b> & c", "d", "epoch"} <= set(texts(figure))


def test_bands_lie_around_their_line():
    """The band is filled, its outer edges are thin lines, a shaded stretch lies behind all."""
    line = Line("w", [1, 2, 3], [5, 6, 7], 0, ([4, 5, 6], [6, 7, 8]), ([1, 2, 3], [9, 9, 9]))
    plain = line_chart("w", [line], x_label="epoch")
    warm = line_chart("w", [line], x_label="epoch", until=2)

    assert plain.count("fill: var(--c0); fill-opacity: 0.2") == 1
    assert len(strokes(plain, "c0")) == 3
    assert "fill: var(--rule)" not in plain
    assert warm.count("fill: var(--rule)") == 1


def test_one_epoch_is_a_dot():
    """A run of one epoch shows as a dot, for a line of one point is invisible."""
    lone = line_chart("loss", [Line("span", [1], [4.0])], x_label="epoch")
    two = line_chart("loss", [Line("span", [1, 2], [4.0, 3.0])], x_label="epoch")

    assert lone.count("<use") > two.count("<use")


def test_long_names_stand_below_each_other():
    """A legend of long names is as high as it must be, and no name leaves the picture."""
    short = [Line(name, [1, 2], [1, 2], place) for place, name in enumerate("abc")]
    long = [Line("student, w/o both, " + "hidden 64, " * 4, [1, 2], [1, 2]) for _ in "abc"]
    heights = [
        float(re.search(r'viewBox="0 0 360 ([\d.]+)"', line_chart("x", some, x_label=""))[1])
        for some in (short, long)
    ]

    assert heights[1] - heights[0] == 5 * 17  # two lines each


def bar(figure, colour):
    """Return left and right of each filled bar of a colour."""
    found = []
    for path in parsed(figure).iter("path"):
        if f"fill: var(--{colour})" in path.get("style", "") and "clip-path" in path.attrib:
            xs = [float(x) for x in re.findall(r"(-?[\d.]+) -?[\d.]+", path.get("d"))]
            found.append((min(xs), max(xs)))
    return found


def test_time_line_places_bars():
    """In 10 s a window of 2 to 5 s is as wide as one of 7 to 30 s, of which 3 s are in the video."""
    rows = [TimeRow("ground truth", [(2.0, 5.0), (7.0, 30.0)]), TimeRow("x", [(0.0, 10.0)], 0)]
    figure = time_line("“run”", rows, 10.0, name="v#0")

    ((left, right),) = bar(figure, "c0")
    width = right - left
    one, other = bar(figure, "soft")
    assert one == pytest.approx((left + 0.2 * width, left + 0.5 * width), abs=0.05)
    assert other == pytest.approx((left + 0.7 * width, right), abs=0.05)
    assert {"ground truth", "x", "seconds"} <= set(texts(figure))


def test_time_line_draws_probabilities_as_stairs():
    """Each clip holds its probability over its whole width; the row's highest is the highest."""
    chances = np.array([[0.5, 0.25], [0.0, 1.0]])
    rows = [TimeRow("truth", [(0.0, 1.0)]), TimeRow("x", [(0.0, 1.0)], 1, chances)]
    start, end = strokes(time_line("q", rows, 2.0, name="v#0"), "c1")

    (left, _), (right, _) = start[0], start[-1]
    top, floor = min(y for _, y in end), max(y for _, y in end)
    assert {round(x) for x, _ in start} == {round(left), round((left + right) / 2), round(right)}
    high, low = (top + floor) / 2, floor - (floor - top) / 4
    assert [y for x, y in start if x < left + 1][-1] == pytest.approx(high, abs=0.02)
    assert start[-1][1] == pytest.approx(low, abs=0.02)


def test_faint_chances_are_drawn_as_high_as_sure_ones():
    """A row is drawn to its own highest chance, so half as likely everywhere looks the same."""
    chances = np.array([[0.5, 0.25], [0.0, 1.0]])
    sure, faint = (
        time_line("q", [TimeRow("x", [(0.0, 1.0)], 1, some)], 2.0, name="v#0")
        for some in (chances, chances / 2)
    )

    assert sure == faint
