"""Feature files: rows [n, D] of each video, from a folder of .npy files or one HDF5 file.

Shapes: n rows of one video, D channels, the same for all videos.
"""

import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from stores.errors import RefkdError

HDF5_SUFFIXES = (".h5", ".hdf5")
_HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError)  # what h5py makes of damage

Channels = tuple[int, str]  # D, and who says so
Header = tuple[tuple[int, ...], np.dtype[Any]]  # shape and type, as they stand in the file


class FeatureSource:
    """The features of many videos, each checked when asked for; the first one asked for sets D."""

    def __init__(self, reader: "_Reader", channels: Channels | None = None) -> None:
        self._reader = reader
        self._videos = reader.videos()
        self._channels = channels

    def videos(self) -> set[str]:
        """Return the ids of the videos that have features."""
        return set(self._videos)

    def missing(self, videos: Iterable[str]) -> list[str]:
        """Return those of some videos that have no features, sorted."""
        return sorted(set(videos) - self._videos)

    def shape(self, video: str) -> tuple[int, int]:
        """Return (n, D) of a video without reading its rows."""
        if video not in self._videos:
            raise RefkdError(f"no features of video {video} in {self._reader.path}")
        shape = _check_header(self._place(video), self._reader.header(video), self._channels)
        if self._channels is None:
            self._channels = shape[1], f"as video {video} has"
        return shape

    def read(self, video: str) -> npt.NDArray[np.float16 | np.float32]:
        """Return the rows [n, D] of a video, finite: float16 as it is, other floats as float32."""
        self.shape(video)
        return _finite_rows(self._place(video), self._reader.rows(video))

    def _place(self, video: str) -> str:
        return f"features of video {video} in {self._reader.path}"


def open_features(path: Path, *, channels: Channels | None = None) -> FeatureSource:
    """Return the features in a folder of `<video>.npy`, or in an HDF5 file with a dataset per video."""
    if path.is_dir():
        return FeatureSource(_NpyFolder(path), channels)
    if not path.exists():
        raise RefkdError(f"no features at {path}, expected a folder of <video>.npy or an HDF5 file")
    if path.suffix not in HDF5_SUFFIXES:
        raise RefkdError(
            f"{path} ends in {path.suffix or 'nothing'}, "
            f"expected a folder of <video>.npy or a file {' or '.join(HDF5_SUFFIXES)}"
        )
    return FeatureSource(_Hdf5File(path), channels)


def read_features(
    path: Path, *, video: str = "", channels: int | None = None
) -> npt.NDArray[np.float16 | np.float32]:
    """Return the rows [n, D] of one .npy file, or of a video among others, checked.

    `channels` is the D of training if known. Raises RefkdError if they are not there, damaged, or of
    another D, or if a place of many videos comes without the name of one.
    """
    expected = None if channels is None else (channels, "as in training")
    if video:
        return open_features(path, channels=expected).read(video)
    if path.is_dir() or (path.is_file() and path.suffix in HDF5_SUFFIXES):
        raise RefkdError(f"{path} holds features of many videos; name one by --video ID")
    if not path.is_file():
        raise RefkdError(f"no features at {path}, expected a .npy file [rows, channels]")
    place = f"features in {path}"
    _check_header(place, _npy_header(path), expected)
    return _finite_rows(place, _npy_rows(path))


class _Reader(Protocol):
    """A place with features of many videos."""

    path: Path

    def videos(self) -> set[str]: ...

    def header(self, video: str) -> Header: ...

    def rows(self, video: str) -> npt.NDArray[Any]: ...


