"""Feature files, sound and damaged, written by hand."""

import os
import pickle
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from stores.errors import RefkdError
from stores.features import open_features, read_features

DATA = Path(os.environ.get("REFKD_DATA") or Path(__file__).parents[2] / "shared/data")
ROWS = np.arange(12.0).reshape(4, 3) / 8  # every float type holds these exactly


def write(folder, kind, arrays):
    """Write arrays as a folder of .npy or as one HDF5 file; return its path."""
    if kind == "npy":
        for video, rows in arrays.items():
            np.save(folder / f"{video}.npy", rows)
        return folder
    path = folder / f"features.{kind}"
    with h5py.File(path, "w") as file:
        for video, rows in arrays.items():
            file[video] = rows
    return path


@pytest.fixture(params=["npy", "h5", "hdf5"])
def kind(request):
    return request.param


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
def test_float_types(tmp_path, kind, dtype):
    """float16 stays as it is, every other float becomes float32, in native byte order."""
    source = open_features(write(tmp_path, kind, {"a": ROWS.astype(dtype)}))

    rows = source.read("a")

    assert source.shape("a") == (4, 3)
    assert rows.dtype == (np.float16 if dtype.endswith("2") else np.float32)
    assert rows.dtype.isnative
    np.testing.assert_array_equal(rows, ROWS)


def test_long_double(tmp_path):
    """Even long doubles are floats."""
    rows = open_features(write(tmp_path, "npy", {"a": ROWS.astype(np.longdouble)})).read("a")

    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, ROWS)


def test_fortran_order(tmp_path):
    """Rows saved column by column come back as rows."""
    source = open_features(write(tmp_path, "npy", {"a": np.asfortranarray(ROWS)}))

    np.testing.assert_array_equal(source.read("a"), ROWS)
    assert source.read("a").flags.c_contiguous


def test_format_version_two(tmp_path):
    """Files of version 2 of the .npy format are read like those of version 1."""
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, ROWS, version=(2, 0))

    np.testing.assert_array_equal(open_features(tmp_path).read("a"), ROWS)


def test_header_of_python_2(tmp_path):
    """Files that Python 2 wrote, with an L after each number of the shape, are read in silence."""
    np.save(tmp_path / "a.npy", ROWS)
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(data.replace(b"(4, 3), }  ", b"(4L, 3L), }"))

    assert b"4L" in (tmp_path / "a.npy").read_bytes()
    np.testing.assert_array_equal(open_features(tmp_path).read("a"), ROWS)


def test_videos(tmp_path, kind):
    """Every file or dataset is a video; hidden and other files are none."""
    path = write(tmp_path, kind, {"v_-a.b": ROWS, "_x": ROWS, "c": ROWS})
    (tmp_path / "._c.npy").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"")

    source = open_features(path)

    assert source.videos() == {"v_-a.b", "_x", "c"}
    assert source.missing(["z", "c", "b", "z"]) == ["b", "z"]
    assert source.missing(["c"]) == []


def test_unknown_video(tmp_path, kind):
    """A video without features is named, with the place looked in."""
    source = open_features(write(tmp_path, kind, {"a": ROWS}))

    with pytest.raises(RefkdError, match=r"^no features of video b in .*test_unknown_video.*$"):
        source.read("b")


def test_no_traversal(tmp_path):
    """A video's id is a name, not a path: it never leaves the folder."""
    np.save(tmp_path / "secret.npy", ROWS)
    (tmp_path / "features").mkdir()
    source = open_features(write(tmp_path / "features", "npy", {"a": ROWS}))

    with pytest.raises(RefkdError, match=r"no features of video \.\./secret"):
        source.read("../secret")


