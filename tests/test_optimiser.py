import subprocess
import sys

import pytest
import torch

from student.optimiser import AdamW

LR, DECAY = 3e-2, 0.1


def weights():
    """Parameters of several shapes, of which the last never has a gradient."""
    random = torch.Generator().manual_seed(0)
    shapes = ((300, 7), (5,), (2, 3, 4), (6,))
    return [torch.nn.Parameter(torch.randn(shape, generator=random)) for shape in shapes]


def walk(optimiser, parameters, steps):
    """Some steps with gradients that depend on the step; the second parameter has none at step 0."""
    for step in steps:
        optimiser.zero_grad()
        random = torch.Generator().manual_seed(step)
        for i, parameter in enumerate(parameters[:-1]):
            grad = torch.randn(parameter.shape, generator=random)
            parameter.grad = None if (step, i) == (0, 1) else grad
        optimiser.step()


def torchs(parameters):
    return torch.optim.AdamW(parameters, lr=LR, weight_decay=DECAY, fused=True)


def ours(parameters):
    return AdamW(parameters, lr=LR, weight_decay=DECAY)


def test_the_bits_of_torchs_own():
    """Seven steps move every parameter as torch.optim.AdamW(fused=True) moves it."""
    found, expected = weights(), weights()
    walk(ours(found), found, range(7))
    walk(torchs(expected), expected, range(7))

    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(found[0], weights()[0])
    assert torch.equal(found[-1], weights()[-1])


@pytest.mark.parametrize("before", [ours, torchs])
def test_goes_on_from_a_state(before):
    """Stopped after three steps, by either, and taken up again: the same bits as without a stop."""
    found, expected = weights(), weights()
    begun = before(found)
    walk(begun, found, range(3))
    resumed = ours(found)
    resumed.load_state_dict(begun.state_dict())
    walk(resumed, found, range(3, 7))
    walk(ours(expected), expected, range(7))

    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_the_rate_may_change():
    """The next step is as long as the rate says: at 0 nothing moves."""
    found = weights()
    optimiser = ours(found)
    optimiser.lr = 0.0
    walk(optimiser, found, range(2))

    for one, other in zip(found, weights(), strict=True):
        assert torch.equal(one, other)


def test_no_compiler_is_imported():
    """A step imports nothing of torch that importing torch has not imported."""
    code = (
        "import sys, torch; from student.optimiser import AdamW; w = torch.nn.Parameter("
        "torch.ones(2)); w.grad = torch.ones(2); o = AdamW([w], lr=1.0, weight_decay=0.0);"
        "o.step(); o.zero_grad(); sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
