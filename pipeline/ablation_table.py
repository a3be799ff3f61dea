"""A finished table as plain text: the paper's layout, then intervals, then what validation says."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from pipeline.listing import settings_said
from pipeline.table import aligned, named_floors

Row = Mapping[str, Any]


def ablation_table(result: Mapping[str, Any]) -> str:
    """Return what `ablate` found as three blocks of text.

    Scores are means ± standard deviations over seeds, in percent, floors first; the differences
    of mIoU from the full method have their paired bootstrap interval; validation comes last.
    """
    rows, splits, full = result["rows"], result["splits"], result["full"]
    counts = sorted({row["runs"] for row in rows})
    simulated = ", simulated features" if result["simulated"] else ""
    number = " or ".join(map(str, counts))
    runs = "one run a row" if counts == [1] else f"mean ± standard deviation of {number} runs a row"
    title = f"table {result['table']}: {result['title']}\nscores in percent{simulated}, {runs}"
    if result["recipe"]:
        title += f"\nevery row starts from {', '.join(settings_said(result['recipe']))}"
    blocks = [_scores_block(title, result)]
    if any(row["difference"] for row in rows):
        head = [["", *splits]]
        drawn = "what test videos were cut from" if result["group_by"] else "test videos"
        told = (
            f"mIoU of each row minus that of {full}, 95% interval of a paired bootstrap over "
            f"{drawn},\nfor the models that were trained: it does not cover how seeds and teachers "
            "vary"
        )
        body = _body(
            [row for row in rows if row["difference"]],
            lambda row: [_interval(row["difference"].get(split)) for split in splits],
        )
        blocks.append(f"{told}\n\n{aligned([*head, *body])}")
    judged = [split for split in result["validation"] if any(split in r["scores"] for r in rows)]
    if judged:
        body = _body(
            [row for row in rows if any(split in row["scores"] for split in judged)],
            lambda row: [_number(row["scores"].get(split), "mIoU") for split in judged],
        )
        told = "mIoU on validation pairs, as they are and with their moments moved"
        blocks.append(f"{told}\n\n{aligned([['', *judged], *body])}")
    return "\n\n".join(blocks)


def _scores_block(title: str, result: Mapping[str, Any]) -> str:
    splits, measures = result["splits"], result["measures"]
    floors = {split: named_floors(result["floors"][split]) for split in splits}
    columns = [(split, measure) for split in splits for measure in measures]
    above = ["", *(split if measure == measures[0] else "" for split, measure in columns)]
    head = [above, ["", *(measure for _, measure in columns)]]
    names = dict.fromkeys(name for own in floors.values() for name in own)
    below = [
        [name, *(f"{floors[split][name][measure]:.2f}" for split, measure in columns)]
        for name in names
    ]
    body = _body(
        result["rows"],
        lambda row: [_number(row["scores"].get(split), measure) for split, measure in columns],
    )
    return f"{title}\n\n{aligned([*head, *below, *body])}"


def _body(rows: Sequence[Row], cells: Any) -> list[list[str]]:
    """Return a line for each row, under the name of its group if it has one."""
    lines = []
    for group, own in groupby(rows, key=lambda row: row["group"]):
        inside = [[row["row"], *cells(row)] for row in own]
        if group:
            lines.append([f"caches of {group}:", *[""] * (len(inside[0]) - 1)])
        lines += inside
    return lines


def _number(scores: Mapping[str, Any] | None, measure: str) -> str:
    if scores is None:
        return "-"
    found = scores[measure]
    return f"{found['mean']:.2f}" + ("" if found["sd"] is None else f" ± {found['sd']:.2f}")


def _interval(found: Mapping[str, float] | None) -> str:
    if found is None:
        return "-"
    return f"{found['mean']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]"
