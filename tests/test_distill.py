import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from pipeline.costs import read_costs
from pipeline.distill import distill
from pipeline.evaluate import evaluate
from stores.dataset import open_dataset
from stores.errors import RefkdError
from stores.models import read_facts, training_folder, training_lock
from stores.removal import doomed_name
from student.recipe import Recipe, recipe_json

QUICK = Recipe(hidden=16, epochs=4, batch=16, lr=3e-3, warmup=0.5)


def run(data_folder, cache_folder, runs, recipe=QUICK):
    return distill(data_folder, cache_folder, runs, recipe, device="cpu", threads=1)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def student(data_folder, cache_folder, tmp_path_factory):
    return run(data_folder, cache_folder, tmp_path_factory.mktemp("runs"))


def test_a_run_says_what_it_was_made_from(student, data_folder, cache_folder):
    """The folder is named by a digest; inside stand recipe, cache, data, threads and each epoch."""
    facts, _ = read_facts(student)

    assert len(student.name) == 16
    assert facts["kind"] == "student"
    assert facts["recipe"] == recipe_json(QUICK)
    assert facts["cache"].startswith(cache_folder.name)
    assert facts["data"] == open_dataset(data_folder).seal
    assert {name: how["bias"] for name, how in facts["taught_by"].items()} == {
        "id": "id",
        "ood": "ood",
    }
    assert facts["logits"] == {"dtype": "float32", "precision": "float32"}
    assert facts["how"]["threads"] == 1
    assert [entry["epoch"] for entry in facts["history"]] == [1, 2, 3, 4]
    assert facts["history"][0]["losses"].keys() == {"kl", "side", "highlight"}
    best = max(facts["history"], key=lambda entry: entry["val"]["mIoU"])
    assert facts["best_epoch"] == best["epoch"]


def test_its_cost_stands_beside_it(student, cache_folder):
    """Seconds, peak memory, rows, epochs, and where the cache lies, seen from the runs."""
    cost = read_costs(student)["distill"]

    assert (cost["rows"], cost["epochs"], cost["threads"]) == (96, 4, 1)
    assert cost["seconds"] > 0
    assert cost["peak_rss_bytes"] > 0
    assert (student.parent / cost["cache"]).resolve() == cache_folder.resolve()


def test_the_kept_weights_are_the_ones_that_were_validated(student, data_folder):
    """Evaluating the run on val gives the best epoch's recorded scores to the last bit."""
    facts, _ = read_facts(student)
    found = evaluate(student, data_folder, splits=["val"], device="cpu")["splits"]["val"]

    recorded = facts["history"][facts["best_epoch"] - 1]["val"]
    assert {name: found[name] for name in recorded} == recorded


def test_a_finished_run_is_returned(student, data_folder, cache_folder, caplog):
    """The same recipe, cache and data train nothing again."""
    before = {path: path.stat().st_mtime_ns for path in student.iterdir()}
    with caplog.at_level("INFO", "refkd"):
        again = run(data_folder, cache_folder, student.parent)

    assert again == student
    assert "already complete" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in student.iterdir()} == before


def test_what_a_kill_left_of_a_finished_run(student, data_folder, cache_folder):
    """Its checkpoints go when it is asked for again, unless somebody is at work on it."""
    building = training_folder(student)
    left = [building, building.with_name(doomed_name(building.name))]
    for folder in left:
        folder.mkdir()
    with training_lock(student):
        run(data_folder, cache_folder, student.parent)
    assert all(folder.exists() for folder in left)
    run(data_folder, cache_folder, student.parent)

    assert not any(folder.exists() for folder in left)


def test_a_finished_run_needs_no_torch(student, data_folder, cache_folder):
    """It answers in a process that never imports torch."""
    code = (
        "import sys; from pathlib import Path; from pipeline.distill import distill;"
        "from student.recipe import recipe_from_json; import json;"
        "distill(*map(Path, sys.argv[1:4]), recipe_from_json(json.loads(sys.argv[4])));"
        "sys.exit('torch' in sys.modules)"
    )
    arguments = [data_folder, cache_folder, student.parent, json.dumps(recipe_json(QUICK))]
    assert subprocess.run([sys.executable, "-c", code, *map(str, arguments)]).returncode == 0


