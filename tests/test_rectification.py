"""Affinity, confidence, rectified labels and re-weighting against hand-worked cases."""

import math

import pytest
import torch

from student.rectification import (
    affinity,
    confidence,
    one_hot,
    rectify_mixed,
    rectify_pure_gt,
    rectify_window,
    reweight,
)
from student.spans import masked_log_softmax, masked_softmax


def batch(teachers=2, pairs=4, num_clips=9, seed=0):
    """Return random logits [N, K, 2, T], spans and a mask with short videos in it."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(pairs, teachers, 2, num_clips, generator=random) * 2
    clips = torch.randint(1, num_clips + 1, (pairs,), generator=random)
    gt = (torch.rand(pairs, 2, generator=random) * clips[:, None]).long().sort(dim=1).values
    return logits, gt, torch.arange(num_clips) < clips[:, None]


def test_affinity_by_hand():
    """Teacher (1/2, 1/2) against (3/4, 1/4) at the start, teacher (1, 0) against it at the end."""
    teacher = torch.tensor([[[[0.5, 0.5], [1.0, 0.0]]]])
    side = torch.tensor([[[[math.log(3), 0.0], [math.log(3), 0.0]]]])
    mask = torch.ones(1, 2, dtype=torch.bool)

    start = -0.5 * math.log(0.75) - 0.5 * math.log(0.25)
    end = -math.log(0.75)
    torch.testing.assert_close(affinity(teacher, side, mask), torch.tensor([[1 / start + 1 / end]]))


def test_affinity_is_bounded():
    """A branch that matches a certain teacher has CE 0, clamped at 1e-6 for each boundary."""
    teacher = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    side = torch.tensor([[[[90.0, -90.0], [0.0, 7.0]]], [[[5.0, 1.0], [5.0, 1.0]]]])
    mask = torch.tensor([[True, True], [True, False]])  # the second video has one clip
    pi = affinity(teacher.expand(2, 1, 2, 2), side, mask)

    end = math.log(1 + math.exp(7))
    torch.testing.assert_close(pi, torch.tensor([[1e6 + 1 / end], [2e6]]))


def test_affinity_ignores_padding():
    """Padding changes nothing and cannot make it nan."""
    side, _, mask = batch()
    teacher = masked_softmax(batch(seed=1)[0], mask)
    pi = affinity(teacher, side, mask)
    side = side.masked_fill(~mask[:, None, None], torch.inf)

    assert torch.equal(affinity(teacher, side, mask), pi)
    assert torch.isfinite(pi).all()
    assert pi.shape == (4, 2)


def test_confidence_by_hand():
    """Branches decode to [1, 2] and [0, 0]; against [1, 2] they score 1 and 0, against [0, 1] 1/3 and 1/2."""
    first = [[0.0, 5.0, 0.0], [0.0, 0.0, 5.0]]
    second = [[5.0, 0.0, 0.0], [5.0, 0.0, 0.0]]
    logits = torch.tensor([[first, second]] * 2)
    gt = torch.tensor([[1, 2], [0, 1]])

    rho = confidence(logits, gt, torch.ones(2, 3, dtype=torch.bool))
    torch.testing.assert_close(rho, torch.tensor([[1.0, 0.0], [1 / 3, 1 / 2]]))


def test_confidence_of_one_clip():
    """An exact hit is 1 even for a moment of one clip."""
    logits = torch.tensor([[[[0.0, 5.0, 0.0], [0.0, 5.0, 0.0]]]])

    rho = confidence(logits, torch.tensor([[1, 1]]), torch.ones(1, 3, dtype=torch.bool))
    assert rho.tolist() == [[1.0]]


def test_mixed_by_hand():
    """rho 1/4 of (1/5, 4/5) and 3/4 of the ground truth (1, 0) are (4/5, 1/5)."""
    probs = torch.tensor([[[[0.2, 0.8], [0.2, 0.8]]]])

    rectified = rectify_mixed(probs, torch.tensor([[0.25]]), torch.tensor([[0, 1]]))
    torch.testing.assert_close(rectified, torch.tensor([[[[0.8, 0.2], [0.05, 0.95]]]]))


def test_pure_gt_by_hand():
    """A teacher below the threshold is replaced whole; at the threshold it stays."""
    probs = torch.tensor([[[[0.2, 0.8], [0.6, 0.4]]] * 2])
    gt = torch.tensor([[0, 1]])

    rectified = rectify_pure_gt(probs, torch.tensor([[0.29, 0.5]]), gt, threshold=0.5)
    torch.testing.assert_close(
        rectified, torch.tensor([[[[1.0, 0.0], [0.0, 1.0]], [[0.2, 0.8], [0.6, 0.4]]]])
    )


def test_window_by_hand():
    """Flat over 4 clips of tau 1/2: width 2 clips, so a doubt of 1/2 takes exp(-d^2 / 8)."""
    log_p = torch.full((1, 1, 2, 5), -math.log(4))
    mask = torch.tensor([[True, True, True, True, False]])
    rectified = rectify_window(log_p, torch.tensor([[0.5]]), torch.tensor([[1, 3]]), mask, tau=0.5)

    for boundary, place in enumerate((1, 3)):
        window = [math.exp(-((x - place) ** 2) / 8) for x in range(4)]
        expected = torch.tensor([*(w / sum(window) for w in window), 0.0])
        torch.testing.assert_close(rectified[0, 0, boundary], expected)


def test_window_at_full_confidence():
    """rho = 1 leaves the teacher as it is, whatever the width."""
    logits, gt, mask = batch()
    log_p = masked_log_softmax(logits, mask)

    rectified = rectify_window(log_p, torch.ones(4, 2), gt, mask, tau=0.01)
    torch.testing.assert_close(rectified, masked_softmax(logits, mask), rtol=0, atol=1e-6)


def test_narrow_window_far_away():
    """A window one clip wide wins over a teacher sure of the far end, where P f would underflow."""
    logits = torch.zeros(1, 1, 2, 128)
    logits[..., 127] = 200.0
    mask = torch.ones(1, 128, dtype=torch.bool)

    rectified = rectify_window(
        masked_log_softmax(logits, mask), torch.zeros(1, 1), torch.tensor([[0, 0]]), mask, tau=0.01
    )
    window = torch.exp(-(torch.arange(128.0) ** 2) / 1.28**2)  # the teacher is flat there
    torch.testing.assert_close(rectified, (window / window.sum()).expand(1, 1, 2, 128))


def test_reweight_by_hand():
    """pi 1 against 3 makes a 3/4 against 1/4; with w 1/4 against 3/4 both end at 1/2."""
    w = torch.tensor([[[0.25, 0.5], [0.75, 0.5]]])

    share = reweight(w, torch.tensor([[1.0, 3.0]]))
    torch.testing.assert_close(share, torch.tensor([[[0.5, 0.75], [0.5, 0.25]]]))


def test_reweight_three_teachers():
    """pi (1, 2, 4) makes a (4, 2, 1)/7, whichever order the teachers stand in."""
    w = torch.full((1, 3, 2), 1 / 3)

    share = reweight(w, torch.tensor([[1.0, 2.0, 4.0]]))
    expected = torch.tensor([4 / 7, 2 / 7, 1 / 7])
    torch.testing.assert_close(share[0], expected[:, None].expand(3, 2))
    share = reweight(w, torch.tensor([[4.0, 1.0, 2.0]]))
    torch.testing.assert_close(share[0, :, 0], expected[[2, 0, 1]])


def test_reweight_extremes():
    """The largest affinity against the smallest, with a hard weight, gives no nan."""
    w = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])

    share = reweight(w, torch.tensor([[2e6, 1e-3]]))
    torch.testing.assert_close(share, w)


def test_one_hot():
    """One on the clip of each boundary."""
    assert one_hot(torch.tensor([[0, 2]]), 3).tolist() == [[[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_constants(dtype):
    """Everything is float32 and without gradient, whatever comes in."""
    logits, gt, mask = batch()
    logits = logits.to(dtype).requires_grad_()
    probs = torch.softmax(logits, dim=-1)
    rho = confidence(logits, gt, mask)
    pi = affinity(probs, logits, mask)
    log_p = masked_log_softmax(logits, mask)
    values = [
        rho,
        pi,
        rectify_mixed(probs.float(), rho, gt),
        rectify_pure_gt(probs.float(), rho, gt, threshold=0.3),
        rectify_window(log_p, rho, gt, mask, tau=0.1),
        reweight(probs[..., 0], pi),
    ]

    assert all(value.dtype == torch.float32 for value in values)
    assert not any(value.requires_grad for value in values)
