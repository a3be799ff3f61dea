"""Train one teacher on the train split of a prepared data set: the plain one or the debiased one.

A cross-fitted teacher is several models: one for each fold of the videos, fitted without it, which
`cache` asks about that fold's pairs, and one fitted on everything, which all else asks. Videos that
were cut from one source lie in one fold where `fold_by` finds the source in their ids. The models share
what `prepare` computed from the features of all training videos (channel statistics, words); what
a model must not have seen is how its own pairs are labelled.
"""

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.debiasing import Teaching
from pipeline.fitting import fit
from stores.dataset import DataSet, open_dataset
from stores.errors import RefkdError
from stores.folds import assign_folds, sources_of
from student.forward import resolve_device
from student.model import model_facts, network_shape
from student.network import Network, find_backbone
from student.recipe import BIASES, TEACHER_KNOBS, Recipe, recipe_json, training_version

MOST_STRETCH = 1000  # no video has as many moments


def teach(
    data: Path,
    out: Path,
    *,
    bias: str,
    recipe: Recipe,
    moved_span_loss: bool = False,
    moved_stretch: float = 1.0,
    folds: int = 1,
    fold_by: str = "",
    device: str = "auto",
    threads: int | None = None,
    compiled: bool = False,
) -> Path:
    """Train a teacher into the folder `out` and return it; a finished one is returned as it is.

    With `folds` of at least 2 it is cross-fitted; `fold_by` is a regular expression whose first group
    finds in a video's id what it was cut from. Raises RefkdError if `out` holds a model of other
    inputs, an argument is out of range, the data has no train split, or a video does not match.
    """
    if bias not in BIASES:
        raise RefkdError(f"bias must be one of {', '.join(BIASES)}, got {bias}")
    if moved_span_loss and bias != "ood":
        raise RefkdError(f"--moved-span-loss is for --bias ood, got --bias {bias}")
    if not 1 <= moved_stretch <= MOST_STRETCH or (moved_stretch > 1 and bias != "ood"):
        raise RefkdError(
            f"--moved-stretch is a factor of 1 to {MOST_STRETCH} for --bias ood, got "
            f"{moved_stretch:g} for --bias {bias}"
        )
    if fold_by and folds == 1:
        raise RefkdError("--fold-by is for --folds of at least 2, got --folds 1")
    dataset = open_dataset(data)
    if not dataset.pairs.get("train"):
        raise RefkdError(f"{data} has no train split; prepare it with training annotations")
    parts = _folds(dataset, folds, fold_by=fold_by, seed=recipe.seed)
    settings = {name: value for name, value in recipe_json(recipe).items() if name in TEACHER_KNOBS}
    inputs: dict[str, Any] = {
        **settings,
        "bias": bias,
        "moved_span_loss": moved_span_loss,
        "moved_stretch": moved_stretch,
        "data": dataset.seal,
        "backbone_version": find_backbone(recipe.backbone)[1],
        **training_version(),
    }
    if parts:  # one fold is none: such a teacher is what it would be without folds
        inputs["folds"] = folds
    if fold_by:  # what is not said leaves a teacher what it was before it could be said
        inputs["fold_by"] = fold_by
    if recipe.select != Recipe().select:
        inputs["select"] = recipe.select
    device = resolve_device(device)
    shape = network_shape(dataset, recipe)

    def task(left_out: Collection[str] = ()) -> Teaching:
        network = Network(shape, seed=recipe.seed)
        network.standardise(dataset.channel_stats)
        return Teaching(
            network,
            dataset,
            recipe,
            debias=bias == "ood",
            moved_span_loss=moved_span_loss,
            moved_stretch=moved_stretch,
            left_out=left_out,
            device=device,
        )

    without: list[Callable[[], Teaching]] = [partial(task, frozenset(part)) for part in parts]
    grouped = {"folds": parts} if parts else {}
    return fit(
        out,
        recipe,
        stage="teach",
        name=f"{bias} teacher",
        inputs=inputs,
        # K models see 1 - 1/K of the pairs each, and one sees all
        work={"rows": len(dataset.pairs["train"]) * folds},
        facts=lambda: {**model_facts(dataset, shape), "kind": "teacher", "bias": bias, **grouped},
        task=task,
        folds=without,
        device=device,
        threads=threads,
        compiled=compiled,
    )


def _folds(data: DataSet, number: int, *, fold_by: str, seed: int) -> list[list[str]]:
    """Return the videos of each fold; none for one fold, which would leave nothing to fit.

    Raises RefkdError if there are fewer training videos, or sources of them, than folds.
    """
    videos = sorted({pair.video for pair in data.pairs["train"]})
    sources = sources_of(videos, fold_by) if fold_by else {video: video for video in videos}
    count, what = len(set(sources.values())), "sources of training" if fold_by else "training"
    if not 1 <= number <= count:
        raise RefkdError(
            f"folds must be at least 1 and at most the {count} {what} videos, got {number}"
        )
    parts = assign_folds(set(sources.values()), number, seed=seed) if number > 1 else []
    return [[video for video in videos if sources[video] in part] for part in map(set, parts)]
