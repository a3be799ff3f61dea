"""Judging a network on the val split, as it is and with its moments moved.

The val split is drawn as the train split is, so it says nothing of other locations; the same pairs
with every moment translated to a uniform place (`val_moved`) do, and are made from val alone. Of a pair
with several windows the first is moved, and is all that a prediction is compared with.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stores.dataset import DataSet
from stores.pairs import Pair
from stores.seeds import generator
from student.moving import Mover
from student.network import Network
from student.recipe import MOVED, VAL
from student.retrieval import retrieve, score_pairs

Scores = dict[str, float]


class MovedSplit:
    """The pairs of a split, each with its moment at a uniform place: the same in every run."""

    def __init__(self, data: DataSet, split: str = VAL) -> None:
        self.data, self.rows, pairs = data, data.rows(split), data.pairs[split]
        self._mover = Mover(data, self.rows, pairs)
        self._ids = self.rows.ids
        every_N = np.arange(len(pairs))
        windows_N2 = self._mover.windows(every_N, self._draw)
        self.pairs: list[Pair] = [
            replace(pair, split=MOVED, windows=((start_s, end_s),))
            for pair, (start_s, end_s) in zip(pairs, windows_N2.tolist(), strict=True)
        ]

    def features(self, index_N: npt.NDArray[np.intp]) -> Tensor:
        """Return the moved features of some rows on the grid, [N, T, D] float16."""
        return torch.from_numpy(self._mover.views(index_N, self._draw).features_NTD)

    def _draw(self, row: int, places: int) -> int:
        return int(generator(0, MOVED, self._ids[row]).integers(places))


class Validation:
    """Scores a network on val and val_moved; without a val split there are no scores."""

    def __init__(self, data: DataSet) -> None:
        self._data = data
        self._moved = MovedSplit(data) if data.pairs.get(VAL) else None

    def scores(self, network: Network, *, device: str) -> dict[str, Scores]:
        """Return {"val": scores, "val_moved": scores} in percent, or {} without a val split."""
        if self._moved is None:
            return {}
        rows, moved = self._moved.rows, self._moved
        plain_N2, _ = retrieve(network, self._data, rows, device=device)
        moved_N2, _ = retrieve(network, self._data, rows, device=device, features=moved.features)
        return {
            VAL: score_pairs(plain_N2, self._data.pairs[VAL]),
            MOVED: score_pairs(moved_N2, moved.pairs),
        }
