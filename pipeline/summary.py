"""Rows of a table in numbers: means and deviations over seeds, differences from the full method.

Scores and differences are in percent. Shapes: S seeds, N pairs.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.ablations import Table
from pipeline.planning import PlannedRow
from pipeline.results import Result, Results
from student.bootstrap import Interval, paired_interval
from student.recipe import MOVED, VAL

VALIDATION = (VAL, MOVED)


def summarise(
    rows: Sequence[PlannedRow],
    results: Results,
    *,
    table: Table,
    tests: Sequence[str],
    videos: Mapping[str, Sequence[str]],
) -> list[dict[str, Any]]:
    """Return the rows of a table as JSON: scores by split and differences from the full method.

    {"group", "row", "runs", "scores": {split: {measure:
    {"mean", "sd", "values"}}}, "difference": {split: {"mean", "low", "high"}}}; a difference is the
    mean over pairs of the row's IoU minus that of the full method, each the mean over its seeds,
    with the 95% interval of the paired bootstrap over `videos`, which names the video of each pair
    of a split. "sd" is None for a single run.
    """
    full = {row.group: row for row in rows if row.name == table.full}
    found = []
    for row in rows:
        own = {split: _found(row, split, results) for split in (*tests, *VALIDATION)}
        other = full.get(row.group)
        differences = {
            split: gap._asdict()
            for split in tests
            if other is not None and row.name != table.full and own[split]
            if (gap := _difference(own[split], _found(other, split, results), split, videos[split]))
        }
        found.append(
            {
                "group": row.group,
                "row": row.name,
                "runs": max(len(some) for some in own.values()),
                "scores": {split: spread(some, split) for split, some in own.items() if some},
                "difference": differences,
            }
        )
    return found


def _found(row: PlannedRow, split: str, results: Results) -> list[Result]:
    """Return the results that a row shows of a split."""
    found = [results.find(trial.about) for trial in row.of_split(split)]
    return [result for result in found if result is not None and split in result["scores"]]


def spread(results: Sequence[Result], split: str) -> dict[str, Any]:
    """Return mean, deviation and values over results of each measure of a split."""
    measures = [name for name in results[0]["scores"][split] if name != "pairs"]
    values = {name: [result["scores"][split][name] for result in results] for name in measures}
    return {
        name: {
            "mean": fmean(some),
            "sd": stdev(some) if len(some) > 1 else None,
            "values": some,
        }
        for name, some in values.items()
    }


def _difference(
    row: Sequence[Result], full: Sequence[Result], split: str, videos: Sequence[str]
) -> Interval | None:
    gap_N = 100 * (mean_iou(row, split) - mean_iou(full, split))
    return paired_interval(gap_N, groups=videos)


def mean_iou(results: Sequence[Result], split: str) -> npt.NDArray[np.float64]:
    """Return each pair's IoU as the mean over seeds, [N]."""
    iou_SN = np.array([result["iou"][split] for result in results])
    mean_N: npt.NDArray[np.float64] = iou_SN.mean(axis=0)
    return mean_N
