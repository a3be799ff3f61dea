"""Learning from a cache is learning from its teachers: live and cached, step by step."""

from itertools import islice

import pytest
import torch
from conftest import CLIPS
from liveteachers import cached_distillation, live_distillation

from pipeline.cache import cache
from pipeline.weigh import weigh
from stores.cache import open_cache
from student.forward import intra_op_threads
from student.recipe import Recipe

SMALL = {"hidden": 16, "epochs": 2, "batch": 20, "lr": 3e-3, "warmup": 0.5}
HOWS = [
    {},
    {"rectify": "window", "hard": True},
    {"rectify": "pure-gt", "granularity": "fixed", "predictor": "transformer"},
    {"rectify": "none", "reweight": False, "side_weight": 0.0},
    {"augment": "translate", "temperature": 2.0},
]


def steps(task, most=None):
    """Train and return what every step computes: its terms, and the gradient of each parameter."""
    with intra_op_threads(1):
        return list(islice(taken(task), most))


def taken(task):
    optimiser = torch.optim.AdamW(task.network.parameters(), lr=task.recipe.lr)
    for epoch in range(task.recipe.epochs):
        torch.manual_seed(epoch)  # of dropout
        task.network.train()
        for batch in task.batches(epoch):
            terms = task.losses(batch, epoch)
            optimiser.zero_grad()
            torch.stack(list(terms.values())).sum().backward()
            optimiser.step()
            named = task.network.named_parameters()
            gradients = {name: p.grad.clone() for name, p in named if p.grad is not None}
            yield {name: term.detach() for name, term in terms.items()}, gradients


@pytest.mark.parametrize("how", HOWS)
def test_losses_and_gradients_are_those_of_live_teachers(how, data, cache_folder, teacher_folders):
    """From a float32 cache every loss term and every gradient of every step has the same bits."""
    recipe = Recipe(**SMALL, **how)
    live_task, live = live_distillation(data, recipe, teacher_folders)
    cached = steps(cached_distillation(data, recipe, open_cache(cache_folder)))
    asked = steps(live_task)  # not in turns: dropout draws from one generator

    assert len(cached) == 2 * 5
    assert live.asked == 2 * 96 * 2
    for (terms, gradients), (live_terms, live_gradients) in zip(cached, asked, strict=True):
        assert terms.keys() == live_terms.keys()
        assert gradients.keys() == live_gradients.keys()
        assert all(torch.equal(value, live_terms[name]) for name, value in terms.items())
        assert all(torch.equal(value, live_gradients[name]) for name, value in gradients.items())
        assert max(value.abs().max() for value in gradients.values()) > 0


def test_float16_moves_a_loss_by_a_thousandth_at_most(data, data_folder, teacher_folders, tmp_path):
    """From a float16 cache no loss of a first epoch is further than 1e-3 from the live one, nor none."""
    recipe = Recipe(**SMALL)
    folder = cache(data_folder, tmp_path, teachers=teacher_folders, dtype="float16", device="cpu")
    weigh(folder)
    live_task, _ = live_distillation(data, recipe, teacher_folders)
    cached = steps(cached_distillation(data, recipe, open_cache(folder)), 5)
    asked = steps(live_task, 5)
    gaps = [
        abs(one["kl"] - other["kl"]).item()
        for (one, _), (other, _) in zip(cached, asked, strict=True)
    ]

    assert open_cache(folder).logits("id").shape == (96, 2, CLIPS)
    assert max(gaps) <= 1e-3
    assert max(gaps) > 0
