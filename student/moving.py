"""Moved views: a pair whose moment is cut out of the raw feature rows and put back elsewhere.

Shapes: N pairs, n raw rows and m clips of a video, T clips of the grid, D channels.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stores.dataset import DataSet, Rows
from stores.grid import clip_span, move_rows, resample
from stores.pairs import Pair

# index of a pair and a number of choices -> one of them; with a stretch, of one stream for both
Draw = Callable[[int, int], int]


class MovedViews(NamedTuple):
    """Pairs after their moments were moved; clip counts, durations and words stay the same."""

    features_NTD: npt.NDArray[np.float16]
    gt_N2: npt.NDArray[np.int64]  # inclusive clips
    windows_N2: npt.NDArray[np.float64]  # seconds


class Move(NamedTuple):
    """What becomes of one moment: raw rows [first, stop) are put back as `length` rows from `at` on."""

    first: int
    stop: int
    length: int
    at: int
    window: tuple[float, float]  # seconds


class Mover:
    """Moves the moments of rows of a data set (label windows, as clipped to the video).

    With a `stretch` above 1 a moment also changes its length, at most by that factor either way:
    its rows are resampled to fewer or more, and those around it to what is left of the video.
    """

    def __init__(
        self, data: DataSet, rows: Rows, pairs: Sequence[Pair], *, stretch: float = 1.0
    ) -> None:
        assert [pair.id for pair in pairs] == rows.ids, "rows and pairs must be the same"
        self.data, self.rows, self.stretch = data, rows, stretch
        self.windows_N2 = np.array([pair.windows[0] for pair in pairs]).reshape(-1, 2)

    def views(self, index_N: npt.NDArray[np.intp], draw: Draw) -> MovedViews:
        """Return moved views of some rows; `draw` chooses among lengths, then among places."""
        count, num_clips, num_channels = len(index_N), self.data.num_clips, self.data.num_channels
        features_NTD = np.zeros((count, num_clips, num_channels), dtype=np.float16)
        windows_N2 = np.empty((count, 2))
        for place, row in enumerate(index_N):
            move = self._move(int(row), draw)
            grid_mD = resample(_moved(self._raw(int(row)), move), num_clips, grid=self.data.grid)
            features_NTD[place, : len(grid_mD)] = grid_mD
            windows_N2[place] = move.window
        return MovedViews(features_NTD, self._clips(index_N, windows_N2), windows_N2)

    def windows(self, index_N: npt.NDArray[np.intp], draw: Draw) -> npt.NDArray[np.float64]:
        """Return the moved windows of some rows in seconds, [N, 2], without reading features."""
        return np.array([self._move(int(row), draw).window for row in index_N]).reshape(-1, 2)

    def clips(self, index_N: npt.NDArray[np.intp], draw: Draw) -> npt.NDArray[np.int64]:
        """Return the moved labels of some rows, inclusive clips [N, 2], without reading features."""
        return self._clips(index_N, self.windows(index_N, draw))

    def _clips(
        self, index_N: npt.NDArray[np.intp], windows_N2: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.int64]:
        durations_s = self.rows.durations_s[index_N]
        s, e = clip_span(windows_N2[:, 0], windows_N2[:, 1], durations_s, self.rows.clips[index_N])
        return np.stack([s, e], axis=1)

    def _raw(self, row: int) -> npt.NDArray[np.float16]:
        return self.data.raw_rows(int(self.rows.video[row]))

    def _move(self, row: int, draw: Draw) -> Move:
        length_s, n = float(self.rows.durations_s[row]), len(self._raw(row))
        start_s, end_s = self.windows_N2[row].tolist()
        first, last = (int(i) for i in clip_span(start_s, end_s, length_s, n))
        block = last - first + 1
        start_s, end_s = max(start_s, 0.0), min(end_s, length_s)
        if self.stretch > 1 and block < n:
            least = math.ceil(block / self.stretch)
            most = max(block, min(n - 1, math.floor(block * self.stretch)))
            length = least + draw(row, most - least + 1)
        else:
            length = block
        at = draw(row, n - length + 1)  # every place where the block still fits
        row_s, scale = length_s / n, length / block
        before_s = (start_s - first * row_s) * scale  # a moment need not begin on a row's edge
        begin_s = at * row_s + before_s
        stop_s = begin_s + (end_s - start_s) * scale
        window = max(begin_s, 0.0), min(stop_s, length_s)  # nor end on one
        return Move(first, last + 1, length, at, window)


def _moved(rows_nD: npt.NDArray[np.floating], move: Move) -> npt.NDArray[np.floating]:
    """Return a video's raw rows after a move: as many as before."""
    if move.length == move.stop - move.first:
        return move_rows(rows_nD, move.first, move.stop, move.at)
    around = np.concatenate([rows_nD[: move.first], rows_nD[move.stop :]])
    around = resample(around, len(rows_nD) - move.length)
    moment = resample(rows_nD[move.first : move.stop], move.length)
    return np.concatenate([around[: move.at], moment, around[move.at :]])
