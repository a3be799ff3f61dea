"""Floors: what a split's scores are worth, from predictors that never look at a video.

A fixed span is a pair of fractions of the duration, the same for every video.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stores.pairs import Pair
from student.metrics import is_hit, scores, stack_windows, temporal_iou

STEPS = 50  # starts and ends of fitted spans are multiples of 1/50 of the duration
WHOLE = "whole video"
BY_MIOU = "fixed span (mIoU)"
BY_R1 = "fixed span (R1@0.5)"

Span = tuple[float, float]


def floors(
    train: Sequence[Pair] | None, test: Sequence[Pair], *, convention: str = "hull"
) -> dict[str, dict[str, Any]]:
    """Return the scores of each floor on the test pairs; fitted ones, with their span, need train."""
    fitted = fit_spans(train, convention=convention) if train else {}
    return floors_of(fitted, test, convention=convention)


def floors_of(
    fitted: dict[str, Span], test: Sequence[Pair], *, convention: str = "hull"
) -> dict[str, dict[str, Any]]:
    """Return the scores of the whole video and of fitted spans on the test pairs, as written."""
    windows = [pair.windows for pair in test]
    durations_s = np.array([pair.duration_s for pair in test])

    def score(span: Span) -> dict[str, Any]:
        return scores(np.outer(durations_s, span), windows, durations_s, convention=convention)

    found = {WHOLE: score((0.0, 1.0))}
    return found | {name: {**score(span), "span": list(span)} for name, span in fitted.items()}


def fit_spans(train: Sequence[Pair], *, convention: str = "hull") -> dict[str, Span]:
    """Return the spans that score best on train by mIoU and by R1@0.5.

    All spans between multiples of 1/50 are tried, by start and then by end; ties go to the first.
    """
    gt_NW2 = stack_windows([pair.windows for pair in train])
    durations_s = np.array([pair.duration_s for pair in train])
    spans = [(a / STEPS, b / STEPS) for a in range(STEPS) for b in range(a + 1, STEPS + 1)]
    means, hits = np.empty(len(spans)), np.empty(len(spans))
    for index, span in enumerate(spans):
        iou_N = _best_iou(np.outer(durations_s, span), gt_NW2, convention)
        means[index] = iou_N.mean()
        hits[index] = np.count_nonzero(is_hit(iou_N, 0.5, convention=convention))
    # rounding: a mean that differs by rounding alone is a tie, and argmax takes the first
    return {BY_MIOU: spans[means.round(12).argmax()], BY_R1: spans[hits.argmax()]}


def _best_iou(
    pred_N2: npt.NDArray[np.float64], gt_NW2: npt.NDArray[np.float64], convention: str
) -> npt.NDArray[np.float64]:
    best: npt.NDArray[np.float64] = temporal_iou(
        pred_N2[:, None], gt_NW2, convention=convention
    ).max(axis=1)
    return best
