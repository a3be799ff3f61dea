"""A trial done: the result says what evaluate says, and where it came from."""

import json

import numpy as np
import pytest

from pipeline.evaluate import evaluate
from pipeline.judging import Judge, code_version, judged_splits, pair_sources
from pipeline.planning import Trial
from pipeline.results import about_teachers
from stores.dataset import open_dataset
from stores.errors import RefkdError
from stores.models import read_facts
from student.forward import model_logits
from student.metrics import MEASURES
from student.model import load_model


def trial_of(data, *folders):
    trained = {folder.name: read_facts(folder)[0]["inputs"] for folder in folders}
    return Trial("teachers", about_teachers(trained, data), models=folders)


@pytest.fixture
def judge(data_folder, tmp_path):
    return Judge(data_folder, tmp_path / "runs", tmp_path / "results", "cpu")


def result_in(folder):
    (path,) = folder.iterdir()
    return json.loads(path.read_bytes())


def test_a_teacher_scores_what_evaluate_says(judge, data, data_folder, teacher_folders):
    """On val, val_moved and both tests, to the last bit, with each test pair's IoU."""
    told = judge(trial_of(data, teacher_folders["id"]))
    result, found = result_in(judge.results), evaluate(teacher_folders["id"], data_folder)
    splits = {**found["splits"], "val_moved": found["val_moved"]}

    assert list(result["scores"]) == ["val", "val_moved", "test_iid", "test_ood"]
    for split, scores in splits.items():
        assert {m: result["scores"][split][m] for m in MEASURES} == {m: scores[m] for m in MEASURES}
        assert told[split] == scores["mIoU"]
    assert result["iou"].keys() == {"test_iid", "test_ood"}
    for split, ious in result["iou"].items():
        assert len(ious) == 36
        # each is rounded to 4 decimals, so their mean is off by at most half of the last
        assert 100 * sum(ious) / 36 == pytest.approx(splits[split]["mIoU"], abs=0.5e-2)


def test_calibration_of_the_tests(judge, data, data_folder, teacher_folders):
    """Start and end of each test split, in percent; a clip is right as often as it is counted."""
    judge(trial_of(data, teacher_folders["id"]))
    found = result_in(judge.results)["calibration"]
    network, rows = load_model(teacher_folders["id"]).network, data.rows("test_ood")
    logits = model_logits(network, data, rows, 0, 36)
    end = np.array([logits[n, 1, : rows.clips[n]].argmax() for n in range(36)])

    assert found.keys() == {"test_iid", "test_ood"}
    assert found["test_ood"]["end"]["accuracy"] == pytest.approx(
        100 * (end == rows.gt[:, 1]).mean(), abs=1e-4
    )
    assert 0 <= found["test_iid"]["start"]["error"] <= 100


def test_where_a_result_comes_from(judge, data, teacher_folders):
    """Seals, the kept epoch, seconds, threads, device, versions."""
    judge(trial_of(data, teacher_folders["ood"]))
    result = result_in(judge.results)
    facts, seal = read_facts(teacher_folders["ood"])

    assert result["seals"] == {"models": [seal], "data": data.seal}
    assert result["best_epoch"] == facts["best_epoch"]
    assert result["seconds"] > 0
    assert result["peak_rss_bytes"] > 2**20
    assert (result["threads"], result["device"]) == (1, "cpu")
    assert result["torch"] == facts["how"]["torch"]
    assert result["simulated"] is False
    assert result["code"] == code_version()
    assert len(code_version()["sources"]) == 16


def test_teachers_asked_together(judge, data, teacher_folders):
    """Two models have one score, which is neither's; no epoch and no seconds are theirs."""
    judge(trial_of(data, *teacher_folders.values()))
    result = result_in(judge.results)
    alone = [evaluate(f, judge.data, splits=["test_ood"]) for f in teacher_folders.values()]

    assert result["about"]["kind"] == "average"
    assert len(result["seals"]["models"]) == 2
    assert result["best_epoch"] is None
    assert {"seconds", "peak_rss_bytes"} & result.keys() == set()
    apart = [one["splits"]["test_ood"]["mIoU"] for one in alone]
    assert result["scores"]["test_ood"]["mIoU"] not in apart


def test_a_result_is_kept_once(judge, data, teacher_folders):
    """What is there already is returned and left as it is, even if the model is gone."""
    told = judge(trial_of(data, teacher_folders["id"]))
    (path,) = judge.results.iterdir()
    before = path.stat().st_mtime_ns
    gone = trial_of(data, teacher_folders["id"])

    assert judge(Trial(gone.name, gone.about)) == told
    assert path.stat().st_mtime_ns == before


def test_a_model_of_other_features(judge, data, make_data, teacher_folders, tmp_path):
    """It is refused by the name of its folder."""
    other = make_data(tmp_path / "other", grid="cap")
    elsewhere = Judge(other, tmp_path / "runs", tmp_path / "results", "cpu")

    with pytest.raises(RefkdError, match=r"id was trained with grid fixed but .* has cap"):
        elsewhere(trial_of(open_dataset(other), teacher_folders["id"]))


def test_sources_of_pairs(data):
    """Videos, or what the first group of an expression finds in them; a video without is an error."""
    videos = [pair.video for pair in data.pairs["test_iid"]]

    assert pair_sources(data, ["test_iid"]) == {"test_iid": videos}
    assert pair_sources(data, ["test_iid"], group_by=r"(\d)$") == {
        "test_iid": [video[-1] for video in videos]
    }
    with pytest.raises(RefkdError, match=r"video test_iid_000 does not match .*; mend --group-by"):
        pair_sources(data, ["test_iid"], group_by="(nothing)")
    one_source = "finds one source, test in all videos of test_iid, test in all videos of test_ood"
    with pytest.raises(RefkdError, match=one_source):
        pair_sources(data, ["test_iid", "test_ood"], group_by="(test)")


def test_one_split_of_one_source(data, caplog):
    """Where another has several there are intervals: it is said which split has none."""
    found = pair_sources(data, ["test_iid", "test_ood"], group_by=r"(ood|\d\d$)")

    assert {*found["test_ood"]} == {"ood"}
    assert len({*found["test_iid"]}) == 24
    assert caplog.messages == [
        r"no interval: --group-by (ood|\d\d$) finds one source, ood in all videos of test_ood"
    ]


def test_splits_that_are_judged(data):
    """val, then each test split; data without one is refused."""
    assert judged_splits(data) == ["val", "test_iid", "test_ood"]

    bare = type(data)(**{**vars(data), "pairs": {"train": data.pairs["train"], "val": []}})
    with pytest.raises(
        RefkdError, match="has no test split, only train, val; prepare it with test"
    ):
        judged_splits(bare)
