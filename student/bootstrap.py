"""The paired bootstrap: how sure a mean difference between two methods is, over the same pairs.

Shapes: N pairs, R resamples, K comparisons.
"""

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
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> Interval:
    """Return the mean of differences, one for each pair, and its bootstrap interval.

    Pairs are drawn anew with replacement, as many as there are; the interval holds the middle
    `level` of the resampled means (Efron and Tibshirani 1993, chapter 13).
    """
    difference_N = np.asarray(differences_N, np.float64)
    assert difference_N.ndim == 1, "one difference for each pair"
    assert len(difference_N) > 0, "no pairs"
    num_pairs, random = len(difference_N), generator(seed, "bootstrap")
    block = max(1, MOST_DRAWS // num_pairs)
    means_R = np.empty(resamples)
    for lo in range(0, resamples, block):
        hi = min(lo + block, resamples)
        drawn = random.integers(num_pairs, size=(hi - lo, num_pairs))
        means_R[lo:hi] = difference_N[drawn].mean(axis=1)
    low, high = np.quantile(means_R, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(difference_N.mean()), float(low), float(high))


def paired_intervals(differences_KN: npt.ArrayLike, *, seed: int = 0) -> list[Interval]:
    """Return what `paired_interval` says of each of several comparisons, up to rounding.

    All share their resamples, so that many comparisons on the same pairs cost little more than one.
    """
    difference_KN = np.asarray(differences_KN, np.float64)
    assert difference_KN.ndim == 2, "one row of differences for each comparison"
    num_pairs = difference_KN.shape[1]
    means_RK = np.empty((RESAMPLES, len(difference_KN)))
    counts_RN = _drawn(num_pairs, seed)
    for lo in range(0, RESAMPLES, block := max(1, MOST_DRAWS // num_pairs)):
        counts = counts_RN[lo : lo + block].astype(np.float64)
        means_RK[lo : lo + block] = counts @ difference_KN.T / num_pairs
    ends_2K = np.quantile(means_RK, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    means_K = difference_KN.mean(axis=1)
    return [Interval(*map(float, one)) for one in zip(means_K, *ends_2K, strict=True)]


@lru_cache(maxsize=4)
def _drawn(num_pairs: int, seed: int) -> npt.NDArray[np.uint8]:
    """Return how often each pair is drawn in each resample of `paired_interval`, [R, N]."""
    random, block = generator(seed, "bootstrap"), max(1, MOST_DRAWS // num_pairs)
    counts_RN = np.empty((RESAMPLES, num_pairs), np.uint8)  # 256 times one of N is out of reach
    for lo in range(0, RESAMPLES, block):
        hi = min(lo + block, RESAMPLES)
        drawn = random.integers(num_pairs, size=(hi - lo, num_pairs))
        flat = (drawn + num_pairs * np.arange(hi - lo)[:, None]).ravel()
        counts_RN[lo:hi] = np.bincount(flat, minlength=(hi - lo) * num_pairs).reshape(hi - lo, -1)
    return counts_RN
