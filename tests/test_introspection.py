"""Introspective weights against the confidences of eq. 1-4 and hand-worked cases."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from student.introspection import introspective_weights, mix_teachers

CE = st.floats(0, 50, width=32)


def sample_weights(ce, hard=False):
    return introspective_weights(ce, granularity="sample", hard=hard)


def ce_of(*teachers):
    """Return CE [1, K, 2] of teachers given as (start, end)."""
    return torch.tensor([teachers], dtype=torch.float32)


def test_two_teachers_by_hand():
    """CE 1 against 3 weighs 1/4 against 3/4 at the start; 2 against 2 halves the end."""
    w = sample_weights(ce_of((1, 2), (3, 2)))

    torch.testing.assert_close(w, torch.tensor([[[0.25, 0.5], [0.75, 0.5]]]))


def test_favour_right():
    """CE 1, 2 and 4 weigh as 4 : 2 : 1 where the right are favoured, and hard is the first alone."""
    ce = ce_of((1, 1), (2, 2), (4, 4))
    soft, hard = (
        introspective_weights(ce, granularity="sample", hard=hard, favour="right")[0, :, 0]
        for hard in (False, True)
    )

    torch.testing.assert_close(soft, torch.tensor([4, 2, 1]) / 7)
    torch.testing.assert_close(hard, torch.tensor([1.0, 0.0, 0.0]))


@settings(deadline=None)
@given(st.tuples(CE, CE, CE, CE))
def test_against_confidences(ce):
    """For two teachers it is eq. 3-4: the other's confidence over the sum of both."""
    ce = torch.tensor(ce).reshape(1, 2, 2)
    c_id, c_ood = (1 / ce.double().clamp(min=1e-12)).unbind(dim=1)

    expected = torch.stack([c_ood / (c_id + c_ood), c_id / (c_id + c_ood)], dim=1)
    torch.testing.assert_close(sample_weights(ce), expected.float(), rtol=1e-5, atol=1e-6)


@settings(deadline=None)
@given(st.integers(1, 4).flatmap(lambda k: st.lists(CE, min_size=2 * k, max_size=2 * k)))
def test_sum_to_one(values):
    """Weights of any number of teachers sum to 1, soft or hard, and rise with the CE."""
    ce = torch.tensor(values).reshape(1, -1, 2)

    for hard in (False, True):
        w = sample_weights(ce, hard)
        torch.testing.assert_close(w.sum(dim=1), torch.ones(1, 2), rtol=0, atol=1e-6)
        assert (w.gather(1, ce.argsort(dim=1)).diff(dim=1) >= 0).all()


@pytest.mark.parametrize("hard", [False, True])
def test_exchange(hard):
    """Exchanging the teachers exchanges the weights."""
    ce = torch.rand(5, 3, 2, generator=torch.Generator().manual_seed(0))
    order = [2, 0, 1]

    torch.testing.assert_close(
        sample_weights(ce[:, order], hard), sample_weights(ce, hard)[:, order], rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("teachers", [1, 2, 3])
@pytest.mark.parametrize("hard", [False, True])
def test_all_certain(teachers, hard):
    """Teachers without any loss weigh 1/K each."""
    w = sample_weights(torch.zeros(1, teachers, 2), hard)

    torch.testing.assert_close(w, torch.full((1, teachers, 2), 1 / teachers))


def test_hard():
    """All weight goes to the largest CE of each boundary; ties share it."""
    w = sample_weights(ce_of((1, 5), (3, 5), (2, 4)), hard=True)

    torch.testing.assert_close(w, torch.tensor([[[0.0, 0.5], [1.0, 0.5], [0.0, 0.0]]]))


def test_dataset():
    """The means over the split weigh every sample alike: 1 against 4 is 1/5 against 4/5."""
    means = torch.tensor([[1.0, 3.0], [4.0, 1.0]], dtype=torch.float64)
    ce = torch.rand(3, 2, 2, generator=torch.Generator().manual_seed(0))
    soft = introspective_weights(ce, granularity="dataset", hard=False, dataset_means=means)
    hard = introspective_weights(ce, granularity="dataset", hard=True, dataset_means=means)

    torch.testing.assert_close(soft, torch.tensor([[[0.2, 0.75], [0.8, 0.25]]] * 3))
    torch.testing.assert_close(hard, torch.tensor([[[0.0, 1.0], [1.0, 0.0]]] * 3))


@pytest.mark.parametrize("hard", [False, True])
def test_fixed(hard):
    """Fixed weights are 1/K whatever the losses."""
    w = introspective_weights(ce_of((1, 9), (2, 9), (3, 9)), granularity="fixed", hard=hard)

    torch.testing.assert_close(w, torch.full((1, 3, 2), 1 / 3))


def test_constants():
    """Weights and mixtures carry no gradient and are float32 whatever comes in."""
    ce = torch.rand(2, 2, 2, dtype=torch.float64, requires_grad=True)
    w = sample_weights(ce)
    mixed = mix_teachers(
        w.double(), torch.rand(2, 2, 2, 5, dtype=torch.float64, requires_grad=True)
    )

    for value in (w, mixed):
        assert value.dtype == torch.float32
        assert not value.requires_grad


def test_mix_by_hand():
    """Weights (1/4, 3/4) of (1, 0) and (1/3, 2/3) give (1/2, 1/2); boundaries do not mix."""
    w = torch.tensor([[[0.25, 1.0], [0.75, 0.0]]])
    probs = torch.tensor([[[[1.0, 0.0], [0.9, 0.1]], [[1 / 3, 2 / 3], [0.2, 0.8]]]])

    torch.testing.assert_close(mix_teachers(w, probs), torch.tensor([[[0.5, 0.5], [0.9, 0.1]]]))
