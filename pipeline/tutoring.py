"""Train the student of a recipe from an open data set, cache and weights.

Apart from `distill`, which answers for finished runs without importing torch. Shapes: N training
pairs, V views of each, K teachers, B = 2 boundaries, T clips.
"""

import logging
import os
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.fitting import fit
from stores.arraynames import array_name
from stores.cache import Cache
from stores.dataset import DataSet, Rows
from stores.errors import RefkdError
from stores.mapped import stored_logits
from stores.seeds import seed_of
from stores.weights import Weights, open_weights
from stores.windows import Windows, is_windowed
from student.answers import Answers, HeldAnswers, WindowedAnswers
from student.batches import Order
from student.distillation import Distillation
from student.forward import resolve_device
from student.introspection import introspective_weights
from student.model import model_facts, network_shape
from student.network import Network
from student.recipe import Recipe
from student.viewing import CachedViews
from student.views import Viewer

log = logging.getLogger("refkd")


def tutor(
    folder: Path,
    data: DataSet,
    cache: Cache,
    recipe: Recipe,
    *,
    inputs: dict[str, Any],
    device: str,
    threads: int | None,
    compiled: bool = False,
) -> Path:
    """Train a student into the run folder `folder` and return it.

    Raises RefkdError if the cache has other training pairs than the data, or was not weighed.
    """
    device = resolve_device(device)
    if recipe.beyond_eq_5 and recipe.num_warm >= recipe.epochs:
        log.warning("all %d epochs are warm-up: targets are by eq. 5 throughout", recipe.epochs)
    shape, rows = network_shape(data, recipe), data.rows("train")
    found = train_rows(cache, rows)
    weights = open_weights(cache) if recipe.teachers else None
    weights_NKB = introspected(weights, recipe, found)
    viewed = recipe.augment == "views"
    views = range(cache.num_views + 1 if viewed else 1)  # view 0 is the pair as it is

    def task() -> Distillation:
        branches = recipe.teachers if recipe.side_weight > 0 else ()
        own = seed_of(recipe.seed, "student")  # not the weights that its teachers began with
        network = Network(shape, seed=own, teachers=branches)
        network.standardise(data.channel_stats)
        answers, order = open_answers(cache, recipe, found, views=views)
        return Distillation(
            network,
            data,
            rows,
            recipe,
            answers=answers[0],
            weights_NKB=weights_NKB,
            views=cached_views(cache, weights, recipe, found, data, answers[1:])
            if viewed
            else None,
            order=order,
            device=device,
        )

    arrays = cache.manifest["arrays"]
    seals = {"cache": cache.key, "cache_seal": cache.seal}
    if weights is not None:
        seals["weights_seal"] = weights.seal
    provenance = {
        "kind": "student",
        "recipe": inputs["recipe"],
        **seals,
        "taught_by": {name: arrays[name].get("trained") or {} for name in recipe.teachers},
        "logits": cache.read_as if recipe.teachers else None,
        **({"views": cache.manifest["views"]} if viewed else {}),
    }
    return fit(
        folder,
        recipe,
        stage="distill",
        name="student",
        inputs=inputs,
        work={"rows": len(rows.ids), "cache": os.path.relpath(cache.folder, folder.parent)},
        facts=lambda: {**model_facts(data, shape), **provenance},
        task=task,
        origin={"data": data.seal, **seals},
        device=device,
        threads=threads,
        compiled=compiled,
    )


def train_rows(cache: Cache, rows: Rows) -> slice:
    """Return where the training pairs lie in a cache.

    Raises RefkdError if the cache does not hold exactly the pairs of the data set's train split.
    """
    splits = cache.splits  # sorted
    found = slice(bisect_left(splits, "train"), bisect_right(splits, "train"))
    if cache.ids[found] != rows.ids:
        raise RefkdError(
            f"{cache.folder} holds {found.stop - found.start} pairs of split train, the data set "
            f"has {len(rows.ids)}; run `refkd cache` on this data set with --split train"
        )
    return found


def open_answers(
    cache: Cache, recipe: Recipe, found: slice, *, views: Sequence[int]
) -> tuple[list[Answers], Order | None]:
    """Return what the recipe's teachers say of the training pairs in each view, and the order to ask in.

    There is no order if any row may follow any other: a cache that is mapped, or held in memory.
    """
    names = {view: [array_name(name, view) for name in recipe.teachers] for view in views}
    if not is_windowed(cache):
        return [
            HeldAnswers(
                [stored_logits(cache, name)[found] for name in names[view]], cache.num_clips
            )
            for view in views
        ], None
    windows = Windows(cache, [name for some in names.values() for name in some], found)
    return [
        WindowedAnswers(windows, names[view], cache.num_clips) for view in views
    ], windows.batches


def cached_views(
    cache: Cache,
    weights: Weights | None,
    recipe: Recipe,
    found: slice,
    data: DataSet,
    answers: Sequence[Answers],
) -> CachedViews:
    """Return the views of the training pairs, with what the recipe's teachers say of them."""
    views = range(1, cache.num_views + 1)
    return CachedViews(
        Viewer(data, data.rows("train")),
        seeds_VN=np.stack([cache.view_seeds(view)[found] for view in views]),
        gt_VN2=np.stack([cache.view_gt(view)[found] for view in views]),
        answers=answers,
        weights_VNKB=torch.stack([introspected(weights, recipe, found, view=v) for v in views]),
    )


def introspected(weights: Weights | None, recipe: Recipe, found: slice, *, view: int = 0) -> Tensor:
    """Return the introspective weights of the recipe's teachers, [N, K, B] (eq. 1-4).

    Without teachers there is nothing to weigh, and no need for weights. Those of a view are read from
    the teachers' answers to it, data set means included.
    """
    if weights is None:
        return torch.zeros(found.stop - found.start, 0, 2)
    arrays = [array_name(name, view) for name in recipe.teachers]
    ce_NKB = np.stack([weights.ce[array][found] for array in arrays], axis=1)
    means_KB = [weights.means["train"][array] for array in arrays]
    return introspective_weights(
        torch.from_numpy(ce_NKB),
        granularity=recipe.granularity,
        hard=recipe.hard,
        favour=recipe.favour,
        dataset_means=torch.tensor(means_KB),
    )
