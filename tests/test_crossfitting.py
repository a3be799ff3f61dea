"""Cross-fitted teachers from end to end: no pair is judged by a model that saw its video's labels."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from conftest import CLIPS, PlantedRows, planted_pairs
from planned import all_bytes
from stopping import leave_half_done

from pipeline.cache import cache
from pipeline.costs import read_costs
from pipeline.evaluate import evaluate
from pipeline.inspect import inspect
from pipeline.teach import teach
from pipeline.verify import verify
from stores.cache import open_cache
from stores.cachekeys import plan_cache
from stores.dataset_writer import write_dataset
from stores.errors import RefkdError
from stores.models import read_facts
from stores.words import open_words
from student.forward import model_logits
from student.model import load_model
from student.recipe import Recipe

QUICK = Recipe(hidden=8, epochs=2, batch=48, lr=3e-3)
FOLDS = 3


def taught(data_folder, out, *, recipe=QUICK, threads=1, folds=FOLDS, bias="ood"):
    how = {"bias": bias, "recipe": recipe, "folds": folds}
    return teach(data_folder, out, device="cpu", threads=threads, **how)


@pytest.fixture(scope="module")
def teacher(data_folder, tmp_path_factory):
    return taught(data_folder, tmp_path_factory.mktemp("t") / "ood")


@pytest.fixture(scope="module")
def cached(data_folder, teacher, tmp_path_factory):
    """A cache of the train and val splits."""
    out = tmp_path_factory.mktemp("caches")
    splits = ("train", "val")
    return cache(data_folder, out, teachers={"ood": teacher}, splits=splits, device="cpu")


def fold_of(teacher):
    folds = read_facts(teacher)[0]["folds"]
    return {video: fold for fold, videos in enumerate(folds) for video in videos}


def test_a_pair_is_answered_by_the_model_that_did_not_see_its_video(cached, data, teacher):
    """Training pairs have the bits of their fold's model, other splits those of the whole one."""
    opened, rows, fold = open_cache(cached), data.rows("train", "val"), fold_of(teacher)
    by_model = {
        which: model_logits(load_model(teacher, fold=which).network, data, rows, 0, 132)
        for which in (*range(FOLDS), -1)
    }
    expected = np.stack(
        [
            by_model[fold[data.videos[video]] if split == "train" else -1][row]
            for row, (video, split) in enumerate(zip(rows.video, rows.splits, strict=True))
        ]
    )

    assert opened.logits("ood").tobytes() == expected.tobytes()
    assert sorted({len(videos) for videos in read_facts(teacher)[0]["folds"]}) == [21, 22]
    assert not (by_model[0] == by_model[1]).all(axis=(1, 2)).any()


def relabelled(out, word_file, video):
    """The data set of the other tests with one video's training moments elsewhere, features as before."""
    pairs = {
        "train": planted_pairs("train", 64, late=False, seed=1),
        "val": planted_pairs("val", 24, late=False, seed=2),
        "test_iid": planted_pairs("test_iid", 24, late=False, seed=3),
        "test_ood": planted_pairs("test_ood", 24, late=True, seed=4),
    }
    source = PlantedRows([pair for some in pairs.values() for pair in some])
    pairs["train"] = [
        dataclasses.replace(pair, windows=((0.0, 1.0),)) if pair.video == video else pair
        for pair in pairs["train"]
    ]
    how = {"grid": "fixed", "clips": CLIPS, "simulated": False, "inputs": {}, "facts": {}}
    return write_dataset(out, pairs, source, open_words(word_file), **how)


def test_labels_of_a_video_do_not_reach_its_own_pairs(cached, data, teacher, word_file, tmp_path):
    """Its labels changed and all taught anew, a video's cached logits are the same bits; others' move."""
    video = "train_005"
    folder = relabelled(tmp_path / "data", word_file, video)
    again = taught(folder, tmp_path / "ood")
    other = cache(folder, tmp_path / "out", teachers={"ood": again}, device="cpu")
    before, after = open_cache(cached), open_cache(other)
    old = before.logits("ood")[[split == "train" for split in before.splits]]
    new, fold = after.logits("ood"), fold_of(teacher)
    left_out = [fold[data.videos[index]] == fold[video] for index in data.rows("train").video]

    assert fold_of(again) == fold
    same = (old == new).all(axis=(1, 2))
    assert same.tolist() == left_out
    assert 0 < same.sum() < 96


