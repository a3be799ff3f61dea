"""Retrieving moments: spans in seconds for every pair of a split, and their scores.

Shapes: N rows, T clips.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from stores.dataset import DataSet, Rows
from stores.grid import span_seconds
from stores.pairs import Pair
from student.forward import Features, model_logits
from student.inputs import length_mask
from student.metrics import scores
from student.network import Network
from student.spans import decode_spans, masked_log_softmax

DECODED_AT_ONCE = 1024


def retrieve(
    network: Network,
    data: DataSet,
    rows: Rows,
    *,
    device: str,
    features: Features | None = None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the best span of each row in seconds, [N, 2], and its probability, [N].

    `features` stands in for the data set's, as in `model_logits`.
    """
    return best_spans(ask_together([network], data, rows, device=device, features=features), rows)


def ask_together(
    networks: Sequence[Network],
    data: DataSet,
    rows: Rows,
    *,
    device: str,
    features: Features | None = None,
) -> npt.NDArray[np.float32]:
    """Return the logits of every row, [N, 2, T]; of several networks those of their mean."""
    num_rows, clips_N = len(rows.ids), rows.clips.astype(np.int64)
    logits = [
        model_logits(network, data, rows, 0, num_rows, device=device, features=features)
        for network in networks
    ]
    return logits[0] if len(logits) == 1 else average_logits(logits, clips_N)


def best_spans(
    logits_NBT: npt.NDArray[np.float32], rows: Rows
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the best span of each row in seconds, [N, 2], and its probability, [N]."""
    spans, chances = [np.empty((0, 2))], [np.empty(0)]
    for lo in range(0, len(rows.ids), DECODED_AT_ONCE):
        some = slice(lo, lo + DECODED_AT_ONCE)
        clips_N = rows.clips[some].astype(np.int64)
        clip_N2, chance_N = decode(logits_NBT[some], clips_N)
        spans.append(clip_seconds(clip_N2, rows.durations_s[some], clips_N))
        chances.append(chance_N)
    return np.concatenate(spans), np.concatenate(chances)


def average_logits(
    logits: Sequence[npt.NDArray[np.float32]], clips_N: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Return the logarithm of the mean of the probabilities of logits [N, 2, T], 0 on padding."""
    mask_NT = length_mask(torch.from_numpy(clips_N), logits[0].shape[-1])
    log_p = torch.stack([masked_log_softmax(torch.from_numpy(one), mask_NT) for one in logits])
    mean_NBT = log_p.logsumexp(dim=0) - math.log(len(logits))
    averaged: npt.NDArray[np.float32] = mean_NBT.masked_fill(~mask_NT[:, None], 0.0).numpy()
    return averaged


def decode(
    logits_NBT: npt.NDArray[np.float32], clips_N: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the most probable span of each row as inclusive clips, [N, 2], and its probability."""
    mask_NT = length_mask(torch.from_numpy(clips_N), logits_NBT.shape[-1])
    log_p_NBT = masked_log_softmax(torch.from_numpy(logits_NBT), mask_NT)
    clip_N2 = decode_spans(log_p_NBT, mask_NT)
    chosen_NB = log_p_NBT.gather(2, clip_N2[..., None])[..., 0]
    return clip_N2.numpy(), chosen_NB.double().sum(dim=1).exp().numpy()


def clip_seconds(
    clip_N2: npt.NDArray[np.int64],
    durations_s: npt.NDArray[np.float64],
    clips_N: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """Return spans of inclusive clips as spans of seconds, [N, 2]."""
    return np.stack(span_seconds(clip_N2[:, 0], clip_N2[:, 1], durations_s, clips_N), axis=1)


def score_pairs(spans_N2: npt.NDArray[np.float64], pairs: Sequence[Pair]) -> dict[str, float]:
    """Return the scores of spans in seconds against pairs, timestamps as written, in percent."""
    windows = [pair.windows for pair in pairs]
    durations_s = np.array([pair.duration_s for pair in pairs])
    return scores(spans_N2, windows, durations_s)
