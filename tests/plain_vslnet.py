"""VSLNet as its authors publish it, in the layers that PyTorch ships: what ours is measured against.

Weights have the names that they have in `student.network.Network` with the predictor `rnn`, so that one
takes over the other's. It masks by adding -1e30 and lets padding through its convolutions: compare where
no clip, word or character is padding. Shapes as in student/inputs.py.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

OFF = -1e30
HEADS = 8
CHAR_KERNELS = ((1, 10), (2, 20), (3, 30), (4, 40))


class PlainVSLNet(nn.Module):
    """Word ids, character ids and features in; start and end logits and the highlighted share out."""

    def __init__(self, shape, vectors_MW):
        super().__init__()
        hidden, dropout = shape["hidden"], shape["dropout"]
        self.embed = Embedding(vectors_MW, 2 + len(shape["characters"]), hidden, dropout)
        self.backbone = nn.ModuleDict(
            {
                "project_video": nn.Linear(shape["num_channels"], hidden),
                "encoder": FeatureEncoder(
                    hidden, dropout, longest=max(shape["num_clips"], shape["num_words"])
                ),
                "attention": CQAttention(hidden, dropout),
                "pooling": WeightedPool(hidden),
                "concatenate": nn.Linear(2 * hidden, hidden),
                "highlight": nn.Linear(hidden, 1),
            }
        )
        self.predict = ConditionedPredictor(hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features_NTD, clips_NT, words_NL, chars_NLC):
        layers, clip_mask, word_mask = self.backbone, clips_NT.float(), (words_NL != 0).float()
        video = layers["project_video"](self.dropout(features_NTD))
        video = layers["encoder"](video, clip_mask)
        query = layers["encoder"](self.embed(words_NL, chars_NLC), word_mask)
        fused = layers["attention"](video, query, clip_mask, word_mask)
        pooled = layers["pooling"](query, word_mask).unsqueeze(1).repeat(1, fused.shape[1], 1)
        fused = layers["concatenate"](torch.cat([fused, pooled], dim=2))
        share_NT = torch.sigmoid(masked(layers["highlight"](fused).squeeze(2), clip_mask))
        start_NT, end_NT = self.predict(fused * share_NT.unsqueeze(2), clip_mask)
        return start_NT, end_NT, share_NT

    def losses(self, outputs, clips_NT, gt_N2, inside_NT):
        """Return the span loss and five times the highlighting loss."""
        start_NT, end_NT, share_NT = outputs
        span = F.cross_entropy(start_NT, gt_N2[:, 0]) + F.cross_entropy(end_NT, gt_N2[:, 1])
        inside, mask = inside_NT.float(), clips_NT.float()
        weight = torch.where(inside == 0.0, inside + 1.0, 2.0 * inside)
        costs = F.binary_cross_entropy(share_NT, inside, reduction="none") * weight
        return span + 5.0 * torch.sum(costs * mask) / (torch.sum(mask) + 1e-12)


class Embedding(nn.Module):
    """Fixed word vectors with one trainable row for the unknown, beside a character CNN."""

    def __init__(self, vectors_MW, num_chars, hidden, dropout):
        super().__init__()
        width = vectors_MW.shape[1]
        self.unknown = nn.Parameter(torch.empty(1, width))
        self.register_buffer("padding", torch.zeros(1, width), persistent=False)
        self.register_buffer("vectors_MW", vectors_MW, persistent=False)  # ids 2, 3, ...
        self.chars = nn.Embedding(num_chars, 50, padding_idx=0)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(50, channels, width) for width, channels in CHAR_KERNELS
        )
        self.project = nn.Conv1d(width + 100, hidden, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, words_NL, chars_NLC):
        table = torch.cat([self.padding, self.unknown, self.vectors_MW])
        words = self.dropout(F.embedding(words_NL, table, padding_idx=0))
        letters = self.dropout(self.chars(chars_NLC)).flatten(0, 1).transpose(1, 2)
        found = [torch.relu(layer(letters)).max(dim=2)[0] for layer in self.convolutions]
        spelling = torch.cat(found, dim=1).reshape(*words_NL.shape, -1)
        return pointwise(self.project, torch.cat([words, spelling], dim=2))


class FeatureEncoder(nn.Module):
    """Positions, four separable convolutions, self-attention; for clips and for words."""

    def __init__(self, hidden, dropout, *, longest):
        super().__init__()
        self.positions = nn.Embedding(longest, hidden)
        self.convolutions = Convolutions(hidden, dropout)
        self.attention_norm = nn.LayerNorm(hidden, eps=1e-6)
        self.attention = MultiHead(hidden, dropout)
        self.output_norm = nn.LayerNorm(hidden, eps=1e-6)
        self.output = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, mask):
        places = torch.arange(x.shape[1], device=x.device).unsqueeze(0).expand(x.shape[:2])
        x = self.convolutions(x + self.positions(places))
        x = x + self.dropout(self.attention(self.dropout(self.attention_norm(x)), mask))
        return x + self.dropout(self.output(self.dropout(self.output_norm(x))))


class Convolutions(nn.Module):
    """Four times norm, depthwise and pointwise convolution, ReLU and dropout, with a residual."""

    def __init__(self, hidden, dropout):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(hidden, eps=1e-6) for _ in range(4))
        self.depthwise = nn.ModuleList(
            nn.Conv1d(hidden, hidden, 7, padding=3, groups=hidden, bias=False) for _ in range(4)
        )
        self.pointwise = nn.ModuleList(nn.Conv1d(hidden, hidden, 1) for _ in range(4))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        for norm, depthwise, point in zip(self.norms, self.depthwise, self.pointwise, strict=True):
            mixed = torch.relu(point(depthwise(norm(x).transpose(1, 2)))).transpose(1, 2)
            x = x + self.dropout(mixed)
        return x


class MultiHead(nn.Module):
    """Self-attention of eight heads, its keys masked."""

    def __init__(self, hidden, dropout):
        super().__init__()
        self.query_key_value = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, mask):
        parts = (layer(x) for layer in self.query_key_value)
        query, key, value = (
            part.view(*x.shape[:2], HEADS, -1).permute(0, 2, 1, 3) for part in parts
        )
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        scores = masked(scores, mask.unsqueeze(1).unsqueeze(2))
        mixed = self.dropout(torch.softmax(scores, dim=-1)) @ value
        return mixed.permute(0, 2, 1, 3).reshape(x.shape)


class CQAttention(nn.Module):
    """Trilinear attention between clips and words, both ways."""

    def __init__(self, hidden, dropout):
        super().__init__()
        self.context_weight = nn.Parameter(torch.empty(hidden, 1))
        self.query_weight = nn.Parameter(torch.empty(hidden, 1))
        self.product_weight = nn.Parameter(torch.empty(1, hidden))
        self.output = nn.Linear(4 * hidden, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, context, query, context_mask, query_mask):
        score = self.scores(self.dropout(context), self.dropout(query))
        over_query = torch.softmax(masked(score, query_mask.unsqueeze(1)), dim=2)
        over_context = torch.softmax(masked(score, context_mask.unsqueeze(2)), dim=1)
        c2q = over_query @ query
        q2c = over_query @ over_context.transpose(1, 2) @ context
        return self.output(torch.cat([context, c2q, context * c2q, context * q2c], dim=2))

    def scores(self, context, query):
        clips, words = context.shape[1], query.shape[1]
        return (
            (context @ self.context_weight).expand(-1, -1, words)
            + (query @ self.query_weight).transpose(1, 2).expand(-1, clips, -1)
            + (context * self.product_weight) @ query.transpose(1, 2)
        )


class WeightedPool(nn.Module):
    """A query as one vector, by attention with a learned one."""

    def __init__(self, hidden):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(hidden, 1))

    def forward(self, x, mask):
        share = torch.softmax(masked(x @ self.weight, mask.unsqueeze(2)), dim=1)
        return (x.transpose(1, 2) @ share).squeeze(2)


class ConditionedPredictor(nn.Module):
    """An LSTM for the start, another one over its outputs for the end."""

    def __init__(self, hidden):
        super().__init__()
        self.start = nn.LSTM(hidden, hidden, batch_first=True)
        self.end = nn.LSTM(hidden, hidden, batch_first=True)
        self.start_head, self.end_head = (
            nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))
            for _ in range(2)
        )

    def forward(self, x, mask):
        start = self.start(x)[0] * mask.unsqueeze(2)
        end = self.end(start)[0] * mask.unsqueeze(2)
        heads = (self.start_head, start), (self.end_head, end)
        return [masked(head(torch.cat([y, x], dim=2)).squeeze(2), mask) for head, y in heads]


def masked(scores, mask):
    """Scores, 1e30 lower where the mask is 0."""
    return scores + (1.0 - mask) * OFF


def pointwise(convolution, x):
    """A convolution of width 1 over [N, L, W]."""
    return convolution(x.transpose(1, 2)).transpose(1, 2)


def take_over(plain, network):
    """Give the plain network the weights of ours, which are the same numbers in other shapes."""
    ours = dict(network.named_parameters())
    with torch.no_grad():
        for name, weight in plain.named_parameters():
            weight.copy_(ours[name].view_as(weight))
