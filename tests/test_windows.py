"""Windows of whole chunks: every row once, in an order of its own, never more than two in memory."""

import numpy as np
import pytest
from planned import build, expected, make_plan

from pipeline.cache import cache
from pipeline.distill import distill
from pipeline.weigh import weigh
from stores import windows as module
from stores.cache import open_cache
from stores.errors import RefkdError
from stores.models import read_facts
from stores.windows import Windows, is_windowed
from student.recipe import Recipe

PLAN = make_plan(codec="shuffle-zstd")  # ten chunks of 32 rows, the last one of 12
TRAIN = slice(20, 290)  # neither end is a chunk's


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """A compressed cache of ten chunks."""
    return open_cache(build(tmp_path_factory.mktemp("caches"), PLAN))


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    """Windows of the fewest chunks."""
    monkeypatch.setattr(module, "WINDOW_BYTES", 1)


def epoch(windows, batch=24, *, seed=0, number=0):
    return list(windows.batches(batch, seed=seed, epoch=number))


@pytest.mark.parametrize("batch", [1, 24, 32, 100, 1000])
def test_every_row_once_and_in_place(packed, batch):
    """Batches are full but the last; while one is in hand, its rows are those of the whole array."""
    windows, seen = Windows(packed, ["ood", "id"], TRAIN), []
    whole = {name: expected(name, PLAN)[TRAIN] for name in ("id", "ood")}
    for index in windows.batches(batch, seed=3, epoch=1):
        for name, logits in whole.items():
            rows = windows.held(name)[windows.places(index)]
            np.testing.assert_array_equal(rows, logits[index])
        seen.append(index)

    assert [len(index) for index in seen[:-1]] == [batch] * (270 // batch - (270 % batch == 0))
    assert sorted(np.concatenate(seen)) == list(range(270))


def test_order_is_of_seed_and_epoch_alone(packed):
    """Again the same; another seed or epoch, another order; which teachers are read is no matter."""
    both = Windows(packed, ["id", "ood"], TRAIN)
    order = np.concatenate(epoch(both))

    np.testing.assert_array_equal(np.concatenate(epoch(both)), order)
    np.testing.assert_array_equal(np.concatenate(epoch(Windows(packed, [], TRAIN))), order)
    assert not np.array_equal(np.concatenate(epoch(both, number=1)), order)
    assert not np.array_equal(np.concatenate(epoch(both, seed=1)), order)


def test_two_windows_in_memory(packed):
    """Of ten chunks never more than six are held, and rows that are neighbours in the cache are apart."""
    windows = Windows(packed, ["id"], slice(0, 300))
    order = np.concatenate(epoch(windows))

    assert len(windows.held("id")) == 6 * 32
    assert len(set(order[:76] // 32)) == 3  # 32, 32 and 12 rows are the fewest of a window
    assert (np.abs(np.diff(order)) > 1).mean() > 0.9


def test_damage_is_named_when_its_window_is_read(tmp_path):
    """A flipped byte stops the epoch with the samples' names, before a row of its chunk is seen."""
    folder = build(tmp_path, PLAN)
    path = folder / "teachers/ood/logits/c/4/0/0"
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)
    windows = Windows(open_cache(folder), ["ood"], slice(0, 300))
    with pytest.raises(
        RefkdError, match=r"chunk 4 of teacher ood .* its digest is not the recorded"
    ):
        epoch(windows)


def test_an_epoch_that_is_left_early(packed):
    """Whoever stops in the middle of an epoch can begin another one."""
    windows = Windows(packed, ["id"], TRAIN)
    next(iter(windows.batches(24, seed=0, epoch=0)))
    whole = expected("id", PLAN)[TRAIN]
    for index in windows.batches(24, seed=0, epoch=1):
        np.testing.assert_array_equal(windows.held("id")[windows.places(index)], whole[index])


def test_only_large_caches(packed, tmp_path, monkeypatch):
    """Bytes and codec decide: above a limit for compressed caches, or another for the others."""
    raw, size = open_cache(build(tmp_path, make_plan())), 320 * 2 * 8 * 4 * 2  # ten whole chunks
    monkeypatch.setattr(module, "HELD_BYTES", size)
    monkeypatch.setattr(module, "MAPPED_BYTES", size)
    assert not is_windowed(packed)
    assert not is_windowed(raw)

    monkeypatch.setattr(module, "HELD_BYTES", size - 1)
    assert is_windowed(packed)
    assert not is_windowed(raw)
    monkeypatch.setattr(module, "MAPPED_BYTES", size - 1)
    assert is_windowed(raw)


@pytest.mark.parametrize("augment", ["none", "views"])
def test_students_train_from_windows(augment, data_folder, teacher_folders, tmp_path, monkeypatch):
    """Codecs give one student; in windows it is another, as the order is, but learns as well."""
    caches = {
        codec: cache(
            data_folder,
            tmp_path / "caches",
            teachers=teacher_folders,
            views=2 if augment == "views" else 0,
            codec=codec,
            device="cpu",
        )
        for codec in ("raw", "zstd")
    }
    for folder in caches.values():
        weigh(folder)
    recipe = Recipe(hidden=16, epochs=2, batch=20, lr=3e-3, augment=augment)

    def train(codec, runs):
        return distill(data_folder, caches[codec], tmp_path / runs, recipe, device="cpu", threads=1)

    held = [train(codec, "held") for codec in ("raw", "zstd")]
    monkeypatch.setattr(module, "HELD_BYTES", 0)
    monkeypatch.setattr(module, "MAPPED_BYTES", 0)
    windowed = [train("zstd", "first"), train("raw", "second")]
    models = [(run / "model.safetensors").read_bytes() for run in (*held, *windowed)]

    assert models[0] == models[1] != models[2] == models[3]
    losses = [read_facts(run)[0]["history"][0]["losses"]["kl"] for run in (held[0], windowed[0])]
    assert losses[1] == pytest.approx(losses[0], rel=0.2)
