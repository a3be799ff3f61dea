"""Files of a sealed folder: what is trusted by its stamp, and what is read through all the same."""

import shutil

import numpy as np
import pytest
from rotten import rot, turn

from stores.datafiles import DataFiles
from stores.errors import RefkdError
from stores.files import read_seal, seal_folder

ROWS = np.arange(6, dtype=np.float16).reshape(3, 2)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    np.save(folder / "rows.npy", ROWS)
    np.save(folder / "labels.npy", ROWS[:1])
    (folder / "words.json").write_text('["zebra\'s"]')
    seal_folder(folder, {"simulated": False})
    return folder


def files(folder, *, anew=False):
    manifest, _ = read_seal(folder, repair="run it again")
    return DataFiles(folder, manifest, anew=anew)


def test_what_they_hold(folder):
    """Texts, arrays and mapped arrays come back as they were written; the last cannot be changed."""
    found = files(folder)

    assert found.text("words.json") == '["zebra\'s"]'
    np.testing.assert_array_equal(found.array("labels.npy"), ROWS[:1])
    rows = found.mapped("rows.npy")
    np.testing.assert_array_equal(rows, ROWS)
    assert isinstance(rows, np.memmap)
    assert not rows.flags.writeable


@pytest.mark.parametrize(
    ("read", "name"), [("text", "words.json"), ("array", "labels.npy"), ("mapped", "rows.npy")]
)
def test_damaged_and_missing(folder, read, name):
    """A changed byte and a lost file are named, with what helps."""
    turn(folder / name)
    with pytest.raises(RefkdError, match=rf"{name} is damaged.*delete .*run `refkd prepare` again"):
        getattr(files(folder), read)(name)
    (folder / name).unlink()
    with pytest.raises(RefkdError, match=rf"{name} is missing"):
        getattr(files(folder), read)(name)


def test_who_wrote_it_helps(folder):
    """Simulated data come back from `refkd simulate`."""
    seal_folder(folder, {"simulated": True})
    (folder / "rows.npy").unlink()

    with pytest.raises(RefkdError, match="run `refkd simulate` again"):
        files(folder).mapped("rows.npy")


def test_big_files_are_read_through_once(folder):
    """A file whose size, times and place are as stamped is trusted, unless anew; a copy is not."""
    files(folder).mapped("rows.npy")
    rot(folder / "rows.npy")

    files(folder).mapped("rows.npy")  # the price of not reading gigabytes each time
    copy = shutil.copytree(folder, folder.with_name("copy"))
    for damaged in (files(folder, anew=True), files(copy)):
        with pytest.raises(RefkdError, match=r"rows\.npy is damaged"):
            damaged.mapped("rows.npy")


def test_bytes_changed_and_the_time_put_back(folder):
    """What was written in place is read through, though size, place and time of writing are the old ones."""
    files(folder).mapped("rows.npy")
    path = folder / "rows.npy"
    before = path.stat()
    turn(path)
    assert path.stat().st_mtime_ns == before.st_mtime_ns

    with pytest.raises(RefkdError, match=r"rows\.npy is damaged"):
        files(folder).mapped("rows.npy")


@pytest.mark.parametrize("stamps", ["{", "[]", '{"rows.npy": 1}'])
def test_broken_stamps_only_cost_time(folder, stamps):
    """Stamps that cannot be read, or say something else, are written anew."""
    (folder / ".stamps.json").write_text(stamps)

    np.testing.assert_array_equal(files(folder).mapped("rows.npy"), ROWS)
    assert (folder / ".stamps.json").read_text() != stamps


def test_read_only_folder(folder):
    """Stamps that cannot be written are no obstacle."""
    (folder / ".stamps.json").mkdir()
    (folder / ".stamps.json" / "in the way").touch()

    np.testing.assert_array_equal(files(folder).mapped("rows.npy"), ROWS)
