"""Score a teacher or a student on splits of a prepared data set, beside the floors of each split."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stores.dataset import DataSet, open_dataset
from stores.errors import RefkdError
from stores.models import check_fit
from stores.predictions import Prediction, write_predictions
from student.floors import Span, fit_spans, floors_of
from student.forward import resolve_device
from student.model import Model, load_model
from student.recipe import MOVED, VAL
from student.retrieval import retrieve, score_pairs
from student.validation import MovedSplit

log = logging.getLogger("refkd")


def evaluate(
    model: Path,
    data: Path,
    *,
    splits: Sequence[str] = (),
    predictions: Path | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Return the scores of a model folder on splits (all but train if none is named), in percent.

    {"model", "seal", "data", "cache", "cache_seal", "simulated", "splits": {name: {"pairs", "R1@0.3",
    ..., "mIoU", "floors": {name: scores}}}}; where val is scored, "val_moved" holds the same of its pairs with their moments moved.
    `predictions` is a file for one window per pair, in moment-detr's jsonl layout. Raises
    RefkdError if a split is unknown or the model does not fit the data.
    """
    device = resolve_device(device)
    dataset = open_dataset(data)
    asked = load_model(model, device=device)
    check_fit(asked.facts, dataset, name=str(model))
    if asked.facts["data"] != dataset.seal:
        log.warning("%s was trained on other data than %s", model, data)
    chosen = choose_splits(dataset, splits)
    dataset.warn_of_left_out(chosen)
    if predictions is not None:
        _check_ids(dataset, chosen)
    fitted = fit_spans(dataset.pairs["train"]) if dataset.pairs.get("train") else {}
    found = {split: _split_scores(asked, dataset, split, fitted, device=device) for split in chosen}
    origin = {
        "seal": asked.seal,
        "data": dataset.seal,
        "cache": asked.facts.get("cache"),
        "cache_seal": asked.facts.get("cache_seal"),
    }
    if predictions is not None:
        every = [row for _, rows in found.values() for row in rows]
        write_predictions(predictions, every, origin=origin)
    moved = MovedSplit(dataset) if VAL in chosen else None
    return {
        "model": str(model),
        **origin,
        "simulated": dataset.simulated,
        "splits": {split: scores for split, (scores, _) in found.items()},
        **({} if moved is None else {MOVED: _moved_scores(asked, moved, fitted, device=device)}),
    }


def choose_splits(dataset: DataSet, splits: Sequence[str]) -> list[str]:
    """Return the splits to score; raises RefkdError if one is not in the data set."""
    there = [split for split, pairs in dataset.pairs.items() if pairs]
    for split in splits:
        if split not in there:
            raise RefkdError(f"unknown split {split}; {dataset.folder} has {', '.join(there)}")
    chosen = list(splits) or [split for split in there if split != "train"]
    if not chosen:
        raise RefkdError(f"{dataset.folder} has no split but train; give --split train to score it")
    return chosen


def _check_ids(dataset: DataSet, splits: Sequence[str]) -> None:
    """Raise RefkdError if two splits share an id, since one file could not tell them apart."""
    owner: dict[str, str] = {}
    for split in splits:
        for pair in dataset.pairs[split]:
            if owner.setdefault(pair.id, split) != split:
                raise RefkdError(
                    f"qid {pair.id} is in {owner[pair.id]} and in {split}, so one file of "
                    "predictions cannot hold both; evaluate them apart with --split"
                )


def _split_scores(
    model: Model, dataset: DataSet, split: str, fitted: dict[str, Span], *, device: str
) -> tuple[dict[str, Any], list[Prediction]]:
    """Return the scores of one split with its floors, and the prediction of every pair."""
    pairs, rows = dataset.pairs[split], dataset.rows(split)
    spans, chances = retrieve(model.network, dataset, rows, device=device)
    predicted = [
        Prediction(qid=pair.id, vid=pair.video, query=pair.query, windows=((start, end, chance),))
        for pair, (start, end), chance in zip(pairs, spans.tolist(), chances.tolist(), strict=True)
    ]
    scores: dict[str, Any] = dict(score_pairs(spans, pairs))
    scores["floors"] = floors_of(fitted, pairs)
    return scores, predicted


def _moved_scores(
    model: Model, moved: MovedSplit, fitted: dict[str, Span], *, device: str
) -> dict[str, Any]:
    """Return the scores of the val pairs with their moments moved, with their own floors."""
    spans, _ = retrieve(
        model.network, moved.data, moved.rows, device=device, features=moved.features
    )
    scores: dict[str, Any] = dict(score_pairs(spans, moved.pairs))
    scores["floors"] = floors_of(fitted, moved.pairs)
    return scores
