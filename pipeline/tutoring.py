"""Train the student of a recipe from an open data set, cache and weights.

Apart from `distill`, which answers for finished runs without importing torch. Shapes: N training
pairs, V views of each, K teachers, B = 2 boundaries, T clips.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.fitting import fit
from stores.arraynames import array_name
from stores.cache import Cache
from stores.dataset import DataSet, Rows
from stores.errors import RefkdError
from stores.seeds import seed_of
from stores.weights import open_weights
from student.answers import HeldAnswers
from student.distillation import Distillation
from student.forward import resolve_device
from student.introspection import introspective_weights
from student.model import model_facts, network_shape
from student.network import Network
from student.recipe import Recipe
from student.viewing import CachedViews
from student.views import Viewer


def tutor(
    folder: Path,
    data: DataSet,
    cache: Cache,
    recipe: Recipe,
    *,
    inputs: dict[str, Any],
    device: str,
    threads: int | None,
) -> Path:
    """Train a student into the run folder `folder` and return it.

    Raises RefkdError if the cache has other training pairs than the data, or was not weighed.
    """
    device = resolve_device(device)
    shape, rows = network_shape(data, recipe), data.rows("train")
    found = train_rows(cache, rows)
    weights_NKB = introspected(cache, recipe, found)

    def task() -> Distillation:
        branches = recipe.teachers if recipe.side_weight > 0 else ()
        own = seed_of(recipe.seed, "student")  # not the weights that its teachers began with
        network = Network(shape, seed=own, teachers=branches)
        network.standardise(data.channel_stats)
        return Distillation(
            network,
            data,
            rows,
            recipe,
            answers=HeldAnswers(teachers_logits(cache, recipe, found)),
            weights_NKB=weights_NKB,
            views=cached_views(cache, recipe, found, data) if recipe.augment == "views" else None,
            device=device,
        )

    arrays = cache.manifest["arrays"]
    provenance = {
        "kind": "student",
        "recipe": inputs["recipe"],
        "cache": cache.key,
        "cache_seal": cache.seal,
        "taught_by": {name: arrays[name].get("trained") or {} for name in recipe.teachers},
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
        device=device,
        threads=threads,
    )


def train_rows(cache: Cache, rows: Rows) -> npt.NDArray[np.intp]:
    """Return where the training pairs lie in a cache.

    Raises RefkdError if the cache does not hold exactly the pairs of the data set's train split.
    """
    found = np.flatnonzero(np.asarray(cache.splits) == "train")
    if [cache.ids[row] for row in found] != rows.ids:
        raise RefkdError(
            f"{cache.folder} holds {len(found)} pairs of split train, the data set has "
            f"{len(rows.ids)}; run `refkd cache` on this data set with --split train"
        )
    return found


def cached_views(
    cache: Cache, recipe: Recipe, found: npt.NDArray[np.intp], data: DataSet
) -> CachedViews:
    """Return the views of the training pairs, with what the recipe's teachers say of them."""
    views = range(1, cache.num_views + 1)
    return CachedViews(
        Viewer(data, data.rows("train")),
        seeds_VN=np.stack([cache.view_seeds(view)[found] for view in views]),
        gt_VN2=np.stack([cache.view_gt(view)[found] for view in views]),
        answers=[HeldAnswers(teachers_logits(cache, recipe, found, view=v)) for v in views],
        weights_VNKB=torch.stack([introspected(cache, recipe, found, view=v) for v in views]),
    )


def teachers_logits(
    cache: Cache, recipe: Recipe, found: npt.NDArray[np.intp], *, view: int = 0
) -> npt.NDArray[np.floating]:
    """Return the logits of the recipe's teachers side by side, [N, K, B, T]; K may be 0."""
    if not recipe.teachers:
        return np.zeros((len(found), 0, 2, cache.num_clips), dtype=np.float32)
    arrays = [array_name(name, view) for name in recipe.teachers]
    return np.stack([cache.logits(array)[found] for array in arrays], axis=1)


def introspected(
    cache: Cache, recipe: Recipe, found: npt.NDArray[np.intp], *, view: int = 0
) -> Tensor:
    """Return the introspective weights of the recipe's teachers, [N, K, B] (eq. 1-4).

    Those of a view are read from the teachers' answers to it, data set means included.
    """
    if not recipe.teachers:
        return torch.zeros(len(found), 0, 2)
    weights, arrays = open_weights(cache), [array_name(name, view) for name in recipe.teachers]
    ce_NKB = np.stack([weights.ce[array][found] for array in arrays], axis=1)
    means_KB = [weights.means["train"][array] for array in arrays]
    return introspective_weights(
        torch.from_numpy(ce_NKB),
        granularity=recipe.granularity,
        hard=recipe.hard,
        dataset_means=torch.tensor(means_KB),
    )
