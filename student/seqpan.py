"""SeqPAN (Zhang et al., Findings of ACL 2021): self-guided parallel attention and sequence matching.

Every clip is matched to one of four classes: outside the moment, at its begin, inside, at its end;
the embedding of its class joins its features. The published soft labels of the span are left out:
a student learns from its teachers instead, a teacher from the plain cross-entropy of the other
backbones. The published noise is drawn in training only, so that answers can be cached, and every
score is of real seconds, not of moments rounded to clips. The paper predicts with transformers
(`--predictor transformer`).

Shapes: N pairs, T clips, L words, D channels, H width, C = 4 classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from student.dropout import Dropout
from student.inputs import Encoded, Inputs
from student.layers import (
    ContextQueryAttention,
    ConvolutionBlock,
    QueryPooling,
    attend,
    initialise,
)

VERSION = 1  # raise by hand when the same weights would give other logits
OUTSIDE, BEGIN, INSIDE, END = range(4)
NUM_CLASSES = 4
NUM_LAYERS = 2
TEMPERATURE = 0.3  # of the matching
MATCH_WEIGHT = 1.0


class GuidedAttention(nn.Module):
    """Attention of one modality to itself and to the other in parallel, each gating the other."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.other_norm, self.output_norm = (
            nn.LayerNorm(hidden, eps=1e-6) for _ in range(3)
        )
        self.query_key_value = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(3))
        self.other_key_value = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(2))
        self.own, self.cross, self.own_gate, self.cross_gate, self.guided = (
            nn.Linear(hidden, hidden) for _ in range(5)
        )
        self.gated = nn.Linear(2 * hidden, 2 * hidden)
        self.project, self.output = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.dropout = Dropout(dropout)
        initialise(self)

    def forward(
        self, x_NTH: Tensor, mask_NT: Tensor, other_NLH: Tensor, other_NL: Tensor
    ) -> Tensor:
        normed_NTH, other_NLH = self.norm(x_NTH), self.other_norm(other_NLH)
        guided_NTH = self._guided(normed_NTH, mask_NT, other_NLH, other_NL)
        gated_NTH = F.glu(self.gated(torch.cat([normed_NTH, guided_NTH], dim=-1)), dim=-1)
        x_NTH = x_NTH + self.dropout(self.project(gated_NTH))
        projected = self.output(self.dropout(self.output_norm(x_NTH)))
        mixed: Tensor = x_NTH + self.dropout(projected)
        return mixed

    def _guided(
        self, x_NTH: Tensor, mask_NT: Tensor, other_NLH: Tensor, other_NL: Tensor
    ) -> Tensor:
        """Return what one query finds among its own and among the other's positions, cross-gated."""
        query, key, value = (layer(x_NTH) for layer in self.query_key_value)
        other_key, other_value = (layer(other_NLH) for layer in self.other_key_value)
        own = self.own(attend(query, key, value, mask_NT, self.dropout))
        cross = self.cross(attend(query, other_key, other_value, other_NL, self.dropout))
        own_gate, cross_gate = (
            torch.sigmoid(self.own_gate(own)),
            torch.sigmoid(self.cross_gate(cross)),
        )
        guided: Tensor = self.guided(own_gate * cross + cross_gate * own)
        return guided


