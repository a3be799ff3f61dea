"""Conditioned span predictors: blended features [N, T, H] in, start and end logits [N, 2, T] out."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from student.layers import Encoder, initialise


class RecurrentPredictor(nn.Module):
    """One LSTM reads the features for the start; a second reads the first for the end."""

    def __init__(self, hidden: int, dropout: float, *, num_clips: int) -> None:
        super().__init__()
        self.start = nn.LSTM(hidden, hidden, batch_first=True)
        self.end = nn.LSTM(hidden, hidden, batch_first=True)
        self.start_head = _head(hidden)
        self.end_head = _head(hidden)

    def forward(self, x_NTH: Tensor, mask_NT: Tensor) -> Tensor:
        mask_NT1 = mask_NT[..., None]  # padding comes last, so a forward LSTM never reads it first
        start_NTH = self.start(x_NTH)[0] * mask_NT1
        end_NTH = self.end(start_NTH)[0] * mask_NT1
        return _logits(self.start_head, self.end_head, start_NTH, end_NTH, x_NTH)


class TransformerPredictor(nn.Module):
    """One encoder reads the features for the start, and what it made of them again for the end."""

    def __init__(self, hidden: int, dropout: float, *, num_clips: int) -> None:
        super().__init__()
        self.encoder = Encoder(hidden, dropout, longest=num_clips)
        self.start_norm = nn.LayerNorm(hidden, eps=1e-6)
        self.end_norm = nn.LayerNorm(hidden, eps=1e-6)
        self.start_head = _head(hidden)
        self.end_head = _head(hidden)

    def forward(self, x_NTH: Tensor, mask_NT: Tensor) -> Tensor:
        start_NTH = self.encoder(x_NTH, mask_NT)
        end_NTH = self.encoder(start_NTH, mask_NT)
        start_NTH, end_NTH = self.start_norm(start_NTH), self.end_norm(end_NTH)
        return _logits(self.start_head, self.end_head, start_NTH, end_NTH, x_NTH)


def _head(hidden: int) -> nn.Sequential:
    head = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))
    initialise(head)
    return head


def _logits(
    start_head: nn.Module, end_head: nn.Module, start_NTH: Tensor, end_NTH: Tensor, x_NTH: Tensor
) -> Tensor:
    start_NT1 = start_head(torch.cat([start_NTH, x_NTH], dim=-1))
    end_NT1 = end_head(torch.cat([end_NTH, x_NTH], dim=-1))
    return torch.cat([start_NT1, end_NT1], dim=-1).transpose(1, 2)


PREDICTOR_CLASSES: dict[str, Callable[..., nn.Module]] = {
    "rnn": RecurrentPredictor,
    "transformer": TransformerPredictor,
}
