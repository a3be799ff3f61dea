from pipeline.palette import DARK, LIGHT, NUM_COLOURS, colour


def test_day_and_night_have_the_same_names():
    """Every variable of the day has its colour by night, and no two of one time are alike."""
    assert LIGHT.keys() == DARK.keys()
    for colours in (LIGHT, DARK):
        assert len(set(colours.values())) == len(colours)


def luminance(code):
    """Return the relative luminance of a colour (WCAG 2.1)."""
    channels = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_lines_and_text_stand_out_from_the_paper():
    """Contrast of ink, soft text and every line with the paper is at least 4.5, day and night."""
    for colours in (LIGHT, DARK):
        paper = luminance(colours["paper"])
        for name in ("ink", "soft", *(f"c{i}" for i in range(NUM_COLOURS))):
            light, dark = sorted([paper, luminance(colours[name])], reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, name


def test_colours_repeat():
    """There are as many colours as are named, then the first comes again."""
    assert colour(0) == colour(NUM_COLOURS) == LIGHT["c0"]
