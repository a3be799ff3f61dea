"""What stands under the name of a cache."""

import os

import pytest
from planned import build, make_plan

from stores.errors import RefkdError
from stores.unfinished import refuse_unfinished, stands


def test_a_cache_or_nothing(tmp_path):
    """A cache stands there, damaged or behind a link; nothing does; and nobody is told to delete."""
    folder = build(tmp_path / "out", make_plan(("id",)))
    (folder / "zarr.json").unlink()
    (tmp_path / "link").symlink_to(folder)

    assert stands(folder)
    assert stands(tmp_path / "link")
    assert not stands(tmp_path / "none")


def test_something_else(tmp_path):
    """The sentence names what lies there, what was expected, and what helps."""
    (tmp_path / "cache").symlink_to(tmp_path / "not mounted")
    with pytest.raises(RefkdError) as caught:
        stands(tmp_path / "cache")

    assert str(caught.value) == (
        f"{tmp_path}/cache is a link that leads nowhere, to {os.readlink(tmp_path / 'cache')}, "
        f"expected a whole cache or nothing; delete {tmp_path}/cache and run `refkd cache` again"
    )


def test_what_stands_beside_a_cache(tmp_path):
    """A note of costs, as `caches/*` of a shell gives, and the weights inside a cache."""
    (tmp_path / "aa.cost").write_text("")
    with pytest.raises(RefkdError, match=r"aa\.cost is a file; give the folder of a cache"):
        refuse_unfinished(tmp_path / "aa.cost")
    weights = tmp_path / "aa" / "weights"
    weights.mkdir(parents=True)
    (weights / "current").write_text("0" * 64)

    with pytest.raises(RefkdError, match=r"weights holds the weights of a cache; give .*/aa$"):
        refuse_unfinished(weights)