def test_who_asks_moves_no_bit(cached, data_folder, teacher, tmp_path):
    """Two worker processes, or rows of other splits beside them, give the same answers."""
    how = {"teachers": {"ood": teacher}, "device": "cpu"}
    two = cache(data_folder, tmp_path / "two", splits=("train", "val"), workers=2, **how)
    alone = open_cache(cache(data_folder, tmp_path / "alone", **how))
    opened = open_cache(cached)

    assert all_bytes(two) == all_bytes(cached)
    train = [split == "train" for split in opened.splits]
    assert alone.logits("ood").tobytes() == opened.logits("ood")[train].tobytes()


def test_verify_asks_the_same_models(cached, data_folder, teacher, tmp_path):
    """Asked again every row is the same; views are answered by the fold's model as well."""
    found = verify(cached, data_folder, teachers={"ood": teacher}, device="cpu")
    assert found["teachers"]["ood"]["same_bits"]

    viewed = cache(data_folder, tmp_path, teachers={"ood": teacher}, views=1, device="cpu")
    found = verify(viewed, data_folder, teachers={"ood": teacher}, device="cpu")
    assert found["teachers"]["ood, view 1"]["same_bits"]


def test_every_weight_and_the_assignment_are_inputs(data, teacher):
    """Other weights of one fold, two videos exchanged, or no folds at all: another array."""
    facts, seal = read_facts(teacher)

    def array(facts):
        how = {"splits": ("train",), "dtype": "float32", "codec": "raw", "precision": "float32"}
        return plan_cache(data, {"ood": (facts, seal)}, **how).arrays["ood"]

    other_weights, exchanged, none = (json.loads(json.dumps(facts)) for _ in range(3))
    other_weights["files"]["folds/1.safetensors"]["sha256"] = "0" * 64
    first, second = exchanged["folds"][:2]
    first[0], second[0] = second[0], first[0]
    del none["folds"]
    arrays = [array(one) for one in (facts, other_weights, exchanged, none)]

    assert len({one.key for one in arrays}) == 4
    assert arrays[2].settings == arrays[0].settings
    assert arrays[2].chunk_rows != arrays[0].chunk_rows


def test_one_fold_is_none(data_folder, tmp_path):
    """K = 1 is the plain teacher, to the byte and to the fields of its inputs."""
    one = taught(data_folder, tmp_path / "one", folds=1, bias="id")
    plain = teach(data_folder, tmp_path / "plain", bias="id", recipe=QUICK, device="cpu", threads=1)

    assert all_bytes(one) == all_bytes(plain)
    assert "folds" not in read_facts(one)[0]["inputs"]


def test_the_model_fitted_on_everything_is_the_plain_teacher(data_folder, teacher, tmp_path):
    """What evaluate asks of a cross-fitted teacher has the weights and scores of one without folds."""
    plain = taught(data_folder, tmp_path / "plain", folds=1)
    asked = [evaluate(one, data_folder, device="cpu")["splits"] for one in (teacher, plain)]

    assert (teacher / "model.safetensors").read_bytes() == (
        plain / "model.safetensors"
    ).read_bytes()
    assert asked[0] == asked[1]


