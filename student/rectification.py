"""What a student makes of its teachers: affinity, confidence, rectified labels, eq. 9-14.

Shapes: N pairs of the batch, K teachers, B = 2 boundaries (start, end), T clips. All of it is
target-side: constants, float32, and 0 on padding where it is a probability.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from student.recipe import Recipe
from student.spans import decode_spans, masked_log_softmax, masked_softmax, span_iou_clips

LEAST_AFFINITY_CE = 1e-6  # bounds the affinity to a teacher that its branch matches without doubt


@torch.no_grad()
def affinity(teacher_probs_NKBT: Tensor, side_logits_NKBT: Tensor, mask_NT: Tensor) -> Tensor:
    """Return pi = 1/CE(start) + 1/CE(end) of each side branch's logits, [N, K] (eq. 9).

    The cross-entropy has the teacher as its target, both at temperature 1.
    """
    log_side = masked_log_softmax(side_logits_NKBT, mask_NT)
    ce_NKB = -(teacher_probs_NKBT.float() * log_side).sum(dim=-1)
    return ce_NKB.clamp(min=LEAST_AFFINITY_CE).reciprocal().sum(dim=-1)


@torch.no_grad()
def confidence(logits_NKBT: Tensor, gt_N2: Tensor, mask_NT: Tensor) -> Tensor:
    """Return rho, the IoU of the decoded span and the ground truth in clips, [N, K] (eq. 10)."""
    return span_iou_clips(decode_spans(logits_NKBT, mask_NT), gt_N2[:, None])


@torch.no_grad()
def rectify_mixed(probs_NKBT: Tensor, rho_NK: Tensor, gt_N2: Tensor) -> Tensor:
    """Return rho P + (1 - rho) one-hot(gt), [N, K, B, T] (eq. 11)."""
    rho = rho_NK[..., None, None]
    return rho * probs_NKBT + (1 - rho) * one_hot(gt_N2, probs_NKBT.shape[-1])[:, None]


@torch.no_grad()
def rectify_pure_gt(
    probs_NKBT: Tensor, teacher_iou_NK: Tensor, gt_N2: Tensor, *, threshold: float
) -> Tensor:
    """Return one-hot(gt) where the teacher's own span has an IoU below the threshold, else P."""
    wrong = (teacher_iou_NK < threshold)[..., None, None]
    return torch.where(wrong, one_hot(gt_N2, probs_NKBT.shape[-1])[:, None], probs_NKBT)


@torch.no_grad()
def rectify_window(
    log_p_NKBT: Tensor, rho_NK: Tensor, gt_N2: Tensor, mask_NT: Tensor, *, tau: float
) -> Tensor:
    """Return P times exp(-(1 - rho) (x - gt)^2 / width^2), normalised, [N, K, B, T] (eq. 13-14).

    x is the clip position and the width is tau times the video's number of clips. It is computed
    from log P, because the product may underflow on every clip.
    """
    place_T = torch.arange(log_p_NKBT.shape[-1], device=gt_N2.device)
    square_NBT = (place_T - gt_N2[..., None]).float().square()
    width_N = tau * mask_NT.sum(dim=-1).float()
    fall_NBT = square_NBT / width_N[:, None, None].square()
    doubt = (1 - rho_NK)[..., None, None]
    return masked_softmax(log_p_NKBT - doubt * fall_NBT[:, None], mask_NT)


@torch.no_grad()
def reweight(w_NKB: Tensor, pi_NK: Tensor) -> Tensor:
    """Return w a, normalised over the teachers, [N, K, B] (the factors of eq. 12).

    a is proportional to 1/pi; for two teachers it is the other's pi over the sum of both, so the
    teacher that the student resembles less weighs more.
    """
    a_NK = pi_NK.reciprocal() / pi_NK.reciprocal().sum(dim=1, keepdim=True)
    share_NKB = w_NKB.float() * a_NK[..., None]
    return share_NKB / share_NKB.sum(dim=1, keepdim=True)


def one_hot(gt_N2: Tensor, num_clips: int) -> Tensor:
    """Return 1 on the ground-truth clip of each boundary, 0 elsewhere, [N, B, T] float32."""
    return (torch.arange(num_clips, device=gt_N2.device) == gt_N2[..., None]).float()


class Evidence(NamedTuple):
    """What a rectification reads of a batch."""

    probs_NKBT: Tensor  # the teachers' probabilities, softened by the recipe's temperature
    logits_NKBT: Tensor  # what they are made from
    gt_N2: Tensor
    mask_NT: Tensor
    branch_rho_NK: Tensor | None  # confidence (eq. 10), where side branches exist

    @property
    def rho_NK(self) -> Tensor:
        assert self.branch_rho_NK is not None, "RECTIFICATIONS tells who reads the side branches"
        return self.branch_rho_NK


def _pure_gt(seen: Evidence, recipe: Recipe) -> Tensor:
    iou_NK = confidence(seen.logits_NKBT, seen.gt_N2, seen.mask_NT)  # the teacher's own
    return rectify_pure_gt(seen.probs_NKBT, iou_NK, seen.gt_N2, threshold=recipe.gt_threshold)


def _window(seen: Evidence, recipe: Recipe) -> Tensor:
    log_p = masked_log_softmax(seen.logits_NKBT, seen.mask_NT, temperature=recipe.temperature)
    return rectify_window(log_p, seen.rho_NK, seen.gt_N2, seen.mask_NT, tau=recipe.tau)


RECTIFIERS: dict[str, Callable[[Evidence, Recipe], Tensor]] = {  # names are RECTIFICATIONS
    "mixed": lambda seen, _: rectify_mixed(seen.probs_NKBT, seen.rho_NK, seen.gt_N2),
    "pure-gt": _pure_gt,
    "window": _window,
    "none": lambda seen, _: seen.probs_NKBT,
}
