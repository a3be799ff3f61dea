"""Numbers of a table's rows, by hand."""

import numpy as np
import pytest

from pipeline.ablations import TABLES
from pipeline.planning import PlannedRow, Trial
from pipeline.results import Results
from pipeline.summary import summarise

TESTS = ("test_iid", "test_ood")
VIDEOS = {"test_iid": ["v", "w"], "test_ood": ["v", "w", "w"]}


def trial(name):
    settings = {"bias": "id", "backbone": "vslnet", "seed": name}
    return Trial(name, {"kind": "teacher", "teachers": {"id": settings}})


def results_of(folder, found):
    """Results with these IoUs by trial: {name: {split: [of each pair]}}."""
    kept = Results(folder)
    for name, ious in found.items():
        scores = {
            split: {"pairs": len(own), "mIoU": 100 * np.mean(own)} for split, own in ious.items()
        }
        scores["val"] = {"pairs": 2, "mIoU": 40.0 + len(name)}
        kept.keep({"about": trial(name).about, "scores": scores, "iou": ious})
    return kept


def row(name, *trials, group=""):
    return PlannedRow(group, name, tuple(trial(one) for one in trials))


FOUND = {
    "a1": {"test_iid": [0.5, 0.7], "test_ood": [0.2, 0.2, 0.2]},
    "a2": {"test_iid": [0.7, 0.7], "test_ood": [0.4, 0.2, 0.0]},
    "b1": {"test_iid": [0.4, 0.4], "test_ood": [0.1, 0.3, 0.2]},
    "b2": {"test_iid": [0.4, 0.6], "test_ood": [0.1, 0.1, 0.2]},
}


def test_means_and_deviations(tmp_path):
    """Of mIoU 60 and 70 over two seeds: 65 and the deviation of a sample, 10 over root 2."""
    rows = [row("RefKD", "a1", "a2")]
    (found,) = summarise(
        rows, results_of(tmp_path, FOUND), table=TABLES["3"], tests=TESTS, videos=VIDEOS
    )

    miou = found["scores"]["test_iid"]["mIoU"]
    assert miou["values"] == pytest.approx([60.0, 70.0])
    assert miou["mean"] == pytest.approx(65.0)
    assert miou["sd"] == pytest.approx(10 / np.sqrt(2))
    assert found["runs"] == 2
    assert found["scores"]["val"]["mIoU"]["mean"] == 42.0
    assert "pairs" not in found["scores"]["test_iid"]


def test_one_run_has_no_deviation(tmp_path):
    """A single seed says nothing of seeds."""
    (found,) = summarise(
        [row("RefKD", "a1")],
        results_of(tmp_path, FOUND),
        table=TABLES["3"],
        tests=TESTS,
        videos=VIDEOS,
    )

    assert found["scores"]["test_iid"]["mIoU"]["sd"] is None


def test_pairs_of_one_video_have_no_difference(tmp_path):
    """Nothing tells how sure it would be; the other split has its own."""
    rows = [row("RefKD", "a1", "a2"), row("w/o LR", "b1", "b2")]
    videos = {**VIDEOS, "test_ood": ["v"] * 3}
    found = summarise(
        rows, results_of(tmp_path, FOUND), table=TABLES["3"], tests=TESTS, videos=videos
    )

    assert [list(one["difference"]) for one in found] == [[], ["test_iid"]]


def test_differences_are_paired(tmp_path):
    """Each pair's IoU is its mean over seeds; the row's minus the full method's, videos drawn whole."""
    rows = [row("RefKD", "a1", "a2"), row("w/o LR", "b1", "b2")]
    full, other = summarise(
        rows, results_of(tmp_path, FOUND), table=TABLES["3"], tests=TESTS, videos=VIDEOS
    )

    assert full["difference"] == {}
    # iid: (0.4, 0.5) - (0.6, 0.7) = (-0.2, -0.2); ood: (0.1, 0.2, 0.2) - (0.3, 0.2, 0.1)
    assert other["difference"]["test_iid"] == pytest.approx(
        {"mean": -20.0, "low": -20.0, "high": -20.0}
    )
    # of the videos (-20) and (0, 10) one is drawn twice with chance 1/4
    assert other["difference"]["test_ood"] == pytest.approx(
        {"mean": -10 / 3, "low": -20.0, "high": 5.0}
    )


def test_groups_have_their_own_full_method(tmp_path):
    """A row is compared with the full method of its group, not with another backbone's."""
    rows = [
        row("RefKD", "a1", group="one"),
        row("w/o LR", "b1", group="one"),
        row("RefKD", "b1", group="two"),
        row("w/o LR", "b1", group="two"),
    ]
    found = summarise(
        rows, results_of(tmp_path, FOUND), table=TABLES["3"], tests=TESTS, videos=VIDEOS
    )

    assert [one["group"] for one in found] == ["one", "one", "two", "two"]
    assert found[1]["difference"]["test_iid"]["mean"] == pytest.approx(-20.0)
    assert found[3]["difference"]["test_iid"]["mean"] == 0.0


def test_a_row_of_other_models_for_each_split(tmp_path):
    """Table 5's teacher row shows one model's split beside another's, and nothing of val."""
    by_split = {"test_iid": (trial("a1"),), "test_ood": (trial("b1"),)}
    rows = [PlannedRow("", "Teacher", (), by_split), row("RefKD", "a2")]
    teacher, _ = summarise(
        rows, results_of(tmp_path, FOUND), table=TABLES["5"], tests=TESTS, videos=VIDEOS
    )

    assert teacher["scores"].keys() == {"test_iid", "test_ood"}
    assert teacher["scores"]["test_iid"]["mIoU"]["mean"] == pytest.approx(60.0)
    assert teacher["scores"]["test_ood"]["mIoU"]["mean"] == pytest.approx(20.0)
    assert teacher["difference"]["test_iid"]["mean"] == pytest.approx(-10.0)
