"""Folds of a teacher's training videos, for cross-fitting: who is judged by the model that never saw them.

A cross-fitted teacher's folder holds folds/<i>.safetensors beside model.safetensors: the weights of
a model fitted without the videos of fold i, counted from 0. Its facts list each fold's videos.

Shapes: N rows.
"""

import re
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from stores.dataset import DataSet, Rows
from stores.errors import RefkdError
from stores.seeds import generator

EVERYTHING = -1  # in the place of a fold: the model that was fitted on all videos


def sources_of(videos: Iterable[str], pattern: str, *, option: str = "--fold-by") -> dict[str, str]:
    """Return what each video was cut from: the first group of the first match of an expression.

    `option` is what the expression was given as.

    Raises RefkdError, naming the video, if one does not match.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise RefkdError(f"{pattern} is no regular expression: {error}; mend {option}") from error
    if not expression.groups:
        raise RefkdError(
            f"{pattern} has no group that would be a video's source; put it into parentheses, "
            f"as in {option} '_([0-9]+)$'"
        )
    found = {}
    for video in videos:
        match = expression.search(video)
        if match is None or not match[1]:
            raise RefkdError(
                f"video {video} does not match {pattern}, whose first group is to be its source; "
                f"mend {option}"
            )
        found[video] = match[1]
    return found


def assign_folds(videos: Collection[str], number: int, *, seed: int) -> list[list[str]]:
    """Return the videos of each fold, sorted: as many in each as in any other, or one more.

    A function of the set of videos and the seed alone.
    """
    names = sorted(set(videos))
    order = generator(seed, "folds").permutation(len(names))
    return [sorted(names[i] for i in order[fold::number]) for fold in range(number)]


def fold_weights(fold: int) -> str:
    """Return the file in a teacher's folder with the weights that were fitted without a fold."""
    return f"folds/{fold}.safetensors"


def folds_of_rows(facts: dict[str, Any], data: DataSet, rows: Rows) -> npt.NDArray[np.int16]:
    """Return by which of a teacher's models each row is to be judged, shape (N,).

    A training pair belongs to its video's fold; rows of other splits, and videos that the teacher
    was not fitted on, to the model fitted on everything.
    """
    fold_of = {
        video: fold for fold, videos in enumerate(facts.get("folds", ())) for video in videos
    }
    return np.array(
        [
            fold_of.get(data.videos[video], EVERYTHING) if split == "train" else EVERYTHING
            for video, split in zip(rows.video, rows.splits, strict=True)
        ],
        np.int16,
    )
