"""Model folders as they lie on disk; the weights themselves are read by student/model.py.

FOLDER/model.safetensors   every parameter and buffer
FOLDER/folds/<i>.safetensors   the same, fitted without fold i, if a teacher is cross-fitted
FOLDER/manifest.json       facts: kind (teacher or student), shape of the network, data, history
FOLDER/manifest.sha256     the seal: SHA-256 of manifest.json
"""

import logging
from pathlib import Path
from typing import Any

from stores.dataset import DataSet
from stores.errors import RefkdError
from stores.files import MANIFEST, describe_change, read_seal, read_sealed

log = logging.getLogger("refkd")
FORMAT = "refkd-model"
WEIGHTS = "model.safetensors"
REPAIR = "give a folder written by `refkd teach` or `refkd distill`, or run that command again"


def read_facts(folder: Path) -> tuple[dict[str, Any], str]:
    """Return the facts and the seal of a model folder.

    Raises RefkdError if the folder is not a finished model, or its manifest is damaged.
    """
    if not (folder / MANIFEST).is_file():
        raise RefkdError(f"no finished model at {folder}; {REPAIR}")
    facts, seal = read_seal(folder, repair=REPAIR)
    if facts.get("format") != FORMAT:
        found = facts.get("format", "no format")
        raise RefkdError(f"{folder} holds {found}, not a model; {REPAIR}")
    return facts, seal


def is_finished(folder: Path, inputs: dict[str, Any]) -> bool:
    """Return whether a folder already holds the model of these inputs.

    Raises RefkdError, naming what changed, if it holds another one or something else, or if a
    file of it is damaged.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    facts, _ = read_facts(folder)
    if facts["inputs"] != inputs:
        change = describe_change(facts["inputs"], inputs)
        raise RefkdError(
            f"{folder} holds a model of other inputs: {change}; choose another folder or delete it"
        )
    for name in facts["files"]:
        read_sealed(folder, name, facts, repair=f"delete {folder} and run the same command again")
    log.info("%s is already complete", folder)
    return True


def check_fit(facts: dict[str, Any], data: DataSet, *, name: str) -> None:
    """Raise RefkdError, naming both values, if a model cannot read a data set."""
    found = {
        "grid": (facts["grid"], data.grid),
        "clips": (facts["num_clips"], data.num_clips),
        "channels": (facts["num_channels"], data.num_channels),
        "word vectors": (facts["word_file"]["sha256"][:16], data.word_file["sha256"][:16]),
    }
    for what, (model, here) in found.items():
        if model != here:
            raise RefkdError(
                f"{name} was trained with {what} {model} but {data.folder} has {here}; "
                "prepare the data again as it was for training, or train again"
            )
