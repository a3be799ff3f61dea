"""Every stage as a command: the JSON objects that scripts rely on, and what is printed without."""

import json
import re
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from cli.main import refkd
from stores.predictions import read_predictions
from student.metrics import MEASURES

QUICK = ("--hidden", "8", "--epochs", "1", "--threads", "1", "--device", "cpu")


def call(*arguments):
    """Return the stdout of a command that must succeed."""
    ran = CliRunner().invoke(refkd, [str(argument) for argument in arguments])
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def told(*arguments):
    """Return the JSON object on the last line of stdout of a command given --json."""
    return json.loads(call(*arguments, "--json").splitlines()[-1])


@pytest.fixture(scope="module")
def teachers(teacher_folders):
    return [
        word
        for name in teacher_folders
        for word in ("--teacher", f"{name}={teacher_folders[name]}")
    ]


@pytest.fixture(scope="module")
def run(data_folder, cache_folder, tmp_path_factory):
    """A student trained by the command, as a folder."""
    runs = tmp_path_factory.mktemp("runs")
    return told("distill", data_folder, cache_folder, runs, *QUICK)["run"]


@pytest.fixture
def annotations(tmp_path):
    """Two annotation files of one video each, in a folder."""
    folder = tmp_path / "annotations"
    folder.mkdir()
    for split, video in (("train", "a"), ("test_ood", "b")):
        told = {"timestamps": [[1.0, 3.0]], "sentences": ["a dog runs"], "video_duration": 8.0}
        (folder / f"toy_{split}.json").write_text(json.dumps({video: told}))
    return folder


def test_prepare(annotations, tmp_path, word_file):
    """`prepare` tells the data set's folder, with --json or as the one line of stdout."""
    features = tmp_path / "features"
    features.mkdir()
    for video in "ab":
        rows = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
        np.save(features / f"{video}.npy", rows)
    out = tmp_path / "data"
    options = ("--annotations", annotations, "--features", features, "--words", word_file)

    assert told("prepare", out, *options, "--clips", "8") == {"data": str(out)}
    assert call("prepare", out, *options, "--clips", "8") == f"{out}\n"
    assert (out / "manifest.sha256").is_file()


def test_prepare_takes_splits_by_name(annotations, tmp_path, word_file):
    """--split NAME=FILE gives a file a split that its name does not tell."""
    features = tmp_path / "features"
    features.mkdir()
    np.save(features / "b.npy", np.ones((4, 2), np.float32))
    file = shutil.copy(annotations / "toy_test_ood.json", tmp_path / "moments.json")
    options = ("--features", features, "--words", word_file, "--clips", "4")

    out = tmp_path / "data"
    call("prepare", out, "--annotations", annotations, "--split", f"train={file}", *options)

    splits = told("inspect", out)["splits"]
    assert {name: facts["pairs"] for name, facts in splits.items()} == {"train": 1, "test_ood": 1}


def test_simulate(annotations, tmp_path, word_file):
    """`simulate` tells the data set's folder, which then says that it is simulated."""
    out = tmp_path / "data"
    options = ("--annotations", annotations, "--words", word_file, "--clips", "8")

    assert told("simulate", out, *options) == {"data": str(out)}
    assert told("inspect", out)["simulated"] is True


def test_teach(data_folder, tmp_path):
    """`teach` tells the teacher's folder."""
    out = tmp_path / "ood"

    told_teacher = told("teach", data_folder, out, "--bias", "ood", "--moved-span-loss", *QUICK)

    assert told_teacher == {"teacher": str(out)}
    settings = told("inspect", out)["settings"]
    assert (settings["bias"], settings["moved_span_loss"], settings["hidden"]) == ("ood", True, 8)


def test_cache_and_weigh(data_folder, cache_folder, teachers):
    """`cache` tells the folder named by its digest, `weigh` that of the weights inside."""
    arguments = (data_folder, cache_folder.parent, *teachers, "--device", "cpu")

    assert told("cache", *arguments) == {"cache": str(cache_folder)}
    assert told("weigh", cache_folder) == {"weights": str(cache_folder / "weights")}


def test_cache_plan(data_folder, cache_folder, teachers, tmp_path):
    """`cache --plan` tells what is at hand and what it would take, and writes nothing."""
    arguments = (*teachers, "--device", "cpu", "--plan")
    here = told("cache", data_folder, cache_folder.parent, *arguments)
    nowhere = told("cache", data_folder, tmp_path / "caches", *arguments)

    assert (here["complete"], here["cache"]) == (True, str(cache_folder))
    assert nowhere["arrays"]["ood"] == {"chunks": 3, "hits": 0, "misses": 3, "stale": 0}
    assert nowhere["rows to ask"] == 192
    assert not (tmp_path / "caches").exists()
    listed = call("cache", data_folder, tmp_path / "caches", *arguments)
    assert "  id   chunks 3, hits 0, misses 3, stale 0\n" in listed


@pytest.mark.parametrize("own", [("--part", "1/2"), ("--part", "x"), ("--workers", "3")])
def test_a_plan_of_a_share_is_refused(data_folder, teachers, tmp_path, own):
    """A plan is of the whole cache: what says who does which share has no meaning there."""
    arguments = map(str, ("cache", data_folder, tmp_path / "caches", *teachers, "--plan", *own))
    ran = CliRunner().invoke(refkd, list(arguments))

    assert ran.exit_code == 1
    assert f"--plan tells of the whole cache and asks nobody, got {' '.join(own)};" in ran.stderr


