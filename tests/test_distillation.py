import dataclasses
import math

import numpy as np
import pytest
import torch

from student.answers import HeldAnswers
from student.distillation import Distillation
from student.model import network_shape
from student.network import Network
from student.recipe import Recipe

RECIPE = Recipe(hidden=16, batch=32, epochs=10, dropout=0.0)


@pytest.fixture
def make_task(data):
    """A function that returns the student's task for a recipe, taught by random logits."""

    def make(recipe):
        rows = data.rows("train")
        count = len(recipe.teachers)
        logits = np.random.default_rng(0).normal(size=(count, 96, 2, 16)).astype(np.float32)
        weights = torch.full((96, count, 2), 1 / max(count, 1))
        branches = recipe.teachers if recipe.side_weight else ()
        network = Network(network_shape(data, recipe), seed=2, teachers=branches)
        return Distillation(
            network,
            data,
            rows,
            recipe,
            answers=HeldAnswers(list(logits), 16),
            weights_NKB=weights,
            device="cpu",
        )

    return make


def first(task, epoch=0):
    return next(iter(task.batches(epoch)))


@pytest.mark.parametrize(
    ("change", "terms"),
    [
        ({}, {"kl", "side", "highlight"}),
        ({"gt_ce_weight": 0.5}, {"kl", "side", "highlight", "gt_ce"}),
        ({"rectify": "none", "reweight": False, "side_weight": 0.0}, {"kl", "highlight"}),
        ({"teachers": (), "gt_ce_weight": 1.0}, {"highlight", "gt_ce"}),
        ({"teachers": ("id",)}, {"kl", "side", "highlight"}),
        ({"teachers": ("id", "ood", "third")}, {"kl", "side", "highlight"}),
    ],
)
def test_loss_terms(make_task, change, terms):
    """Each recipe names the terms it trains by, all finite, and all but constants have a gradient."""
    task = make_task(dataclasses.replace(RECIPE, **change))
    losses = task.losses(first(task), epoch=9)
    sum(losses.values()).backward()

    assert losses.keys() == terms
    assert all(math.isfinite(value.item()) for value in losses.values())
    assert all(weight.grad is not None for weight in task.network.predict.parameters())


def test_ground_truth_weight_scales_the_cross_entropy(make_task):
    """Weight 3 costs three times weight 1: start plus end, batch mean."""
    one, three = (
        make_task(dataclasses.replace(RECIPE, teachers=(), gt_ce_weight=weight))
        for weight in (1.0, 3.0)
    )
    batch = first(one)
    found = [task.losses(batch, 0)["gt_ce"].item() for task in (one, three)]
    log_p = one.network(batch.inputs).logits_NBT.log_softmax(dim=-1)
    expected = -log_p.gather(-1, batch.gt_N2[..., None]).sum() / 32

    np.testing.assert_allclose(found, [expected.item(), 3 * expected.item()], rtol=1e-5)


def test_warm_up_ends_rectification_begins(make_task):
    """The targets of the last warm epoch are eq. 5's mixture, those of the next one are not."""
    task = make_task(dataclasses.replace(RECIPE, warmup=0.5))
    batch = first(task)
    mixture = batch.teacher_logits_NKBT.softmax(dim=-1).mean(dim=1)
    side = task.network(batch.inputs).side_logits_NKBT.detach()

    warm, later = (
        task._targets(batch, side, warm=epoch < task.recipe.num_warm) for epoch in (4, 5)
    )
    torch.testing.assert_close(warm, mixture)
    assert not torch.allclose(later, mixture, atol=0.01)


def test_logits_follow_their_pair_into_the_batch(make_task, data):
    """Row i of a batch carries the cached logits and the label of the pair that it shows."""
    task = make_task(RECIPE)
    rows = task.gatherer.rows
    features = {row: np.asarray(data.features[rows.video[row]], np.float32) for row in range(96)}
    logits = torch.from_numpy(task.answers.rows(np.arange(96)))
    seen = 0
    for batch in task.batches(0):
        for i in range(len(batch.gt_N2)):
            at = [r for r in range(96) if torch.equal(logits[r], batch.teacher_logits_NKBT[i])]
            assert len(at) == 1
            np.testing.assert_array_equal(batch.inputs.features_NTD[i], features[at[0]])
            np.testing.assert_array_equal(batch.gt_N2[i], rows.gt[at[0]])
            seen += 1
    assert seen == 96


def test_translation_moves_features_labels_and_logits_together(make_task):
    """At probability 1 the ground-truth clips of moved pairs carry the features they carried before."""
    plain = make_task(RECIPE)
    moving = make_task(dataclasses.replace(RECIPE, augment="translate", augment_prob=1.0))
    before, after = first(plain), first(moving)
    moved = 0
    for i in range(32):
        (s, e), (a, b) = before.gt_N2[i].tolist(), after.gt_N2[i].tolist()
        assert b - a == e - s
        assert torch.equal(
            after.inputs.features_NTD[i, a : b + 1], before.inputs.features_NTD[i, s : e + 1]
        )
        assert torch.equal(
            after.teacher_logits_NKBT[i, ..., a : b + 1],
            before.teacher_logits_NKBT[i, ..., s : e + 1],
        )
        moved += a != s

    assert moved > 16
    assert torch.equal(first(moving).gt_N2, after.gt_N2)  # seed and epoch decide


def test_a_second_pass_without_dropout_reads_what_evaluation_reads(make_task):
    """With affinity_dropout_off the targets are those of the network in evaluation mode."""
    recipe = dataclasses.replace(RECIPE, dropout=0.5, affinity_dropout_off=True)
    task = make_task(recipe)
    batch = first(task)
    task.network.train()
    noisy = task.network(batch.inputs).side_logits_NKBT
    found = task._targets(batch, noisy, warm=False)
    assert task.network.training
    task.network.eval()
    calm = task.network(batch.inputs).side_logits_NKBT
    plain = make_task(dataclasses.replace(recipe, affinity_dropout_off=False))

    torch.testing.assert_close(found, plain._targets(batch, calm, warm=False))


def test_observations_of_an_epoch(make_task):
    """Means and quantiles over pairs: two teachers' weights sum to 1, rho is in [0, 1], then anew."""
    task = make_task(RECIPE)
    for batch in task.batches(0):
        task.losses(batch, 9)
    found = task.diagnostics()
    means = {name: spread["mean"] for name, spread in found.items()}

    assert means["weight/id"] == means["weight/ood"] == pytest.approx(0.5)
    assert means["share/id"] + means["share/ood"] == pytest.approx(1.0)
    assert 0 <= found["confidence/id"]["quantiles"][0] <= means["confidence/id"] <= 1
    assert means["affinity/ood"] > 0
    assert task.diagnostics() == {}
