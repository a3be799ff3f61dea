"""Counting defects, one hand-made pair for each."""

import pytest

from stores.defects import KINDS, contradictions, count_defects, empty_moments
from stores.grid import clip_span
from stores.pairs import Pair


def pair(*windows, query="a b", duration_s=10.0):
    return Pair("x#0", "train", "x", query, windows, duration_s)


@pytest.mark.parametrize(
    ("found", "kinds"),
    [
        (pair((0.0, 10.0)), []),
        (pair((2.0, 10.5)), ["end_after_duration"]),
        (pair((2.0, 10.00001)), ["end_after_duration"]),
        (pair((2.0, 10.0000001)), ["end_after_duration_by_rounding"]),
        (pair((13.0, 38.0)), ["end_after_duration", "start_after_duration"]),
        (pair((10.0, 12.0)), ["end_after_duration", "start_after_duration"]),
        (pair((-0.5, 2.0)), ["start_before_zero"]),
        (pair((5.0, 3.0)), ["reversed"]),
        (pair((3.0, 3.0)), ["zero_length"]),
        (pair((3.0, 4.0), query=" a b"), ["untrimmed_query"]),
        (pair((3.0, 4.0), query="a b\n"), ["untrimmed_query"]),
    ],
)
def test_each_kind(found, kinds):
    """Each defect is counted under its own kind, and a sound pair under none."""
    assert count_defects([found]) == dict.fromkeys(kinds, 1)


def test_counts_pairs():
    """A pair counts once under a kind, however many of its windows show it; kinds come in order."""
    pairs = [
        pair((5.0, 3.0), (7.0, 6.0), (1.0, 1.0)),
        pair((5.0, 3.0), (2.0, 11.0), query=" a"),
        pair((1.0, 2.0)),
    ]

    found = count_defects(pairs)

    assert found == {"reversed": 2, "zero_length": 1, "end_after_duration": 1, "untrimmed_query": 1}
    assert list(found) == [kind for kind in KINDS if kind in found]


def test_moments_that_hold_nothing():
    """Reversed, of length zero, past the end, before the start: their label is the first clip."""
    whole = [pair((0.0, 10.0)), pair((9.5, 12.0)), pair((-1.0, 0.5)), pair((1.0, 2.0), (5.0, 3.0))]
    empty = [pair((5.0, 3.0)), pair((3.0, 3.0)), pair((10.0, 12.0)), pair((-2.0, 0.0))]

    assert empty_moments([*whole, *empty]) == empty
    for one in empty:
        assert clip_span(*one.windows[0], one.duration_s, 4) == (0, 0)


def test_pairs_of_a_video_that_contradict_each_other():
    """Two durations, two splits: how many videos, and the first of them."""
    other = Pair("y#0", "val", "y", "a b", ((1.0, 2.0),), 8.0)
    assert contradictions({"train": [pair((1.0, 2.0))] * 2, "val": [other]}) == []

    longer = pair((1.0, 2.0), duration_s=53.5)
    assert contradictions({"train": [pair((1.0, 2.0)), other], "val": [longer, other]}) == [
        "1 videos have several durations, as x: 10 s, 53.5 s",
        "2 videos are in several splits, as x: train, val",
    ]
