"""Raw feature rows of videos, streamed into the three feature arrays of a prepared data set.

Shapes: n rows of one video, D channels, T clips, V videos.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from stores.errors import RefkdError
from stores.fingerprints import array_digest, digest
from stores.grid import resample


class RowSource(Protocol):
    """Where the raw rows of videos come from: feature files, or the simulator."""

    def shape(self, video: str) -> tuple[int, int]:
        """Return (n, D) of a video."""

    def read(self, video: str) -> npt.NDArray[np.floating]:
        """Return the raw rows of a video, shape (n, D)."""


def rows_digest(source: RowSource, videos: Iterable[str]) -> str:
    """Return the digest of all rows of these videos, as `write_rows` returns it."""
    bar = tqdm(sorted(videos), "checking videos", disable=None)
    return digest({video: array_digest(source.read(video)) for video in bar})


def write_rows(
    folder: Path,
    source: RowSource,
    videos: Sequence[str],
    taught: set[str],
    *,
    grid: str,
    clips: int,
) -> tuple[list[int], str]:
    """Write rows.npy, grid.npy and channels.npy; return each video's n and the digest of all rows.

    One video is in memory at a time. Channel statistics are over the rows of the `taught` videos.
    Raises RefkdError if a value does not fit float16.
    """
    shapes = [source.shape(video) for video in videos]
    lengths, channels = [n for n, _ in shapes], shapes[0][1]
    moments, digests = _Moments(channels), {}
    with (folder / "rows.npy").open("wb") as raw, (folder / "grid.npy").open("wb") as gridded:
        _write_header(raw, (sum(lengths), channels))
        _write_header(gridded, (len(videos), clips, channels))
        bar = tqdm(zip(videos, shapes, strict=True), "videos", len(videos), disable=None)
        for video, shape in bar:
            read_nD = source.read(video)
            if read_nD.shape != shape:
                raise RefkdError(
                    f"video {video} has shape {read_nD.shape}, expected {shape} as a moment ago; "
                    "run the command again when the features are at rest"
                )
            digests[video] = array_digest(read_nD)
            rows_nD = half_precision(video, read_nD)
            raw.write(rows_nD.tobytes())
            padded_TD = np.zeros((clips, channels), np.float16)
            on_grid = resample(rows_nD, clips, grid=grid)
            padded_TD[: len(on_grid)] = on_grid
            gridded.write(padded_TD.tobytes())
            if video in taught:
                moments.add(rows_nD)
    np.save(folder / "channels.npy", moments.mean_and_deviation(), allow_pickle=False)
    return lengths, digest(digests)


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    """Write the head of a float16 .npy file whose rows follow one video at a time."""
    head = {"descr": "<f2", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, head)


def half_precision(video: str, rows_nD: npt.NDArray[np.floating]) -> npt.NDArray[np.float16]:
    """Return rows as little-endian float16; raise RefkdError if a value does not fit."""
    with np.errstate(over="ignore"):  # looked for below
        halved = rows_nD.astype("<f2")
    if np.isinf(halved).any():
        worst = float(np.abs(rows_nD).max())
        raise RefkdError(
            f"features of video {video} reach {worst:g}, but float16 ends at 65504; "
            "scale the features down"
        )
    return halved


class _Moments:
    """Mean and deviation of each channel over blocks of rows, gathered one block at a time."""

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.mean_D, self.squares_D = np.zeros(
            (2, channels)
        )  # squares: of the distances to the mean
        self.low_D, self.high_D = np.full(channels, np.inf), np.full(channels, -np.inf)

    def add(self, rows_nD: npt.NDArray[np.floating]) -> None:
        rows_nD = rows_nD.astype(np.float64)
        n, total = len(rows_nD), self.count + len(rows_nD)
        mean_D = rows_nD.mean(axis=0)
        gap_D = mean_D - self.mean_D
        # Chan, Golub and LeVeque's update: no large sums that cancel
        self.squares_D += ((rows_nD - mean_D) ** 2).sum(axis=0) + gap_D**2 * (
            self.count * n / total
        )
        self.mean_D += gap_D * (n / total)
        self.count = total
        self.low_D = np.minimum(self.low_D, rows_nD.min(axis=0))
        self.high_D = np.maximum(self.high_D, rows_nD.max(axis=0))

    def mean_and_deviation(self) -> npt.NDArray[np.float32]:
        """Return [2, D]; a constant channel has deviation 1."""
        deviation_D = np.sqrt(self.squares_D / self.count)
        deviation_D[self.low_D == self.high_D] = 1.0
        return np.stack([self.mean_D, deviation_D]).astype(np.float32)
