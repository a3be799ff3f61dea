"""Preparing a data set from files: what is kept, what is refused, and what a second call does."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from pipeline.inspect import inspect
from pipeline.prepare import prepare
from stores.dataset import open_dataset
from stores.errors import RefkdError

TRAIN = {
    "v1": {
        "video_duration": 10.0,
        "timestamps": [[0.0, 5.0], [4, 12]],
        "sentences": ["a dog", "the cat"],
    },
    "v2": {"video_duration": 6.0, "timestamps": [[1.0, 2.0]], "sentences": ["a cat"]},
}
OOD = {"v3": {"video_duration": 8.0, "timestamps": [[7.0, 3.0]], "sentences": [" zebra"]}}


@pytest.fixture
def inputs(tmp_path):
    """The arguments of a call that works."""
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "charades_train.json").write_text(json.dumps(TRAIN))
    (tmp_path / "text" / "charades_test_ood.json").write_text(json.dumps(OOD))
    (tmp_path / "rows").mkdir()
    rng = np.random.default_rng(0)
    for n, video in enumerate(["v1", "v2", "v3", "unused"], start=3):
        np.save(tmp_path / "rows" / f"{video}.npy", rng.normal(size=(n, 4)).astype(np.float32))
    (tmp_path / "words.txt").write_text("a 1 0\ndog 0 1\ncat 1 1\n")
    return {
        "annotations": tmp_path / "text",
        "features": tmp_path / "rows",
        "words": tmp_path / "words.txt",
        "clips": 4,
    }


def test_it_stands_alone(inputs, tmp_path):
    """A prepared data set needs none of its inputs any more."""
    raw = np.load(inputs["features"] / "v2.npy")

    folder = prepare(tmp_path / "data", **inputs)
    for path in (inputs["annotations"], inputs["features"]):
        shutil.rmtree(path)
    inputs["words"].unlink()
    data = open_dataset(folder)
    assert data.table.ids == ["v3#0", "v1#0", "v1#1", "v2#0"]
    assert data.videos == ["v1", "v2", "v3"]
    np.testing.assert_array_equal(data.raw_rows(1), raw.astype(np.float16))
    assert data.manifest["defects"]["train"] == {"end_after_duration": 1}
    assert data.manifest["defects"]["test_ood"] == {"reversed": 1, "untrimmed_query": 1}


def test_hdf5_gives_the_same(inputs, tmp_path):
    """The same rows in one HDF5 file give the same data set, to the byte."""
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        for path in inputs["features"].iterdir():
            file[path.stem] = np.load(path)

    npy = prepare(tmp_path / "one", **inputs)
    hdf5 = prepare(tmp_path / "two", **{**inputs, "features": tmp_path / "rows.h5"})
    assert open_dataset(npy).seal == open_dataset(hdf5).seal


def test_a_second_call_returns_the_first(inputs, tmp_path, caplog):
    """The same inputs again, even moved elsewhere: said, and nothing is written."""
    folder = prepare(tmp_path / "data", **inputs)
    before = (folder / "manifest.json").stat()
    caplog.set_level("INFO", "refkd")

    moved = shutil.copytree(inputs["features"], tmp_path / "moved")
    assert prepare(tmp_path / "data", **{**inputs, "features": moved}) == folder
    assert "is already prepared from these inputs" in caplog.text
    assert (folder / "manifest.json").stat() == before


def test_moved_word_vectors_are_found_again(inputs, tmp_path):
    """Prepared again after its word file moved, the same data set knows the new place."""
    folder = prepare(tmp_path / "data", **inputs)
    seal = open_dataset(folder).seal
    moved = inputs["words"].rename(tmp_path / "elsewhere.txt")
    prepare(tmp_path / "data", **{**inputs, "words": moved})

    assert open_dataset(folder).word_file["path"] == str(moved)
    assert open_dataset(folder).seal == seal


def change_pairs(inputs):
    path = inputs["annotations"] / "charades_train.json"
    path.write_text(path.read_text().replace("a dog", "a wolf"))


def change_rows(inputs):
    rows = np.load(inputs["features"] / "v3.npy")
    rows[1, 2] += 1
    np.save(inputs["features"] / "v3.npy", rows)


def change_words(inputs):
    inputs["words"].write_text(inputs["words"].read_text() + "zebra 3 3\n")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (change_pairs, "pairs of train"),
        (change_rows, "features"),
        (change_words, "words"),
        (lambda inputs: inputs.update(clips=5), r"clips \(was 4, now 5\)"),
        (lambda inputs: inputs.update(grid="cap"), r"grid \(was fixed, now cap\)"),
        (
            lambda inputs: (inputs["annotations"] / "charades_test_ood.json").unlink(),
            r"features \(.*\); pairs of test_ood \(was \w+…, now nothing\)",
        ),
    ],
)
def test_changed_inputs_are_refused(inputs, tmp_path, change, named):
    """Another input under the same OUT is refused, naming what changed; the data set stays."""
    folder = prepare(tmp_path / "data", **inputs)
    seal = open_dataset(folder).seal
    change(inputs)

    with pytest.raises(RefkdError, match=rf"made from other inputs: {named}.*; give another OUT"):
        prepare(tmp_path / "data", **inputs)
    assert open_dataset(folder).seal == seal


def test_features_of_other_videos_do_not_count(inputs, tmp_path):
    """A change in a video that no pair speaks of changes nothing."""
    folder = prepare(tmp_path / "data", **inputs)
    np.save(inputs["features"] / "unused.npy", np.zeros((1, 4), np.float32))

    assert prepare(tmp_path / "data", **inputs) == folder


def test_missing_videos_are_named(inputs, tmp_path):
    """Missing features are an error that counts all of them and names five."""
    many = {f"x{i}": TRAIN["v2"] for i in range(7)}
    (inputs["annotations"] / "val.json").write_text(json.dumps(many))

    with pytest.raises(
        RefkdError,
        match=r"7 of 10 videos have no features in .*: x0, x1, x2, x3, x4, \.\.\.; add them, or .*--allow-missing",
    ):
        prepare(tmp_path / "data", **inputs)
    assert not (tmp_path / "data").exists()


def test_missing_videos_may_be_left_out(inputs, tmp_path, caplog):
    """With allow_missing their pairs are left out, and both are counted."""
    (inputs["features"] / "v1.npy").unlink()

    data = open_dataset(prepare(tmp_path / "data", **inputs, allow_missing=True))
    assert data.table.ids == ["v3#0", "v2#0"]
    assert data.manifest["left_out"] == {"videos": ["v1"], "pairs": {"train": 2}}
    assert data.left_out == {"train": 2}
    assert inspect(data.folder)["pairs left out without features"] == {"train": 2}
    assert (
        "1 of 3 videos have no features and are left out, with 2 of 3 pairs of train" in caplog.text
    )


def test_splits_that_are_not_whole_are_told(inputs, tmp_path, caplog):
    """Before a split is scored, not before another one is."""
    (inputs["features"] / "v1.npy").unlink()
    data = open_dataset(prepare(tmp_path / "data", **inputs, allow_missing=True))
    caplog.clear()
    data.warn_of_left_out(["val"])
    assert caplog.messages == []

    data.warn_of_left_out(["val", "train"])
    (told,) = caplog.messages
    assert told.startswith(f"2 of 3 pairs of train have no features in {data.folder} and are left")


def test_what_is_odd_is_told(inputs, tmp_path, caplog):
    """Times in milliseconds, a video of two splits with two durations."""
    train = {
        video: {
            "video_duration": found["video_duration"],
            "timestamps": [[1000 * s + 100 for s in window] for window in found["timestamps"]],
            "sentences": found["sentences"],
        }
        for video, found in TRAIN.items()
    }
    (inputs["annotations"] / "charades_train.json").write_text(json.dumps(train))
    again = {"v1": {**TRAIN["v1"], "video_duration": 20.0}}
    (inputs["annotations"] / "charades_test_ood.json").write_text(json.dumps(again))
    prepare(tmp_path / "data", **inputs)
    told = " | ".join(caplog.messages)

    assert "train: 3 moments hold no part of their video and count as its first clip" in told
    assert "as that of v1#0, 100 to 5100 s of 10 s; are the times in seconds?" in told
    assert "1 videos have several durations, as v1: 10 s, 20 s" in told
    assert "1 videos are in several splits, as v1: train, test_ood" in told
    assert "words have no vector in words.txt, as" not in told


def test_words_of_another_language(inputs, tmp_path, caplog):
    """Most words without a vector: how many, and the first of them."""
    other = {"v1": {**TRAIN["v1"], "sentences": ["человек бежит", "собака спит"]}}
    (inputs["annotations"] / "charades_train.json").write_text(json.dumps(other))
    prepare(tmp_path / "data", **inputs)

    assert "5 of 5 words have no vector in words.txt, as zebra, бежит, собака;" in caplog.text


def test_all_videos_missing(inputs, tmp_path):
    """Features of another data set leave nothing to prepare."""
    for video in ("v1", "v2", "v3"):
        (inputs["features"] / f"{video}.npy").unlink()

    with pytest.raises(RefkdError, match="none of the 3 videos has features in"):
        prepare(tmp_path / "data", **inputs, allow_missing=True)


def test_no_train_split(inputs, tmp_path, caplog):
    """A data set for evaluation only needs no train split; it is said what stands in for it."""
    (inputs["annotations"] / "charades_train.json").unlink()
    caplog.set_level("INFO", "refkd")

    assert list(open_dataset(prepare(tmp_path / "data", **inputs)).pairs) == ["test_ood"]
    assert "there is no train split" in caplog.text


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((3, 5), np.float32), r"video v2 .*5 channels, expected 4"),
        (np.full((3, 4), np.nan, np.float32), r"video v2 .*nan"),
        (np.zeros((0, 4), np.float32), r"video v2 .*at least one row"),
        (np.full((3, 4), 7e4, np.float32), r"video v2 reach 70000, but float16 ends at 65504"),
        (np.zeros(4, np.float32), r"video v2 .*shape \[4\]"),
    ],
)
def test_wrong_features(inputs, tmp_path, rows, message):
    """Features that cannot be used name their video, and leave nothing behind."""
    np.save(inputs["features"] / "v2.npy", rows)

    with pytest.raises(RefkdError, match=message):
        prepare(tmp_path / "data", **inputs)
    assert not [path for path in tmp_path.iterdir() if "data" in path.name and path.is_dir()]


def test_out_is_something_else(inputs, tmp_path):
    """A folder that is no data set is never written over."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("years of work")

    with pytest.raises(
        RefkdError, match=r"unfinished or foreign: manifest\.sha256 is missing; give another OUT"
    ):
        prepare(tmp_path / "data", **inputs)
    assert (tmp_path / "data" / "thesis.txt").read_text() == "years of work"


