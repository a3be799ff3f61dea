"""What stands under the name of a cache."""

import os

import pytest
from planned import build, make_plan

from stores.errors import RefkdError
from stores.unfinished import stands


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
