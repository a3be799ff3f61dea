"""What a killed removal leaves."""

import pytest

from stores.removal import doomed_name, remove_folder, sweep


class Killed(BaseException):
    """What stands for SIGKILL."""


def kill(*args):
    raise Killed


def test_what_a_killed_removal_left_is_swept(tmp_path, monkeypatch):
    """Killed twice while a folder is taken apart, then swept: nothing of it, and all that is of others."""
    folder = tmp_path / ".data.partial"
    others = {".data.partial2", ".partial", "data", doomed_name("data"), doomed_name("x.partial")}
    for name in others:
        (tmp_path / name).mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", kill)
        for _ in range(2):
            folder.mkdir()
            with pytest.raises(Killed):
                remove_folder(folder)
    assert len(list(tmp_path.iterdir())) == len(others) + 2
    folder.mkdir()
    sweep(folder)

    assert {path.name for path in tmp_path.iterdir()} == others


def test_nothing_to_sweep(tmp_path):
    """Neither the folder nor the one it would lie in need be there."""
    sweep(tmp_path / "none" / "data")

    assert list(tmp_path.iterdir()) == []
