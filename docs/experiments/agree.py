"""Measure how alike the two teachers of a cache answer the training pairs, and write it beside results.

    python agree.py FILE NAME CACHE...

FILE gets, under NAME, an entry for each CACHE, which has been weighed; entries of other names stay. Moved
views, if the caches hold any, are measured by themselves, all views together.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stores.arraynames import array_name
from stores.cache import Cache, open_cache
from stores.files import read_json, write_atomic
from stores.weights import Weights, open_weights
from student.introspection import introspective_weights
from student.spans import decode_spans, span_iou_clips

QUANTILES = (0.05, 0.95)


def agreement(span_NK2: Tensor, ce_NKB: Tensor, gt_N2: Tensor) -> dict[str, Any]:
    """Return how right K = 2 teachers are, and how alike; spans [N, 2, 2] in clips, B = 2 boundaries.

    mIoU of each with the moments and of one with the other, in percent; the rank correlation of their
    cross-entropies; mean, 5th and 95th percentile of the first one's weight by eq. 5.
    """
    first_NB = introspective_weights(ce_NKB, granularity="sample", hard=False)[:, 0]
    low, high = np.quantile(first_NB.numpy(), QUANTILES)
    return {
        "mIoU": [_percent(span_iou_clips(span_NK2[:, k], gt_N2)) for k in (0, 1)],
        "alike": _percent(span_iou_clips(span_NK2[:, 0], span_NK2[:, 1])),
        "correlation": round(rank_correlation(*ce_NKB.transpose(0, 1).flatten(1).numpy()), 3),
        "weight": [round(float(value), 3) for value in (first_NB.mean(), low, high)],
    }


def rank_correlation(one_N: npt.ArrayLike, two_N: npt.ArrayLike) -> float:
    """Return Spearman's correlation; values that tie are ranked in their order.

    >>> round(rank_correlation([1.0, 2.0, 30.0], [5.0, 6.0, 70.0]), 6)
    1.0
    """
    one, two = (np.argsort(np.argsort(values, kind="stable")) for values in (one_N, two_N))
    return float(np.corrcoef(one, two)[0, 1])


def of_cache(folder: Path) -> dict[str, Any]:
    """Return the agreement of a cache's teachers on its pairs and on their moved views, if it has any.

    Raises RefkdError if the cache or its weights are damaged, or it has not been weighed.
    """
    cache = open_cache(folder)
    weights = open_weights(cache)
    assert len(cache.teachers) == 2, f"{folder} has {len(cache.teachers)} teachers, not two"
    views = range(1, cache.num_views + 1)
    told = {"cache": cache.key, "teachers": cache.teachers, "pairs": _of_views(cache, weights, [0])}
    return {**told, "moved": _of_views(cache, weights, views)} if views else told


def _of_views(cache: Cache, weights: Weights, views: range | list[int]) -> dict[str, Any]:
    mask_NT = torch.arange(cache.num_clips) < torch.from_numpy(cache.clips.astype(int))[:, None]
    spans, ces, gts = [], [], []
    for view in views:
        arrays = [array_name(teacher, view) for teacher in cache.teachers]
        logits = [torch.from_numpy(cache.logits(array)).float() for array in arrays]
        spans.append(torch.stack([decode_spans(own, mask_NT) for own in logits], dim=1))
        ces.append(torch.stack([torch.from_numpy(weights.ce[array]) for array in arrays], dim=1))
        gts.append(torch.from_numpy(cache.view_gt(view).astype(int)))
    return agreement(torch.cat(spans), torch.cat(ces), torch.cat(gts))


def _percent(iou_N: Tensor) -> float:
    return round(100 * float(iou_N.mean()), 2)


def main(file: Path, name: str, *caches: str) -> None:
    """Write the agreement in some caches under a name."""
    kept = read_json(file, repair="restore it from git") if file.exists() else {}
    kept[name] = [of_cache(Path(cache)) for cache in caches]
    lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(kept.items())]
    write_atomic(file, ("{" + ",\n ".join(lines) + "}\n").encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