def test_killed_between_and_within_folds(data_folder, tmp_path, monkeypatch, caplog):
    """Stopped in its second fold, it goes on at that epoch; the first is not trained again."""
    out = leave_half_done(taught, data_folder, tmp_path / "t", monkeypatch, epochs_done=3)
    building = out.with_name(".t.building")
    assert sorted(path.name for path in building.iterdir()) == [
        "begun.json",
        "checkpoint-0",
        "checkpoint-1",
    ]
    caplog.clear()  # an earlier test may have let notices through
    with caplog.at_level("INFO", "refkd"):
        taught(data_folder, out)

    done = [line for line in caplog.messages if " epoch " in f" {line}" and "/2  " in line]
    assert [line.split("  ")[0] for line in done] == [
        "ood teacher, fold 2/3 epoch 2/2",
        "ood teacher, fold 3/3 epoch 1/2",
        "ood teacher, fold 3/3 epoch 2/2",
        "ood teacher epoch 1/2",
        "ood teacher epoch 2/2",
    ]
    assert all_bytes(out) == all_bytes(taught(data_folder, tmp_path / "whole"))
    assert not building.exists()


def test_other_folds_are_another_teacher(data_folder, teacher):
    """The same folder asked for with another K is refused by the field."""
    with pytest.raises(RefkdError, match=r"of other inputs: folds \(was 3, now 2\)"):
        taught(data_folder, teacher, folds=2)


@pytest.mark.parametrize("folds", [0, 65])
def test_numbers_of_folds(data_folder, tmp_path, folds):
    """No fold may be empty."""
    with pytest.raises(RefkdError, match=f"at most the 64 training videos, got {folds}"):
        taught(data_folder, tmp_path / "t", folds=folds)


def test_folds_are_told(cached, teacher):
    """inspect tells of teacher and cache how many folds there are; the cost counts all models."""
    facts = inspect(teacher)

    assert facts["settings"]["folds"] == FOLDS
    assert [one["videos left out"] for one in facts["folds"].values()] == [22, 21, 21]
    assert inspect(cached)["teachers"]["ood"]["folds"] == FOLDS
    assert read_costs(teacher)["teach"]["rows"] == 96 * FOLDS


def test_a_damaged_fold_is_found(data_folder, teacher, tmp_path):
    """Every fold's weights lie under the one seal."""
    shutil.copytree(teacher, tmp_path / "t")
    path = tmp_path / "t" / "folds" / "1.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(RefkdError, match=r"folds/1.safetensors is damaged"):
        cache(data_folder, tmp_path / "out", teachers={"ood": tmp_path / "t"}, device="cpu")


def test_windows_of_one_source_lie_in_one_fold(data_folder, tmp_path):
    """Videos are left out together with those cut from the same source, which the teacher records."""
    by_ten = r"train_(\d\d)"  # ten videos a source, 4 in the last of seven
    out = tmp_path / "id"
    recipe = dataclasses.replace(QUICK, epochs=1)
    how = {"bias": "id", "recipe": recipe, "device": "cpu", "threads": 1}
    teach(data_folder, out, **how, folds=2, fold_by=by_ten)
    facts, _ = read_facts(out)
    sources = [{video[6:8] for video in fold} for fold in facts["folds"]]

    assert sorted(map(len, sources)) == [3, 4]
    assert not sources[0] & sources[1]
    assert sum(map(len, facts["folds"])) == 64
    assert facts["inputs"]["fold_by"] == by_ten
    assert teach(data_folder, out, **how, folds=2, fold_by=by_ten) == out
    with pytest.raises(RefkdError, match=r"of other inputs: fold_by \(was train_.*\)"):
        teach(data_folder, out, **how, folds=2)


@pytest.mark.parametrize(
    ("folds", "fold_by", "text"),
    [
        (1, "_(.)", "--fold-by is for --folds of at least 2, got --folds 1"),
        (8, r"train_(\d\d)", "at most the 7 sources of training videos, got 8"),
        (2, r"clip_(\d+)", r"video train_000 does not match clip_"),
    ],
)
def test_sources_that_make_no_folds(data_folder, tmp_path, folds, fold_by, text):
    """More folds than sources, no folds at all, a video without a source: nothing is trained."""
    with pytest.raises(RefkdError, match=text):
        teach(data_folder, tmp_path / "t", bias="id", recipe=QUICK, folds=folds, fold_by=fold_by)
    assert not (tmp_path / "t").exists()
