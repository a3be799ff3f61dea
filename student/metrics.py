"""Scores of predicted windows against annotated ones, in seconds and as written.

Shapes: N pairs, W windows of the pair with the most. A window is (start_s, end_s); it is never
clipped, swapped or refused, and one that is reversed or empty overlaps nothing.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Windows = tuple[tuple[float, float], ...]

CONVENTIONS = ("hull", "shuffle")
THRESHOLDS = (0.3, 0.5, 0.7)
MEASURES = ("R1@0.3", "R1@0.5", "R1@0.7", "mIoU", "dR1@0.3", "dR1@0.5", "dR1@0.7")


def temporal_iou(pred: npt.ArrayLike, gt: npt.ArrayLike, *, convention: str = "hull") -> Floats:
    """Return the IoU of windows [..., 2] and [..., 2], shape [...].

    The union is the hull, max(ends) - min(starts), and 0/0 is 0; `shuffle` adds 1e-4 to it.

    >>> temporal_iou([[2, 6], [6, 2], [1, 1]], [[4, 8], [4, 8], [1, 1]]).tolist()
    [0.3333333333333333, 0.0, 0.0]
    """
    assert convention in CONVENTIONS, convention
    pred, gt = np.asarray(pred, np.float64), np.asarray(gt, np.float64)
    shared = np.minimum(pred[..., 1], gt[..., 1]) - np.maximum(pred[..., 0], gt[..., 0])
    hull = np.maximum(pred[..., 1], gt[..., 1]) - np.minimum(pred[..., 0], gt[..., 0])
    union = hull + (1e-4 if convention == "shuffle" else 0.0)
    iou: Floats = np.divide(shared, union, out=np.zeros_like(union), where=shared > 0)
    return iou


def is_hit(iou: Floats, threshold: float, *, convention: str) -> npt.NDArray[np.bool_]:
    """Return whether an IoU counts: at least the threshold, or for `shuffle` above it."""
    return iou > threshold if convention == "shuffle" else iou >= threshold


def scores(
    pred: npt.ArrayLike,
    windows: Sequence[Windows],
    durations_s: npt.ArrayLike,
    *,
    convention: str = "hull",
) -> dict[str, float]:
    """Return the number of pairs and the measures in percent, for one predicted window per pair.

    Of several annotated windows the one that overlaps best counts, the first among equals.
    dR1@m discounts each hit by 1 - the distance of either boundary from the annotated one, in
    durations of the video (at most 1): Yuan et al. 2021.
    """
    pred_N2, duration_N = np.asarray(pred, np.float64), np.asarray(durations_s, np.float64)
    assert len(pred_N2) == len(duration_N) > 0
    iou_N, gt_N2 = _best(pred_N2, windows, convention=convention)
    near_N2 = 1 - np.minimum(abs(pred_N2 - gt_N2) / duration_N[:, None], 1)
    discount_N = near_N2.prod(axis=1)
    hits = {m: is_hit(iou_N, m, convention=convention) for m in THRESHOLDS}
    return {
        "pairs": len(pred_N2),
        **{f"R1@{m}": 100 * float(hit.mean()) for m, hit in hits.items()},
        "mIoU": 100 * _mean(iou_N),
        **{f"dR1@{m}": 100 * _mean(hit * discount_N) for m, hit in hits.items()},
    }


def pair_ious(pred: npt.ArrayLike, windows: Sequence[Windows]) -> Floats:
    """Return the IoU of each pair's predicted window with its best-overlapping one, [N]."""
    iou_N, _ = _best(np.asarray(pred, np.float64), windows, convention="hull")
    return iou_N


def _best(pred_N2: Floats, windows: Sequence[Windows], *, convention: str) -> tuple[Floats, Floats]:
    """Return the best IoU of each pair, [N], and the annotated window that it is with, [N, 2]."""
    gt_NW2 = stack_windows(windows)
    assert len(pred_N2) == len(gt_NW2)
    iou_NW = temporal_iou(pred_N2[:, None], gt_NW2, convention=convention)
    pair_N, best_N = np.arange(len(pred_N2)), iou_NW.argmax(axis=1)
    return iou_NW[pair_N, best_N], gt_NW2[pair_N, best_N]


def stack_windows(windows: Sequence[Windows]) -> Floats:
    """Return windows as one array [N, W, 2]; a pair with fewer repeats its first."""
    widest = max((len(own) for own in windows), default=1)
    rows = [[*own, *[own[0]] * (widest - len(own))] for own in windows]
    return np.array(rows, dtype=np.float64).reshape(-1, widest, 2)


def _mean(values: Floats) -> float:
    """Return a mean that is the same bits in whichever order the pairs come."""
    return math.fsum(values) / len(values)
