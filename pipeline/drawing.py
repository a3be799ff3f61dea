"""From a matplotlib figure to SVG inside HTML: the page's colours and font, the same bytes again.

matplotlib draws with the colours of the day; each becomes the page's variable of that colour, so
that a picture follows the page into the night. matplotlib is imported when something is drawn.
"""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.palette import LIGHT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 360  # of every picture, in its own units: one unit is a pixel on a phone
POINTS = 72  # units to matplotlib's inch
RC: Any = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "font.family": ["DejaVu Sans"],  # comes with matplotlib, so that places are the same everywhere
    "font.size": 11,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "text.color": LIGHT["soft"],
    "axes.labelcolor": LIGHT["soft"],
    "axes.edgecolor": LIGHT["rule"],
    "axes.axisbelow": True,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": LIGHT["rule"],
    "xtick.color": LIGHT["soft"],
    "ytick.color": LIGHT["soft"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.scale_dashes": False,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "legend.borderaxespad": 0,
}
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def svg(paint: Callable[["Figure"], None], *, name: str, height: float, spoken: str) -> str:
    """Return what `paint` puts on a figure of WIDTH times `height` units, as an <svg> element.

    `name` tells the pictures of a page apart; `spoken` is what those hear who cannot see it.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    written = io.BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the user's own settings are
        matplotlib.rcParams.update({**RC, "svg.hashsalt": name})
        figure = Figure(figsize=(WIDTH / POINTS, height / POINTS), layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure)
        figure.savefig(written, format="svg", transparent=True, metadata=NO_METADATA)
    return _inline(ET.fromstring(written.getvalue()), spoken=spoken)


def _inline(root: ET.Element, *, spoken: str) -> str:
    """Return a picture without what only a file of its own needs, in the page's colours."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {
            key.rpartition("}")[2]: _plain(key, value) for key, value in element.attrib.items()
        }
        if element.tag == "g":  # numbered anew in each picture, and never referred to
            element.attrib.pop("id", None)
        if element.text and not element.text.strip():
            element.text = None
        element.tail = None
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": spoken}
    return ET.tostring(root, encoding="unicode")


def _plain(key: str, value: str) -> str:
    if key == "style":
        value = re.sub(r"font-family: [^;]*; ?", "", value)
        return re.sub("|".join(LIGHT.values()), lambda m: f"var(--{_NAMES[m[0]]})", value)
    if key in ("d", "x", "y", "transform"):
        return re.sub(r"(\.\d\d)\d+", r"\1", value.replace("\n", ""))
    return value


_NAMES = {colour: name for name, colour in LIGHT.items()}
