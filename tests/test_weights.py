"""The weight store: whole, sealed, bound to its cache; a reader sees old weights or new ones."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from planned import all_bytes, build, build_weighed, make_ce, make_plan, weighed_chunks

from stores.cache import open_cache
from stores.cachechecks import damaged_files
from stores.errors import RefkdError
from stores.weights import open_weights
from stores.weights_writer import write_weights

PLAN = make_plan()
CE = make_ce(PLAN)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build_weighed(tmp_path_factory.mktemp("weighed"), PLAN, CE)


@pytest.fixture
def cache(built, tmp_path):
    shutil.copytree(built, tmp_path / "cache")
    return open_cache(tmp_path / "cache")


def test_come_back(cache):
    """Cross-entropies come back bit for bit in the order of the rows; means are those of each split."""
    weights = open_weights(cache)
    train = np.asarray(cache.splits) == "train"

    assert list(weights.ce) == ["id", "ood"]
    for name in CE:
        assert weights.ce[name].tobytes() == CE[name].tobytes()
        expected = CE[name][train].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(weights.means["train"][name], expected, rtol=1e-14)
        expected = CE[name][~train].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(weights.means["val"][name], expected, rtol=1e-14)
    assert weights.manifest["counts"] == {"train": 260, "val": 40}
    assert (weights.manifest["cache"], weights.manifest["cache_seal"]) == (cache.key, cache.seal)


def test_plain_zarr_reads_them(cache):
    """They are Zarr arrays like the logits."""
    seal = (cache.folder / "weights/current").read_text()[:16]
    group = zarr.open_group(cache.folder / "weights" / seal, mode="r")

    np.testing.assert_array_equal(group["ce/ood"][:], CE["ood"])


def test_the_cache_is_as_it_was(cache):
    """Weighing adds a folder and changes no sealed byte."""
    assert not damaged_files(cache)
    assert open_cache(cache.folder).seal == cache.seal


def test_replaced_while_they_are_opened(cache, monkeypatch):
    """A reader whose weights others replace half-way opens the new ones."""
    read_bytes, old = Path.read_bytes, (cache.folder / "weights/current").read_bytes()[:16].decode()

    def replacing(path):
        if path.match(f"{old}/ce/ood/c/5/0"):
            monkeypatch.undo()
            write_weights(cache, weighed_chunks(cache, {name: 2 * ce for name, ce in CE.items()}))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", replacing)

    np.testing.assert_array_equal(open_weights(cache).ce["id"], 2 * CE["id"])


def test_not_weighed(cache):
    """A cache without weights is answered with the command that writes them."""
    shutil.rmtree(cache.folder / "weights")
    with pytest.raises(RefkdError, match=r"has no weights; run `refkd weigh .*/cache` first"):
        open_weights(cache)


def test_every_file_is_under_a_digest(cache):
    """A bit turned in any file of the weights, the seal's own file included, is found."""
    place = cache.folder / "weights"
    for name, data in all_bytes(place).items():
        turned = bytearray(data)
        turned[len(data) // 2] ^= 1
        (place / name).write_bytes(turned)
        with pytest.raises(RefkdError, match=r"; run `refkd weigh` again"):
            open_weights(cache)
        (place / name).write_bytes(data)
    open_weights(cache)


def test_lost_files(cache):
    """A file of the weights that is gone is found before anything is read."""
    place = cache.folder / "weights"
    for name, data in all_bytes(place).items():
        (place / name).unlink()
        with pytest.raises(RefkdError, match=r"run `refkd weigh"):
            open_weights(cache)
        (place / name).write_bytes(data)


@pytest.mark.parametrize("name", ["weights", "weights/current", "weights/*/manifest.json"])
def test_what_is_no_file_gives_way(cache, built, name):
    """Where a folder lies in place of a file, or a file in place of the folder, weighing helps."""
    (path,) = cache.folder.glob(name)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.write_bytes(b"?") if name == "weights" else path.mkdir()
    with pytest.raises(RefkdError, match="run `refkd weigh"):
        open_weights(cache)
    write_weights(cache, weighed_chunks(cache, CE))

    assert all_bytes(cache.folder) == all_bytes(built)


def test_weights_of_another_cache(cache, tmp_path):
    """Weights copied from another cache, whole as they are, are refused."""
    other = build(tmp_path / "other", make_plan(salt={"id": "retrained"}))
    shutil.copytree(cache.folder / "weights", other / "weights")
    with pytest.raises(
        RefkdError, match=r"weights belongs to another cache than .*; run `refkd weigh`"
    ):
        open_weights(open_cache(other))
