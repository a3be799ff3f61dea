"""Stage two: one pass over the chunks, the same bits whoever makes it."""

import gc
import logging
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from planned import all_bytes, build, make_plan

from pipeline.weigh import num_threads, weigh
from stores.cache import open_cache
from stores.errors import RefkdError
from stores.files import locked
from stores.placing import new_weights
from stores.weights import open_weights
from student.crossentropy import ground_truth_ce

PLAN = make_plan()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("caches"), PLAN)


@pytest.fixture
def folder(built, tmp_path):
    shutil.copytree(built, tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def weighed(built, tmp_path_factory):
    """The bytes of the weights of the cache."""
    folder = tmp_path_factory.mktemp("weighed") / "cache"
    shutil.copytree(built, folder)
    return all_bytes(weigh(folder))


def test_cross_entropies(folder):
    """Each row's cross-entropies are the kernel's on its logits, and the means are their means."""
    assert weigh(folder) == folder / "weights"
    cache = open_cache(folder)
    weights = open_weights(cache)
    for name in cache.teachers:
        expected = ground_truth_ce(cache.logits(name), cache.clips, cache.gt)
        np.testing.assert_array_equal(weights.ce[name], expected)
        train = np.asarray(cache.splits) == "train"
        np.testing.assert_allclose(
            weights.means["train"][name], expected[train].mean(axis=0), rtol=1e-5
        )


def test_views_are_weighed_against_their_own_labels(tmp_path):
    """What a teacher says of a view is compared with where the moment stands in it."""
    folder = build(tmp_path, make_plan(views=2))
    weigh(folder)
    cache = open_cache(folder)
    weights = open_weights(cache)
    train = np.asarray(cache.splits) == "train"

    assert list(weights.ce) == cache.arrays
    assert len(cache.arrays) == 6
    for view in (1, 2):
        array = f"ood/views/{view}"
        expected = ground_truth_ce(cache.logits(array), cache.clips, cache.view_gt(view))
        np.testing.assert_array_equal(weights.ce[array], expected)
        np.testing.assert_allclose(
            weights.means["train"][array], expected[train].mean(axis=0), rtol=1e-5
        )
    assert (cache.view_gt(1) != cache.gt).any()


@pytest.mark.parametrize("codec", ["zstd", "shuffle-lz4"])
def test_codec_moves_no_bit(codec, tmp_path, folder):
    """Compressed chunks give the same cross-entropies."""
    weigh(folder)
    packed = build(tmp_path / "packed", make_plan(codec=codec))
    weigh(packed)
    plain, found = (open_weights(open_cache(place)) for place in (folder, packed))

    assert found.means == plain.means
    assert all(found.ce[name].tobytes() == plain.ce[name].tobytes() for name in plain.ce)


def test_weighed_twice(folder, weighed, caplog):
    """A weighed cache is said to be, and not a byte is written."""
    weigh(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with caplog.at_level(logging.INFO, logger="refkd"):
        weigh(folder)

    assert f"{folder} is already weighed" in caplog.messages
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert all_bytes(folder / "weights") == weighed


def test_what_a_kill_left_is_removed_later(folder, weighed):
    """Where the weights are whole already, litter goes too, unless somebody is weighing."""
    building = folder.parent / ".building"
    weigh(folder)
    (folder / "weights/.current.0.tmp").write_bytes(b"half")
    (folder / "weights/.0123.4.doomed/ce").mkdir(parents=True)
    (building / ".cache-weights.5.doomed").mkdir()
    with locked(building / "cache-weights.lock"):
        weigh(folder)
    assert (folder / "weights/.current.0.tmp").exists()
    weigh(folder)

    assert all_bytes(folder / "weights") == weighed
    assert len(list((folder / "weights").iterdir())) == 2
    assert [path.name for path in building.iterdir()] == ["cache-weights.lock"]


def test_two_at_once(folder, weighed, caplog):
    """The second one says that it waits, and then finds the work done: no chunk is weighed twice."""
    cost = folder.with_name("cache.cost")
    second = threading.Thread(target=weigh, args=(folder,))
    with caplog.at_level(logging.INFO, logger="refkd"):
        with new_weights(folder):
            second.start()
            while not caplog.messages:
                time.sleep(0.01)
            assert caplog.messages == [f"another process is weighing {folder}; waiting for it"]
            finished = folder.with_name("other")
            shutil.copytree(folder, finished)
            shutil.copytree(weigh(finished), folder / "weights")
        second.join()

    assert caplog.messages[-1] == f"{folder} is already weighed"
    assert not cost.exists(), "what another process did is noted by that one"
    assert all_bytes(folder / "weights") == weighed


def test_damaged_weights_are_written_again(folder, weighed):
    """Weights that do not verify are made anew, with the same bytes."""
    place = weigh(folder)
    (place / "current").write_text("0" * 64 + "\n")
    weigh(folder)

    assert all_bytes(place) == weighed


def test_small_windows_move_no_bit(folder, weighed, monkeypatch):
    """How many chunks a task has, and how many tasks are under way at once, changes nothing."""
    monkeypatch.setattr("pipeline.weigh.TASKS_AHEAD", 1)
    monkeypatch.setattr("pipeline.weigh.LEAST_TASKS", 1)
    monkeypatch.setattr("pipeline.weigh.MOST_VALUES", 3 * 32 * 2 * 8)

    assert all_bytes(weigh(folder)) == weighed


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_move_no_bit(folder, weighed, threads):
    """Dask's own setting says how many threads there are; they change nothing."""
    import dask

    with dask.config.set(num_workers=threads):
        assert num_threads() == threads
        assert all_bytes(weigh(folder)) == weighed


@pytest.mark.parametrize("threads", ["abc", -2, 0, 1.5, True])
def test_threads_that_are_no_number(threads):
    """What DASK_NUM_WORKERS says is named."""
    import dask

    with (
        dask.config.set(num_workers=threads),
        pytest.raises(RefkdError, match=f"DASK_NUM_WORKERS must be a whole .*, got {threads}"),
    ):
        num_threads()


def test_many_samples(folder, monkeypatch):
    """The cross-entropies of many samples lie in an eighth as many files, and are the same."""
    weigh(folder)
    before = open_weights(open_cache(folder))
    plain = before.ce
    shutil.rmtree(folder / "weights")
    with monkeypatch.context() as patch:
        patch.setattr("stores.weights.MANY_SAMPLES", 300)
        weigh(folder)
    weights = open_weights(open_cache(folder))  # the files say how they are cut

    assert (before.spec.num_chunks, weights.spec.num_chunks) == (10, 2)
    for name in plain:
        assert weights.ce[name].tobytes() == plain[name].tobytes()
    files = [name for name in weights.manifest["files"] if "/c/" in name]
    assert files == ["ce/id/c/0/0", "ce/id/c/1/0", "ce/ood/c/0/0", "ce/ood/c/1/0"]
    np.testing.assert_allclose(weights.means["val"]["id"], before.means["val"]["id"], rtol=1e-14)


def test_damaged_chunk(folder):
    """A damaged chunk stops the pass and is named; no weights appear."""
    path = folder / "teachers/ood/logits/c/2/0/0"
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(
        RefkdError, match=r"chunk 2 of teacher ood \(samples video032#0 to video047#1"
    ):
        weigh(folder)

    assert not (folder / "weights").exists()


def test_no_cache(tmp_path):
    """Only a finished cache is weighed."""
    with pytest.raises(RefkdError, match="no logit cache at"):
        weigh(tmp_path / "none")


def test_no_torch(folder):
    """Stage two needs no torch, here or on a worker."""
    program = (
        "import sys; from pathlib import Path; from pipeline.weigh import weigh\n"
        f"weigh(Path({str(folder)!r})); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "False"


def test_no_scheduler(folder):
    """An address where no scheduler answers is named."""
    with pytest.raises(RefkdError, match=r"no Dask scheduler answers at nonsense://127.0.0.1:1 \("):
        weigh(folder, scheduler="nonsense://127.0.0.1:1")
    gc.collect()  # Dask's half-made client, collected while another starts, would hold both up


def test_cluster_gives_the_same_bits(folder, weighed):
    """Two processes of a Dask cluster give the bytes of the threads, and name a damaged chunk."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        assert all_bytes(weigh(folder, scheduler=cluster.scheduler_address)) == weighed

        shutil.rmtree(folder / "weights")
        path = folder / "teachers/id/logits/c/9/0/0"
        path.write_bytes(path.read_bytes()[::-1])
        with pytest.raises(RefkdError, match=r"chunk 9 of teacher id \(samples video144#0 to"):
            weigh(folder, scheduler=cluster.scheduler_address)
