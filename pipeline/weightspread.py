"""How far the weights of equations 3 and 4 lie from equal shares: whether weighing has anything to weigh.

Shapes: N rows of a cache, K teachers, V views, B = 2 boundaries (start, end).
"""

import numpy as np
import torch

from stores.arraynames import array_name
from stores.cache import Cache
from stores.weights import Weights
from student.introspection import introspective_weights
from student.observations import spread


def weight_spreads(cache: Cache, weights: Weights) -> dict[str, dict[str, float]]:
    """Return mean, 5th and 95th percentile of each teacher's weight w = CE / sum of CE, by split.

    Over pairs and both boundaries; over moved views, all of them together, if there are any. A cache
    of one teacher has nothing to weigh, and no spread. Raises RefkdError if a file is damaged.
    """
    if len(cache.teachers) < 2:
        return {}
    split_N = np.array(cache.splits)
    found: dict[str, dict[str, float]] = {}
    for said, views in (("", [0]), (", views", range(1, cache.num_views + 1))):
        if not views:
            continue
        weight_VNKB = torch.stack([_weights(cache, weights, view) for view in views]).numpy()
        for split in dict.fromkeys(cache.splits):
            for k, name in enumerate(cache.teachers):
                told = spread(weight_VNKB[:, split_N == split, k].ravel())
                low, *_, high = told["quantiles"]  # the 5th and the 95th percentile
                found[f"{split}, {name}{said}"] = {"mean": told["mean"], "5 %": low, "95 %": high}
    return found


def _weights(cache: Cache, weights: Weights, view: int) -> torch.Tensor:
    """Return w of each teacher, [N, K, B]."""
    arrays = [weights.ce[array_name(name, view)] for name in cache.teachers]
    ce_NKB = torch.from_numpy(np.stack(arrays, axis=1))
    return introspective_weights(ce_NKB, granularity="sample", hard=False)
