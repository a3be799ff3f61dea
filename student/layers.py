"""Layers that the backbones share; none lets padding reach a real position.

Shapes: N pairs, T positions (clips or words), L words, C characters, H width; masks [N, T] bool.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from student.dropout import Dropout
from student.inputs import Inputs

NUM_HEADS = 8
CHAR_WIDTH = 50
CHAR_KERNELS = ((1, 10), (2, 20), (3, 30), (4, 40))  # width of the window, channels
CHAR_CHANNELS = sum(channels for _, channels in CHAR_KERNELS)
SHORTEST_WORD = max(width for width, _ in CHAR_KERNELS)


def initialise(module: nn.Module) -> None:
    """Give every convolution and linear layer below a module Xavier weights and zero biases."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class QueryEmbedding(nn.Module):
    """Words as [N, L, H]: a fixed vector (or one trainable row if unknown) beside a character CNN."""

    def __init__(self, word_width: int, num_chars: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.unknown = nn.Parameter(torch.empty(1, word_width))
        nn.init.xavier_uniform_(self.unknown)
        self.chars = nn.Embedding(num_chars, CHAR_WIDTH, padding_idx=0)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(CHAR_WIDTH, channels, width) for width, channels in CHAR_KERNELS
        )
        self.dropout = Dropout(dropout)
        self.project = nn.Linear(word_width + CHAR_CHANNELS, hidden)
        initialise(self)

    def forward(self, inputs: Inputs) -> Tensor:
        vectors_NLW = torch.where(inputs.known_NL[..., None], inputs.vectors_NLW, self.unknown)
        words_NLW = self.dropout(vectors_NLW)
        joined = torch.cat([words_NLW, self._spelling(inputs.chars_NLC)], dim=-1)
        projected: Tensor = self.project(joined)
        return projected * inputs.words_NL[..., None]

    def _spelling(self, chars_NLC: Tensor) -> Tensor:
        """Return the strongest response of each character filter inside each word, [N, L, 100]."""
        chars_MC = chars_NLC.flatten(0, 1)
        if chars_MC.shape[1] < SHORTEST_WORD:
            chars_MC = F.pad(chars_MC, (0, SHORTEST_WORD - chars_MC.shape[1]))
        letters_MEC = self.dropout(self.chars(chars_MC)).transpose(1, 2)
        lengths_M1 = (chars_MC != 0).sum(dim=1, keepdim=True)
        found = []
        for convolution, (width, _) in zip(self.convolutions, CHAR_KERNELS, strict=True):
            response = torch.relu(convolution(letters_MEC))
            places = torch.arange(response.shape[-1], device=chars_MC.device)
            # windows past a word's end see only padding; its first window always counts
            last = (lengths_M1 - width).clamp(min=0)
            found.append(response.masked_fill((places > last)[:, None, :], 0.0).amax(dim=-1))
        return torch.cat(found, dim=-1).reshape(*chars_NLC.shape[:2], CHAR_CHANNELS)


class ConvolutionBlock(nn.Module):
    """Four pre-norm depthwise-separable convolutions with residuals; sees 12 positions each way."""

    def __init__(self, hidden: int, dropout: float, *, layers: int = 4, width: int = 7) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(hidden, eps=1e-6) for _ in range(layers))
        self.depthwise = nn.ModuleList(
            nn.Conv1d(hidden, hidden, width, padding=width // 2, groups=hidden, bias=False)
            for _ in range(layers)
        )
        self.pointwise = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(layers))
        self.dropout = Dropout(dropout)
        initialise(self)

    def forward(self, x_NTH: Tensor, mask_NT: Tensor) -> Tensor:
        mask_NT1 = mask_NT[..., None]
        for norm, depthwise, pointwise in zip(
            self.norms, self.depthwise, self.pointwise, strict=True
        ):
            inside = norm(x_NTH) * mask_NT1  # a convolution must see zeros where there is no clip
            assert isinstance(depthwise, nn.Conv1d), "a ModuleList forgets what it holds"
            mixed_NTH = convolve_depthwise(inside, depthwise)
            x_NTH = x_NTH + self.dropout(torch.relu(pointwise(mixed_NTH)))
        return x_NTH


def convolve_depthwise(x_NTH: Tensor, convolution: nn.Conv1d) -> Tensor:
    """Return a depthwise convolution over T, with the same bits, [N, T, H].

    [N, T, H] is an image of height 1 whose channels come last in memory: nothing is transposed, which
    halves the time of both ways on a CPU.
    """
    image_NH1T = x_NTH[:, None].permute(0, 3, 1, 2)
    weight_H11K = convolution.weight[:, :, None]
    padding = convolution.kernel_size[0] // 2  # of 'same'
    mixed_NH1T = F.conv2d(image_NH1T, weight_H11K, padding=(0, padding), groups=convolution.groups)
    return mixed_NH1T.permute(0, 2, 3, 1)[:, 0]