def test_out_is_a_mount_point(inputs, tmp_path, monkeypatch):
    """What could not take its place in the end is refused before anything is read."""
    (tmp_path / "data").mkdir()
    monkeypatch.setattr("os.path.ismount", lambda path: Path(path) == tmp_path / "data")
    monkeypatch.setattr("pipeline.prepare.read_annotations", None)

    with pytest.raises(RefkdError, match=r"data is a mount point, .*; give a folder below it"):
        prepare(tmp_path / "data", **inputs)
    assert not (tmp_path / ".data.lock").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid": "square"}, "grid must be one of fixed, cap, got square"),
        ({"clips": 1}, "clips must be between 2 and 4096, got 1"),
    ],
)
def test_wrong_grid(inputs, tmp_path, change, message):
    """A grid that does not exist is refused before anything is read."""
    with pytest.raises(RefkdError, match=message):
        prepare(tmp_path / "data", **{**inputs, **change})


KILLED = """
import os, signal, sys
from pathlib import Path
from pipeline.inspect import inspect
from pipeline.prepare import prepare
import stores.features
whole = stores.features.FeatureSource.read
def read(self, video):
    if video == "v2":
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, video)
stores.features.FeatureSource.read = read
tmp = Path(sys.argv[1])
prepare(tmp / "data", annotations=tmp / "text", features=tmp / "rows", words=tmp / "words.txt", clips=4)
"""


