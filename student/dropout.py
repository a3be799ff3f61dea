"""Dropout whose masks are cheap to draw on a CPU: four elements from each 64-bit random number.

torch draws one number per element, which takes a fifth to a third of a training step here.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = 1 << 16  # the probability is rounded to a multiple of 1 / LEVELS
SMALLEST = -(1 << 15)  # of a 16-bit integer


class Dropout(nn.Module):
    """Zero each element with probability p and scale the others so that the mean stays; in training."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu" or torch.compiler.is_compiling():  # which cannot follow ours
            return F.dropout(x, self.p)
        dropped: Tensor = _Masked.apply(x, self.p)  # type: ignore[no-untyped-call]
        return dropped


class _Masked(torch.autograd.Function):
    """x times a random mask of 0 and the scale of what stays; only the mask is kept for the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        cut = round(p * LEVELS)
        # compared in place and turned into x's type at once: torch is 7 times slower by way of bool
        keep = _random_int16(x.numel()).ge_(SMALLEST + cut).view(x.shape).to(x.dtype)
        mask = keep.mul_(LEVELS / (LEVELS - cut))
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return gradients[0] * mask, None


def _random_int16(count: int) -> Tensor:
    """Return uniform 16-bit integers from torch's generator, which seeds therefore decide."""
    words = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(1 << 63), None)
    return words.view(torch.int16)[:count]
