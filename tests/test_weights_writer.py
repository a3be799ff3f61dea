"""Writing weights: means on the way, one rename, and whatever was there before stays until then."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from planned import all_bytes, build, build_weighed, make_ce, make_plan, weighed_chunks

from stores.cache import open_cache
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


def test_means_are_sums_by_chunk(cache):
    """A mean is the float64 sum of the chunks' sums, in the order of the chunks, bit for bit."""
    total = np.zeros(2)
    for lo in range(0, 260, 32):
        total = total + CE["id"][lo : min(lo + 32, 260)].sum(axis=0, dtype=np.float64)

    assert open_weights(cache).means["train"]["id"] == (total / 260).tolist()


def test_means_of_mixed_chunks(tmp_path):
    """A chunk whose rows are of several splits adds to each its own, counted apart."""
    plan = make_plan(num_rows=64)
    turns = ["val" if n % 3 else "train" for n in range(64)]
    folder = build(tmp_path, replace(plan, samples=replace(plan.samples, splits=turns)))
    ce = {name: values[:64] for name, values in CE.items()}
    write_weights(open_cache(folder), weighed_chunks(open_cache(folder), ce))
    weights = open_weights(open_cache(folder))

    expected = ce["ood"][::3].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(weights.means["train"]["ood"], expected, rtol=1e-14)
    assert weights.manifest["counts"] == {"train": 22, "val": 42}


def test_slow_disk(cache, built, monkeypatch):
    """Where chunks must wait for the disk, one after the other, the bytes are the same."""
    monkeypatch.setattr("stores.weights_writer.MOST_UNDER_WAY", 1)
    write_weights(cache, weighed_chunks(cache, CE))

    assert all_bytes(cache.folder) == all_bytes(built)


def test_full_disk(cache, monkeypatch):
    """A chunk that cannot be written fails the weighing, and the old weights stay."""
    inside = cache.folder.parent / ".building/cache-weights/ce/id/c"

    def filling():
        inside.mkdir(parents=True)
        (inside / "3").write_bytes(b"")  # where the folder of a chunk should be
        yield from weighed_chunks(cache, CE)

    with pytest.raises(OSError, match=r"File exists|Not a directory"):
        write_weights(cache, filling())

    np.testing.assert_array_equal(open_weights(cache).ce["id"], CE["id"])


def test_same_bytes_again(cache, built):
    """Written twice the weights are the same bytes, in the one folder, and nothing lies beside them."""
    write_weights(cache, weighed_chunks(cache, CE))

    assert all_bytes(cache.folder) == all_bytes(built)
    assert [p.name for p in (cache.folder.parent / ".building").iterdir()] == ["cache-weights.lock"]


def test_other_weights_replace_them(cache):
    """New weights take the place of the old, which are removed."""
    other = {name: 2 * ce for name, ce in CE.items()}
    write_weights(cache, weighed_chunks(cache, other))

    np.testing.assert_array_equal(open_weights(cache).ce["id"], 2 * CE["id"])
    assert len(list((cache.folder / "weights").iterdir())) == 2


def test_a_failed_weighing_leaves_the_old(cache):
    """Stopped in the middle, the weights that were there count, and nothing is left behind."""

    def stopping():
        yield from list(weighed_chunks(cache, {name: 2 * ce for name, ce in CE.items()}))[:5]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_weights(cache, stopping())

    np.testing.assert_array_equal(open_weights(cache).ce["id"], CE["id"])
    assert [p.name for p in (cache.folder.parent / ".building").iterdir()] == ["cache-weights.lock"]


def test_what_a_killed_weighing_left_is_removed(cache):
    """Half-written weights outside the cache are neither read nor kept."""
    left = cache.folder.parent / ".building/cache-weights"
    (left / "ce").mkdir(parents=True)
    (left / "ce/stray").write_bytes(b"half")
    write_weights(cache, weighed_chunks(cache, CE))

    assert not left.exists()
    assert "ce/stray" not in open_weights(cache).manifest["files"]


def test_what_a_kill_in_the_commit_left(cache, built):
    """A kill before `current` is renamed leaves a temporary file beside the weights, which goes too."""
    place = cache.folder / "weights"
    (place / "current").rename(place / ".current.0.tmp")
    (place / ".0123.4.doomed/ce").mkdir(parents=True)
    write_weights(cache, weighed_chunks(cache, CE))

    assert all_bytes(cache.folder) == all_bytes(built)
    assert len(list(place.iterdir())) == 2


def test_the_same_weights_stay_untouched(cache):
    """Whole weights that come out the same are never out of their place, damaged ones are replaced."""
    chunk = next((cache.folder / "weights").rglob("c/3/0"))
    before = chunk.stat().st_ino
    write_weights(cache, weighed_chunks(cache, CE))
    assert chunk.stat().st_ino == before

    chunk.write_bytes(chunk.read_bytes()[:-1])
    write_weights(cache, weighed_chunks(cache, CE))
    np.testing.assert_array_equal(open_weights(cache).ce["id"], CE["id"])


def test_weighed_through_a_link(cache, built, tmp_path):
    """The weights grow beside the cache itself, on its disk, and nothing is left where the link lies."""
    shutil.rmtree(cache.folder / "weights")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "mine").symlink_to(cache.folder)
    linked = open_cache(tmp_path / "links" / "mine")
    write_weights(linked, weighed_chunks(linked, CE))

    assert all_bytes(cache.folder) == all_bytes(built)
    assert [path.name for path in (tmp_path / "links").iterdir()] == ["mine"]


def test_asked_only_when_nobody_else_has(cache):
    """Unless they are wanted anew, weights that are whole once it is our turn stay, and no chunk is made."""

    def never():
        raise AssertionError("a chunk was asked for")
        yield

    assert write_weights(cache, never(), anew=False) == cache.folder / "weights"
