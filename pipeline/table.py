"""Scores as plain text: floors first, then models, in percent; every name in full at any width."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from student.floors import WHOLE
from student.metrics import MEASURES
from student.recipe import MOVED

PUBLISHED = ("R1@0.3", "R1@0.5", "R1@0.7", "mIoU")  # what papers compare

Scores = Mapping[str, Any]


def comparison_table(results: Mapping[str, Scores], *, splits: Sequence[str]) -> str:
    """Return floors and models as rows, four measures of each split as columns.

    `results` holds what `evaluate` returns, by the name of the row and in the order of the rows.
    A split that a model was not scored on shows dashes.
    """
    columns = []  # of each split, the scores by row name
    for split in splits:
        models = {
            name: result["splits"][split]
            for name, result in results.items()
            if split in result["splits"]
        }
        # the floors of a split are the same whichever model stands beside them
        first: Scores = next(iter(models.values()), {"floors": {}})
        columns.append({**named_floors(first["floors"]), **models})
    floors = [name for column in columns for name in column if name not in results]
    head = [["", *splits], ["", *(_head(PUBLISHED) for _ in splits)]]
    rows = [
        [name, *(_cells(column.get(name), PUBLISHED) for column in columns)]
        for name in dict.fromkeys([*floors, *results])
    ]
    return f"{_title(results.values())}\n\n{aligned([*head, *rows])}"


def evaluation_table(result: Scores) -> str:
    """Return what `evaluate` says of one model: a block per split, floors above the model.

    Last comes val with its moments moved, which is no split, where val was scored.
    """
    name = Path(result["model"]).name or "model"
    titles = {split: split for split in result["splits"]}
    found = dict(result["splits"])
    if MOVED in result:
        titles[MOVED], found[MOVED] = f"{MOVED}, val with its moments moved", result[MOVED]
    blocks = [
        _block(f"{titles[split]}: {scores['pairs']} pairs", scores["floors"], {name: scores})
        for split, scores in found.items()
    ]
    return "\n\n".join([_title([result]), *blocks])


def score_table(result: Scores) -> str:
    """Return what `score` says of a file: its measures beside the floors, and what was odd."""
    title = f"scores in percent, convention {result['convention']}: {result['pairs']} pairs"
    odd = [
        f"{words}: {result[key]}"
        for key, words in (
            ("missing", "pairs without a prediction, which are misses"),
            ("unknown", "predictions of no pair, which are left out"),
            ("reversed", "reversed windows, which score 0"),
            ("zero_length", "windows of length zero, which score 0"),
        )
        if result[key]
    ]
    return "\n".join([_block(title, result["floors"], {"predictions": result}), *odd])


def _title(results: Iterable[Scores]) -> str:
    simulated = any(result["simulated"] for result in results)
    return "scores in percent, simulated features" if simulated else "scores in percent"


def _block(title: str, floors: Mapping[str, Scores], models: Mapping[str, Scores]) -> str:
    """Return all measures of one split under a title."""
    found = {**named_floors(floors), **models}
    rows = [[name, _cells(scores, MEASURES)] for name, scores in found.items()]
    return f"{title}\n{aligned([['', _head(MEASURES)], *rows])}"


def named_floors(floors: Mapping[str, Scores]) -> dict[str, Scores]:
    """Return floors by their name and, where one was fitted, its span in durations."""
    return {
        name if name == WHOLE else f"{name} {'-'.join(f'{x:.2f}' for x in scores['span'])}": scores
        for name, scores in floors.items()
    }


def _head(measures: Sequence[str]) -> str:
    return "  ".join(f"{measure:>6}" for measure in measures)


def _cells(scores: Scores | None, measures: Sequence[str]) -> str:
    """Return the numbers that stand under `_head`, or dashes."""
    return "  ".join(
        f"{'-' if scores is None else f'{scores[measure]:.2f}':>{max(6, len(measure))}}"
        for measure in measures
    )


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as lines with aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "    ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
