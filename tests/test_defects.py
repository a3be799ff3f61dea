"""Counting defects, one hand-made pair for each."""

import pytest

from stores.defects import KINDS, count_defects
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
