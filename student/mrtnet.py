"""An MRTNet-style network (after Ji et al., arXiv 2212.13163): a multi-resolution temporal module.

This is a reconstruction. Neither the paper's text nor its code was available, only its abstract:
an encoder-decoder over time between encoder and predictor, supervised by a hybrid loss at frame,
clip and sequence level. Widths, depths, losses and their weights are choices made here: VSLNet's
encoder in front; the losses those of a salient-object network with the same three levels
(BASNet, Qin et al., CVPR 2019). The paper predicts with transformers (`--predictor transformer`).

Shapes: N pairs, T clips, L words, D channels, H width. A level is half as long as the one above
it, a pair of clips counting as one; levels are listed finest first.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from student.dropout import Dropout
from student.inputs import Encoded, Inputs
from student.layers import (
    ContextQueryAttention,
    ConvolutionBlock,
    Encoder,
    QueryPooling,
    initialise,
)

VERSION = 1  # raise by hand when the same weights would give other logits
NUM_HALVINGS = 3
HYBRID_WEIGHT = 1.0
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5  # clips; those of Wang et al. 2004, as are the constants
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2


class MRTNet(nn.Module):
    """Encode projected clips and words into blended features, supervised at several resolutions."""

    def __init__(
        self, hidden: int, dropout: float, *, num_channels: int, num_clips: int, num_words: int
    ) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.project_video = nn.Linear(num_channels, hidden)
        self.encoder = Encoder(hidden, dropout, longest=max(num_clips, num_words))
        self.attention = ContextQueryAttention(hidden, dropout)
        self.pooling = QueryPooling(hidden)
        self.concatenate = nn.Linear(2 * hidden, hidden)
        self.resolutions = Resolutions(hidden, dropout, num_clips=num_clips)
        self.heads = nn.ModuleList(nn.Linear(hidden, 1) for _ in range(NUM_HALVINGS))
        for layer in (self.project_video, self.concatenate, self.heads):
            initialise(layer)

    def forward(self, inputs: Inputs, query_NLH: Tensor) -> Encoded:
        clips_NT, words_NL = inputs.clips_NT, inputs.words_NL
        video_NTH = self.project_video(self.dropout(inputs.features_NTD))
        video_NTH = self.encoder(video_NTH, clips_NT)
        query_NLH = self.encoder(query_NLH, words_NL)
        fused_NTH = self.attention(video_NTH, query_NLH, clips_NT, words_NL)
        pooled_NTH = self.pooling(query_NLH, words_NL)[:, None].expand_as(fused_NTH)
        fused_NTH = self.concatenate(torch.cat([fused_NTH, pooled_NTH], dim=-1))
        decoded, summed_NTH = self.resolutions(fused_NTH, clips_NT)
        relevance_NT, *coarser = (
            head(x)[..., 0] for head, x in zip(self.heads, decoded, strict=True)
        )
        gate_NT = torch.sigmoid(relevance_NT) * clips_NT
        blended_NTH = (fused_NTH + summed_NTH) * gate_NT[..., None]
        return Encoded(blended_NTH, relevance_NT, own=tuple(coarser))

    def auxiliary(self, encoded: Encoded, gt_N2: Tensor, clips_NT: Tensor) -> dict[str, Tensor]:
        """Return the ground-truth losses of the modules that no span loss supervises, weighted."""
        place_T = torch.arange(clips_NT.shape[1], device=gt_N2.device)
        inside_NT = (place_T >= gt_N2[:, :1]) & (place_T <= gt_N2[:, 1:])
        levels = [encoded.relevance_NT, *encoded.own]
        masks = zip(halvings(inside_NT), halvings(clips_NT), strict=True)
        losses = [hybrid_loss(x, *mask) for x, mask in zip(levels, masks, strict=False)]
        terms = HYBRID_WEIGHT * torch.stack(losses).mean(dim=0)
        return dict(zip(("frame", "clip", "sequence"), terms.unbind(), strict=True))


class Resolutions(nn.Module):
    """Halve the clips three times, and come back up beside what each level was before.

    Forward returns the decoded features of each level but the coarsest, finest first, and the sum
    of all levels at the finest, [N, T, H].
    """

    def __init__(self, hidden: int, dropout: float, *, num_clips: int) -> None:
        super().__init__()
        self.merge, self.join = (
            nn.ModuleList(nn.Linear(2 * hidden, hidden) for _ in range(NUM_HALVINGS))
            for _ in range(2)
        )
        self.down, self.up = (
            nn.ModuleList(ConvolutionBlock(hidden, dropout, layers=1) for _ in range(NUM_HALVINGS))
            for _ in range(2)
        )
        coarsest = math.ceil(num_clips / 2**NUM_HALVINGS)
        self.bottleneck = Encoder(hidden, dropout, longest=coarsest)
        for layer in (self.merge, self.join):
            initialise(layer)

    def forward(self, x_NTH: Tensor, clips_NT: Tensor) -> tuple[list[Tensor], Tensor]:
        masks = halvings(clips_NT)
        levels = list(pairwise(masks))
        x, skipped = x_NTH, []
        for merge, convolve, (mask, half) in zip(self.merge, self.down, levels, strict=True):
            skipped.append(x)
            x = convolve(merge(paired(x * mask[..., None]).flatten(2)), half)
        summed = x = self.bottleneck(x, masks[-1])
        decoded: list[Tensor] = []
        way_up = list(zip(self.join, self.up, skipped, levels, strict=True))
        for join, convolve, skip, (mask, half) in reversed(way_up):
            length = skip.shape[1]
            x = convolve(join(torch.cat([doubled(x, half)[:, :length], skip], dim=-1)), mask)
            summed = x + doubled(summed, half)[:, :length]
            decoded.insert(0, x)
        return decoded, summed


def paired(x: Tensor) -> Tensor:
    """Return [N, T, ...] as [N, ceil(T / 2), 2, ...]; an odd last one is paired with zeros.

    >>> paired(torch.tensor([[1, 2, 3]])).tolist()
    [[[1, 2], [3, 0]]]
    """
    even = F.pad(x, (0, 0) * (x.ndim - 2) + (0, x.shape[1] % 2))
    return even.reshape(len(x), -1, 2, *x.shape[2:])


def halvings(mask_NT: Tensor) -> list[Tensor]:
    """Return a mask at each level, finest first: true where any clip of a level's clip is.

    >>> [mask.int().tolist() for mask in halvings(torch.tensor([[False, False, True]]))]
    [[[0, 0, 1]], [[0, 1]], [[1]], [[1]]]
    """
    masks = [mask_NT]
    for _ in range(NUM_HALVINGS):
        masks.append(paired(masks[-1]).any(dim=2))
    return masks


def doubled(x_NTH: Tensor, mask_NT: Tensor) -> Tensor:
    """Return twice as many clips, [N, 2T, H], interpolated linearly between the valid ones.

    >>> doubled(torch.tensor([[[0.0], [4.0], [9.0]]]), torch.tensor([[True, True, False]]))[0, :4, 0]
    tensor([0., 1., 3., 4.])
    """
    before_NTH = torch.cat([x_NTH[:, :1], x_NTH[:, :-1]], dim=1)
    after_NTH = torch.cat([x_NTH[:, 1:], x_NTH[:, -1:]], dim=1)
    is_last_NT1 = ~F.pad(mask_NT[:, 1:], (0, 1))[..., None]
    after_NTH = torch.where(is_last_NT1, x_NTH, after_NTH)  # padding takes no part
    sides = torch.lerp(x_NTH, before_NTH, 0.25), torch.lerp(x_NTH, after_NTH, 0.25)
    return torch.stack(sides, dim=2).flatten(1, 2)


def hybrid_loss(relevance_NT: Tensor, inside_NT: Tensor, clips_NT: Tensor) -> Tensor:
    """Return three losses of one level, [3]: cross-entropy, 1 - SSIM, 1 - soft IoU."""
    chance_NT = torch.sigmoid(relevance_NT) * clips_NT
    target_NT, count = inside_NT.float(), clips_NT.sum()
    entropy_NT = F.binary_cross_entropy_with_logits(relevance_NT, target_NT, reduction="none")
    ssim_NT = structural_similarity(chance_NT, target_NT, clips_NT)
    shared_N, either_N = (chance_NT * target_NT).sum(dim=1), (chance_NT + target_NT).sum(dim=1)
    iou_N = shared_N / (either_N - shared_N)
    frame, clip = ((loss * clips_NT).sum() / count for loss in (entropy_NT, 1 - ssim_NT))
    return torch.stack([frame, clip, (1 - iou_N).mean()])


def structural_similarity(a_NT: Tensor, b_NT: Tensor, mask_NT: Tensor) -> Tensor:
    """Return the SSIM of two signals in [0, 1] around each clip; windows see valid clips only."""
    offset = torch.arange(SSIM_WINDOW, device=a_NT.device) - SSIM_WINDOW // 2
    window = torch.exp(-0.5 * (offset / SSIM_SIGMA) ** 2)[None, None]
    signals = torch.stack([torch.ones_like(a_NT), a_NT, b_NT, a_NT**2, b_NT**2, a_NT * b_NT])
    rows = (signals * mask_NT).flatten(0, 1)[:, None]
    sums = F.conv1d(rows, window, padding=SSIM_WINDOW // 2).reshape(signals.shape)
    mean_a, mean_b, square_a, square_b, product = sums[1:] / sums[0].clamp(min=1e-6)
    luminance = (2 * mean_a * mean_b + SSIM_C1) / (mean_a**2 + mean_b**2 + SSIM_C1)
    variances = square_a - mean_a**2 + square_b - mean_b**2
    contrast = (2 * (product - mean_a * mean_b) + SSIM_C2) / (variances + SSIM_C2)
    similarity: Tensor = luminance * contrast
    return similarity
