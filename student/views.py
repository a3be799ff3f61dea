"""Cached views: moved copies of training pairs that teachers are asked about and students may see.

A view's place is drawn from a seed of its own, made from the pair's id and the view's number, so
that whoever has the seed has the view. Shapes: N pairs, V views of each.
"""

import numpy as np
import numpy.typing as npt

from stores.cachekeys import VIEWED
from stores.dataset import DataSet, Rows
from stores.errors import RefkdError
from stores.samples import Views
from stores.seeds import seed_of
from student.moving import Draw, MovedViews, Mover

VERSION = 1  # raise by hand when the same seed would give another view
SEED = 0  # of all caches: a student's own seed must not ask the teachers anew


class Viewer:
    """Shows moved views of the training pairs of a data set, given their seeds."""

    def __init__(self, data: DataSet, rows: Rows) -> None:
        self._mover = Mover(data, rows, data.pairs[VIEWED])

    def show(self, index_n: npt.NDArray[np.intp], seeds_n: npt.NDArray[np.int64]) -> MovedViews:
        """Return the views of some rows, each moved as its seed says."""
        return self._mover.views(index_n, _draw(index_n, seeds_n))

    def labels(self, seeds_N: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the first and last clip of every row's moment once it is moved, shape (N, 2)."""
        index_N = np.arange(len(seeds_N))
        return self._mover.clips(index_N, _draw(index_N, seeds_N))


def plan_views(data: DataSet, number: int) -> Views:
    """Return the seeds and labels of views of every training pair.

    Raises RefkdError if the data has no train split.
    """
    if not data.pairs.get(VIEWED):
        raise RefkdError(
            f"{data.folder} has no {VIEWED} split, whose pairs --views moves; leave out --views"
        )
    rows = data.rows(VIEWED)
    viewer = Viewer(data, rows)
    seeds = [[seed_of(SEED, "view", name, view + 1) for name in rows.ids] for view in range(number)]
    seeds_VN = np.array(seeds, np.int64)
    gt_VN2 = np.stack([viewer.labels(seeds_N) for seeds_N in seeds_VN]).astype(np.int16)
    return Views(VERSION, gt_VN2, seeds_VN)


def _draw(index_n: npt.NDArray[np.intp], seeds_n: npt.NDArray[np.int64]) -> Draw:
    seeds = dict(zip(index_n.tolist(), seeds_n.tolist(), strict=True))
    return lambda row, choices: int(np.random.default_rng(seeds[row]).integers(choices))
