import numpy as np
import torch

from student.observations import Observations, spread
from student.targets import Diagnostics


def batch(weight, rho):
    """A batch of pairs of two teachers whose weights sum to 1, with or without side branches."""
    weight_NK = torch.tensor([[w, 1 - w] for w in weight])
    rho_NK = None if rho is None else torch.tensor([[r, 0.0] for r in rho])
    return Diagnostics(weight_NK, weight_NK, rho_NK, rho_NK)


def test_pairs_count_alike_in_batches_of_any_size():
    """Weights .1 .2 .3 and .8: the mean is .35, not that of the batches' means; the median .25."""
    observed = Observations(["id", "ood"])
    observed.add(batch([0.1, 0.2, 0.3], [0.0, 1.0, 1.0]))
    observed.add(batch([0.8], [1.0]))
    found = observed.take()

    assert found["weight/id"]["mean"] == 0.35
    assert found["weight/ood"]["mean"] == 0.65
    assert found["weight/id"]["quantiles"][2] == 0.25
    assert found["confidence/id"] == {"mean": 0.75, "quantiles": [0.15, 0.75, 1.0, 1.0, 1.0]}
    assert observed.take() == {}


def test_without_side_branches_there_is_no_rho():
    """Only what exists is told."""
    observed = Observations(["id", "ood"])
    observed.add(batch([0.5], None))

    assert observed.take().keys() == {"weight/id", "weight/ood", "share/id", "share/ood"}


def test_quantiles_of_a_hundred_and_one_values():
    """0, 1, ..., 100 have the 5% quantile 5 and so on, in whichever order they come."""
    values = np.random.default_rng(0).permutation(101).astype(np.float64)

    assert spread(values) == {"mean": 50.0, "quantiles": [5.0, 25.0, 50.0, 75.0, 95.0]}
    assert spread(values[::-1]) == spread(values)
