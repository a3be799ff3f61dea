"""Losses against hand-worked cases, torch's own losses and finite gradients."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from student.losses import gt_cross_entropy, side_loss, span_kl
from student.spans import masked_softmax

ALL = torch.ones(1, 2, dtype=torch.bool)


def batch(seed=0, teachers=2, pairs=4, num_clips=9):
    """Return random student logits, teacher logits, spans and a mask with short videos in it."""
    random = torch.Generator().manual_seed(seed)
    student = torch.randn(pairs, 2, num_clips, generator=random) * 2
    teacher = torch.randn(pairs, teachers, 2, num_clips, generator=random) * 2
    clips = torch.randint(1, num_clips + 1, (pairs,), generator=random)
    gt = (torch.rand(pairs, 2, generator=random) * clips[:, None]).long().sort(dim=1).values
    return student, teacher, gt, torch.arange(num_clips) < clips[:, None]


def test_kl_hand_worked():
    """Targets (3/4, 1/4) and (1, 0) against a flat student: log 2 minus the entropy, and log 2."""
    target = torch.tensor([[[0.75, 0.25], [1.0, 0.0]]])

    expected = math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25) + math.log(2)
    np.testing.assert_allclose(
        span_kl(torch.zeros(1, 2, 2), target, ALL).item(), expected, rtol=1e-6
    )


def test_kl_temperature():
    """At temperature 2 a student with odds 9 to 1 has 3 to 1, and the loss is 4 times its KL."""
    student = torch.tensor([[[math.log(9), 0.0], [0.0, 0.0]]])
    target = torch.full((1, 2, 2), 0.5)

    expected = 4 * (0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25))
    loss = span_kl(student, target, ALL, temperature=2.0)
    np.testing.assert_allclose(loss.item(), expected, rtol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_kl_against_torch(temperature):
    """It is torch's kl_div over each pair's own clips."""
    student, teacher, _, mask = batch()
    target = masked_softmax(teacher[:, 0], mask, temperature=temperature)
    loss = span_kl(student, target, mask, temperature=temperature)

    for n, clips in enumerate(mask.sum(dim=1).tolist()):
        log_q = F.log_softmax(student[n, :, :clips] / temperature, dim=-1)
        log_p = F.log_softmax(teacher[n, 0, :, :clips] / temperature, dim=-1)
        expected = temperature**2 * F.kl_div(log_q, log_p, reduction="sum", log_target=True)
        torch.testing.assert_close(loss[n], expected, rtol=1e-5, atol=1e-6)


def test_kl_is_zero_at_the_target():
    """A student that gives its target costs nothing and gets no gradient."""
    student, _, _, mask = batch()
    student.requires_grad_()
    loss = span_kl(student, masked_softmax(student, mask), mask)
    loss.sum().backward()

    torch.testing.assert_close(loss, torch.zeros(4), rtol=0, atol=1e-6)
    torch.testing.assert_close(student.grad, torch.zeros_like(student), rtol=0, atol=1e-6)


def test_kl_gradient():
    """The gradient is student minus target, none on padding, none into the target."""
    student, teacher, _, mask = batch(seed=3)
    student[:, :, -1] = torch.where(mask[:, None, -1], student[:, :, -1], torch.inf)
    student.requires_grad_()
    teacher.requires_grad_()
    target = masked_softmax(teacher[:, 0], mask)
    span_kl(student, target, mask).sum().backward()

    expected = masked_softmax(student, mask) - target
    torch.testing.assert_close(student.grad, expected, rtol=0, atol=1e-6)
    assert (student.grad.masked_select(~mask[:, None].expand_as(student)) == 0).all()
    assert teacher.grad is None


def test_kl_half_precision():
    """A bfloat16 student is compared in float32."""
    student, teacher, _, mask = batch()
    half = student.to(torch.bfloat16)
    target = masked_softmax(teacher[:, 0], mask)

    loss = span_kl(half, target, mask)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, span_kl(half.float(), target, mask))


def test_cross_entropy_against_torch():
    """It is torch's cross-entropy over each pair's own clips, per boundary and teacher."""
    student, teacher, gt, mask = batch(seed=5)
    found = gt_cross_entropy(teacher, gt, mask)

    assert found.shape == (4, 2, 2)
    torch.testing.assert_close(gt_cross_entropy(teacher[:, 1], gt, mask), found[:, 1])
    for n, clips in enumerate(mask.sum(dim=1).tolist()):
        for k in range(2):
            expected = F.cross_entropy(teacher[n, k, :, :clips], gt[n], reduction="none")
            torch.testing.assert_close(found[n, k], expected, rtol=1e-5, atol=1e-6)
    assert gt_cross_entropy(student, gt, mask).shape == (4, 2)


def test_cross_entropy_hand_worked():
    """Ground truth at odds 1 to 3 costs log 4; a one-clip video costs nothing."""
    logits = torch.tensor([[[0.0, math.log(3)], [0.0, math.log(3)]], [[5.0, 9.0], [5.0, 9.0]]])
    mask = torch.tensor([[True, True], [True, False]])
    gt = torch.tensor([[0, 1], [0, 0]])

    expected = torch.tensor([[math.log(4), math.log(4 / 3)], [0.0, 0.0]])
    torch.testing.assert_close(gt_cross_entropy(logits, gt, mask), expected)


def test_side_loss_sums_teachers():
    """Each branch answers for its own teacher, and one weight multiplies them all."""
    _, side, _, mask = batch(seed=1)
    _, teacher, _, _ = batch(seed=0)
    probs = masked_softmax(teacher, mask, temperature=2.0)

    parts = [span_kl(side[:, k], probs[:, k], mask, temperature=2.0) for k in range(2)]
    loss = side_loss(side, probs, mask, weight=0.1, temperature=2.0)
    torch.testing.assert_close(loss, 0.1 * (parts[0] + parts[1]))


def test_side_loss_reaches_the_branches():
    """The branches get a gradient; the teachers do not."""
    _, side, _, mask = batch(seed=1)
    _, teacher, _, _ = batch(seed=0)
    side.requires_grad_()
    probs = masked_softmax(teacher, mask).requires_grad_()
    side_loss(side, probs, mask, weight=0.1).sum().backward()

    assert side.grad.abs().sum() > 0
    assert probs.grad is None