BAD_ROWS = [
    (np.ones((4, 2)), r"have 2 channels, expected 3, as video a has$"),
    (np.ones(4), r"have shape \[4\], expected \[rows, channels\]$"),
    (np.ones((1, 4, 3)), r"have shape \[1, 4, 3\], expected \[rows, channels\]$"),
    (np.ones((0, 3)), r"have shape \[0, 3\], expected at least one row and channel$"),
    (np.ones((4, 0)), r"have shape \[4, 0\], expected at least one row and channel$"),
    (np.ones((4, 3), np.int64), r"are of type int64, expected a float type$"),
    (np.ones((4, 3), np.complex64), r"are of type complex64, expected a float type$"),
]


@pytest.mark.parametrize(("rows", "message"), BAD_ROWS, ids=range(len(BAD_ROWS)))
def test_bad_headers(tmp_path, kind, rows, message):
    """What is no [n, D] of floats is told from the header, by shape() as by read(), by video."""
    source = open_features(write(tmp_path, kind, {"a": ROWS, "bad": rows}))
    source.read("a")

    for ask in (source.shape, source.read):
        with pytest.raises(RefkdError, match=rf"^features of video bad in .* {message}"):
            ask("bad")


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (np.nan, "f4", r"hold nan at row 2, channel 1, expected finite numbers .* of float32$"),
        (-np.inf, "f2", r"hold -inf at row 2, channel 1, expected finite numbers .* of float16$"),
        (1e39, "f8", r"hold 1e\+39 at row 2, channel 1, expected finite numbers .* of float32$"),
    ],
)
def test_bad_values(tmp_path, kind, value, dtype, message):
    """NaN, infinity and numbers beyond float32 are named with their place."""
    rows = ROWS.astype(dtype)
    rows[2, 1] = value
    source = open_features(write(tmp_path, kind, {"bad": rows}))

    assert source.shape("bad") == (4, 3)
    with pytest.raises(RefkdError, match=rf"^features of video bad in .* {message}"):
        source.read("bad")


