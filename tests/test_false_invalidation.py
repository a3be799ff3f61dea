"""No false invalidation: what says the same wherever it lies, and however it is asked, hits.

And the other side of it: a stamp spares reading large files again, but `verify` always reads them.
"""

import json
import logging
import os
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from attacked import CHANNELS, CLIPS, make_world, save_network, write_features
from planned import all_bytes
from rotten import rot, turn

from pipeline.asking import read_teachers
from pipeline.cache import cache
from pipeline.filling import fill
from pipeline.verify import verify
from stores.cache import open_cache
from stores.cachechecks import check_cache
from stores.cachekeys import plan_cache
from stores.dataset import open_dataset
from stores.errors import RefkdError

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("same")


@pytest.fixture(scope="module")
def world(place):
    world = make_world(place / "world", pairs=40)
    return world.how(splits=("train", "val"))


@pytest.fixture(scope="module")
def cached(place, world):
    return cache(world.data, place / "out", device="cpu", **world.options)


def copied(world, tmp_path, patch):
    shutil.copytree(world.folder, tmp_path / "there")
    names = {name: tmp_path / "there/teachers" / name for name in world.teachers}
    return replace(world, folder=tmp_path / "there", teachers=names)


def moved(world, tmp_path, patch):
    there = copied(world, tmp_path, patch)
    there.folder.rename(tmp_path / "a place with spaces")
    names = {name: tmp_path / "a place with spaces/teachers" / name for name in world.teachers}
    return replace(there, folder=tmp_path / "a place with spaces", teachers=names)


def touched(world, tmp_path, patch):
    there = copied(world, tmp_path, patch)
    for path in there.folder.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    return there


def linked(world, tmp_path, patch):
    (tmp_path / "link").symlink_to(world.folder)
    names = {name: tmp_path / "link/teachers" / name for name in world.teachers}
    return replace(world, folder=tmp_path / "link", teachers=names)


def relative(world, tmp_path, patch):
    patch.chdir(world.folder)
    names = {name: Path("teachers") / name for name in world.teachers}
    return replace(world, folder=Path(), teachers=names)


def prepared(edit):
    """The sources changed where nothing that is read of them changes, and prepared anew."""

    def change(world, tmp_path, patch):
        other = world.copied(tmp_path / "other")
        edit(other)
        return other.prepare()

    return change


def shuffled(world):
    for split in ("train", "val"):
        lines = world.lines(split)
        random.Random(split).shuffle(lines)
        world.write_lines(lines, split)


def spelled_otherwise(world):
    """Fields in another order, numbers as 2 for 2.0, words in capitals, an empty line."""
    lines = [dict(sorted(line.items(), reverse=True)) for line in world.lines()]
    for line in lines:
        line["query"] = f" {line['query'].upper()} "
        line["duration"] = json.loads(f"{line['duration']:g}")
    world.write_lines(lines)
    with (world.annotations / "train.jsonl").open("a") as file:
        file.write("\n")


def in_one_file(world):
    """The features in an HDF5 file in place of a folder."""
    with h5py.File(world.folder / "features.h5", "w") as file:
        for path in sorted((world.folder / "features").iterdir(), reverse=True):
            file[path.stem] = np.load(path)


def below_half_precision(world):
    """A bit that float16 has no place for: no teacher sees it."""
    path = world.folder / "features/q_video003.npy"
    data = bytearray(path.read_bytes())
    data[-4] ^= 1
    path.write_bytes(data)


def words_elsewhere(world):
    (world.folder / "words.txt").rename(world.folder / "vectors")
    (world.folder / "words.txt").symlink_to("vectors")


def order_of_teachers(world, tmp_path, patch):
    return replace(world, teachers=dict(reversed(world.teachers.items())))


def told_otherwise(world, tmp_path, patch):
    """The same weights, of which the folder tells another history."""
    facts = {"history": [1.0], "inputs": {"seed": 7}, "dropout": 0.7}
    folder = save_network(tmp_path / "teacher", open_dataset(world.data), **facts)
    return replace(world, teachers={**world.teachers, "id": folder})


def options(**how):
    return lambda world, tmp_path, patch: world.how(**how)


SAME = {
    "copied": copied,
    "moved": moved,
    "times touched": touched,
    "a symbolic link": linked,
    "a relative path": relative,
    "order of lines": prepared(shuffled),
    "spelling of lines": prepared(spelled_otherwise),
    "features in one file": prepared(in_one_file),
    "a bit below half precision": prepared(below_half_precision),
    "a video of no pair": prepared(lambda world: write_features(world, "q_video999")),
    "another name for the words": prepared(words_elsewhere),
    "order of teachers": order_of_teachers,
    "another history": told_otherwise,
    "order of splits": options(splits=("val", "train")),
    "a split twice": options(splits=("train", "val", "train")),
    "two workers": options(workers=2),
    "four workers": options(workers=4),
}


def state(folder):
    """What a file or folder is that nobody has written to, of all that lie in a folder."""
    paths = [path for path in folder.rglob("*") if path.suffix != ".lock"]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_the_same_is_not_computed_again(change, world, cached, tmp_path, monkeypatch, caplog):
    """The finished cache is returned; nothing is asked or written."""
    before = state(cached.parent)
    changed = change(world, tmp_path, monkeypatch)
    with caplog.at_level(logging.INFO, logger="refkd"):
        found = cache(changed.data, cached.parent, device="cpu", **changed.options)

    assert found == cached
    assert f"{cached} is already complete" in caplog.messages
    assert state(cached.parent) == before


