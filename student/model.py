"""Networks to and from model folders (the format is described in stores/models.py)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from stores.dataset import WORDS_PATH, DataSet
from stores.errors import RefkdError
from stores.files import publish, read_sealed, real_place, seal_folder, write_atomic, write_json
from stores.folds import EVERYTHING, fold_weights
from stores.models import FORMAT, REPAIR, WEIGHTS, read_facts
from stores.removal import sweep
from student.network import Network, find_backbone
from student.recipe import Recipe


@dataclass(frozen=True)
class Model:
    """A finished network in evaluation mode, the facts recorded beside it, and their seal."""

    network: Network
    facts: dict[str, Any]
    seal: str


def network_shape(data: DataSet, recipe: Recipe) -> dict[str, Any]:
    """Return what a network for this data must know to be built: widths, counts and characters."""
    return {
        "backbone": recipe.backbone,
        "predictor": recipe.predictor,
        "hidden": recipe.hidden,
        "dropout": recipe.dropout,
        "num_channels": data.num_channels,
        "num_clips": data.num_clips,
        "num_words": data.num_words,
        "num_chars": data.num_chars,
        "word_width": data.word_file["width"],
        "characters": data.characters,
    }


def model_facts(data: DataSet, shape: dict[str, Any]) -> dict[str, Any]:
    """Return the facts that tie a model to its data and to the code of its backbone."""
    return {
        "format": FORMAT,
        **shape,
        "backbone_version": find_backbone(shape["backbone"])[1],
        "grid": data.grid,
        "word_file": data.word_file,
        "data": data.seal,
        "simulated": data.simulated,
    }


def save_model(
    folder: Path,
    weights: dict[str, torch.Tensor],
    facts: dict[str, Any],
    *,
    folds: Sequence[dict[str, torch.Tensor]] = (),
) -> None:
    """Write a model folder whole: it appears under its name only when it is sealed.

    `folds` are the weights fitted without each fold. Side branches are left out: nothing reads
    them after training.
    Raises RefkdError if no folder could appear there.
    """
    place = real_place(folder)
    building = place.with_name(f".{place.name}.finished")
    sweep(building)
    building.mkdir(parents=True)
    write_atomic(building / WEIGHTS, _weights_file(weights))
    for fold, fitted in enumerate(folds):
        (building / fold_weights(fold)).parent.mkdir(exist_ok=True)
        write_atomic(building / fold_weights(fold), _weights_file(fitted))
    word_file = dict(facts["word_file"])
    path = word_file.pop("path", None)  # where it lay is no part of what the model is
    seal_folder(building, {**facts, "word_file": word_file})
    write_json(building / WORDS_PATH, path)
    publish(building, place)


def _weights_file(weights: dict[str, torch.Tensor]) -> bytes:
    kept = {name: tensor.cpu() for name, tensor in weights.items() if not name.startswith("side.")}
    return save(kept)


def load_model(folder: Path, *, device: str = "cpu", fold: int = EVERYTHING) -> Model:
    """Return a model ready to be asked: the one fitted on everything, or without a fold.

    Raises RefkdError if the folder is not a finished model, is damaged, or was made by another
    version of its backbone's code.
    """
    facts, seal = read_facts(folder)
    _, version = find_backbone(facts["backbone"])
    if facts["backbone_version"] != version:
        raise RefkdError(
            f"{folder} was made by version {facts['backbone_version']} of {facts['backbone']}, "
            f"this is version {version}; train it again"
        )
    file = WEIGHTS if fold == EVERYTHING else fold_weights(fold)
    weights = load(read_sealed(folder, file, facts, repair=REPAIR))
    network = Network(facts)
    network.load_state_dict(weights)
    return Model(network.to(device).eval(), facts, seal)
