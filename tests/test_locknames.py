"""Whoever works on a cache, by whatever name, holds the lock that the others look at."""

from stores.locknames import (
    building_lock_file,
    lock_inside,
    weighing_folder,
    weighing_lock_file,
)
from stores.removal import doomed_name


def test_a_cache_behind_links_has_one_lock(tmp_path, monkeypatch):
    """By its own path, a relative one, a link to it and a link to a folder above: the same files."""
    cache = tmp_path / "disk" / "out" / "v1.2"
    cache.mkdir(parents=True)
    (tmp_path / "mine").symlink_to(cache)
    (tmp_path / "all").symlink_to("disk")
    monkeypatch.chdir(cache.parent)
    building = cache.parent / ".building"
    for path in (
        cache,
        tmp_path / "mine",
        tmp_path / "all" / "out" / "v1.2",
        cache.relative_to(cache.parent),
    ):
        assert building_lock_file(path) == building / "v1.2.lock"
        assert weighing_folder(path) == building / "v1.2-weights"
        assert weighing_lock_file(path) == building / "v1.2-weights.lock"


def test_the_lock_of_a_doomed_folder(tmp_path):
    """Work in `.building` has the lock of its old name; a link there has that of its own name."""
    building = tmp_path / "out" / ".building"
    building.mkdir(parents=True)
    (tmp_path / "link").symlink_to("out")
    (building / "abc").symlink_to(tmp_path)
    for place in (building, tmp_path / "link" / ".building"):
        assert lock_inside(place / doomed_name("v1.2")) == building / "v1.2.lock"
        assert lock_inside(place / "abc") == building_lock_file(tmp_path / "out" / "abc")
