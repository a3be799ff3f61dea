"""Measure how alike the two teachers of a cache answer the training pairs, and write it beside results.

    python agree.py [--crossed] FILE NAME CACHE...

FILE gets, under NAME, an entry for each CACHE, which has been weighed; entries of other names stay. Moved
views, if the caches hold any, are measured by themselves, all views together. Teachers of one cache may
share a seed, and so first weights and batches: --crossed also compares the first teacher of each cache
with the second of the next one.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cli.places import PATH
from stores.arraynames import array_name
from stores.cache import Cache, open_cache
from stores.files import read_json, write_atomic
from stores.weights import open_weights
from student.introspection import introspective_weights
from student.observations import spread
from student.spans import decode_spans, span_iou_clips


def agreement(span_NK2: Tensor, ce_NKB: Tensor, gt_N2: Tensor) -> dict[str, Any]:
    """Return how right K = 2 teachers are, and how alike; spans [N, 2, 2] in clips, B = 2 boundaries.

    mIoU of each with the moments and of one with the other, in percent; the rank correlation of their
    cross-entropies; mean, 5th and 95th percentile of the first one's weight by eq. 4.
    """
    first_NB = introspective_weights(ce_NKB, granularity="sample", hard=False)[:, 0]
    told = spread(first_NB.numpy().ravel())
    low, *_, high = told["quantiles"]
    return {
        "mIoU": [_percent(span_iou_clips(span_NK2[:, k], gt_N2)) for k in (0, 1)],
        "alike": _percent(span_iou_clips(span_NK2[:, 0], span_NK2[:, 1])),
        "correlation": round(rank_correlation(*ce_NKB.transpose(0, 1).flatten(1).numpy()), 3),
        "weight": [round(float(value), 3) for value in (told["mean"], low, high)],
    }


def rank_correlation(one_N: npt.ArrayLike, two_N: npt.ArrayLike) -> float:
    """Return Spearman's correlation; values that tie are ranked in their order.

    >>> round(rank_correlation([1.0, 2.0, 30.0], [5.0, 6.0, 70.0]), 6)
    1.0
    """
    one, two = (np.argsort(np.argsort(values, kind="stable")) for values in (one_N, two_N))
    return float(np.corrcoef(one, two)[0, 1])


class Answers(NamedTuple):
    """What the teachers of a cache say of its pairs, or of all their views."""

    span_NK2: Tensor
    ce_NKB: Tensor
    gt_N2: Tensor


def of_cache(folder: Path) -> dict[str, Any]:
    """Return the agreement of a cache's teachers on its pairs and on their moved views, if it has any.

    Raises RefkdError if the cache or its weights are damaged, or it has not been weighed.
    """
    cache = open_cache(folder)
    assert len(cache.teachers) == 2, f"{folder} has {len(cache.teachers)} teachers, not two"
    told: dict[str, Any] = {"cache": cache.key, "teachers": cache.teachers}
    told["pairs"] = agreement(*_answers(cache, [0]))
    if cache.num_views:
        told["moved"] = agreement(*_answers(cache, range(1, cache.num_views + 1)))
    return told


def crossed(one: Path, two: Path) -> dict[str, Any]:
    """Return the agreement of the first teacher of one cache with the second of another, on their pairs."""
    caches = [open_cache(folder) for folder in (one, two)]
    assert caches[0].ids == caches[1].ids, f"{one} and {two} are of other data"
    first, second = (_answers(cache, [0]) for cache in caches)
    spans = torch.stack([first.span_NK2[:, 0], second.span_NK2[:, 1]], dim=1)
    ces = torch.stack([first.ce_NKB[:, 0], second.ce_NKB[:, 1]], dim=1)
    return agreement(spans, ces, first.gt_N2)


def _answers(cache: Cache, views: Sequence[int]) -> Answers:
    weights = open_weights(cache)
    mask_NT = torch.arange(cache.num_clips) < torch.from_numpy(cache.clips.astype(int))[:, None]
    spans, ces, gts = [], [], []
    for view in views:
        arrays = [array_name(teacher, view) for teacher in cache.teachers]
        logits = [torch.from_numpy(cache.logits(array)).float() for array in arrays]
        spans.append(torch.stack([decode_spans(own, mask_NT) for own in logits], dim=1))
        ces.append(torch.stack([torch.from_numpy(weights.ce[array]) for array in arrays], dim=1))
        gts.append(torch.from_numpy(cache.view_gt(view).astype(int)))
    return Answers(torch.cat(spans), torch.cat(ces), torch.cat(gts))


def _percent(iou_N: Tensor) -> float:
    return round(100 * float(iou_N.mean()), 2)


@click.command()
@click.option("--crossed", "also_crossed", is_flag=True)
@click.argument("file", type=PATH)
@click.argument("name")
@click.argument("caches", type=PATH, nargs=-1, required=True)
def main(also_crossed: bool, file: Path, name: str, caches: tuple[Path, ...]) -> None:
    """Write the agreement in some caches under a name."""
    kept = read_json(file, repair="restore it from git") if file.exists() else {}
    entries = [of_cache(cache) for cache in caches]
    if also_crossed and len(caches) > 1:
        for entry, one, two in zip(entries, caches, [*caches[1:], caches[0]], strict=True):
            entry["crossed"] = crossed(one, two)
    lines = [
        f"{json.dumps(k)}: {json.dumps(v)}" for k, v in sorted({**kept, name: entries}.items())
    ]
    write_atomic(file, ("{" + ",\n ".join(lines) + "}\n").encode())


if __name__ == "__main__":
    main()
