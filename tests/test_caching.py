"""Stage one with real networks: pipeline/cache.py."""

import json
import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import make_dataset
from planned import all_bytes
from untrained import save_teacher

from pipeline.asking import Asking, read_teachers
from pipeline.cache import cache
from pipeline.costs import read_costs
from pipeline.filling import fill
from stores.cache import open_cache
from stores.cachechecks import check_cache
from stores.cachekeys import plan_cache
from stores.dataset import open_dataset
from stores.errors import RefkdError
from student.forward import BLOCK_ROWS, environment, model_logits
from student.model import load_model
from student.views import plan_views


@pytest.fixture(scope="module")
def teachers(tmp_path_factory, data):
    place = tmp_path_factory.mktemp("teachers")
    return {
        name: save_teacher(place / name, data, seed=seed) for seed, name in enumerate(["id", "ood"])
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory, data_folder, teachers):
    return cache(data_folder, tmp_path_factory.mktemp("caches"), teachers=teachers, device="cpu")


def live(teacher, data, rows):
    network = load_model(teacher).network
    return model_logits(network, data, rows, 0, len(rows.ids))


def test_cached_logits_are_the_live_ones(built, data, teachers):
    """A float32 cache holds, bit for bit, what each teacher says of each row when it is asked."""
    opened, rows = open_cache(built), data.rows("train")

    assert opened.ids == rows.ids
    np.testing.assert_array_equal(opened.gt, rows.gt)
    np.testing.assert_array_equal(opened.clips, rows.clips)
    for name, folder in teachers.items():
        assert opened.logits(name).tobytes() == live(folder, data, rows).tobytes()


