import json

import pytest

from pipeline.evaluate import evaluate
from pipeline.score import score
from stores.errors import RefkdError


def test_every_split_but_train_beside_its_floors(teacher_folders, data_folder):
    """Without a choice all splits but train are scored; each score stands beside three floors."""
    found = evaluate(teacher_folders["id"], data_folder, device="cpu")

    assert found["splits"].keys() == {"val", "test_iid", "test_ood"}
    assert found["simulated"] is False
    for scores in found["splits"].values():
        assert scores["pairs"] == 36
        assert scores["floors"].keys() == {
            "whole video",
            "fixed span (mIoU)",
            "fixed span (R1@0.5)",
        }


def test_moved_validation_stands_apart(teacher_folders, data_folder):
    """Scored where val is, with floors of its own; asked for the tests alone it is not made."""
    both = evaluate(teacher_folders["id"], data_folder, splits=["val", "test_iid"], device="cpu")

    assert both["splits"].keys() == {"val", "test_iid"}
    whole = "whole video"  # moments keep their lengths, so the whole video scores alike
    assert both["val_moved"]["floors"][whole]["mIoU"] == pytest.approx(
        both["splits"]["val"]["floors"][whole]["mIoU"]
    )
    assert both["val_moved"]["mIoU"] != both["splits"]["val"]["mIoU"]
    alone = evaluate(teacher_folders["id"], data_folder, splits=["test_iid"], device="cpu")
    assert "val_moved" not in alone


def test_an_unknown_split_is_refused(teacher_folders, data_folder):
    """It names those that the data set has."""
    with pytest.raises(
        RefkdError, match=r"unknown split test; .* has test_iid, test_ood, train, val"
    ):
        evaluate(teacher_folders["id"], data_folder, splits=["test"], device="cpu")


def test_scoring_the_predictions_gives_the_same_figures(
    teacher_folders, data_folder, data, tmp_path
):
    """What evaluate says of a split is what score says of the predictions it wrote, to the last bit."""
    predictions, truth = tmp_path / "predictions.jsonl", tmp_path / "charades_test_ood.json"
    found = evaluate(
        teacher_folders["ood"],
        data_folder,
        splits=["test_ood"],
        predictions=predictions,
        device="cpu",
    )["splits"]["test_ood"]
    videos = {}
    for pair in data.pairs["test_ood"]:
        video = videos.setdefault(pair.video, {"sentences": [], "timestamps": []})
        video["video_duration"] = pair.duration_s
        video["sentences"].append(pair.query)
        video["timestamps"].append(list(pair.windows[0]))
    truth.write_text(json.dumps(videos))
    again = score(predictions, truth)

    for name in ("pairs", "R1@0.3", "R1@0.5", "R1@0.7", "mIoU"):
        assert again[name] == found[name]
    assert again["missing"] == 0


def test_a_model_of_other_features_is_refused(teacher_folders, make_data, tmp_path):
    """Another grid of clips cannot be read: both are named."""
    other = make_data(tmp_path / "other", grid="cap")

    with pytest.raises(RefkdError, match=r"trained with grid fixed but .* has cap"):
        evaluate(teacher_folders["id"], other, device="cpu")


def test_a_run_folder_that_is_no_run(data_folder, tmp_path):
    """A data set in the model's place is refused with the commands that make a model."""
    with pytest.raises(RefkdError, match=r"holds refkd-data, not a model; .*`refkd distill`"):
        evaluate(data_folder, data_folder, device="cpu")
