"""The distribution that a student is taught, from its teachers, its side branches and its recipe.

Shapes: N pairs of the batch, K teachers, B = 2 boundaries (start, end), T clips.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from student.introspection import mix_teachers
from student.recipe import Recipe
from student.rectification import RECTIFIERS, Evidence, affinity, confidence, reweight
from student.spans import masked_softmax


class Diagnostics(NamedTuple):
    """What a student makes of each teacher of each pair; the last two where side branches exist."""

    weight_NK: Tensor  # introspective weight w (eq. 3-4), mean of both boundaries
    share_NK: Tensor  # weight in the target, after any re-weighting (eq. 12), mean of both
    confidence_NK: Tensor | None  # rho (eq. 10)
    affinity_NK: Tensor | None  # pi (eq. 9)


class Targets(NamedTuple):
    """What `student_targets` returns."""

    targets_NBT: Tensor
    diagnostics: Diagnostics


@torch.no_grad()
def student_targets(
    recipe: Recipe,
    *,
    teacher_logits_NKBT: Tensor,
    weights_NKB: Tensor,
    side_logits_NKBT: Tensor | None,
    gt_N2: Tensor,
    mask_NT: Tensor,
    warm: bool,
) -> Targets:
    """Return the student's targets, [N, B, T], summing to 1 over valid clips: eq. 5 or eq. 12.

    Teachers and side branches come as logits, since the target softens them by the recipe's
    temperature while eq. 9 and 10 read them at 1. `warm` says that the warm-up is still on, which
    means eq. 5. Side branches may be None where `recipe.needs_side_branches` is false.
    """
    rho_NK = pi_NK = None
    if side_logits_NKBT is not None:
        rho_NK = confidence(side_logits_NKBT, gt_N2, mask_NT)
        pi_NK = affinity(masked_softmax(teacher_logits_NKBT, mask_NT), side_logits_NKBT, mask_NT)
    weights_NKB = share_NKB = weights_NKB.float()
    probs_NKBT = masked_softmax(teacher_logits_NKBT, mask_NT, temperature=recipe.temperature)
    if not warm:
        seen = Evidence(probs_NKBT, teacher_logits_NKBT, gt_N2, mask_NT, rho_NK)
        probs_NKBT = RECTIFIERS[recipe.rectify](seen, recipe)
        if recipe.reweight and weights_NKB.shape[1] > 1:
            assert pi_NK is not None, "re-weighting reads the side branches"
            share_NKB = reweight(weights_NKB, pi_NK)
    diagnostics = Diagnostics(
        weight_NK=weights_NKB.mean(dim=2),
        share_NK=share_NKB.mean(dim=2),
        confidence_NK=rho_NK,
        affinity_NK=pi_NK,
    )
    return Targets(mix_teachers(share_NKB, probs_NKBT), diagnostics)