def test_workers_and_threads_move_no_bit(built, data_folder, teachers, tmp_path):
    """Two worker processes, or another number of threads here, give the same bytes."""
    two = cache(data_folder, tmp_path / "two", teachers=teachers, workers=2, device="cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(3 - min(before, 2))
    try:
        other = cache(data_folder, tmp_path / "threads", teachers=teachers, device="cpu")
    finally:
        torch.set_num_threads(before)

    assert all_bytes(two) == all_bytes(built)
    assert all_bytes(other) == all_bytes(built)


def test_grouping_of_blocks_moves_no_byte(make_data, tmp_path):
    """Asked 1, 8 or 64 blocks at a time, by one or by three processes: the same 19 blocks, the same bytes."""
    folder = make_data(tmp_path / "data", train=400)
    data = open_dataset(folder)
    teachers = {"id": save_teacher(tmp_path / "id", data)}
    plan = plan_cache(
        data,
        read_teachers(teachers),
        splits=("train",),
        dtype="float32",
        codec="raw",
        precision="float32",
    )
    asking = Asking(
        data=folder,
        data_seal=data.seal,
        teachers=teachers,
        seals={"id": (teachers["id"] / "manifest.sha256").read_text().strip()},
        splits=("train",),
        device="cpu",
        precision="float32",
    )
    built = [
        fill(
            tmp_path / f"{blocks} {workers}",
            plan,
            asking.open,
            environment("cpu"),
            block_rows=blocks * BLOCK_ROWS["cpu"],
            workers=workers,
        )
        for blocks, workers in ((1, 1), (8, 1), (64, 1), (1, 3))
    ]

    assert (plan.layout.num_rows, plan.layout.rows_per_chunk) == (600, 64)
    assert all(all_bytes(one) == all_bytes(built[0]) for one in built[1:])


def test_views_beside_what_is_there(built, data, data_folder, teachers, tmp_path):
    """Views added to a cache ask about the views alone; labels and seeds stand beside them."""
    shutil.copytree(built.parent, tmp_path / "out")
    two = cache(data_folder, tmp_path / "out", teachers=teachers, views=2, device="cpu")
    three = cache(data_folder, tmp_path / "out", teachers=teachers, views=3, device="cpu")
    plain, opened, views = open_cache(built), open_cache(three), plan_views(data, 3)

    assert [read_costs(folder)["cache"]["rows"] for folder in (two, three)] == [2 * 192, 192]
    assert opened.teachers == plain.teachers
    assert opened.num_views == 3
    for name in plain.teachers:
        array = f"teachers/{name}/logits/c/0/0/0"
        assert (three / array).stat().st_ino == (
            tmp_path / "out" / built.name / array
        ).stat().st_ino
        assert opened.logits(f"{name}/views/3").shape == (96, 2, 16)
    for view in (1, 2, 3):
        np.testing.assert_array_equal(opened.view_gt(view), views.gt_VN2[view - 1])
        np.testing.assert_array_equal(opened.view_seeds(view), views.seeds_VN[view - 1])
    assert (
        all_bytes(cache(data_folder, tmp_path / "w", teachers=teachers, views=3, workers=2))[
            "manifest.json"
        ]
        == (three / "manifest.json").read_bytes()
    )


@pytest.mark.parametrize(
    ("how", "text"),
    [
        (
            {"views": 1, "splits": ("train", "val")},
            "split train alone, got train, val; cache other",
        ),
        ({"views": -1}, "views must be at least 0, got -1"),
    ],
)
def test_views_of_other_splits(how, text, data_folder, teachers, tmp_path):
    """Only training pairs are moved; nobody's test is."""
    with pytest.raises(RefkdError, match=text):
        cache(data_folder, tmp_path, teachers=teachers, **how)


def test_cost_counts_what_was_forwarded(data_folder, teachers, tmp_path):
    """96 rows for the first teacher; another one beside it costs 96 more, not twice that."""
    out = tmp_path / "caches"
    (one, folder), *_ = teachers.items()
    first = cache(data_folder, out, teachers={one: folder}, device="cpu")
    both = cache(data_folder, out, teachers=teachers, device="cpu")

    assert read_costs(first)["cache"]["rows"] == 96
    cost = read_costs(both)["cache"]
    assert cost["rows"] == 96 * (len(teachers) - 1)
    assert (cost["device"], cost["workers"]) == ("cpu", 1)


def test_already_complete_needs_no_torch(built, data_folder, teachers):
    """A finished cache is found, every byte of it checked, without importing torch."""
    program = (
        "import sys; from pathlib import Path; from pipeline.cache import cache\n"
        f"found = cache(Path({str(data_folder)!r}), Path({str(built.parent)!r}), teachers="
        f"{{name: Path(path) for name, path in { ({n: str(p) for n, p in teachers.items()})!r}.items()}})\n"
        "print(found, 'torch' in sys.modules, 'dask' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == [str(built), "False", "False"]


def test_the_manifest_tells_what_it_was_made_from(built, data, teachers):
    """Data, teachers, device kind and torch version stand in the manifest; no path, host or time."""
    text = (built / "manifest.json").read_text()
    manifest = json.loads(text)

    assert built.name == manifest["key"][:16]
    assert manifest["data"] == data.seal
    assert manifest["splits"] == ["train"]
    for name, folder in teachers.items():
        array = manifest["arrays"][name]
        assert array["built"] == environment("cpu")
        assert array["teacher"] == (folder / "manifest.sha256").read_text().strip()
    assert str(built.parent) not in text
    assert str(folder) not in text


def test_several_splits(data, data_folder, teachers, tmp_path):
    """Rows of several splits lie sorted by (split, id), and float16 loses a hundredth at most."""
    folder = cache(
        data_folder,
        tmp_path,
        teachers={"id": teachers["id"]},
        splits=("val", "train"),
        dtype="float16",
        codec="shuffle-zstd",
        device="cpu",
    )
    opened, rows = open_cache(folder), data.rows("train", "val")
    logits = live(teachers["id"], data, rows)
    valid = np.arange(16) < rows.clips[:, None, None]
    most = np.where(valid, logits, -np.inf).max(axis=2, keepdims=True)

    assert opened.splits == rows.splits == sorted(rows.splits)
    assert len(set(opened.splits)) == 2
    np.testing.assert_allclose(
        opened.logits("id"), np.where(valid, logits - most, 0), rtol=1e-3, atol=1e-3
    )


def test_capped_grid(word_file, tmp_path):
    """Where videos have fewer clips than the grid, the rest of a row is 0."""
    folder = make_dataset(tmp_path / "data", word_file, grid="cap")
    data = open_dataset(folder)
    teacher = save_teacher(tmp_path / "teacher", data)
    opened = open_cache(cache(folder, tmp_path / "out", teachers={"id": teacher}, device="cpu"))
    beyond = np.arange(16) >= opened.clips[:, None, None]

    assert beyond.any()
    assert not opened.logits("id")[np.broadcast_to(beyond, (96, 2, 16))].any()


def test_nan_teacher(data, data_folder, tmp_path):
    """A teacher that says NaN stops the stage with the name of a sample."""
    teacher = save_teacher(tmp_path / "broken", data, nan=True)
    with pytest.raises(RefkdError, match=r"teacher bad says nan of sample train_000#0, expected"):
        cache(data_folder, tmp_path / "out", teachers={"bad": teacher}, device="cpu")


def test_teacher_that_changes_meanwhile(data, data_folder, tmp_path, monkeypatch):
    """A teacher replaced between planning and asking is noticed: no array under a wrong key."""
    teacher = save_teacher(tmp_path / "teacher", data, seed=1)
    from pipeline import cache as stage

    real = stage.plan_cache

    def plan_then_replace(*args, **kwargs):
        plan = real(*args, **kwargs)
        shutil.rmtree(teacher)
        save_teacher(teacher, data, seed=2)
        return plan

    monkeypatch.setattr(stage, "plan_cache", plan_then_replace)
    with pytest.raises(RefkdError, match="teacher has changed since this command started"):
        cache(data_folder, tmp_path / "out", teachers={"id": teacher}, device="cpu")


def test_damaged_teacher(data, data_folder, tmp_path):
    """A flipped bit in a teacher's weights is found before a logit is computed."""
    teacher = save_teacher(tmp_path / "teacher", data)
    weights = bytearray((teacher / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (teacher / "model.safetensors").write_bytes(weights)
    with pytest.raises(RefkdError, match=r"model.safetensors is damaged"):
        cache(data_folder, tmp_path / "out", teachers={"id": teacher}, device="cpu")


def test_no_teacher_there(data_folder, tmp_path):
    """A folder that is no model is refused with what to give instead."""
    with pytest.raises(RefkdError, match=r"no finished model at .*none; give a folder written by"):
        cache(data_folder, tmp_path / "out", teachers={"id": tmp_path / "none"})


def test_a_student_is_no_teacher(data_folder, runs_folder, tmp_path):
    """It has no bias, which rows of the tables ask for; nothing is written."""
    student = next(path.parent for path in runs_folder.glob("*/manifest.json"))
    with pytest.raises(RefkdError, match="holds a student, expected a teacher; give a folder"):
        cache(data_folder, tmp_path / "out", teachers={"id": student})
    assert not (tmp_path / "out").exists()


def test_workers_are_counted_from_one(data_folder, teachers, tmp_path):
    """No workers, no cache."""
    with pytest.raises(RefkdError, match="workers must be at least 1, got 0"):
        cache(data_folder, tmp_path / "out", teachers=teachers, workers=0)


def test_cuda_where_there_is_none(data_folder, teachers, tmp_path):
    """A device that is not there is refused before the work begins."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(RefkdError, match="device cuda was asked for"):
        cache(data_folder, tmp_path / "out", teachers=teachers, device="cuda")


def test_bf16_is_another_array(built, data_folder, teachers, tmp_path):
    """Under bfloat16 autocast the teachers say something close but else, under another key."""
    folder = cache(data_folder, tmp_path, teachers=teachers, precision="bf16", device="cpu")
    before, after = open_cache(built), open_cache(folder)

    assert before.key != after.key
    gap = np.abs(before.logits("id") - after.logits("id")).max()
    assert 0 < gap < 0.5


def test_other_data_is_refused(built, word_file, tmp_path):
    """A cache of other data is refused with the fields that differ."""
    other = open_dataset(make_dataset(tmp_path / "data", word_file, train=60))
    with pytest.raises(
        RefkdError,
        match=r"was made from other data than .*: clips, durations, features, gt, ids, queries, "
        "timestamps differ; run `refkd cache` on this data set",
    ):
        check_cache(open_cache(built), data=other)


def test_same_rows_from_another_data_set(built, data, word_file, tmp_path, caplog):
    """A data set whose other splits differ serves the cache of its unchanged train split."""
    from conftest import CLIPS, PlantedRows, planted_pairs

    from stores.dataset_writer import write_dataset
    from stores.words import open_words

    counts = {"train": (64, 1), "val": (24, 2), "test_iid": (12, 9)}
    pairs = {
        split: planted_pairs(split, count, late=False, seed=seed)
        for split, (count, seed) in counts.items()
    }
    folder = write_dataset(
        tmp_path / "data",
        pairs,
        PlantedRows([pair for some in pairs.values() for pair in some]),
        open_words(word_file),
        grid="fixed",
        clips=CLIPS,
        simulated=False,
        inputs={},
        facts={},
    )
    other = open_dataset(folder)
    check_cache(open_cache(built), data=other, teachers=["ood"])

    assert other.seal != data.seal


def test_damage_is_put_back(built, data_folder, teachers, tmp_path, caplog):
    """Run again on a damaged cache, the stage restores the recorded bytes and says which."""
    shutil.copytree(built.parent, tmp_path / "out")
    folder = tmp_path / "out" / built.name
    (folder / "teachers/ood/logits/c/1/0/0").write_bytes(b"")
    with caplog.at_level(logging.INFO, logger="refkd"):
        again = cache(data_folder, tmp_path / "out", teachers=teachers, device="cpu")

    assert all_bytes(again) == all_bytes(built)
    assert any(
        message.startswith("restoring chunk 1 of teacher ood (samples train_0")
        for message in caplog.messages
    )
