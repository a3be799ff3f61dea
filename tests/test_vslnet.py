import numpy as np
import pytest
import torch

from student.inputs import length_mask
from student.network import Network
from student.vslnet import highlight_loss, highlight_region


@pytest.mark.parametrize(("predictor", "millions"), [("rnn", 0.78), ("transformer", 0.67)])
def test_published_size(predictor, millions, published):
    """At the published widths the network has the published number of trainable weights."""
    network = Network({**published, "predictor": predictor})
    count = sum(weight.numel() for weight in network.parameters())

    assert count / 1e6 == pytest.approx(millions, abs=0.02)


def test_highlight_region_is_extended_by_a_tenth():
    """A moment of 10 clips grows by 1 on both sides; 5 clips by round(0.5) = 0; edges are clamped."""
    mask_NT = length_mask(torch.tensor([20, 20, 12]), 20)
    found = highlight_region(torch.tensor([[5, 14], [5, 9], [0, 11]]), mask_NT)

    expected = np.zeros((3, 20), bool)
    expected[0, 4:16] = True
    expected[1, 5:10] = True
    expected[2, 0:12] = True
    np.testing.assert_array_equal(found.numpy(), expected)


def test_highlight_loss_counts_the_moment_twice():
    """With a logit of 0 every clip costs log 2, inside the moment twice: (2 + 1 + 1) / 3 log 2."""
    mask_NT = length_mask(torch.tensor([3]), 5)
    loss = highlight_loss(torch.zeros(1, 5), torch.tensor([[1, 1]]), mask_NT)

    np.testing.assert_allclose(loss.item(), 4 / 3 * np.log(2), rtol=1e-6)
