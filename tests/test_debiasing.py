import numpy as np
import pytest
import torch

from pipeline.debiasing import Teaching, consistency_loss
from student.model import network_shape
from student.network import Network
from student.recipe import Recipe

RECIPE = Recipe(hidden=16, batch=8)


def log_softmax(values):
    values = np.asarray(values, np.float64)
    return values - np.log(np.exp(values).sum())


def test_consistency_by_hand():
    """Two clips of equal number: KL of the two softmaxes inside the moment, whatever stands outside."""
    original = torch.tensor([[9.0, 1.0, 0.0, 7.0]])
    moved = torch.tensor([[0.5, 2.0, 5.0, 5.0]])
    found = consistency_loss(original, torch.tensor([[1, 2]]), moved, torch.tensor([[0, 1]]))

    p, q = log_softmax([1.0, 0.0]), log_softmax([0.5, 2.0])
    np.testing.assert_allclose(found.item(), (np.exp(p) * (p - q)).sum(), rtol=1e-5)


def test_consistency_interpolates_to_the_original_length():
    """A moved moment of 2 clips with logits 0, 4 is read at 4 clip centres as 0, 1, 3, 4."""
    original = torch.tensor([[1.0, 1.0, 1.0, 1.0]])
    moved = torch.tensor([[9.0, 9.0, 0.0, 4.0]])
    found = consistency_loss(original, torch.tensor([[0, 3]]), moved, torch.tensor([[2, 3]]))

    p, q = log_softmax([1.0] * 4), log_softmax([0.0, 1.0, 3.0, 4.0])
    np.testing.assert_allclose(found.item(), (np.exp(p) * (p - q)).sum(), rtol=1e-5)


def test_consistency_of_a_moment_with_itself_is_zero_in_any_batch():
    """Moments of other lengths in the batch do not disturb each other, and the gradient is finite."""
    logits = torch.randn(3, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    gt = torch.tensor([[0, 5], [2, 2], [3, 5]])
    loss = consistency_loss(logits, gt, logits.detach(), gt)
    loss.backward()

    assert abs(loss.item()) < 1e-6
    assert torch.isfinite(logits.grad).all()


@pytest.fixture
def teaching(data):
    network = Network(network_shape(data, RECIPE))
    return Teaching(
        network, data, RECIPE, debias=True, moved_span_loss=True, moved_stretch=1.0, device="cpu"
    )


def test_views_depend_on_seed_and_epoch_alone(teaching):
    """The same epoch gives the same moved views, the next epoch others."""
    first, again = (list(teaching.batches(3)) for _ in range(2))
    later = list(teaching.batches(4))

    assert len(first) == teaching.num_batches == 12
    assert all(torch.equal(a.moved[1], b.moved[1]) for a, b in zip(first, again, strict=True))
    assert torch.equal(first[0].moved[0].features_NTD, again[0].moved[0].features_NTD)
    assert any(not torch.equal(a.moved[1], b.moved[1]) for a, b in zip(first, later, strict=True))


def test_loss_terms(teaching):
    """The OOD teacher is taught by five terms; without the moved view by the plain two."""
    batch = next(iter(teaching.batches(0)))
    names = {"span", "highlight", "moved_highlight", "consistency", "moved_span"}

    assert teaching.losses(batch, 0).keys() == names
    assert teaching.losses(batch._replace(moved=None), 0).keys() == {"span", "highlight"}
    teaching.moved_span_loss = False
    assert teaching.losses(batch, 0).keys() == names - {"moved_span"}
