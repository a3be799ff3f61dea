import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent / "bench"
sys.path.insert(0, str(BENCH))
from harness import Figure, ratio, take_turns  # noqa: E402
from run import NOT_BENCHES, page  # noqa: E402

BENCHES = sorted(path.stem for path in BENCH.glob("*.py") if path.stem not in NOT_BENCHES)


def test_turns():
    """Every competitor warms up once and runs once in each turn; one may time itself."""
    calls = []

    seconds = take_turns({"a": lambda: calls.append("a"), "b": lambda: 2.5}, repeats=3)

    assert calls == ["a"] * 4
    assert seconds["b"] == [2.5, 2.5, 2.5]
    assert len(seconds["a"]) == 3


def test_ratio_is_of_turns():
    """2 over 1, 6 over 2 and 4 over 4 are ratios 2, 3 and 1: the median is 2, not 4 over 2.5."""
    found = ratio({"a": [2.0, 6.0, 4.0], "b": [1.0, 2.0, 4.0]}, "a", "b")

    assert found == (2.0, (1.0, 3.0))


def test_page_says_what_falls_short():
    """A figure below what it should reach is marked, and what limits it is told."""
    figure = Figure("1", "x against y", 0.5, 0.75, "at least", limit="the disk")
    kept = {**figure.__dict__, "holds": figure.holds}

    text = page({"reading": {"machine": "two cores", "figures": [kept]}})

    assert "| 1 | x against y | 0.5 | at least 0.75 | **no** |" in text
    assert "- Row 1, x against y: the disk" in text


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHES)
def test_smoke(name):
    """Every bench runs at the smallest scale and returns figures of rows of the page."""
    from run import measure

    figures = measure(name, "smoke")

    assert figures
    assert all(figure.row.isdigit() and figure.value > 0 for figure in figures)