def test_another_recipe_is_another_run(student, data_folder, cache_folder):
    """One changed knob trains anew, in a folder of its own, from the same cache."""
    other = run(data_folder, cache_folder, student.parent, dataclasses.replace(QUICK, lr=1e-3))

    assert other != student
    assert contents(other)["model.safetensors"] != contents(student)["model.safetensors"]


def test_same_seed_same_bytes(student, data_folder, cache_folder, tmp_path):
    """Trained again elsewhere, every file of the run is the same."""
    assert contents(run(data_folder, cache_folder, tmp_path)) == contents(student)


def test_a_killed_run_ends_with_the_bytes_of_a_whole_one(
    student, data_folder, cache_folder, tmp_path
):
    """SIGKILL in the middle of training, more than once; then the same command finishes the run."""
    options = ["--hidden=16", "--epochs=4", "--batch=16", "--lr=3e-3", "--warmup=0.5"]
    where = [str(data_folder), str(cache_folder), str(tmp_path)]
    code = "from cli.main import refkd; refkd()"
    command = [
        sys.executable,
        "-c",
        code,
        "distill",
        *where,
        *options,
        "--device=cpu",
        "--threads=1",
    ]
    killed = 0
    for epochs_done in (1, 3):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        for line in process.stderr:
            if f"epoch {epochs_done}/4" in line:
                break
        os.kill(process.pid, signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        process.stderr.close()
    assert killed == 2
    assert not (tmp_path / student.name).exists()
    finished = run(data_folder, cache_folder, tmp_path)

    assert finished.name == student.name
    assert contents(finished) == contents(student)
    assert not list(tmp_path.glob(".*.building"))


def test_a_cache_of_other_data_is_refused(cache_folder, make_data, tmp_path):
    """The message names what differs and the command that makes the right cache."""
    other = make_data(tmp_path / "other", train=40)

    with pytest.raises(RefkdError, match=r"made from other data.*run `refkd cache` on this data"):
        run(other, cache_folder, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_teacher_that_is_not_in_the_cache_is_refused(data_folder, cache_folder, tmp_path):
    """It names the teachers that are there and the option that adds one."""
    recipe = dataclasses.replace(QUICK, teachers=("id", "third"))

    with pytest.raises(
        RefkdError, match=r"holds the teachers id, ood, not third.*--teacher third="
    ):
        run(data_folder, cache_folder, tmp_path, recipe)


def test_an_unweighed_cache_is_refused(data_folder, cache_folder, tmp_path):
    """Introspective weights come from stage two: its command is named."""
    bare = tmp_path / cache_folder.name
    shutil.copytree(cache_folder, bare, ignore=shutil.ignore_patterns("weights"))

    with pytest.raises(RefkdError, match="has no weights; run `refkd weigh"):
        run(data_folder, bare, tmp_path / "runs")


def test_a_damaged_chunk_stops_the_run(data_folder, cache_folder, tmp_path):
    """No student is taught by a flipped bit: the samples of the chunk are named."""
    copy = tmp_path / cache_folder.name
    shutil.copytree(cache_folder, copy)
    chunk = copy / "teachers/ood/logits/c/1/0/0"
    data = bytearray(chunk.read_bytes())
    data[77] ^= 4
    chunk.write_bytes(data)

    with pytest.raises(RefkdError, match=r"chunk 1 of teacher ood \(samples .* is damaged"):
        run(data_folder, copy, tmp_path / "runs")


@pytest.mark.parametrize(
    "change",
    [
        {"teachers": (), "gt_ce_weight": 1.0},
        {"teachers": ("ood",), "rectify": "none", "side_weight": 0.0},
        {"granularity": "dataset", "hard": True, "rectify": "pure-gt", "augment": "translate"},
        {"granularity": "fixed", "rectify": "window", "predictor": "transformer", "hidden": 8},
    ],
)
def test_other_recipes_train(data_folder, cache_folder, tmp_path, change):
    """No teacher, one teacher, and each way to weigh and rectify end in a finished run."""
    recipe = dataclasses.replace(QUICK, epochs=2, **change)
    facts, _ = read_facts(run(data_folder, cache_folder, tmp_path, recipe))

    assert len(facts["history"]) == 2
    assert all(np.isfinite(list(entry["losses"].values())).all() for entry in facts["history"])
