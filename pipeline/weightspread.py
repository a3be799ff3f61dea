"""How far the weights of equations 3 and 4 lie from equal shares: whether weighing has anything to weigh.

Shapes: N rows of a cache, K teachers, B = 2 boundaries (start, end).
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from stores.arraynames import array_name
from stores.cache import Cache
from stores.weights import Weights

LEAST, MOST = 0.05, 0.95  # of the values of a spread nine in ten lie between these quantiles


def weight_spreads(cache: Cache, weights: Weights) -> dict[str, dict[str, float]]:
    """Return mean, 5th and 95th percentile of each teacher's weight w = CE / sum of CE, by split.

    Over pairs and both boundaries; over moved views, all of them together, if there are any. A cache
    of one teacher has nothing to weigh, and no spread. Raises RefkdError if a file is damaged.
    """
    if len(cache.teachers) < 2:
        return {}
    split_N = np.array(cache.splits)
    found: dict[str, dict[str, Any]] = {}
    for said, views in (("", [0]), (", views", range(1, cache.num_views + 1))):
        shares = [_shares(cache, weights, view) for view in views]
        if not shares:
            continue
        for split in dict.fromkeys(cache.splits):
            share_KNB = np.concatenate([one[:, split_N == split] for one in shares], axis=1)
            for name, share_NB in zip(cache.teachers, share_KNB, strict=True):
                found[f"{split}, {name}{said}"] = _spread(share_NB)
    return found


def _shares(cache: Cache, weights: Weights, view: int) -> npt.NDArray[np.float64]:
    """Return w of each teacher, [K, N, B]."""
    arrays = [weights.ce[array_name(name, view)] for name in cache.teachers]
    ce_KNB = np.stack(arrays).astype(np.float64)
    shares: npt.NDArray[np.float64] = ce_KNB / ce_KNB.sum(axis=0)
    return shares


def _spread(share_NB: npt.NDArray[np.float64]) -> dict[str, float]:
    low, high = np.quantile(share_NB, (LEAST, MOST))
    return {"mean": float(share_NB.mean()), "5 %": float(low), "95 %": float(high)}
