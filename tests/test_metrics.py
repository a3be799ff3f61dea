"""Scores against hand-worked cases and a plain loop."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from student.metrics import (
    CONVENTIONS,
    MEASURES,
    is_hit,
    pair_ious,
    scores,
    stack_windows,
    temporal_iou,
)

SECONDS = st.floats(-5, 50, allow_nan=False).map(lambda x: round(x, 1))
WINDOW = st.tuples(SECONDS, SECONDS)  # some are reversed
PAIRS = st.lists(
    st.tuples(WINDOW, st.lists(WINDOW, min_size=1, max_size=3).map(tuple), st.floats(1, 60)),
    min_size=1,
    max_size=6,
)


def loop_iou(pred, gt, convention):
    shared = max(0.0, min(pred[1], gt[1]) - max(pred[0], gt[0]))
    union = max(pred[1], gt[1]) - min(pred[0], gt[0])
    if shared == 0:
        return 0.0
    return shared / (union + 1e-4) if convention == "shuffle" else shared / union


def test_iou_by_hand():
    """Halves, nested, touching and far windows."""
    pred = [[0, 10], [2, 4], [0, 5], [0, 1], [3, 3]]
    gt = [[5, 15], [0, 8], [5, 9], [50, 60], [0, 9]]

    np.testing.assert_allclose(temporal_iou(pred, gt), [1 / 3, 1 / 4, 0, 0, 0], rtol=1e-12)


def test_iou_of_defects():
    """Reversed and empty windows overlap nothing, not even themselves; nothing is 0/0."""
    pred = [[8, 2], [2, 8], [8, 2], [5, 5], [5, 5], [0, 0]]
    gt = [[2, 8], [8, 2], [8, 2], [5, 5], [0, 9], [5, 1]]

    for convention in CONVENTIONS:
        np.testing.assert_array_equal(temporal_iou(pred, gt, convention=convention), np.zeros(6))


def test_iou_past_the_video():
    """A window is taken as written, before zero and past any duration."""
    assert temporal_iou([-10, 10], [0, 10]) == 0.5
    assert temporal_iou([0, 1000], [0, 10]) == 0.01


def test_conventions_differ_on_ties():
    """5 of 10 seconds is a hit at 0.5 by the hull, and 5 / 10.0001 by shuffle is none."""
    hull = temporal_iou([0, 10], [0, 5])
    shuffle = temporal_iou([0, 10], [0, 5], convention="shuffle")

    assert hull == 0.5
    assert shuffle == 5 / 10.0001
    assert is_hit(hull, 0.5, convention="hull")
    assert not is_hit(hull, 0.5, convention="shuffle")  # strict, even without the 1e-4


@given(WINDOW, WINDOW, st.sampled_from(CONVENTIONS))
def test_iou_against_loop(pred, gt, convention):
    """It is the definition, for any two windows."""
    iou = temporal_iou(pred, gt, convention=convention)

    assert math.isclose(iou, loop_iou(pred, gt, convention), rel_tol=1e-12)
    assert 0 <= iou <= 1


def test_scores_by_hand():
    """IoU 1, 1/2, 1/3 and 0 of four pairs: 75, 50 and 25 percent, and their mean."""
    pred = [[0, 10], [0, 5], [0, 10], [9, 5]]
    windows = [((0, 10),), ((0, 10),), ((5, 15),), ((5, 9),)]
    found = scores(pred, windows, [20, 20, 20, 20])

    assert tuple(found) == ("pairs", *MEASURES)
    assert found["pairs"] == 4
    assert [found[f"R1@{m}"] for m in (0.3, 0.5, 0.7)] == [75, 50, 25]
    assert found["mIoU"] == pytest.approx(100 * (1 + 1 / 2 + 1 / 3) / 4)
    # the second ends 5 of 20 s early; the third starts and ends 5 of 20 s early
    assert found["dR1@0.7"] == pytest.approx(25)
    assert found["dR1@0.5"] == pytest.approx(25 * (1 + 3 / 4))
    assert found["dR1@0.3"] == pytest.approx(25 * (1 + 3 / 4 + 9 / 16))


def test_discount_is_never_negative():
    """A hit whose boundary is more than a duration away counts nothing, rather than less."""
    found = scores([[0, 30]], [((0, 10),)], [10])

    assert found["R1@0.3"] == 100
    assert found["dR1@0.3"] == 0


def test_best_window_counts():
    """Of several annotated windows the best-overlapping one is scored, wherever it stands."""
    windows = [((20, 30), (0, 10), (0, 5)), ((0, 4),)]
    found = scores([[0, 6], [0, 4]], windows, [40, 40])

    assert found["mIoU"] == pytest.approx(100 * (5 / 6 + 1) / 2)
    assert found["dR1@0.7"] == pytest.approx(100 * ((1 - 1 / 40) + 1) / 2)


@given(PAIRS, st.sampled_from(CONVENTIONS))
def test_scores_against_loop(pairs, convention):
    """Every measure is the plain loop's."""
    pred, windows, durations = zip(*pairs, strict=True)
    found = scores(pred, windows, durations, convention=convention)

    ious, discounts = [], []
    for own, others, duration in pairs:
        ious.append(max(loop_iou(own, gt, convention) for gt in others))
        best = [loop_iou(own, gt, convention) for gt in others].index(ious[-1])
        gaps = [abs(a - b) / duration for a, b in zip(own, others[best], strict=True)]
        discounts.append(math.prod(1 - min(gap, 1) for gap in gaps))
    assert found["mIoU"] == pytest.approx(100 * sum(ious) / len(ious))
    for m in (0.3, 0.5, 0.7):
        hits = [iou > m if convention == "shuffle" else iou >= m for iou in ious]
        dr = [hit * d for hit, d in zip(hits, discounts, strict=True)]
        assert found[f"R1@{m}"] == pytest.approx(100 * sum(hits) / len(hits))
        assert found[f"dR1@{m}"] == pytest.approx(100 * sum(dr) / len(dr))


def test_order_of_pairs():
    """Means are the same to the last bit in whichever order the pairs come."""
    random = np.random.default_rng(0)
    pred, gt = random.uniform(0, 30, (2, 999, 2)).cumsum(axis=-1)
    durations, order = random.uniform(30, 60, 999), random.permutation(999)
    windows = [(tuple(window),) for window in gt]
    found = scores(pred[order], [windows[i] for i in order], durations[order])

    assert found == scores(pred, windows, durations)


def test_stacked_windows():
    """Shorter lists repeat their first window, which changes no best overlap."""
    stacked = stack_windows([((1, 2),), ((3, 4), (5, 6))])

    assert stacked.tolist() == [[[1, 2], [1, 2]], [[3, 4], [5, 6]]]


def test_iou_of_each_pair():
    """Each pair's IoU with its best-overlapping window: 1/3 of 2-6 with 4-8, then an exact hit."""
    pred = [(2.0, 6.0), (1.0, 3.0)]
    windows = [((4.0, 8.0),), ((10.0, 12.0), (1.0, 3.0))]

    assert pair_ious(pred, windows).tolist() == pytest.approx([1 / 3, 1.0])
    assert scores(pred, windows, [20.0, 20.0])["mIoU"] == pytest.approx(100 * (1 / 3 + 1) / 2)
