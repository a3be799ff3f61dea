"""Pictures: the page's colours and font, nothing from outside, the same bytes again."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import matplotlib
import pytest

from pipeline.drawing import svg
from pipeline.palette import LIGHT


def paint(figure):
    axes = figure.subplots()
    axes.plot([1, 2, 3], [0.123456789, 2.0, 1.0], "o-", color=LIGHT["c1"], label="a $x$ <b>")
    axes.fill_between([1, 2, 3], [0, 1, 0], [1, 3, 2], color=LIGHT["c1"], alpha=0.2)
    axes.grid()
    figure.legend(loc="outside lower left")


@pytest.fixture(scope="module")
def picture():
    return svg(paint, name="one", height=200, spoken='losses: "a" <b>')


def test_colours_are_the_page_s(picture):
    """No colour of the day is left: all are variables, so that the picture follows the page."""
    assert "var(--c1)" in picture
    assert "var(--soft)" in picture
    assert "var(--rule)" in picture
    assert set(re.findall(r"(?:stroke|fill): ([^;\"]+)", picture)) <= {
        "none",
        "var(--c1)",
        "var(--soft)",
        "var(--rule)",
    }


def test_it_needs_nothing_else(picture):
    """No address, no date, no style for the page, no font by name, no size of its own."""
    assert not re.search(r"https?:|<metadata|<style|<!DOCTYPE|xmlns|font-family|20\d\d-", picture)
    assert all(link.startswith("#") for link in re.findall(r'href="([^"]+)"', picture))
    assert ET.fromstring(picture).attrib == {
        "viewBox": "0 0 360 200",
        "role": "img",
        "aria-label": 'losses: "a" <b>',
    }


def test_text_is_text(picture):
    """Names stand in the picture as they are written, dollars too."""
    assert "a $x$ <b>" in ["".join(text.itertext()) for text in ET.fromstring(picture).iter("text")]


def test_same_bytes_whatever_the_user_s_settings(picture):
    """Another style of the user's matplotlib changes nothing."""
    with matplotlib.rc_context({"font.size": 30, "axes.grid": True, "svg.fonttype": "path"}):
        again = svg(paint, name="one", height=200, spoken='losses: "a" <b>')

    assert again == picture


def test_pictures_share_no_id(picture):
    """What one picture refers to is not another's, even if both show the same."""
    other = svg(paint, name="two", height=200, spoken="")
    ids, others = (set(re.findall(r' id="([^"]+)"', text)) for text in (picture, other))

    assert ids
    assert not ids & others
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', picture))
    assert used == ids


def test_matplotlib_waits_until_something_is_drawn():
    """Reading the code of the report imports no matplotlib."""
    code = "import sys, pipeline.report; print('matplotlib' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout == "False\n"
