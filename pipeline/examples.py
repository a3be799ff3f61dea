"""Example queries for the report: what each model answered, and how sure it was of each clip.

Shapes: N rows of the split, B = 2 boundaries, T clips of the one video.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stores.dataset import DataSet
from stores.pairs import Pair
from student.forward import model_logits
from student.metrics import temporal_iou
from student.network import Network
from student.retrieval import clip_seconds, decode, retrieve

QUANTILES = (0.75, 0.5, 0.25)  # of the student's IoU: neither the best nor hand-picked


@dataclass(frozen=True)
class Answer:
    """A model's span in seconds, its IoU with the ground truth, and its probabilities [B, T]."""

    span_s: tuple[float, float]
    iou: float
    chances_BT: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Example:
    """A pair and the answer of each model to it."""

    pair: Pair
    answers: dict[str, Answer]


def choose(network: Network, data: DataSet, split: str, *, device: str) -> list[int]:
    """Return the rows of a split that stand at the quartiles of a model's IoU, the best first."""
    spans_N2, _ = retrieve(network, data, data.rows(split), device=device)
    ious = [_iou(span_s, pair) for span_s, pair in zip(spans_N2, data.pairs[split], strict=True)]
    order = np.argsort(ious, kind="stable")
    places = [round(quantile * (len(order) - 1)) for quantile in QUANTILES]
    return list(dict.fromkeys(int(order[place]) for place in places))


def ask(
    networks: Mapping[str, Network],
    data: DataSet,
    split: str,
    chosen: Sequence[int],
    *,
    device: str,
) -> list[Example]:
    """Return the chosen rows of a split with every model's answer."""
    pairs, rows = data.pairs[split], data.rows(split).take(chosen)
    clips_N = rows.clips.astype(np.int64)
    answers: list[dict[str, Answer]] = [{} for _ in chosen]
    for name, network in networks.items():
        logits_NBT = model_logits(network, data, rows, 0, len(chosen), device=device)
        spans_N2 = clip_seconds(decode(logits_NBT, clips_N)[0], rows.durations_s, clips_N)
        for n, row in enumerate(chosen):
            answers[n][name] = Answer(
                span_s=(float(spans_N2[n, 0]), float(spans_N2[n, 1])),
                iou=_iou(spans_N2[n], pairs[row]),
                chances_BT=_softmax(logits_NBT[n, :, : clips_N[n]]),
            )
    return [Example(pairs[row], found) for row, found in zip(chosen, answers, strict=True)]


def _iou(span_s: npt.NDArray[np.float64], pair: Pair) -> float:
    """Return a span's IoU with the window of the pair that it overlaps best."""
    windows = np.array(pair.windows, dtype=np.float64)
    return float(temporal_iou(np.broadcast_to(span_s, windows.shape), windows).max())


def _softmax(logits_BT: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    lifted_BT = np.exp(logits_BT.astype(np.float64) - logits_BT.max(axis=1, keepdims=True))
    chances_BT: npt.NDArray[np.float64] = lifted_BT / lifted_BT.sum(axis=1, keepdims=True)
    return chances_BT
