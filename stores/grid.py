"""The clip grid: rows to clips, seconds to clip indices and back, and moving a block of rows.

Shapes: n raw rows of D channels, m clips on the grid (T at most), N moments.
"""

import numpy as np
import numpy.typing as npt

from stores.errors import RefkdError

GRIDS = ("fixed", "cap")
MOST_CLIPS = 4096


def check_grid(grid: str, num_clips: int) -> None:
    """Raise RefkdError if there is no such grid."""
    if grid not in GRIDS:
        raise RefkdError(f"grid must be one of {', '.join(GRIDS)}, got {grid}")
    if not 2 <= num_clips <= MOST_CLIPS:
        raise RefkdError(f"clips must be between 2 and {MOST_CLIPS}, got {num_clips}")


def grid_length(num_rows: int, num_clips: int, *, grid: str) -> int:
    """Return m, the clips that a video of so many rows takes on a grid of T = num_clips."""
    return num_clips if grid == "fixed" else min(num_rows, num_clips)


def resample(
    rows_nD: npt.NDArray[np.floating], num_clips: int, *, grid: str = "fixed"
) -> npt.NDArray[np.float32]:
    """Return rows_nD on the grid, shape (m, D): averaged if longer, interpolated if shorter.

    Clip k of a longer video is the mean of rows round(k n / m) to round((k+1) n / m), so that
    every row counts once and no clip is empty. A shorter video is interpolated linearly between
    the centres of its rows (row i covers [i/n, (i+1)/n] of the video) and held at both ends;
    the `cap` grid leaves it as it is.
    """
    n = len(rows_nD)
    m = grid_length(n, num_clips, grid=grid)
    if n == m:
        return rows_nD.astype(np.float32)
    if n > m:
        edges = np.rint(np.arange(m + 1) * n / m).astype(np.int64)
        sums_mD = np.add.reduceat(rows_nD.astype(np.float64), edges[:-1], axis=0)
        return (sums_mD / np.diff(edges)[:, None]).astype(np.float32)
    place_m = np.clip((np.arange(m) + 0.5) * n / m - 0.5, 0, n - 1)
    left_m = np.floor(place_m).astype(np.int64)
    right_m = np.minimum(left_m + 1, n - 1)
    share_m1 = (place_m - left_m)[:, None]
    return (rows_nD[left_m] * (1 - share_m1) + rows_nD[right_m] * share_m1).astype(np.float32)


def clip_span(
    start_s: npt.ArrayLike,
    end_s: npt.ArrayLike,
    duration_s: npt.ArrayLike,
    num_clips: npt.ArrayLike,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the inclusive clip indices (s, e) that overlap each moment best; scalars or (N,).

    The moment is first clipped to [0, duration]. Of all spans [s D/m, (e+1) D/m] the one with
    the largest IoU is taken, ties going to the lowest s, then the lowest e. A moment that no
    span overlaps (reversed, of length zero, or past the end of the video) is therefore (0, 0).
    """
    start, end, duration, clips = np.broadcast_arrays(
        *(np.asarray(value, np.float64) for value in (start_s, end_s, duration_s, num_clips))
    )
    start = np.clip(start, 0.0, duration)[..., None, None]
    end = np.minimum(end, duration)[..., None, None]
    duration, m = duration[..., None, None], clips[..., None, None].astype(np.int64)
    # IoU only falls as an edge leaves the moment's own, so the best edges are next to it; one
    # more to each side makes up for rounding
    near = np.arange(-1, 3)
    first = np.floor(start / duration * m).astype(np.int64) + near[:, None]
    last = np.floor(end / duration * m).astype(np.int64) + near - 1
    first, last = np.broadcast_arrays(np.clip(first, 0, m - 1), np.clip(last, 0, m - 1))
    left, right = first * duration / m, (last + 1) * duration / m
    overlap = np.minimum(right, end) - np.maximum(left, start)
    hull = np.maximum(right, end) - np.minimum(left, start)
    iou = np.divide(overlap, hull, out=np.zeros_like(hull), where=(overlap > 0) & (first <= last))
    iou, first, last = (grid.reshape(*clips.shape, 16) for grid in (iou, first, last))
    best = iou.argmax(axis=-1, keepdims=True)  # the first of equals
    some = iou.max(axis=-1) > 0
    s, e = (np.take_along_axis(index, best, axis=-1)[..., 0] * some for index in (first, last))
    return s, e


def span_seconds(
    s: npt.NDArray[np.int64] | int,
    e: npt.NDArray[np.int64] | int,
    duration_s: npt.ArrayLike,
    num_clips: npt.ArrayLike,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the seconds (start, end) that inclusive clips s to e cover; scalars or (N,)."""
    duration = np.asarray(duration_s, np.float64)
    clips = np.asarray(num_clips, np.int64)
    return s * duration / clips, (e + 1) * duration / clips


def move_rows(
    rows_nD: npt.NDArray[np.floating], start: int, stop: int, at: int
) -> npt.NDArray[np.floating]:
    """Return the rows with the block [start, stop) cut out and put back so that it begins at `at`."""
    assert 0 <= at <= len(rows_nD) - (stop - start), "the block must fit where it is put"
    rest = np.concatenate([rows_nD[:start], rows_nD[stop:]])
    return np.concatenate([rest[:at], rows_nD[start:stop], rest[at:]])
