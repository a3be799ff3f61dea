"""Training from cached views: what is shown, and what is taught about it, belong together."""

import dataclasses

import numpy as np
import pytest
import torch

from pipeline.cache import cache
from pipeline.distill import distill
from pipeline.tutoring import cached_views, introspected, open_answers, train_rows
from pipeline.weigh import weigh
from stores.cache import open_cache
from stores.errors import RefkdError
from stores.models import read_facts
from stores.weights import open_weights
from student.batches import epoch_order
from student.crossentropy import ground_truth_ce
from student.distillation import Distillation
from student.forward import model_logits
from student.introspection import introspective_weights
from student.model import load_model, network_shape
from student.network import Network
from student.recipe import Recipe

RECIPE = Recipe(hidden=16, epochs=2, batch=20, lr=3e-3, augment="views", augment_prob=1.0)


@pytest.fixture(scope="module")
def viewed(data_folder, teacher_folders, tmp_path_factory):
    """A weighed cache of both teachers with two views."""
    out = tmp_path_factory.mktemp("caches")
    folder = cache(data_folder, out, teachers=teacher_folders, views=2, device="cpu")
    weigh(folder)
    return folder


@pytest.fixture
def make_task(data, viewed):
    """A function that returns the student's task for a recipe, taught from the cache."""

    def make(recipe):
        opened, rows = open_cache(viewed), data.rows("train")
        found, weights = train_rows(opened, rows), open_weights(opened)
        answers, _ = open_answers(opened, recipe, found, views=range(3))
        with_views = recipe.augment == "views"
        seen = (opened, weights, recipe, found, data, answers[1:])
        views = cached_views(*seen) if with_views else None
        return Distillation(
            Network(network_shape(data, recipe), seed=2, teachers=recipe.teachers),
            data,
            rows,
            recipe,
            answers=answers[0],
            weights_NKB=introspected(weights, recipe, found),
            views=views,
            device="cpu",
        )

    return make


def shown(task, epoch=0):
    """What an epoch shows of each row: features, labels, logits and weights, in the order of rows."""
    recipe = task.recipe
    order = epoch_order(task.num_rows, recipe.batch, seed=recipe.seed, epoch=epoch)
    place = np.argsort(np.concatenate(order))
    lessons = [
        (lesson.inputs.features_NTD, lesson.gt_N2, lesson.teacher_logits_NKBT, lesson.weights_NKB)
        for lesson in task.batches(epoch)
    ]
    return [torch.cat(parts)[place].numpy() for parts in zip(*lessons, strict=True)]


def test_taught_is_what_live_teachers_say_of_what_is_shown(make_task, data, teacher_folders):
    """Asked about the features that training shows, each teacher gives the cached bits."""
    features, gt, logits, _ = shown(make_task(RECIPE))
    rows = data.rows("train")
    for k, name in enumerate(RECIPE.teachers):
        network = load_model(teacher_folders[name]).network
        live = model_logits(
            network, data, rows, 0, 96, features=lambda index: torch.from_numpy(features[index])
        )
        plain = model_logits(network, data, rows, 0, 96)

        assert logits[:, k].tobytes() == live.tobytes()
        assert logits[:, k].tobytes() != plain.tobytes()
    assert (gt != rows.gt).any(axis=1).mean() > 0.5


def test_shown_moments_stand_where_the_labels_say(make_task, data):
    """The raised channel of a pair's action lies inside its moved label."""
    actions = ("jump", "run", "swim", "climb")
    features, gt, _, _ = shown(make_task(RECIPE))
    for row, pair in enumerate(data.pairs["train"]):
        s, e = gt[row]
        raised = features[row, :, actions.index(pair.query.split()[-1])] > 1.0

        assert raised[s + 1 : e].all()


