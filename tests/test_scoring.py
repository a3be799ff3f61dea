"""Scores of subjects: from their models, or from what was kept of them."""

import numpy as np
import pytest

from pipeline.evaluate import evaluate
from pipeline.scoring import Scored, difference, mean_of, score_subjects, split_floors
from pipeline.subjects import Member, Subject, find_subjects
from student.metrics import MEASURES

SPLITS = ["test_iid", "test_ood", "val"]


def scored(*ious, miou=50.0):
    return Scored({"test_ood": {"mIoU": miou}}, {"test_ood": list(ious)}, {})


def test_a_model_scores_what_evaluate_says(runs_folder, teacher_folders, data, data_folder):
    """On each split and on val_moved, to the last bit, with the IoU of each pair of the tests."""
    subjects = find_subjects([runs_folder], {"id": [teacher_folders["id"]]}, data)
    found = score_subjects(subjects, data, SPLITS, device="cpu")
    ((one,), expected) = found["ID teacher"], evaluate(teacher_folders["id"], data_folder)

    assert [len(some) for some in found.values()] == [1, 2, 1]
    for split, scores in {**expected["splits"], "val_moved": expected["val_moved"]}.items():
        assert {m: one.scores[split][m] for m in MEASURES} == {m: scores[m] for m in MEASURES}
    assert one.ious.keys() == one.calibrations.keys() == {"test_iid", "test_ood"}


def test_floors_are_those_of_evaluate(data, data_folder, teacher_folders):
    """Of each split, and of val with its moments moved."""
    expected = evaluate(teacher_folders["id"], data_folder)
    splits = {**expected["splits"], "val_moved": expected["val_moved"]}

    assert split_floors(data, SPLITS) == {name: one["floors"] for name, one in splits.items()}


def test_results_are_believed(data):
    """A member with a result is not asked; one without calibration has none."""
    result = {"scores": {"test_ood": {"mIoU": 12.5}}, "iou": {"test_ood": [0.125]}}
    subject = Subject("x", "average", (Member({"kind": "average"}, result=result),))
    ((one,),) = score_subjects([subject], data, SPLITS, device="cpu").values()

    assert one == Scored(result["scores"], result["iou"], {})


def test_difference_by_hand():
    """Pairs gain 20, 10 and 0 points, on average 10; two seeds count as their mean."""
    one = [scored(0.6, 0.6, 0.3), scored(0.8, 0.4, 0.3)]
    gap = difference(one, [scored(0.5, 0.4, 0.3)], "test_ood", videos=["a", "b", "b"])

    assert gap == pytest.approx((10.0, 5.0, 20.0))  # (20) or (10, 0) drawn twice: chance 1/4 each


def test_difference_of_equals_is_nothing():
    """A subject minus itself is 0 in every resample."""
    same = [scored(*np.linspace(0, 1, 9))]

    assert tuple(difference(same, same, "test_ood", videos=["v"] * 4 + ["w"] * 5)) == (
        0.0,
        0.0,
        0.0,
    )


def test_what_is_not_known():
    """A split that a member lacks has neither a mean nor a difference."""
    lacking = Scored({}, {}, {})

    assert mean_of([scored(0.5), lacking], "test_ood", "mIoU") is None
    assert difference([scored(0.5)], [lacking], "test_ood", videos=["v", "w"]) is None
    assert mean_of([scored(miou=40.0), scored(miou=42.0)], "test_ood", "mIoU") == 41.0
