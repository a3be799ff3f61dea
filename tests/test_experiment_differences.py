"""What a difference of two rows rests on, and what is said of it."""

import pytest
from experiments.differences import gap_of, interval_cell

from student.bootstrap import Interval

SURE = Interval(1.0, 0.5, 2.0)


def found(*ious):
    """Results by place, each of one split."""
    about, seals = {"teachers": {}}, {"models": ["m"], "teachers": {}}
    return {
        place: {"iou": {"test_iid": own}, "about": about, "seals": seals}
        for place, own in enumerate(ious)
        if own is not None
    }


@pytest.mark.parametrize(
    ("one", "other", "cell"),
    [
        ((0.5, 0.5, 0.5), (0.3, 0.4, 0.5), "**{}**; by pair +20.0 +10.0 +0.0"),
        ((0.5, 0.5, None), (0.3, 0.4, 0.5), "{} (2 runs); by pair +20.0 +10.0"),
        ((0.5, 0.5, 0.5), (None, None, 0.6), "{} (1 run)"),
        ((0.5, 0.5, None), (0.3, 0.4, None), "{} (2 runs); by pair +20.0 +10.0"),
        ((0.5, None, None), (0.4, None, None), "{} (1 run)"),
    ],
)
def test_what_a_difference_rests_on(one, other, cell):
    """Three runs may be bold, fewer never, and are counted; then the part of each pair."""
    some = [found(*(iou and [iou, iou] for iou in ious)) for ious in (one, other)]
    text = interval_cell(SURE, gap_of(*some, "test_iid"))

    assert text == cell.format("+1.00 [+0.50, +2.00]")
    assert "**" not in interval_cell(Interval(1.0, -0.5, 2.0), gap_of(*some, "test_iid"))


def test_a_difference_without_an_interval():
    """On one group only there is the mean alone, never bold."""
    gap = gap_of(found([0.5], [0.5], [0.5]), found([0.3], [0.4], [0.5]), "test_iid")

    assert interval_cell(None, gap) == "+10.00; by pair +20.0 +10.0 +0.0"


def test_rows_without_a_pair_in_common_have_no_difference():
    """A student of pair 0 says nothing of a teacher of pair 1."""
    assert gap_of(found([0.5], None), found(None, [0.5]), "test_iid") is None


@pytest.mark.parametrize(
    ("seed", "seal", "said"),
    [(0, "a", False), (0, "b", True), (1, "b", False)],
    ids=["the same teacher", "trained anew", "another teacher"],
)
def test_a_student_beside_another_training_of_its_teacher(seed, seal, said):
    """It learned from other weights than those it is compared with: the table says so."""
    student, teacher = found([0.5]), found([0.25])
    student[0] |= {
        "about": {"teachers": {"id": {"bias": "id", "seed": 0, "folds": 0}}},
        "seals": {"models": ["m"], "teachers": {"id": "a"}},
    }
    teacher[0] |= {
        "about": {"teachers": {"first": {"bias": "id", "seed": seed}}},
        "seals": {"models": [seal]},
    }
    text = interval_cell(SURE, gap_of(student, teacher, "test_iid"))

    assert text.endswith("(1 run) (other weights of the same teachers)") == said