@pytest.mark.parametrize("granularity", ["sample", "dataset"])
def test_weights_are_those_of_the_answers_taught(make_task, data, granularity, viewed):
    """Introspective weights come from how wrong the teachers are about the view itself."""
    recipe = dataclasses.replace(RECIPE, granularity=granularity)
    task = make_task(recipe)
    _, gt, logits, weights = shown(task)
    clips = data.rows("train").clips
    if granularity == "sample":
        ce = [ground_truth_ce(logits[:, k], clips, gt) for k in range(2)]
        expected = introspective_weights(
            torch.from_numpy(np.stack(ce, axis=1)), granularity="sample", hard=False
        )
        np.testing.assert_array_equal(weights, expected)
        return
    opened, expected = open_cache(viewed), []
    for view in (1, 2):
        arrays = [f"{name}/views/{view}" for name in recipe.teachers]
        gt_N2 = opened.view_gt(view)
        mean_KB = np.stack(
            [ground_truth_ce(opened.logits(name), clips, gt_N2).mean(axis=0) for name in arrays]
        )
        expected.append(mean_KB / mean_KB.sum(axis=0))
    found = np.unique(weights, axis=0)
    np.testing.assert_allclose(found, np.unique(expected, axis=0), rtol=1e-5)


def test_every_view_is_drawn_and_each_epoch_anew(make_task):
    """Both views occur in an epoch, about equally often, and in the next one others."""
    task = make_task(RECIPE)
    gt_VN2 = task.views.gt_VN2
    differ = (gt_VN2[0] != gt_VN2[1]).any(axis=1)
    drawn = []
    for epoch in (0, 1):
        _, gt, _, _ = shown(task, epoch)
        is_first, is_second = ((gt == one).all(axis=1) for one in gt_VN2)

        assert (is_first | is_second).all()
        assert 0.25 < is_first[differ].mean() < 0.75
        drawn.append(is_first)
    assert (drawn[0] != drawn[1])[differ].mean() > 0.2


def test_probability(make_task):
    """At 0 all is as without views; at 1/2 about half the pairs are as they are."""
    plain = shown(make_task(dataclasses.replace(RECIPE, augment="none")))
    never = shown(make_task(dataclasses.replace(RECIPE, augment_prob=0.0)))
    half = shown(make_task(dataclasses.replace(RECIPE, augment_prob=0.5)))

    for a, b in zip(plain, never, strict=True):
        np.testing.assert_array_equal(a, b)
    as_is = (half[2] == plain[2]).all(axis=(1, 2, 3))
    assert 0.3 < as_is.mean() < 0.7


def test_an_epoch_is_the_same_wherever_it_starts(make_task):
    """Gone on with after a kill, the second epoch shows what it would have shown."""
    whole = make_task(RECIPE)
    shown(whole, 0)

    for a, b in zip(shown(whole, 1), shown(make_task(RECIPE), 1), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "change", [{}, {"teachers": (), "gt_ce_weight": 1.0}, {"teachers": ("ood",)}]
)
def test_students_learn_from_views(data_folder, viewed, tmp_path, change):
    """A run of any teachers, or none, ends; twice it is the same bytes."""
    recipe = dataclasses.replace(RECIPE, augment_prob=0.5, **change)
    first, again = (
        distill(data_folder, viewed, tmp_path / place, recipe, device="cpu", threads=1)
        for place in ("first", "again")
    )

    assert len(read_facts(first)[0]["history"]) == 2
    assert (first / "manifest.sha256").read_bytes() == (again / "manifest.sha256").read_bytes()


def test_a_cache_without_views_is_refused(data_folder, cache_folder, tmp_path):
    """The option that adds views is named, before anything is trained."""
    with pytest.raises(
        RefkdError, match=r"holds no moved views for --augment views; run `refkd cache` with --vi"
    ):
        distill(data_folder, cache_folder, tmp_path / "runs", RECIPE)
    assert not (tmp_path / "runs").exists()


def test_views_of_another_version_are_refused(data_folder, viewed, tmp_path, monkeypatch):
    """Views that this code would move otherwise teach nobody."""
    monkeypatch.setattr("pipeline.distill.VERSION", 99)
    with pytest.raises(RefkdError, match="moved by version 1 of the code, this refkd has version"):
        distill(data_folder, viewed, tmp_path / "runs", RECIPE)
