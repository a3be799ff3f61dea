"""The recipe: its defaults are the paper's, and what makes no sense is refused in a sentence."""

import json
import re
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from stores.errors import RefkdError
from student.network import find_backbone
from student.recipe import BACKBONES, Recipe, backbone_version, recipe_from_json, recipe_json


def test_defaults_of_the_paper():
    """AdamW at 1e-3 without decay, 100 epochs of 32, width 128, a fifth of warm-up, lambda 0.1."""
    recipe = Recipe()

    assert (recipe.lr, recipe.weight_decay, recipe.epochs, recipe.batch) == (1e-3, 0.0, 100, 32)
    assert (recipe.hidden, recipe.dropout, recipe.clip_norm) == (128, 0.2, 1.0)
    assert (recipe.warmup, recipe.side_weight, recipe.tau, recipe.gt_threshold) == (
        0.2,
        0.1,
        0.1,
        0.3,
    )
    assert (recipe.rectify, recipe.reweight, recipe.granularity) == ("mixed", True, "sample")
    assert recipe.teachers == ("id", "ood")


def test_every_knob_explains_itself():
    """Each field has a default and one line of help, which the command line shows."""
    for knob in fields(Recipe):
        assert knob.metadata["help"], knob.name
        assert "\n" not in knob.metadata["help"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"backbone": "resnet"}, "backbone must be one of .*vslnet.*, got resnet"),
        ({"predictor": "cnn"}, "predictor must be one of rnn, transformer, got cnn"),
        ({"rectify": "all"}, "rectify must be one of mixed, pure-gt, window, none, got all"),
        ({"granularity": "epoch"}, "granularity must be one of sample, dataset, fixed, got epoch"),
        ({"augment": "flip"}, "augment must be one of .*, got flip"),
        ({"select": "test_ood"}, "select must be one of val.*, got test_ood"),
        ({"hidden": 100}, "hidden must be a multiple of 8, got 100"),
        ({"hidden": 0}, "hidden must be at least 8, got 0"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch": 0}, "batch must be at least 1, got 0"),
        ({"lr": 0.0}, "lr must be above 0.0, got 0.0"),
        ({"weight_decay": -1.0}, "weight-decay must be at least 0.0, got -1.0"),
        ({"dropout": 1.0}, "dropout must be at most 0.9, got 1.0"),
        ({"clip_norm": 0.0}, "clip-norm must be above 0.0, got 0.0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"warmup": 1.1}, "warmup must be at most 1.0, got 1.1"),
        ({"side_weight": -0.1}, "side-weight must be at least 0.0, got -0.1"),
        ({"tau": 0.0}, "tau must be above 0.0, got 0.0"),
        ({"gt_threshold": 2.0}, "gt-threshold must be at most 1.0, got 2.0"),
        ({"temperature": 0.0}, "temperature must be above 0.0, got 0.0"),
        ({"gt_ce_weight": -1.0}, "gt-ce-weight must be at least 0.0, got -1.0"),
        ({"augment_prob": 1.5}, "augment-prob must be at most 1.0, got 1.5"),
        ({"temperature": float("inf")}, "temperature must be finite, got inf"),
        ({"lr": float("nan")}, "lr must be above 0.0, got nan"),
        ({"teachers": ("id", "id")}, "teachers must differ, got id,id"),
        ({"teachers": ()}, "no teachers means ground truth only: give --gt-ce-weight above 0"),
    ],
)
def test_refusals(values, message):
    """A value outside its limits is named with its option, its limits and what was found."""
    with pytest.raises(RefkdError, match=f"^{message}"):
        Recipe(**values)


def test_limits_themselves_are_allowed():
    """A limit that is included is a valid value."""
    Recipe(hidden=8, epochs=1, batch=1, dropout=0.9, warmup=1.0, gt_threshold=1.0, augment_prob=1.0)
    Recipe(dropout=0.0, warmup=0.0, gt_threshold=0.0, augment_prob=0.0, weight_decay=0.0)


@pytest.mark.parametrize("rectify", ["mixed", "window"])
def test_rectifications_that_read_side_branches(rectify):
    """Without side branches these have no confidence to read."""
    with pytest.raises(RefkdError, match=f"side-weight 0 removes .*{rectify}"):
        Recipe(rectify=rectify, reweight=False, side_weight=0.0)


def test_reweighting_reads_side_branches():
    """Re-weighting needs them for two teachers; one teacher has nothing to be weighed against."""
    with pytest.raises(RefkdError, match="side-weight 0 removes the side branches"):
        Recipe(rectify="none", reweight=True, side_weight=0.0)

    assert not Recipe(teachers=("id",), rectify="pure-gt", side_weight=0.0).needs_side_branches
    assert not Recipe(rectify="none", reweight=False, side_weight=0.0).needs_side_branches
    assert Recipe(teachers=("id",)).needs_side_branches


def test_ground_truth_only():
    """No teachers, a plain cross-entropy: nothing reads side branches, with their weight or at 0."""
    recipe = Recipe(teachers=(), gt_ce_weight=1.0)

    assert not recipe.needs_side_branches
    assert not replace(recipe, side_weight=0.0).needs_side_branches


def test_ablations_are_replacements():
    """An ablation is checked like any recipe, and the full one stays as it is."""
    full = Recipe()
    other = replace(full, rectify="none", reweight=False)

    assert (full.rectify, other.rectify) == ("mixed", "none")
    with pytest.raises(RefkdError, match="rectify must be one of"):
        replace(full, rectify="some")
    with pytest.raises(FrozenInstanceError):
        full.rectify = "none"


def test_json_round_trip():
    """A recipe comes back from its JSON text, every field given."""
    recipe = Recipe(teachers=("a", "b", "c"), lr=3e-4, hard=True, seed=9)
    values = json.loads(json.dumps(recipe_json(recipe)))

    assert recipe_from_json(values) == recipe
    assert values.keys() == {knob.name for knob in fields(Recipe)}


def test_json_of_another_version():
    """A field too many and one too few are named."""
    values = {**recipe_json(Recipe()), "colour": "red"}
    del values["tau"]

    with pytest.raises(RefkdError, match=re.escape("knows: colour, tau")):
        recipe_from_json(values)


@pytest.mark.parametrize(
    ("warmup", "epochs", "warm"),
    [(0.2, 100, 20), (0.2, 12, 3), (0.0, 10, 0), (1.0, 10, 10), (0.07, 100, 7)],
)
def test_warm_up_lasts_a_fraction_of_the_epochs(warmup, epochs, warm):
    """ceil(warmup x epochs) epochs; 0 means none."""
    assert Recipe(warmup=warmup, epochs=epochs).num_warm == warm


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbones_version_is_read_without_importing_it(name):
    """The number in its file is the one that its module holds."""
    assert backbone_version(name) == find_backbone(name)[1]