class SelfAttention(nn.Module):
    """Eight-head self-attention without an output projection; padded keys take no part."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.query_key_value = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(3))
        self.dropout = Dropout(dropout)
        initialise(self)

    def forward(self, x_NTH: Tensor, mask_NT: Tensor) -> Tensor:
        query, key, value = (layer(x_NTH) for layer in self.query_key_value)
        return attend(query, key, value, mask_NT, self.dropout)


def attend(
    query_NTH: Tensor, key_NLH: Tensor, value_NLH: Tensor, mask_NL: Tensor, dropout: Dropout
) -> Tensor:
    """Return eight-head attention of T positions over the L where the mask is true, [N, T, H].

    Dropout, of the probabilities, is that of the module: on while it is trained.
    """
    query, key, value = (
        x.reshape(*x.shape[:2], NUM_HEADS, -1).transpose(1, 2)
        for x in (query_NTH, key_NLH, value_NLH)
    )
    keys_N11L = mask_NL[:, None, None, :]
    if dropout.training:  # torch's fused attention draws its dropout the dear way
        scores = (query / math.sqrt(query.shape[-1])) @ key.transpose(-2, -1)
        # added in place: masked_fill takes ten times as long, once each way
        scores += torch.zeros_like(keys_N11L, dtype=scores.dtype).masked_fill(
            ~keys_N11L, -torch.inf
        )
        mixed: Tensor = dropout(torch.softmax(scores, dim=-1)) @ value
    else:
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=keys_N11L)
    return mixed.transpose(1, 2).flatten(2)


class Encoder(nn.Module):
    """Learned positions, a convolution block and one attention block over [N, T, H]."""

    def __init__(self, hidden: int, dropout: float, *, longest: int) -> None:
        super().__init__()
        self.positions = nn.Embedding(longest, hidden)
        self.convolutions = ConvolutionBlock(hidden, dropout)
        self.attention_norm = nn.LayerNorm(hidden, eps=1e-6)
        self.attention = SelfAttention(hidden, dropout)
        self.output_norm = nn.LayerNorm(hidden, eps=1e-6)
        self.output = nn.Linear(hidden, hidden)
        self.dropout = Dropout(dropout)
        initialise(self)

    def forward(self, x_NTH: Tensor, mask_NT: Tensor) -> Tensor:
        x_NTH = x_NTH + self.positions.weight[: x_NTH.shape[1]]
        x_NTH = self.convolutions(x_NTH, mask_NT)
        attended = self.attention(self.dropout(self.attention_norm(x_NTH)), mask_NT)
        x_NTH = x_NTH + self.dropout(attended)
        projected = self.output(self.dropout(self.output_norm(x_NTH)))
        encoded: Tensor = x_NTH + self.dropout(projected)
        return encoded


class ContextQueryAttention(nn.Module):
    """Fuse a context [N, T, H] with a query [N, L, H] by trilinear attention both ways."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.context_weight = nn.Parameter(torch.empty(hidden, 1))
        self.query_weight = nn.Parameter(torch.empty(hidden, 1))
        self.product_weight = nn.Parameter(torch.empty(1, hidden))
        for weight in (self.context_weight, self.query_weight, self.product_weight):
            nn.init.xavier_uniform_(weight)
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(4 * hidden, hidden)
        initialise(self)

    def forward(
        self, context_NTH: Tensor, query_NLH: Tensor, context_NT: Tensor, query_NL: Tensor
    ) -> Tensor:
        score_NTL = self._scores(self.dropout(context_NTH), self.dropout(query_NLH))
        over_query = softmax_where(score_NTL, query_NL[:, None, :], dim=2)
        over_context = softmax_where(score_NTL, context_NT[:, :, None], dim=1)
        c2q_NTH = over_query @ query_NLH
        q2c_NTH = over_query @ (over_context.transpose(1, 2) @ context_NTH)
        parts = [context_NTH, c2q_NTH, context_NTH * c2q_NTH, context_NTH * q2c_NTH]
        fused: Tensor = self.output(torch.cat(parts, dim=-1))
        return fused

    def _scores(self, context_NTH: Tensor, query_NLH: Tensor) -> Tensor:
        return (
            context_NTH @ self.context_weight
            + (query_NLH @ self.query_weight).transpose(1, 2)
            + (context_NTH * self.product_weight) @ query_NLH.transpose(1, 2)
        )


class QueryPooling(nn.Module):
    """Pool a query [N, L, H] to [N, H] by attention with one learned vector."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(hidden, 1))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, query_NLH: Tensor, query_NL: Tensor) -> Tensor:
        share_NL1 = softmax_where(query_NLH @ self.weight, query_NL[..., None], dim=1)
        return (share_NL1 * query_NLH).sum(dim=1)


def softmax_where(scores: Tensor, mask: Tensor, *, dim: int) -> Tensor:
    """Return the softmax along one axis over the positions where the mask is true, 0 elsewhere."""
    return torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=dim)