class SeqPAN(nn.Module):
    """Encode projected clips and words into blended features, supervised by sequence matching."""

    def __init__(
        self, hidden: int, dropout: float, *, num_channels: int, num_clips: int, num_words: int
    ) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.project_video = nn.Linear(num_channels, hidden)
        self.video_norm = nn.LayerNorm(hidden, eps=1e-6)
        self.query_norm = nn.LayerNorm(hidden, eps=1e-6)
        self.positions = nn.Embedding(max(num_clips, num_words), hidden)
        self.convolutions = ConvolutionBlock(hidden, dropout)
        self.layers = nn.ModuleList(GuidedAttention(hidden, dropout) for _ in range(NUM_LAYERS))
        self.query_to_video = ContextQueryAttention(hidden, dropout)
        self.video_to_query = ContextQueryAttention(hidden, dropout)
        self.pooling = QueryPooling(hidden)
        self.concatenate = nn.Linear(2 * hidden, hidden)
        self.match = nn.Linear(hidden, NUM_CLASSES)
        self.classes_CH = nn.Parameter(torch.empty(NUM_CLASSES, hidden))
        nn.init.orthogonal_(self.classes_CH)
        for layer in (self.project_video, self.concatenate, self.match):
            initialise(layer)

    def forward(self, inputs: Inputs, query_NLH: Tensor) -> Encoded:
        clips_NT, words_NL = inputs.clips_NT, inputs.words_NL
        video_NTH = self.video_norm(self.project_video(self.dropout(inputs.features_NTD)))
        video_NTH = self._place(video_NTH, clips_NT)
        query_NLH = self._place(self.query_norm(query_NLH), words_NL)
        for layer in self.layers:  # both read what the layer before made of the other
            video_NTH, query_NLH = (
                layer(video_NTH, clips_NT, query_NLH, words_NL),
                layer(query_NLH, words_NL, video_NTH, clips_NT),
            )
        fused_NTH = self.query_to_video(video_NTH, query_NLH, clips_NT, words_NL)
        query_NLH = self.video_to_query(query_NLH, video_NTH, words_NL, clips_NT)
        pooled_NTH = self.pooling(query_NLH, words_NL)[:, None].expand_as(fused_NTH)
        return self._match(self.concatenate(torch.cat([fused_NTH, pooled_NTH], dim=-1)), clips_NT)

    def _place(self, x_NTH: Tensor, mask_NT: Tensor) -> Tensor:
        """Return positions added and mixed with their neighbours, the same way for clips and words."""
        placed: Tensor = self.convolutions(x_NTH + self.positions.weight[: x_NTH.shape[1]], mask_NT)
        return placed

    def _match(self, fused_NTH: Tensor, clips_NT: Tensor) -> Encoded:
        """Return each clip with the mean embedding of the classes that it may be of."""
        logits_NTC = self.match(fused_NTH) / TEMPERATURE
        outside_NT, rest_NTC = logits_NTC[..., OUTSIDE], logits_NTC[..., BEGIN:]
        relevance_NT = torch.logsumexp(rest_NTC, dim=-1) - outside_NT  # free of noise
        if self.training:
            logits_NTC = logits_NTC + gumbel(logits_NTC) / TEMPERATURE
        log_p_NTC = F.log_softmax(logits_NTC, dim=-1)
        blended_NTH = (fused_NTH + log_p_NTC.exp() @ self.classes_CH) * clips_NT[..., None]
        return Encoded(blended_NTH, relevance_NT, own=(log_p_NTC,))

    def auxiliary(self, encoded: Encoded, gt_N2: Tensor, clips_NT: Tensor) -> dict[str, Tensor]:
        """Return the ground-truth losses of the modules that no span loss supervises, weighted."""
        loss = match_loss(encoded.own[0], gt_N2, clips_NT) + overlap(self.classes_CH)
        return {"match": MATCH_WEIGHT * loss}


def gumbel(like: Tensor) -> Tensor:
    """Return standard Gumbel noise in the shape of a tensor, from torch's generator."""
    waits = torch.empty_like(like).exponential_()
    return -waits.clamp_(min=torch.finfo(like.dtype).tiny).log_()


def match_loss(log_p_NTC: Tensor, gt_N2: Tensor, clips_NT: Tensor) -> Tensor:
    """Return the mean cross-entropy of the clips' classes."""
    labels_NT1 = match_labels(gt_N2, clips_NT)[..., None]
    loss_NT = -log_p_NTC.gather(2, labels_NT1)[..., 0]
    return (loss_NT * clips_NT).sum() / clips_NT.sum()


def match_labels(gt_N2: Tensor, clips_NT: Tensor) -> Tensor:
    """Return the class of each clip, [N, T]: begin and end reach one clip to both sides.

    Where both would claim a clip it is of the end: a moment of one clip, or of the first two of
    its video, has no begin.
    """
    start_N1, end_N1 = gt_N2[:, :1], gt_N2[:, 1:]
    place_T = torch.arange(clips_NT.shape[1], device=gt_N2.device)
    labels_NT = torch.full_like(clips_NT, OUTSIDE, dtype=torch.long)
    labels_NT[(place_T >= start_N1 - 1) & (place_T <= end_N1)] = INSIDE
    labels_NT[(place_T - start_N1).abs() <= 1] = BEGIN
    labels_NT[(place_T - end_N1).abs() <= 1] = END
    return labels_NT.masked_fill(~clips_NT, OUTSIDE)


def overlap(classes_CH: Tensor) -> Tensor:
    """Return how far embeddings are from orthogonal: the norm of their products with each other."""
    products_CC = classes_CH @ classes_CH.T
    norm: Tensor = torch.linalg.vector_norm(products_CC - products_CC.diagonal().diag())
    return norm
