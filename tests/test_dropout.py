import math

import pytest
import torch

from student.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.01])
def test_rate_and_scale(p):
    """A share p of a million elements is zero, within five standard deviations; the rest is x / (1 - p)."""
    torch.manual_seed(0)
    n = 1_000_003
    found = Dropout(p)(torch.ones(n))
    zeros = (found == 0).sum().item()

    assert abs(zeros / n - p) < 5 * math.sqrt(p * (1 - p) / n)
    torch.testing.assert_close(
        found[found != 0].unique(), torch.tensor([1 / (1 - p)]), rtol=2e-5, atol=0
    )


def test_the_gradient_passes_where_the_value_did():
    """Each element's gradient is its own scale: 0 where dropped, 1 / (1 - p) elsewhere."""
    torch.manual_seed(1)
    x = torch.randn(50, 7, requires_grad=True)
    y = Dropout(0.5)(x)
    y.sum().backward()

    torch.testing.assert_close(x.grad * x.detach(), y.detach())
    assert set(x.grad.unique().tolist()) == {0.0, 2.0}


def test_neighbours_are_independent():
    """Pairs of elements that share a random number are both dropped as often as chance has it, p^2."""
    torch.manual_seed(2)
    dropped = Dropout(0.3)(torch.ones(400_000)).view(-1, 4) == 0
    for i in range(4):
        for j in range(i):
            both = (dropped[:, i] & dropped[:, j]).float().mean().item()
            assert abs(both - 0.09) < 5 * math.sqrt(0.09 * 0.91 / 100_000)


def test_seed_decides_and_evaluation_is_still():
    """The same seed gives the same mask; in evaluation, and at probability 0, nothing is dropped."""
    x = torch.ones(1000)
    masks = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        masks.append(Dropout(0.2)(x))

    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert torch.equal(Dropout(0.2).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
