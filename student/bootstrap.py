"""The paired bootstrap: how sure a mean difference between two methods is, over the same pairs.

Pairs of one group (a video, or all that was cut from one) are not independent: groups are drawn
with replacement, whole, and the mean is over the pairs of those drawn.

Shapes: N pairs, G groups, R resamples, K comparisons.
"""

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stores.seeds import generator

RESAMPLES = 10_000
LEVEL = 0.95
MOST_DRAWS = 2**22  # held in memory at once


class Interval(NamedTuple):
    """A mean and the ends of its percentile interval."""

    mean: float
    low: float
    high: float


def paired_interval(
    differences_N: npt.ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval | None:
    """Return the mean of differences, one for each pair, and its bootstrap interval.

    None for a single group: nothing is known of how other groups would differ.

    `groups` says to which group each pair belongs; without it each is one of its own. Groups are
    drawn anew with replacement, as many as there are; the interval holds the middle `level` of the
    resampled means (Efron and Tibshirani 1993, chapter 13).
    """
    difference_N = np.asarray(differences_N, np.float64)
    assert difference_N.ndim == 1, "one difference for each pair"
    group_N = _numbered(groups, len(difference_N))
    sum_G, size_G = np.bincount(group_N, difference_N), np.bincount(group_N)
    num_groups, random = len(size_G), generator(seed, "bootstrap")
    if num_groups == 1:
        return None
    block = max(1, MOST_DRAWS // num_groups)
    means_R = np.empty(resamples)
    for lo in range(0, resamples, block):
        hi = min(lo + block, resamples)
        drawn = random.integers(num_groups, size=(hi - lo, num_groups))
        means_R[lo:hi] = sum_G[drawn].sum(axis=1) / size_G[drawn].sum(axis=1)
    low, high = np.quantile(means_R, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(difference_N.mean()), float(low), float(high))


def paired_intervals(
    differences_KN: npt.ArrayLike, *, groups: Sequence[Hashable] | None = None, seed: int = 0
) -> list[Interval | None]:
    """Return what `paired_interval` says of each of several comparisons, up to rounding.

    All share their resamples, so that many comparisons on the same pairs cost little more than one.
    """
    difference_KN = np.asarray(differences_KN, np.float64)
    assert difference_KN.ndim == 2, "one row of differences for each comparison"
    group_N = _numbered(groups, difference_KN.shape[1])
    size_G = np.bincount(group_N).astype(np.float64)
    if len(size_G) == 1:
        return [None] * len(difference_KN)
    sum_GK = np.stack([np.bincount(group_N, own_N) for own_N in difference_KN], axis=1)
    means_RK = np.empty((RESAMPLES, len(difference_KN)))
    counts_RG = _drawn(len(size_G), seed)
    for lo in range(0, RESAMPLES, block := max(1, MOST_DRAWS // len(size_G))):
        counts = counts_RG[lo : lo + block].astype(np.float64)
        means_RK[lo : lo + block] = counts @ sum_GK / (counts @ size_G)[:, None]
    ends_2K = np.quantile(means_RK, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    means_K = difference_KN.mean(axis=1)
    return [Interval(*map(float, one)) for one in zip(means_K, *ends_2K, strict=True)]


def _numbered(groups: Sequence[Hashable] | None, num_pairs: int) -> npt.NDArray[np.intp]:
    """Return the number of each pair's group, counted in the order in which they first come."""
    assert num_pairs > 0, "no pairs"
    if groups is None:
        return np.arange(num_pairs)
    assert len(groups) == num_pairs, "one group for each pair"
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    return np.array([numbers[group] for group in groups], np.intp)


@lru_cache(maxsize=4)
def _drawn(num_groups: int, seed: int) -> npt.NDArray[np.uint8]:
    """Return how often each group is drawn in each resample of `paired_interval`, [R, G]."""
    random, block = generator(seed, "bootstrap"), max(1, MOST_DRAWS // num_groups)
    counts_RG = np.empty((RESAMPLES, num_groups), np.uint8)  # 256 times one of G is out of reach
    for lo in range(0, RESAMPLES, block):
        hi = min(lo + block, RESAMPLES)
        drawn = random.integers(num_groups, size=(hi - lo, num_groups))
        flat = (drawn + num_groups * np.arange(hi - lo)[:, None]).ravel()
        counts = np.bincount(flat, minlength=(hi - lo) * num_groups)
        counts_RG[lo:hi] = counts.reshape(hi - lo, -1)
    return counts_RG
