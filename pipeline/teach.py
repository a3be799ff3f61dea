"""Train one teacher on the train split of a prepared data set: the plain one or the debiased one."""

from pathlib import Path
from typing import Any

from pipeline.debiasing import Teaching
from pipeline.fitting import fit
from stores.dataset import open_dataset
from stores.errors import RefkdError
from student.forward import resolve_device
from student.model import model_facts, network_shape
from student.network import Network, find_backbone
from student.recipe import TEACHER_KNOBS, Recipe, recipe_json

BIASES = ("id", "ood")


def teach(
    data: Path,
    out: Path,
    *,
    bias: str,
    recipe: Recipe,
    moved_span_loss: bool = False,
    moved_stretch: float = 1.0,
    device: str = "auto",
    threads: int | None = None,
) -> Path:
    """Train a teacher into the folder `out` and return it; a finished one is returned as it is.

    Raises RefkdError if `out` holds a model of other inputs or the data has no train split.
    """
    if moved_span_loss and bias != "ood":
        raise RefkdError(f"--moved-span-loss is for --bias ood, got --bias {bias}")
    if moved_stretch < 1 or (moved_stretch > 1 and bias != "ood"):
        raise RefkdError(
            f"--moved-stretch is a factor of at least 1 for --bias ood, got {moved_stretch:g} "
            f"for --bias {bias}"
        )
    dataset = open_dataset(data)
    if not dataset.pairs.get("train"):
        raise RefkdError(f"{data} has no train split; prepare it with training annotations")
    settings = {name: value for name, value in recipe_json(recipe).items() if name in TEACHER_KNOBS}
    inputs: dict[str, Any] = {
        **settings,
        "bias": bias,
        "moved_span_loss": moved_span_loss,
        "moved_stretch": moved_stretch,
        "data": dataset.seal,
        "backbone_version": find_backbone(recipe.backbone)[1],
    }
    device = resolve_device(device)
    shape = network_shape(dataset, recipe)

    def task() -> Teaching:
        network = Network(shape, seed=recipe.seed)
        network.standardise(dataset.channel_stats)
        return Teaching(
            network,
            dataset,
            recipe,
            debias=bias == "ood",
            moved_span_loss=moved_span_loss,
            moved_stretch=moved_stretch,
            device=device,
        )

    return fit(
        out,
        recipe,
        stage="teach",
        name=f"{bias} teacher",
        inputs=inputs,
        work={"rows": len(dataset.pairs["train"])},
        facts=lambda: {**model_facts(dataset, shape), "kind": "teacher", "bias": bias},
        task=task,
        device=device,
        threads=threads,
    )
