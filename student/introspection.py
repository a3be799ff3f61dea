"""Introspective weights and the teachers' mixture, eq. 1-5, for any number of teachers.

Shapes: N pairs of the batch, K teachers, B = 2 boundaries (start, end), T clips. All of it is
target-side: constants, float32.
"""

import torch
from torch import Tensor

from student.crossentropy import LEAST_CE


@torch.no_grad()
def introspective_weights(
    ce_NKB: Tensor,
    *,
    granularity: str,
    hard: bool,
    favour: str = "wrong",
    dataset_means: Tensor | None = None,
) -> Tensor:
    """Return each teacher's weight, [N, K, B], summing to 1 over K (eq. 1-4).

    With c = 1 / CE, eq. 3-4 are w = CE / sum of CE: the teacher that is more wrong weighs more.
    `granularity` is `sample`, `dataset` (the means over the split, [K, B], in the sample's place)
    or `fixed` (1/K each). `hard` gives all weight to the largest, shared equally by ties. To favour
    the teacher that is `right` is ours: w = c / sum of c.
    """
    if granularity == "fixed":
        ce = torch.ones_like(ce_NKB, dtype=torch.float32)
    elif granularity == "dataset":
        assert dataset_means is not None, "granularity dataset needs the means of the split"
        ce = dataset_means.float().expand_as(ce_NKB)
    else:
        assert granularity == "sample", granularity
        ce = ce_NKB.float()
    merit = ce.clamp(min=LEAST_CE)
    if favour == "right":
        merit = merit.reciprocal()
    if hard:
        merit = (merit == merit.amax(dim=1, keepdim=True)).float()
    return merit / merit.sum(dim=1, keepdim=True)


@torch.no_grad()
def mix_teachers(w_NKB: Tensor, probs_NKBT: Tensor) -> Tensor:
    """Return the teachers' probabilities mixed by their weights, [N, B, T] (eq. 5)."""
    return (w_NKB.float()[..., None] * probs_NKBT.float()).sum(dim=1)
