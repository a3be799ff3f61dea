"""Labels of any rows, read a part of the table at a time."""

import numpy as np
import pytest
from planned import build, make_plan

from stores.cache import open_cache
from stores.errors import RefkdError
from stores.labels import Labels


@pytest.fixture(scope="module", params=[65_536, 50])
def cache(request, tmp_path_factory):
    """The same cache, its sample table in one chunk and in chunks that logits' chunks do not fit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stores.samples.ROWS_PER_CHUNK", request.param)
        yield open_cache(build(tmp_path_factory.mktemp("caches"), make_plan(views=2)))


@pytest.mark.parametrize(("lo", "hi"), [(0, 300), (32, 64), (288, 300), (49, 51), (50, 100)])
def test_rows(cache, lo, hi):
    """Whichever rows are asked for, they are those of the whole table."""
    labels = Labels(cache)
    names = cache.manifest["splits"]

    np.testing.assert_array_equal(labels.clips(lo, hi), cache.clips[lo:hi])
    for view in range(3):
        np.testing.assert_array_equal(labels.gt(view, lo, hi), cache.view_gt(view)[lo:hi])
    assert [names[code] for code in labels.splits(lo, hi)] == cache.splits[lo:hi]


def test_only_what_is_asked_for_is_read(tmp_path, monkeypatch):
    """A damaged part of the table is found when its rows are read, and no earlier."""
    monkeypatch.setattr("stores.samples.ROWS_PER_CHUNK", 50)
    cache = open_cache(build(tmp_path, make_plan()))
    path = cache.folder / "samples/clips/c/3"
    path.write_bytes(path.read_bytes()[::-1])
    labels = Labels(cache)
    labels.clips(0, 150)

    with pytest.raises(RefkdError, match=r"samples/clips/c/3 is damaged"):
        labels.clips(149, 151)
