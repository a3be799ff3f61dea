"""The paired bootstrap against distributions that can be written down."""

import math

import numpy as np
import pytest

from student.bootstrap import MOST_DRAWS, paired_interval, paired_intervals


def test_equal_differences_leave_no_doubt():
    """Where every pair differs by as much, so does every resample."""
    assert paired_interval([0.25] * 7) == (0.25, 0.25, 0.25)


def test_one_group_has_no_interval():
    """What can only be drawn again and again says nothing of others."""
    assert paired_interval([-0.5]) is None
    assert paired_interval([-0.5, 0.5], groups=["a", "a"]) is None
    assert paired_intervals([[-0.5, 0.5], [1.0, 1.0]], groups=["a", "a"]) == [None, None]


@pytest.mark.parametrize(
    ("level", "low", "high"), [(0.95, 0.0, 1.0), (0.6, 0.0, 1.0), (0.4, 0.5, 0.5)]
)
def test_two_pairs_by_hand(level, low, high):
    """Of 0 and 1 the mean is 0, 1/2 or 1 with chances 1/4, 1/2, 1/4: quantiles follow."""
    assert paired_interval([0.0, 1.0], level=level) == (0.5, low, high)


def test_three_pairs_by_hand():
    """Of 0, 0 and 1 the mean is 1 with chance 1/27, so 95% reaches it and 90% ends at 2/3."""
    assert paired_interval([0.0, 0.0, 1.0]) == (1 / 3, 0.0, 1.0)

    assert paired_interval([0.0, 0.0, 1.0], level=0.9) == pytest.approx((1 / 3, 0.0, 2 / 3))


def test_many_pairs_are_normal():
    """Of many pairs the ends lie 1.96 standard errors from the mean, up to the noise of resampling."""
    differences = np.random.default_rng(5).normal(0.02, 0.3, 3000)
    mean, low, high = paired_interval(differences)
    error = differences.std() / math.sqrt(3000)

    assert mean == differences.mean()
    # a 2.5% quantile of 10,000 normal draws is off by about 0.027 standard errors
    assert (low - mean) / error == pytest.approx(-1.96, abs=0.12)
    assert (high - mean) / error == pytest.approx(1.96, abs=0.12)


def test_pairing_takes_out_what_pairs_share():
    """Two methods that differ by 0.01 on pairs of very different difficulty are told apart."""
    rng = np.random.default_rng(1)
    difficulty = rng.uniform(0, 1, 400)
    gain = 0.01 + rng.normal(0, 0.02, 400)
    paired = paired_interval(difficulty + gain - difficulty)
    alone = paired_interval(difficulty)

    assert paired.low > 0
    assert alone.high - alone.low > 10 * (paired.high - paired.low)


def test_a_seed_is_an_answer():
    """The same seed gives the same bits; another one the same to within resampling noise."""
    differences = np.random.default_rng(2).normal(size=50)

    assert paired_interval(differences) == paired_interval(differences.tolist())
    other = paired_interval(differences, seed=1)
    assert other != paired_interval(differences)
    assert other == pytest.approx(paired_interval(differences), abs=0.02)


def test_more_pairs_than_fit_in_memory_at_once():
    """Resamples are drawn in blocks; a block of one resample of many pairs works as well."""
    mean, low, high = paired_interval(np.arange(MOST_DRAWS + 1) % 2, resamples=2)

    assert mean == pytest.approx(0.5, abs=1e-6)
    assert low == pytest.approx(0.5, abs=0.002)
    assert low <= high


def test_many_comparisons_at_once():
    """Each interval is the one that the comparison has alone: the resamples are the same."""
    differences = np.random.default_rng(3).normal(0.1, 0.5, (4, 700))
    together = paired_intervals(differences)

    for one, alone in zip(together, map(paired_interval, differences), strict=True):
        assert one == pytest.approx(alone, abs=1e-12)
    assert paired_intervals(differences[:1])[0] == pytest.approx(together[0], abs=1e-12)


def test_two_groups_by_hand():
    """Of a group with 0, 0, 0 and one with 4 the mean is 0, 1 or 4 with chances 1/4, 1/2, 1/4."""
    grouped = {"groups": ["a", "b", "a", "a"], "seed": 0}
    differences = [0.0, 4.0, 0.0, 0.0]

    assert paired_interval(differences, **grouped) == (1.0, 0.0, 4.0)
    assert paired_interval(differences, **grouped, level=0.4) == (1.0, 1.0, 1.0)
    assert paired_intervals([differences], **grouped)[0] == (1.0, 0.0, 4.0)


def test_pairs_that_repeat_their_group_say_nothing_new():
    """Ten pairs a group that are all alike leave the interval of one pair a group."""
    values = np.random.default_rng(4).normal(0.1, 0.5, 30)
    repeated, groups = np.repeat(values, 10), np.repeat(np.arange(30), 10).tolist()
    once, grouped = paired_interval(values), paired_interval(repeated, groups=groups)

    assert grouped == pytest.approx(once, abs=1e-12)
    alone = paired_interval(repeated)
    assert grouped.high - grouped.low > 3 * (alone.high - alone.low)  # root 10


def test_groups_of_one_are_no_groups():
    """Whatever they are called, and for many comparisons as for one."""
    differences = np.random.default_rng(6).normal(0.1, 0.5, (3, 40))
    names = [f"video {9 * n % 40}" for n in range(40)]

    assert paired_interval(differences[0], groups=names) == paired_interval(differences[0])
    uneven = [name[-1] for name in names]
    together = paired_intervals(differences, groups=uneven)
    for one, own in zip(together, differences, strict=True):
        assert one == pytest.approx(paired_interval(own, groups=uneven), abs=1e-12)
