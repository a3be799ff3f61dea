"""The store behind Zarr: checked bytes only, whatever Zarr asks for."""

import asyncio
import pickle

import numpy as np
import pytest
from planned import build, expected, make_plan
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype

from stores.cache import open_cache
from stores.errors import RefkdError
from stores.verified import VerifiedStore

PLAN = make_plan(("id",))
FILES = {"zarr.json": b"{}", "a/zarr.json": b"[]", "a/c/0": b"0123456789", "ab/c/0": b"x"}
PROTOTYPE = default_buffer_prototype()


@pytest.fixture
def store(tmp_path):
    return VerifiedStore(tmp_path, FILES, FILES.get)


def run(awaitable):
    return asyncio.run(awaitable)


async def collect(names):
    return [name async for name in names]


@pytest.mark.parametrize(
    ("part", "data"),
    [
        (None, b"0123456789"),
        (RangeByteRequest(2, 5), b"234"),
        (OffsetByteRequest(7), b"789"),
        (SuffixByteRequest(4), b"6789"),
    ],
)
def test_parts_of_files(store, part, data):
    """A part of a file is cut from the whole, which was read and checked."""

    async def many():
        return [found async for found in store._get_many([("a/c/0", PROTOTYPE, part)])]

    assert run(store.get("a/c/0", PROTOTYPE, part)).to_bytes() == data
    assert run(store.get_partial_values(PROTOTYPE, [("a/c/0", part)]))[0].to_bytes() == data
    assert run(many())[0][1].to_bytes() == data


def test_what_is_not_named_is_not_there(store, tmp_path):
    """A file that lies in the folder but is not named does not exist for Zarr."""
    (tmp_path / "stray").write_bytes(b"1")

    assert run(store.get("stray", PROTOTYPE)) is None
    assert not run(store.exists("stray"))
    assert run(store.exists("a/c/0"))


def test_listing(store):
    """Listing shows the named files, folder by folder."""
    assert run(collect(store.list())) == list(FILES)
    assert run(collect(store.list_prefix("a/"))) == ["a/zarr.json", "a/c/0"]
    assert run(collect(store.list_dir(""))) == ["zarr.json", "a", "ab"]
    assert run(collect(store.list_dir("a"))) == ["zarr.json", "c"]
    assert run(collect(store.list_dir("a/"))) == ["zarr.json", "c"]


def test_nothing_can_be_written(tmp_path):
    """A cache that was opened for reading refuses every write."""
    group = open_cache(build(tmp_path, PLAN)).group
    with pytest.raises(Exception, match=r"read[- ]only"):
        group["teachers/id/logits"][0] = 1.0


def test_an_array_can_be_sent_elsewhere(tmp_path):
    """A pickled Zarr array still reads through the checks, in any process."""
    folder = build(tmp_path, PLAN)
    sent = pickle.dumps(open_cache(folder).group["teachers/id/logits"])
    np.testing.assert_array_equal(pickle.loads(sent)[...], expected("id", PLAN))
    (folder / "teachers/id/logits/c/0/0/0").write_bytes(b"0" * 2052)
    with pytest.raises(RefkdError, match="chunk 0 of teacher id"):
        pickle.loads(sent)[...]
