import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "bench"))
from step import contestants, differences, kind_of, ours_loss, plain_loss


@pytest.fixture
def small():
    """Both networks with the same weights, and a batch without padding."""
    return contestants(batch=3, clips=24, channels=16, words=5, characters=6)


def test_ours_is_the_published_network(small):
    """Without padding and dropout, ours and the published structure say and learn the same."""
    found = differences(*small)

    assert found["largest difference of a logit"] < 1e-4  # of several units; processors differ
    assert found["largest difference of a gradient"] < 1e-4
    assert found["largest gradient"] > 0.1


def test_the_losses_are_the_same(small):
    """Span and highlighting losses are those of the published network."""
    ours, plain, lesson = small
    ours.eval()
    plain.eval()

    torch.testing.assert_close(
        ours_loss(ours, lesson)[0], plain_loss(plain, lesson)[0], rtol=1e-5, atol=1e-5
    )


def test_both_drop_out(small):
    """In training, neither says twice the same."""
    ours, plain, lesson = small

    assert not torch.equal(ours_loss(ours, lesson)[1], ours_loss(ours, lesson)[1])
    assert not torch.equal(plain_loss(plain, lesson)[1], plain_loss(plain, lesson)[1])


class Event:
    """An operation of a profile."""

    def __init__(self, name, parent=None):
        self.name, self.cpu_parent = name, parent


def test_work_counts_for_the_outermost_kind():
    """The product inside an LSTM is the LSTM's; one of a linear layer is a product."""
    lstm = Event("aten::lstm")
    linear = Event("aten::linear")

    assert kind_of(Event("aten::addmm", lstm)) == "LSTM"
    assert kind_of(Event("aten::addmm", linear)) == "matrix products"
    assert kind_of(linear) == "all else"
