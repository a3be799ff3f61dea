"""The paired bootstrap: how sure a mean difference between two methods is, over the same pairs.

Shapes: N pairs, R resamples.
"""

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
