"""Where folders can be put."""

from pathlib import Path

import pytest

from stores.errors import RefkdError
from stores.files import real_place


def test_a_link_means_what_it_leads_to(tmp_path):
    """Through any number of links, relative ones too; what is no link, there or not, is meant itself."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "one").symlink_to("disk")
    (tmp_path / "two").symlink_to(tmp_path / "one")

    assert real_place(tmp_path / "two") == tmp_path / "disk"
    assert real_place(tmp_path / "two" / "new") == tmp_path / "disk" / "new"


def test_a_link_that_leads_nowhere(tmp_path):
    """To a disk that is not mounted, or to itself: nothing is made there."""
    (tmp_path / "out").symlink_to(tmp_path / "not mounted" / "data")
    (tmp_path / "round").symlink_to("round")

    with pytest.raises(
        RefkdError, match=r"out is a link that leads nowhere, to .*/not mounted/data; make a fold"
    ):
        real_place(tmp_path / "out")
    with pytest.raises(RefkdError, match="round is a link that leads nowhere, to round;"):
        real_place(tmp_path / "round")


def test_a_mount_point(tmp_path):
    """A disk's own folder cannot be replaced, also behind a link; one below it can."""
    (tmp_path / "disk").symlink_to("/proc")
    for folder in (Path("/proc"), tmp_path / "disk"):
        with pytest.raises(
            RefkdError, match=rf"{folder} is a mount point, .* give a folder below it, such as "
        ):
            real_place(folder)

    assert real_place(Path("/proc/new")) == Path("/proc/new")


def test_a_mount_point_that_holds_finished_work(tmp_path, monkeypatch):
    """What is finished already, such as a data set that a container mounts, need not be replaced."""
    monkeypatch.setattr("os.path.ismount", lambda path: Path(path) == tmp_path)
    with pytest.raises(RefkdError, match="is a mount point"):
        real_place(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")

    assert real_place(tmp_path) == tmp_path
