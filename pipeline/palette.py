"""The colours of the page, by day and by night; what is drawn takes them from the page."""

NUM_COLOURS = 6

LIGHT = {
    "ink": "#1c2126",
    "soft": "#5b6570",
    "rule": "#d5dae0",
    "paper": "#ffffff",
    "note": "#fff4d6",
    "c0": "#0067a3",
    "c1": "#c24e00",
    "c2": "#00795a",
    "c3": "#9a4791",
    "c4": "#7d6200",
    "c5": "#55606b",
}
DARK = {
    "ink": "#e6e9ec",
    "soft": "#a3adb8",
    "rule": "#3a424b",
    "paper": "#15191d",
    "note": "#3a3113",
    "c0": "#5db7f0",
    "c1": "#ff9d5c",
    "c2": "#43cfa3",
    "c3": "#e29bd9",
    "c4": "#e6cf45",
    "c5": "#b4bec8",
}


def css_variables(colours: dict[str, str]) -> str:
    """Return colours as CSS variables.

    >>> css_variables({"ink": "#000000", "c0": "#0067a3"})
    '--ink: #000000; --c0: #0067a3;'
    """
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


def colour(index: int) -> str:
    """Return the n-th colour of lines by day; they repeat when they run out."""
    return LIGHT[f"c{index % NUM_COLOURS}"]
