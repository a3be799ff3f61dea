"""Score a file of predictions against an annotation file, beside the floors of its pairs."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stores.annotations import read_pairs, warn_of_idle_durations
from stores.pairs import Pair
from stores.predictions import Prediction, read_origin, read_predictions
from student.floors import floors
from student.metrics import scores

log = logging.getLogger("refkd")
NO_ANSWER = (0.0, 0.0)  # of length zero, so it overlaps nothing


def score(
    predictions: Path,
    annotations: Path,
    *,
    convention: str = "hull",
    train: Path | None = None,
    durations: Path | None = None,
) -> dict[str, Any]:
    """Return the measures in percent, what was odd about the predictions, and the floors.

    Each pair's best-scored window answers it, as written; a pair without one is a miss.
    `missing`, `reversed` and `zero_length` count pairs, `unknown` counts predictions that belong
    to no pair. The fitted floors need `train`, an annotation file; Charades-STA text needs
    `durations`. `origin` holds the seals of the model, its cache and its data, if `refkd evaluate`
    wrote the predictions; raises RefkdError if they were changed since.
    """
    origin = read_origin(predictions)
    predicted = read_predictions(predictions)
    warn_of_idle_durations(durations, [annotations, *([train] if train else [])])
    pairs = read_pairs(annotations, "test", durations=durations)
    if not any(pair.id in predicted for pair in pairs):
        # in a train split a query has a pair for each of its windows, and so have its predictions
        each = read_pairs(annotations, "train", durations=durations)
        pairs = each if any(pair.id in predicted for pair in each) else pairs
    train_pairs = read_pairs(train, "train", durations=durations) if train else None
    answers = [_answer(predicted.get(pair.id)) for pair in pairs]
    given = [answer for answer in answers if answer is not None]
    odd = {
        "missing": len(answers) - len(given),
        "unknown": len(predicted.keys() - {pair.id for pair in pairs}),
        "reversed": sum(end_s < start_s for start_s, end_s in given),
        "zero_length": sum(end_s == start_s for start_s, end_s in given),
    }
    _warn(odd, predictions, predicted, pairs)
    found = scores(
        np.array([answer or NO_ANSWER for answer in answers]),
        [pair.windows for pair in pairs],
        [pair.duration_s for pair in pairs],
        convention=convention,
    )
    return {
        **found,
        **odd,
        "convention": convention,
        "origin": origin,
        "floors": floors(train_pairs, pairs, convention=convention),
    }


def _answer(prediction: Prediction | None) -> tuple[float, float] | None:
    return prediction.best if prediction else None


def _warn(
    odd: dict[str, int], path: Path, predicted: dict[str, Prediction], pairs: Sequence[Pair]
) -> None:
    """Say what may be a mistake: pairs that count as misses, predictions that count for nothing."""
    if odd["missing"]:
        count, of = odd["missing"], len(pairs)
        log.warning("pairs without a prediction, which are misses: %d of %d", count, of)
    if odd["unknown"]:
        log.warning("predictions of no pair, which are left out: %d", odd["unknown"])
    if predicted and odd["unknown"] == len(predicted):
        log.warning(
            "%s and the annotations share no qid: the first ones are %s and %s",
            path,
            next(iter(predicted)),
            pairs[0].id,
        )
    if broken := odd["reversed"] + odd["zero_length"]:
        log.warning("windows reversed or of length zero, which score 0: %d", broken)
