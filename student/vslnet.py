"""VSLNet (Zhang et al., ACL 2020): a shared encoder, context-query attention and highlighting.

Published code lets padding leak through its convolutions; here every pair gives the same logits
alone and in any batch. Shapes: N pairs, T clips, L words, D channels, H width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from student.dropout import Dropout
from student.inputs import Encoded, Inputs
from student.layers import ContextQueryAttention, Encoder, QueryPooling, initialise

VERSION = 1  # raise by hand when the same weights would give other logits
HIGHLIGHT_WEIGHT = 5.0
EXTENSION = 0.1  # the highlighted region exceeds the moment by this fraction on both sides


class VSLNet(nn.Module):
    """Encode projected clips and words into blended features, supervised by highlighting."""

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
        self.highlight = nn.Linear(hidden, 1)
        for layer in (self.project_video, self.concatenate, self.highlight):
            initialise(layer)

    def forward(self, inputs: Inputs, query_NLH: Tensor) -> Encoded:
        clips_NT, words_NL = inputs.clips_NT, inputs.words_NL
        video_NTH = self.project_video(self.dropout(inputs.features_NTD))
        video_NTH = self.encoder(video_NTH, clips_NT)
        query_NLH = self.encoder(query_NLH, words_NL)
        fused_NTH = self.attention(video_NTH, query_NLH, clips_NT, words_NL)
        pooled_NTH = self.pooling(query_NLH, words_NL)[:, None].expand_as(fused_NTH)
        fused_NTH = self.concatenate(torch.cat([fused_NTH, pooled_NTH], dim=-1))
        relevance_NT = self.highlight(fused_NTH)[..., 0]
        gate_NT = torch.sigmoid(relevance_NT) * clips_NT
        return Encoded(fused_NTH * gate_NT[..., None], relevance_NT)

    def auxiliary(self, encoded: Encoded, gt_N2: Tensor, clips_NT: Tensor) -> dict[str, Tensor]:
        """Return the ground-truth losses of the modules that no span loss supervises, weighted."""
        loss = highlight_loss(encoded.relevance_NT, gt_N2, clips_NT)
        return {"highlight": HIGHLIGHT_WEIGHT * loss}


def highlight_loss(relevance_NT: Tensor, gt_N2: Tensor, clips_NT: Tensor) -> Tensor:
    """Return the mean cross-entropy of the highlighted region, its clips counting twice."""
    inside_NT = highlight_region(gt_N2, clips_NT)
    loss_NT = F.binary_cross_entropy_with_logits(
        relevance_NT, inside_NT.float(), weight=1.0 + inside_NT, reduction="none"
    )
    return (loss_NT * clips_NT).sum() / clips_NT.sum()


def highlight_region(gt_N2: Tensor, clips_NT: Tensor) -> Tensor:
    """Return the mask [N, T] of the moment [s, e] extended by round(0.1 (e - s + 1)) on both sides."""
    start_N, end_N = gt_N2.unbind(dim=1)
    extra_N = torch.round(EXTENSION * (end_N - start_N + 1)).long()  # half to even
    place_T = torch.arange(clips_NT.shape[1], device=gt_N2.device)
    inside_NT = (place_T >= (start_N - extra_N)[:, None]) & (place_T <= (end_N + extra_N)[:, None])
    return inside_NT & clips_NT