class Trap:
    """Says so if it is ever unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_objects_are_refused(tmp_path):
    """An array of Python objects is refused unread, and so is a bare pickle."""
    np.save(tmp_path / "a.npy", np.array([[Trap()]], dtype=object), allow_pickle=True)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Trap()))
    source = open_features(tmp_path)

    for ask in (source.shape, source.read):
        with pytest.raises(RefkdError, match=r"a\.npy holds pickled objects, which are never read"):
            ask("a")
        with pytest.raises(RefkdError, match=r"b\.npy is no whole \.npy file"):
            ask("b")


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        (-1, r"a\.npy is cut short: found 95 bytes of rows, expected 96$"),
        (130, r"a\.npy is cut short: found 2 bytes of rows, expected 96$"),
        (60, r"a\.npy is no whole \.npy file"),
        (3, r"a\.npy is no whole \.npy file"),
        (0, r"a\.npy is no whole \.npy file"),
    ],
)
def test_truncated_npy(tmp_path, keep, message):
    """A file cut anywhere is refused, by its header already."""
    np.save(tmp_path / "a.npy", ROWS)
    data = (tmp_path / "a.npy").read_bytes()
    assert len(data) == 128 + 96
    (tmp_path / "a.npy").write_bytes(data[:keep])
    source = open_features(tmp_path)

    for ask in (source.shape, source.read):
        with pytest.raises(RefkdError, match=message):
            ask("a")


def test_damaged_header(tmp_path):
    """A header that is no Python literal is refused, whatever its parser makes of it."""
    np.save(tmp_path / "a.npy", ROWS)
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(data.replace(b", }    ", b", }    }".replace(b" ", b"(", 1)))

    with pytest.raises(RefkdError, match=r"a\.npy is no whole \.npy file \(.+\); "):
        open_features(tmp_path).shape("a")


def test_archive_named_npy(tmp_path):
    """An .npz under the name of an .npy is refused."""
    with (tmp_path / "a.npy").open("wb") as file:
        np.savez(file, rows=ROWS)

    with pytest.raises(RefkdError, match=r"a\.npy is no whole \.npy file"):
        open_features(tmp_path).read("a")


def test_truncated_hdf5(tmp_path):
    """A damaged HDF5 file is refused when it is opened."""
    path = write(tmp_path, "h5", {"a": ROWS})
    path.write_bytes(path.read_bytes()[:-50])

    with pytest.raises(RefkdError, match=r"features\.h5 is no whole HDF5 file"):
        open_features(path)


def test_damaged_chunk(tmp_path):
    """A chunk that fails its checksum is an error that names the video."""
    path = tmp_path / "f.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=ROWS, chunks=(4, 3), fletcher32=True)
        offset = file["a"].id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[offset + 8] ^= 1
    path.write_bytes(data)

    with pytest.raises(RefkdError, match=r"features of video a in .*f\.h5 are damaged"):
        open_features(path).read("a")


def test_hdf5_groups_and_texts(tmp_path):
    """What is no dataset of floats is named: a group, a text, nothing, a link that leads nowhere."""
    path = tmp_path / "f.h5"
    with h5py.File(path, "w") as file:
        file["group/c3d"] = ROWS
        file["text"] = "abc"
        file["nothing"] = h5py.Empty("f4")
        file["link"] = h5py.SoftLink("/nowhere")
    source = open_features(path)

    for video, message in [
        ("group", r"features of video group in .* are a group, expected a dataset$"),
        ("text", r"features of video text in .* are of type object, expected a float type$"),
        (
            "nothing",
            r"features of video nothing in .* have shape \[\], expected \[rows, channels\]",
        ),
        ("link", r"features of video link in .* are damaged"),
    ]:
        with pytest.raises(RefkdError, match=message):
            source.read(video)


def test_no_features(tmp_path):
    """Missing places, empty ones and other files are named with what was expected."""
    with pytest.raises(
        RefkdError, match=r"^no features at .*nowhere, expected a folder of <video>"
    ):
        open_features(tmp_path / "nowhere")
    with pytest.raises(RefkdError, match=r"^no features in .*, expected files <video>\.npy$"):
        open_features(tmp_path)
    with pytest.raises(RefkdError, match=r"^no features in .*, expected one dataset per video$"):
        open_features(write(tmp_path, "h5", {}))
    np.save(tmp_path / "a.npy", ROWS)
    with pytest.raises(
        RefkdError, match=r"a\.npy ends in \.npy, expected a folder of <video>\.npy"
    ):
        open_features(tmp_path / "a.npy")


def test_h5py_only_when_needed(tmp_path, monkeypatch):
    """A folder of .npy is read without h5py."""
    monkeypatch.setitem(sys.modules, "h5py", None)

    assert open_features(write(tmp_path, "npy", {"a": ROWS})).read("a").shape == (4, 3)


def test_one_file(tmp_path):
    """One .npy file is read through the same checks, against the channels of training."""
    path = tmp_path / "a.npy"
    np.save(path, ROWS)

    np.testing.assert_array_equal(read_features(path), ROWS)
    np.testing.assert_array_equal(read_features(path, channels=3), ROWS)
    with pytest.raises(
        RefkdError, match=r"^features in .*a\.npy have 3 channels, expected 5, as in training$"
    ):
        read_features(path, channels=5)
    with pytest.raises(RefkdError, match=r"^no features at .*nowhere, expected a \.npy file"):
        read_features(tmp_path / "nowhere")
    np.save(path, np.full((2, 3), np.nan))
    with pytest.raises(RefkdError, match=r"^features in .*a\.npy hold nan at row 0, channel 0"):
        read_features(path)


@pytest.mark.data
def test_real_i3d():
    """Real I3D rows of 11 ActivityNet videos: 1024 channels of float32, none negative."""
    folder = DATA / "real_i3d_anet11"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set REFKD_DATA to the folder that holds it")

    source = open_features(folder)

    assert len(source.videos()) == 11
    for video in source.videos():
        rows = source.read(video)
        assert rows.shape == source.shape(video) == (len(rows), 1024)
        assert rows.dtype == np.float32
        assert rows.min() >= 0
