"""What little changed is asked about again, and no more: rows by the chunk, teachers and views by name."""

import random
import shutil

import pytest
from attacked import make_world, save_network, write_features
from planned import all_bytes

from pipeline.cache import cache, plan
from pipeline.costs import read_costs
from stores.cache import open_cache
from stores.dataset import open_dataset

PAIRS, ROWS = 160, 32  # five chunks


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("incremental")


@pytest.fixture(scope="module")
def world(place):
    return make_world(place / "world", pairs=PAIRS)


@pytest.fixture(scope="module")
def cached(place, world):
    return cache(world.data, place / "out", device="cpu", **world.options)


@pytest.fixture
def out(cached, tmp_path):
    """A folder with the cache of the world as it was."""
    shutil.copytree(cached.parent, tmp_path / "out")
    return tmp_path / "out"


def changed(world, folder, edit):
    """The world with other annotations, prepared anew; `edit` changes the lines in place."""
    other = world.copied(folder)
    lines = other.lines()
    edit(lines)
    other.write_lines(lines)
    return other.prepare()


def chunks_of(world):
    """What lies in each chunk, by its rows' ids, words and video, as a user would count it."""
    lines = sorted(world.lines(), key=lambda line: f"{line['qid']}#0")
    rows = [(line["qid"], line["query"], line["vid"]) for line in lines]
    return [rows[lo : lo + ROWS] for lo in range(0, len(rows), ROWS)]


def rows_to_ask(before, after, *, teachers=2):
    """Rows of those chunks that were not there before, for each teacher."""
    had = chunks_of(before)
    return teachers * sum(len(chunk) for chunk in chunks_of(after) if chunk not in had)


def check(world, other, out, tmp_path):
    """Build in company of the old cache, and see who was asked, and that nothing stale was taken."""
    expected = rows_to_ask(world, other)
    assert plan(other.data, out, device="cpu", **other.options)["rows to ask"] == expected
    new = cache(other.data, out, device="cpu", **other.options)
    assert read_costs(new)["cache"]["rows"] == expected
    alone = cache(other.data, tmp_path / "alone", device="cpu", **other.options)
    assert all_bytes(new) == all_bytes(alone)
    return expected


@pytest.mark.parametrize(("number", "seed"), [(1, 0), (3, 2)])
def test_changed_samples(number, seed, world, out, tmp_path):
    """Other words of k samples at random places: the rows of their chunks alone are asked about."""
    chosen = random.Random(seed).sample(range(PAIRS), number)

    def edit(lines):
        for place in chosen:
            lines[place]["query"] = "slowly people climb"

    other = changed(world, tmp_path / "other", edit)
    assert check(world, other, out, tmp_path) == 2 * ROWS * len({i // ROWS for i in chosen})


@pytest.mark.parametrize(
    ("qid", "chunks"),
    [("zzz", 0), ("q031x", 4), ("a", 5)],
    ids=["at the end", "after the first chunk", "at the beginning"],
)
def test_an_inserted_sample(qid, chunks, world, out, tmp_path):
    """Rows that it moves to other chunks are asked about again, those before it are not."""
    other = changed(world, tmp_path / "other", lambda all: all.append({**all[7], "qid": qid}))

    assert check(world, other, out, tmp_path) == 2 * (chunks * ROWS + 1)


def test_a_removed_sample(world, out, tmp_path):
    """The same the other way round: chunks before it are as they were."""
    other = changed(world, tmp_path / "other", lambda all: all.pop(70))

    assert check(world, other, out, tmp_path) == 2 * (2 * ROWS + ROWS - 1)


def test_a_whole_chunk_removed(world, out, tmp_path):
    """Where a chunk's rows are those of another chunk before, it is taken from there."""

    def edit(lines):
        del lines[ROWS : 2 * ROWS]

    assert check(world, changed(world, tmp_path / "other", edit), out, tmp_path) == 0


def test_a_video_seen_anew(world, out, tmp_path):
    """Other features of one video: the chunks with its pairs, here two that share it, and no other."""
    other = world.copied(tmp_path / "other")
    lines = other.lines()
    for place in (31, 32):
        lines[place]["vid"] = "q_video000"  # as the pairs 0 and 1
    other.write_lines(lines)
    one = cache(other.prepare().data, out, device="cpu", **other.options)
    again = other.copied(tmp_path / "again")
    write_features(again, "q_video000", seed=9)
    two = cache(again.prepare().data, out, device="cpu", **again.options)

    assert read_costs(one)["cache"]["rows"] == 2 * 2 * ROWS
    assert read_costs(two)["cache"]["rows"] == 2 * 2 * ROWS
    assert all_bytes(two) == all_bytes(
        cache(again.data, tmp_path / "alone", device="cpu", **again.options)
    )


def test_labels_cost_nothing(world, out, tmp_path):
    """Every moment elsewhere: other caches of the same answers, which nobody is asked for."""

    def edit(lines):
        for line in lines:
            line["relevant_windows"] = [[0.0, 1.0]]

    other = changed(world, tmp_path / "other", edit)
    new = cache(other.data, out, device="cpu", **other.options)

    assert read_costs(new)["cache"]["rows"] == 0
    assert (open_cache(new).gt[:, 0] == 0).all()


def test_teachers_views_and_rows_one_after_the_other(world, out, tmp_path):
    """A teacher more, a view more, one trained anew, one gone, some rows changed: each costs itself."""
    data = open_dataset(world.data)
    third = save_network(tmp_path / "third", data, seed=7)
    anew = save_network(tmp_path / "anew", data, seed=8)
    three = {**world.teachers, "third": third}

    def rows(world, teachers, views):
        how = {"teachers": teachers, "views": views, "device": "cpu"}
        return read_costs(cache(world.data, out, **how))["cache"]["rows"]

    assert rows(world, three, 0) == PAIRS
    assert rows(world, three, 1) == 3 * PAIRS
    assert rows(world, three, 2) == 3 * PAIRS
    assert rows(world, {**three, "ood": anew}, 2) == 3 * PAIRS
    assert rows(world, {"ood": anew, "third": third}, 1) == 0

    def edit(lines):
        lines[100]["query"] = "slowly people climb"

    other = changed(world, tmp_path / "other", edit)
    assert rows(other, three, 2) == 3 * 3 * ROWS
    assert rows(other, three, 0) == 0