def test_split_files_that_serve_no_row(world, place, cached, tmp_path, caplog):
    """A cache of the train split knows nothing of the other splits: they may change or go."""
    train = cache(world.data, tmp_path / "out", teachers=world.teachers, device="cpu")
    other = world.copied(tmp_path / "other")
    other.write_lines([{**line, "query": "people run"} for line in other.lines("val")], "val")
    write_features(other, "v_video001", seed=1)
    gone = world.copied(tmp_path / "gone")
    (gone.annotations / "val.jsonl").unlink()

    for changed in (other, gone):
        data = changed.prepare().data
        assert open_dataset(data).seal != open_dataset(world.data).seal
        assert cache(data, train.parent, teachers=world.teachers, device="cpu") == train
        check_cache(open_cache(train), data=open_dataset(data))


def test_rows_at_once(world, cached, caplog):
    """How many rows go through a network at once, on whatever device, is no part of the key."""
    plan = plan_cache(
        open_dataset(world.data),
        read_teachers(world.teachers),
        splits=("train", "val"),
        dtype="float32",
        codec="raw",
        precision="float32",
    )
    before = state(cached.parent)

    for rows in (1, 8, 32, 64, 512):
        how = {"block_rows": rows, "workers": 1}
        assert fill(cached.parent, plan, refuse, {"device": "cuda", "torch": "9"}, **how) == cached
    assert state(cached.parent) == before


def refuse():
    """Teachers that must not be asked."""
    raise AssertionError("nothing is to be computed")


def test_another_process(world, cached, tmp_path):
    """Hash seed, language, folder, time zone and number of threads of a process do not matter."""
    names = [f"--teacher={name}={folder}" for name, folder in world.teachers.items()]
    command = ["cache", world.data, cached.parent, *names, "--split=val", "--split=train", "--json"]
    surroundings = {
        "PYTHONHASHSEED": "7",
        "LANG": "tr_TR.UTF-8",
        "TZ": "Asia/Kathmandu",
        "OMP_NUM_THREADS": "3",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", "from cli.main import refkd; refkd()", *command],
        env={**os.environ, **surroundings},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(done.stdout) == {"cache": str(cached)}
    assert f"{cached} is already complete" in done.stderr


@pytest.mark.parametrize("file", ["grid.npy", "rows.npy"])
def test_a_silent_flip_in_the_data(file, world, cached, tmp_path, monkeypatch):
    """A stamp does not see it, as it spares reading gigabytes; `verify` does, always."""
    there = copied(world, tmp_path, monkeypatch)
    open_dataset(there.data)  # stamps its files
    verify(cached, there.data, teachers=there.teachers, device="cpu")
    rot(there.data / file)

    open_dataset(there.data)
    for _ in range(2):  # having looked once makes no difference
        with pytest.raises(RefkdError, match=rf"{file} is damaged: its digest is not the recorded"):
            verify(cached, there.data, teachers=there.teachers, device="cpu")
    os.utime(there.data / file)
    with pytest.raises(RefkdError, match=rf"{file} is damaged: its digest is not the recorded"):
        open_dataset(there.data)


def test_a_silent_flip_in_features_makes_another_cache(world, cached, tmp_path, monkeypatch):
    """Even where the stamp is trusted, a key is made of what the features are, not of what they were."""
    there = copied(world, tmp_path, monkeypatch)
    open_dataset(there.data)
    rot(there.data / "grid.npy", at=-2 * CHANNELS * CLIPS)  # in the last video, of pairs of val

    with pytest.raises(RefkdError, match=r"grid.npy is damaged"):
        open_dataset(there.data, anew=True)
    assert cache(there.data, tmp_path / "out", device="cpu", **there.options).name != cached.name


def test_a_silent_flip_in_a_teacher(world, cached, tmp_path, monkeypatch):
    """Weights have no stamp: whoever asks reads them through."""
    there = copied(world, tmp_path, monkeypatch)
    turn(there.teachers["ood"] / "model.safetensors")

    for work in (
        lambda: verify(cached, there.data, teachers=there.teachers, device="cpu"),
        lambda: cache(there.data, tmp_path / "out", device="cpu", **there.options),
    ):
        with pytest.raises(RefkdError, match=r"model\.safetensors is damaged"):
            work()


def test_a_silent_flip_in_the_cache(world, cached, tmp_path):
    """Nor has a cache: verify names the chunk, and whoever builds it again puts it back."""
    shutil.copytree(cached.parent, tmp_path / "out")
    folder = tmp_path / "out" / cached.name
    turn(folder / "teachers/id/logits/c/0/0/0")

    with pytest.raises(RefkdError, match=r"chunk 0 of teacher id \(samples q000#0 to .* damaged"):
        verify(folder, world.data, teachers=world.teachers, device="cpu")
    cache(world.data, folder.parent, device="cpu", **world.options)
    assert all_bytes(folder) == all_bytes(cached)
