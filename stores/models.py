"""Model folders as they lie on disk; the weights themselves are read by student/model.py.

FOLDER/model.safetensors   every parameter and buffer
FOLDER/folds/<i>.safetensors   the same, fitted without fold i, if a teacher is cross-fitted
FOLDER/manifest.json       facts: kind (teacher or student), shape of the network, data, history
FOLDER/manifest.sha256     the seal: SHA-256 of manifest.json
.FOLDER.building/          beside it: checkpoints of a model that is being trained
.FOLDER.lock               the lock of whoever trains it
"""

import logging
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from stores.dataset import DataSet
from stores.errors import RefkdError
from stores.files import MANIFEST, describe_change, locked, read_seal, read_sealed, real_place
from stores.removal import remnants, sweep

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
    if not (folder / MANIFEST).is_file():
        raise RefkdError(f"{folder} holds other files; choose another folder for the model")
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


def training_folder(folder: Path) -> Path:
    """Return where the checkpoints of a model lie until it is finished."""
    return folder.with_name(f".{folder.name}.building")


def training_lock(folder: Path) -> AbstractContextManager[bool]:
    """Return the lock of whoever trains a model, which nobody waits for.

    Raises RefkdError if no model could appear in its folder.
    """
    place = real_place(folder)
    return locked(place.with_name(f".{place.name}.lock"), wait=False)


def tidy(folder: Path) -> None:
    """Remove what a run that was killed after its last word left, if nobody is at work on it."""
    left = training_folder(folder)
    with suppress(OSError):  # of a disk that is only read; the model is whole all the same
        if remnants(left):
            with training_lock(folder) as mine:
                if mine:
                    sweep(left)


def check_fit(facts: dict[str, Any], data: DataSet, *, name: str) -> None:
    """Raise RefkdError, naming both values, if a model cannot read a data set.

    Queries with more words than it reads are counted in a warning.
    """
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
    if data.num_words > (most := words_read(facts)):
        cut = int((data.table.words[:, most] != 0).sum())
        log.warning("%s reads the first %d words of a query; %d queries have more", name, most, cut)


def words_read(shape: dict[str, Any]) -> int:
    """Return how many words of a query a network reads: it learned as many positions, clips or words."""
    return max(int(shape["num_clips"]), int(shape["num_words"]))
