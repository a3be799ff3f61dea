"""Spans on the clip grid: probabilities over the valid clips, decoding, overlap.

Shapes: N pairs of the batch, `...` any axes between (such as K teachers), B = 2 boundaries
(start, end), T clips. A span is (s, e), both clips included.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LOWEST = -1e30  # the log-probability of padding: finite, because 0 * -inf is nan


def over_clips(mask_NT: Tensor, like: Tensor) -> Tensor:
    """Return mask_NT with axes of size 1 put in, so that it meets a tensor [N, ..., T]."""
    return mask_NT.reshape(len(mask_NT), *[1] * (like.ndim - 2), mask_NT.shape[-1])


def masked_log_softmax(logits: Tensor, mask_NT: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Return float32 log-probabilities over the valid clips of logits [N, ..., T].

    Padding gets LOWEST and passes no gradient, whatever stands there.
    """
    off = ~over_clips(mask_NT, logits)
    scaled = (logits.float() / temperature).masked_fill(off, LOWEST)
    return F.log_softmax(scaled, dim=-1).masked_fill(off, LOWEST)


def masked_softmax(logits: Tensor, mask_NT: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Return float32 probabilities over the valid clips of logits [N, ..., T], 0 on padding."""
    off = ~over_clips(mask_NT, logits)
    scaled = (logits.float() / temperature).masked_fill(off, LOWEST)
    return F.softmax(scaled, dim=-1).masked_fill(off, 0.0)


@torch.no_grad()
def decode_spans(log_p_NBT: Tensor, mask_NT: Tensor) -> Tensor:
    """Return the likeliest span s <= e of each [N, ..., B, T], shape [N, ..., 2] int64.

    Raw logits decode alike: a constant per boundary changes nothing. Of equally likely spans the
    one with the lowest start is taken, then the lowest end.
    """
    start, end = _comparable(log_p_NBT, mask_NT).unbind(dim=-2)
    best_end = end.flip(-1).cummax(dim=-1).values.flip(-1)  # over clips t, t + 1, ...
    s = (start + best_end).argmax(dim=-1, keepdim=True)
    before = torch.arange(end.shape[-1], device=end.device) < s
    e = end.masked_fill(before, -torch.inf).argmax(dim=-1, keepdim=True)
    return torch.cat([s, e], dim=-1)


@torch.no_grad()
def top_spans(log_p_BT: Tensor, mask_T: Tensor, k: int) -> list[tuple[int, int, float]]:
    """Return the k likeliest spans of one pair as (s, e, probability), the likeliest first.

    All spans differ; fewer than k come back if the video has no more. The first is the one that
    `decode_spans` returns.
    """
    start, end = _comparable(log_p_BT[None], mask_T[None])[0]
    num_clips = len(start)
    pairs = (start[:, None] + end).masked_fill(
        torch.ones(num_clips, num_clips, dtype=torch.bool, device=start.device).tril(-1),
        -torch.inf,
    )
    best = pairs.flatten().sort(descending=True, stable=True)
    count = min(k, int(torch.isfinite(best.values).sum()))
    index, score = best.indices[:count].tolist(), best.values[:count].exp().tolist()
    return [(i // num_clips, i % num_clips, p) for i, p in zip(index, score, strict=True)]


def span_iou_clips(a: Tensor, b: Tensor) -> Tensor:
    """Return the IoU of spans [..., 2] and [..., 2] of clips taken as [s, e + 1), float32 [...].

    >>> span_iou_clips(torch.tensor([[2, 2], [0, 3]]), torch.tensor([[2, 2], [2, 5]])).tolist()
    [1.0, 0.3333333432674408]
    """
    shared = torch.minimum(a[..., 1], b[..., 1]) + 1 - torch.maximum(a[..., 0], b[..., 0])
    hull = torch.maximum(a[..., 1], b[..., 1]) + 1 - torch.minimum(a[..., 0], b[..., 0])
    return shared.clamp(min=0).float() / hull.float()


def _comparable(log_p_NBT: Tensor, mask_NT: Tensor) -> Tensor:
    """Return log-probabilities whose sums are exact (float64), padding below every valid clip."""
    off = ~over_clips(mask_NT, log_p_NBT)
    return log_p_NBT.double().clamp(min=LOWEST).masked_fill(off, -torch.inf)