def test_folds_and_views(data_folder, tmp_path):
    """`teach --folds` and `cache --views` pass their numbers on; `inspect` tells them."""
    teacher, caches = tmp_path / "id", tmp_path / "caches"
    told("teach", data_folder, teacher, "--bias", "id", "--folds", "2", *QUICK)
    named = ("--teacher", f"id={teacher}")
    facts = told("inspect", told("cache", data_folder, caches, *named, "--views", "1")["cache"])

    assert told("inspect", teacher)["folds"].keys() == {"without fold 1", "without fold 2"}
    assert (facts["views"], facts["teachers"]["id"]["folds"]) == (1, 2)


def test_verify(cache_folder, data_folder, teachers):
    """`verify` tells how far each teacher is from what was cached: nowhere."""
    found = told("verify", cache_folder, data_folder, *teachers, "--device", "cpu")

    assert {name: facts["same_bits"] for name, facts in found["teachers"].items()} == {
        "id": True,
        "ood": True,
    }


def test_verify_repairs(cache_folder, data_folder, teachers, tmp_path):
    """`verify --repair` puts damaged files back and tells how many."""
    folder = tmp_path / "cache"
    shutil.copytree(cache_folder, folder)
    (folder / "teachers/ood/logits/c/0/0/0").unlink()

    found = told("verify", folder, data_folder, *teachers, "--device", "cpu", "--repair")

    assert found["repaired"] == 1
    assert "repaired" not in told("verify", folder, data_folder, *teachers, "--device", "cpu")


def test_distill_again_returns_the_run(run, data_folder, cache_folder):
    """The same command finds the finished run; another knob makes another folder."""
    runs = run.rpartition("/")[0]

    assert told("distill", data_folder, cache_folder, runs, *QUICK) == {"run": run}
    assert told("distill", data_folder, cache_folder, runs, *QUICK, "--hard")["run"] != run


def test_evaluate_and_score_agree(run, data_folder, data, tmp_path):
    """`evaluate --predictions` and then `score` of that file give identical figures and floors."""
    file, truth, train = (tmp_path / name for name in ("p.jsonl", "test_ood.jsonl", "train.jsonl"))
    for path, split in ((truth, "test_ood"), (train, "train")):
        rows = [
            {"qid": pair.id, "vid": pair.video, "query": pair.query, "duration": pair.duration_s}
            | {"relevant_windows": [list(window) for window in pair.windows]}
            for pair in data.pairs[split]
        ]
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    options = ("--split", "test_ood", "--predictions", file, "--device", "cpu")

    evaluated = told("evaluate", run, data_folder, *options)["splits"]
    scored = told("score", file, truth, "--train", train)

    assert evaluated.keys() == {"test_ood"}
    assert len(read_predictions(file)) == 36
    for measure in ("pairs", *MEASURES):
        assert scored[measure] == evaluated["test_ood"][measure]
    assert scored["floors"] == evaluated["test_ood"]["floors"]
    assert len(scored["floors"]) == 3


def test_evaluate_prints_a_table(run, data_folder):
    """Without --json every split but train has a block of floors and scores, val_moved comes last."""
    text = call("evaluate", run, data_folder, "--device", "cpu")

    assert re.findall(r"^(.+): 36 pairs$", text, flags=re.MULTILINE) == [
        "test_iid",
        "test_ood",
        "val",
        "val_moved, val with its moments moved",
    ]
    assert text.count("whole video") == 4
    assert all(measure in text for measure in MEASURES)


def test_score_prints_a_table(run, data_folder, data, tmp_path):
    """Without --json `score` prints its measures beside the whole video's."""
    file = tmp_path / "p.jsonl"
    call("evaluate", run, data_folder, "--predictions", file, "--device", "cpu")
    pair = data.pairs["val"][0]
    told_of = {"timestamps": [list(pair.windows[0])], "sentences": [pair.query]}
    truth = tmp_path / "val.json"
    truth.write_text(json.dumps({pair.video: told_of | {"video_duration": pair.duration_s}}))

    text = call("score", file, truth)

    assert "whole video" in text
    assert "1 pairs" in text


def test_predict(run, data, tmp_path, word_file):
    """`predict` tells the best windows of a video, the likeliest first, all within it."""
    video = data.pairs["test_iid"][0]
    features = tmp_path / "video.npy"
    np.save(features, data.raw_rows(data.videos.index(video.video)))
    options = ("--features", features, "--duration", video.duration_s, "--query", "people run")

    windows = told("predict", run, *options, "--words", word_file, "--top", "3")["windows"]

    assert len(windows) == 3
    assert [w["score"] for w in windows] == sorted((w["score"] for w in windows), reverse=True)
    assert all(0 <= w["start_s"] < w["end_s"] <= video.duration_s for w in windows)
    assert call("predict", run, *options).startswith("windows\n  start_s")


def test_report(run, data_folder, teachers, tmp_path):
    """`report` tells the page."""
    page = tmp_path / "report.html"

    found = told("report", run, page, "--data", data_folder, *teachers, "--device", "cpu")

    assert found == {"report": str(page)}
    assert page.read_text().startswith("<!doctype html>")