def test_a_killed_prepare_does_not_hinder_the_next(inputs, tmp_path):
    """SIGKILL half way leaves nothing under OUT, and the next call gives the usual bytes."""
    root = Path(__file__).parents[1]

    died = subprocess.run([sys.executable, "-c", KILLED, tmp_path], cwd=root, check=False)
    assert died.returncode == -signal.SIGKILL
    assert not (tmp_path / "data").exists()
    assert (tmp_path / ".data.partial" / "rows.npy").exists()
    folder = prepare(tmp_path / "data", **inputs)
    assert open_dataset(folder).seal == open_dataset(prepare(tmp_path / "other", **inputs)).seal
    assert not (tmp_path / ".data.partial").exists()


def test_two_at_once(inputs, tmp_path):
    """Of two processes that prepare the same OUT, one builds and the other returns its work."""
    code = KILLED.replace('video == "v2"', "False")
    root = Path(__file__).parents[1]

    both = [subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=root) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert open_dataset(tmp_path / "data").table.ids


REAL = Path(os.environ.get("REFKD_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.mark.data
def test_real_i3d_prepares(tmp_path):
    """Eleven real ActivityNet videos with 38 captions prepare with the packaged GloVe."""
    source = REAL / "real_i3d_anet11"
    if not source.exists():
        pytest.skip(f"no {source}; point REFKD_DATA at the data")

    data = open_dataset(prepare(tmp_path / "data", annotations=source, features=source))
    written = json.loads((source / "annotations.json").read_text())
    assert (
        len(data.pairs["train"]) == sum(len(video["sentences"]) for video in written.values()) == 38
    )
    assert data.videos == sorted(written)
    assert data.features.shape == (11, 128, 1024)
    for index, video in enumerate(data.videos):
        rows = np.load(source / f"{video}.npy")
        np.testing.assert_array_equal(data.raw_rows(index), rows.astype(np.float16))
    assert data.lexicon.known.mean() > 0.95
