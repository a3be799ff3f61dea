"""Losses between a student's logits and probabilities or clips; float32, one value per pair.

Shapes: N pairs of the batch, `...` any axes between, K teachers, B = 2 boundaries (start, end),
T clips.
"""

import torch
from torch import Tensor

from student.spans import masked_log_softmax


def span_kl(
    student_NBT: Tensor, target_NBT: Tensor, mask_NT: Tensor, *, temperature: float = 1.0
) -> Tensor:
    """Return KL(target || softmax(student / temperature)) * temperature^2, shape [N, ...] (eq. 6).

    Start and end are summed. The target holds probabilities, 0 on padding and already softened
    by the same temperature; it is a constant.
    """
    target = target_NBT.detach().float()
    log_q = masked_log_softmax(student_NBT, mask_NT, temperature=temperature)
    gap = torch.xlogy(target, target) - target * log_q
    return temperature**2 * gap.sum(dim=(-2, -1))


def gt_cross_entropy(logits_NBT: Tensor, gt_N2: Tensor, mask_NT: Tensor) -> Tensor:
    """Return -log P(ground-truth clip) of each boundary, [N, ..., B] (the CE in eq. 1 and 2)."""
    log_p = masked_log_softmax(logits_NBT, mask_NT)
    clip = gt_N2.reshape(len(gt_N2), *[1] * (log_p.ndim - 3), 2, 1)
    return -log_p.gather(-1, clip.expand(*log_p.shape[:-1], 1)).squeeze(-1)


def side_loss(
    side_logits_NKBT: Tensor,
    teacher_probs_NKBT: Tensor,
    mask_NT: Tensor,
    *,
    weight: float,
    temperature: float = 1.0,
) -> Tensor:
    """Return the weighted sum over teachers of KL(teacher || its side branch), [N] (eq. 8)."""
    kl_NK = span_kl(side_logits_NKBT, teacher_probs_NKBT, mask_NT, temperature=temperature)
    return weight * kl_NK.sum(dim=1)
