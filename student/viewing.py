"""Replacing pairs by their cached views while a student is trained, and what the teachers say with them.

Shapes: N pairs of the training split, n of the batch, V views of each, K teachers, B = 2 boundaries
(start, end), T clips of D channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from student.answers import Answers
from student.views import Viewer


class Taught(NamedTuple):
    """What a batch shows of its pairs, and what it teaches about them; on the CPU."""

    features_NTD: Tensor
    gt_N2: Tensor
    logits_NKBT: Tensor
    weights_NKB: Tensor


@dataclass(frozen=True, eq=False)
class CachedViews:
    """The views of all training pairs: seeds, labels, and the teachers' own answers to them."""

    viewer: Viewer
    seeds_VN: npt.NDArray[np.int64]
    gt_VN2: npt.NDArray[np.int16]
    answers: Sequence[Answers]  # of each view
    weights_VNKB: Tensor  # introspective, from those logits

    def replace(
        self,
        taught: Taught,
        index_n: npt.NDArray[np.intp],
        *,
        probability: float,
        random: np.random.Generator,
    ) -> Taught:
        """Put a view in the place of each chosen pair of a batch, in the tensors given.

        The caller seeds the generator, from which two numbers per pair are drawn whoever is chosen.
        """
        draw_2n = random.random((2, len(index_n)))
        (chosen,) = np.nonzero(draw_2n[0] < probability)
        if not len(chosen):
            return taught
        rows = index_n[chosen]
        view = np.floor(draw_2n[1, chosen] * len(self.seeds_VN)).astype(np.intp)
        moved = self.viewer.show(rows, self.seeds_VN[view, rows])
        assert np.array_equal(moved.gt_N2, self.gt_VN2[view, rows]), "a seed tells its view"
        place = torch.from_numpy(chosen)
        taught.features_NTD[place] = torch.from_numpy(moved.features_NTD).to(taught.features_NTD)
        taught.gt_N2[place] = torch.from_numpy(moved.gt_N2)
        for number, answers in enumerate(self.answers):
            (own,) = np.nonzero(view == number)
            logits_nKBT = torch.from_numpy(answers.rows(rows[own])).float()
            taught.logits_NKBT[place[own]] = logits_nKBT
        taught.weights_NKB[place] = self.weights_VNKB[view, rows]
        return taught
