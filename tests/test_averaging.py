import pytest
import torch
from torch import nn

from student.averaging import RunningMean


def weight(value):
    layer = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        layer.weight.fill_(value)
    return layer


def test_worked_by_hand():
    """From 0: decay 1/10 to weight 1 gives 0.9, decay 2/11 to weight 3 gives 0.9 * 2/11 + 3 * 9/11."""
    network = weight(0.0)
    mean = RunningMean(network, 0.99)
    for value in (1.0, 3.0):
        network.weight.data.fill_(value)
        mean.update()

    with mean.in_place():
        inside = network.weight.item()

    assert inside == pytest.approx(0.9 * 2 / 11 + 3 * 9 / 11)
    assert network.weight.item() == 3.0


def test_decay_is_reached():
    """After many steps the mean moves by 1 - decay of the distance and no more."""
    network = weight(0.0)
    mean = RunningMean(network, 0.5)
    for _ in range(20):
        mean.update()
    network.weight.data.fill_(8.0)
    mean.update()

    with mean.in_place():
        assert network.weight.item() == pytest.approx(4.0)


def test_weights_come_back_after_an_error():
    """What fails while the mean is in place leaves the network as it was."""
    network = weight(2.0)
    mean = RunningMean(network, 0.9)
    network.weight.data.fill_(5.0)

    with pytest.raises(KeyError), mean.in_place():
        raise KeyError

    assert network.weight.item() == 5.0


def test_state_goes_on():
    """A mean that was saved and loaded takes the next step as one that was not."""
    network, other = weight(0.0), weight(7.0)
    mean, resumed = RunningMean(network, 0.99), RunningMean(other, 0.99)
    network.weight.data.fill_(1.0)
    mean.update()
    resumed.load_state_dict(mean.state_dict())
    for layer, one in ((network, mean), (other, resumed)):
        layer.weight.data.fill_(4.0)
        one.update()

    with mean.in_place(), resumed.in_place():
        assert other.weight.item() == network.weight.item() != 4.0
