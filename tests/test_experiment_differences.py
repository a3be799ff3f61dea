"""What a difference of two rows rests on, and what is said of it."""

import pytest
from experiments.differences import gap_of, interval_cell

from student.bootstrap import Interval

SURE = Interval(1.0, 0.5, 2.0)


def found(*ious):
    """Results by place, each of one split."""
    return {place: {"iou": {"test_iid": own}} for place, own in enumerate(ious) if own is not None}


@pytest.mark.parametrize(
    ("one", "other", "cell"),
    [
        ((0.5, 0.5, 0.5), (0.3, 0.4, 0.5), "**{}**; by pair +20.0 +10.0 +0.0"),
        ((0.5, 0.5, None), (0.3, 0.4, 0.5), "{} (2 runs); by pair +20.0 +10.0"),
        ((0.5, 0.5, 0.5), (None, None, 0.6), "{} (1 run)"),
        ((0.5, 0.5, None), (0.3, 0.4, None), "{}; by pair +20.0 +10.0"),
        ((0.5, None, None), (0.4, None, None), "{}"),
    ],
)
def test_what_a_difference_rests_on(one, other, cell):
    """Three runs are bold, fewer never; fewer than a row or the other has are said; each pair's part."""
    some = [found(*(iou and [iou, iou] for iou in ious)) for ious in (one, other)]
    text = interval_cell(SURE, gap_of(*some, "test_iid"))

    assert text == cell.format("+1.00 [+0.50, +2.00]")
    assert "**" not in interval_cell(Interval(1.0, -0.5, 2.0), gap_of(*some, "test_iid"))


def test_rows_without_a_pair_in_common_have_no_difference():
    """A student of pair 0 says nothing of a teacher of pair 1."""
    assert gap_of(found([0.5], None), found(None, [0.5]), "test_iid") is None