class _NpyFolder:
    """A folder of `<video>.npy`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # hidden files: copying from macOS leaves `._<video>.npy` behind
        self._files = {
            file.name.removesuffix(".npy"): file
            for file in path.iterdir()
            if file.name.endswith(".npy") and not file.name.startswith(".")
        }
        if not self._files:
            raise RefkdError(f"no features in {path}, expected files <video>.npy")

    def videos(self) -> set[str]:
        return set(self._files)

    def header(self, video: str) -> Header:
        return _npy_header(self._files[video])

    def rows(self, video: str) -> npt.NDArray[Any]:
        return _npy_rows(self._files[video])


class _Hdf5File:
    """An HDF5 file with one dataset per video, open as long as this lives."""

    def __init__(self, path: Path) -> None:
        import h5py  # slow to import, and most features are .npy

        self.path = path
        try:
            self._file = h5py.File(path, "r")
            self._names = set(self._file)
        except _HDF5_ERRORS as error:
            raise RefkdError(f"{path} is no whole HDF5 file ({_one_line(error)})") from None
        if not self._names:
            raise RefkdError(f"no features in {path}, expected one dataset per video")

    def videos(self) -> set[str]:
        return self._names

    def header(self, video: str) -> Header:
        with self._reading(video):
            dataset = self._file[video]
            if hasattr(dataset, "shape"):
                return dataset.shape or (), dataset.dtype
        raise RefkdError(
            f"features of video {video} in {self.path} are a group, expected a dataset"
        )

    def rows(self, video: str) -> npt.NDArray[Any]:
        with self._reading(video):
            return np.asarray(self._file[video][()])

    @contextmanager
    def _reading(self, video: str) -> Iterator[None]:
        """Name the video that an HDF5 error is about."""
        try:
            yield
        except _HDF5_ERRORS as error:
            raise RefkdError(
                f"features of video {video} in {self.path} are damaged ({_one_line(error)})"
            ) from None


def _npy_header(path: Path) -> Header:
    with path.open("rb") as file:
        shape, dtype, _ = _open_npy(path, file)
    return shape, dtype


def _npy_rows(path: Path) -> npt.NDArray[Any]:
    """Return the array of a file whose header has been checked."""
    with path.open("rb") as file:
        shape, dtype, fortran = _open_npy(path, file)
        values = np.fromfile(file, dtype, math.prod(shape))
    return values.reshape(shape[::-1]).T if fortran else values.reshape(shape)


def _open_npy(path: Path, file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Return shape, type and whether in Fortran order, leaving the file at its first value.

    Never unpickles: numpy would, for an array of objects. Raises RefkdError if the file is no
    .npy file, or shorter than its header says.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # headers that Python 2 wrote
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            else:  # 3.0 differs from 2.0 in the names of record types only
                shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    except Exception as error:  # numpy's parser of headers lets Python's errors through
        raise RefkdError(
            f"{path} is no whole .npy file ({_one_line(error)}); `np.save` writes one"
        ) from None
    if dtype.hasobject:
        raise RefkdError(f"{path} holds pickled objects, which are never read; expected floats")
    size = path.stat().st_size - file.tell()
    promised = math.prod(shape) * dtype.itemsize
    if size < promised:
        raise RefkdError(f"{path} is cut short: found {size} bytes of rows, expected {promised}")
    return shape, dtype, fortran


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _check_header(place: str, header: Header, channels: tuple[int, str] | None) -> tuple[int, int]:
    """Return (n, D) if a header is that of rows of floats with the expected channels."""
    shape, dtype = header
    if dtype.kind != "f":
        raise RefkdError(f"{place} are of type {dtype}, expected a float type")
    if len(shape) != 2:
        raise RefkdError(f"{place} have shape {list(shape)}, expected [rows, channels]")
    if min(shape) < 1:
        raise RefkdError(f"{place} have shape {list(shape)}, expected at least one row and channel")
    if channels is not None and shape[1] != channels[0]:
        raise RefkdError(f"{place} have {shape[1]} channels, expected {channels[0]}, {channels[1]}")
    return shape[0], shape[1]


def _finite_rows(place: str, rows_nD: npt.NDArray[Any]) -> npt.NDArray[np.float16 | np.float32]:
    """Return rows in C order, float16 or float32, or raise RefkdError naming the first bad value."""
    dtype = np.dtype(np.float16 if rows_nD.dtype.itemsize == 2 else np.float32)
    with np.errstate(over="ignore"):
        plain_nD: npt.NDArray[Any] = rows_nD.astype(dtype, order="C", copy=False)
    finite_nD = np.isfinite(plain_nD)
    if not finite_nD.all():
        row, channel = np.argwhere(~finite_nD)[0]
        raise RefkdError(
            f"{place} hold {rows_nD[row, channel]} at row {row}, channel {channel}, "
            f"expected finite numbers in the range of {dtype}"
        )
    return plain_nD
