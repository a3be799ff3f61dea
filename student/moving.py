"""Moved views: a pair whose moment is cut out of the raw feature rows and put back elsewhere.

Shapes: N pairs, n raw rows and m clips of a video, T clips of the grid, D channels.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stores.annotations import Pair
from stores.dataset import DataSet, Rows
from stores.grid import clip_span, move_rows, resample

Draw = Callable[[int, int], int]  # index of a pair and number of places -> place


class MovedViews(NamedTuple):
    """Pairs after their moments were moved; clip counts, durations and words stay the same."""

    features_NTD: npt.NDArray[np.float16]
    gt_N2: npt.NDArray[np.int64]  # inclusive clips
    windows_N2: npt.NDArray[np.float64]  # seconds


class Mover:
    """Moves the moments of rows of a data set (label windows, as clipped to the video)."""

    def __init__(self, data: DataSet, rows: Rows, pairs: Sequence[Pair]) -> None:
        assert [pair.id for pair in pairs] == rows.ids, "rows and pairs must be the same"
        self.data, self.rows = data, rows
        self.windows_N2 = np.array([pair.windows[0] for pair in pairs]).reshape(-1, 2)

    def views(self, index_N: npt.NDArray[np.intp], draw: Draw) -> MovedViews:
        """Return moved views of some rows; `draw` chooses among the places where a moment fits."""
        count, num_clips, num_channels = len(index_N), self.data.num_clips, self.data.num_channels
        features_NTD = np.zeros((count, num_clips, num_channels), dtype=np.float16)
        windows_N2 = np.empty((count, 2))
        for place, row in enumerate(index_N):
            first, last, at, windows_N2[place] = self._move(int(row), draw)
            moved_nD = move_rows(self._raw(int(row)), first, last + 1, at)
            grid_mD = resample(moved_nD, num_clips, grid=self.data.grid)
            features_NTD[place, : len(grid_mD)] = grid_mD
        durations_s = self.rows.durations_s[index_N]
        s, e = clip_span(windows_N2[:, 0], windows_N2[:, 1], durations_s, self.rows.clips[index_N])
        return MovedViews(features_NTD, np.stack([s, e], axis=1), windows_N2)

    def windows(self, index_N: npt.NDArray[np.intp], draw: Draw) -> npt.NDArray[np.float64]:
        """Return the moved windows of some rows in seconds, [N, 2], without reading features."""
        return np.array([self._move(int(row), draw)[3] for row in index_N]).reshape(-1, 2)

    def _raw(self, row: int) -> npt.NDArray[np.float16]:
        return self.data.raw_rows(int(self.rows.video[row]))

    def _move(self, row: int, draw: Draw) -> tuple[int, int, int, tuple[float, float]]:
        """Return a moment's first and last raw row, its new first row, and its new window."""
        length_s, n = float(self.rows.durations_s[row]), len(self._raw(row))
        start_s, end_s = self.windows_N2[row].tolist()
        first, last = (int(i) for i in clip_span(start_s, end_s, length_s, n))
        at = draw(row, n - (last - first))  # every place where the block still fits
        shift_s = (at - first) * length_s / n
        return first, last, at, (max(start_s, 0.0) + shift_s, min(end_s, length_s) + shift_s)
