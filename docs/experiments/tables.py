"""Blocks of the page in Markdown, from kept results alone: scores, differences, agreement and so on.

Scores and differences are in percent.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from experiments.agreement import Agreement
from experiments.differences import Gaps, gap_of, intervals
from experiments.evidence import Evidence, Found
from experiments.lines import DASH, TESTS, Line, lines_of, markdown, runs, spread
from experiments.plan import Block
from experiments.scores import brief_table, floors_table, scores_table
from pipeline.results import Result
from student.calibration import BOUNDARIES

NOTHING = "Not run yet."
SEEN = {
    "pairs": "pairs as they are",
    "crossed": "the same, teachers of different seeds",
    "moved": "moved views",
}
AGREEMENT = (
    "",
    "training pairs",
    "mIoU of the two",
    "of one with the other",
    "rank correlation of cross-entropies",
    "weight of the first",
    "caches",
)


def block_text(block: Block, evidence: Evidence) -> str:
    """Return a block in Markdown: tables of the rows that were run, and a line of those that were not."""
    if block.tells == "floors":
        return floors_table(evidence) or NOTHING
    if block.tells == "agreement":
        return _agreement(block, evidence) or NOTHING
    every = lines_of(block, evidence)
    there = [line for line in every if line.was_run(evidence)]
    if not there:
        return NOTHING
    tables = {
        "scores": scores_table,
        "brief": brief_table,
        "calibration": _calibration,
        "costs": _costs,
    }
    parts = [tables[block.tells](there, evidence)] if block.tells in tables else []
    parts.append(_differences(there, block, evidence))
    lacking = [line.name for line in every if line not in there]
    if lacking:
        parts.append(f"Not run yet: {'; '.join(lacking)}.")
    return "\n\n".join(part for part in parts if part)


def _agreement(block: Block, evidence: Evidence) -> str:
    """Return how alike the teachers of each experiment answer."""
    asked = [(one, evidence.plan.experiment(one.experiment)) for one in block.shown]
    return agreement_table({one.label or e.label: evidence.agreement(e) for one, e in asked})


def agreement_table(kept: Mapping[str, Sequence[Agreement]]) -> str:
    """Return a row for each label and kind of pairs, the means over its caches; nothing for nothing."""
    body = [
        [label, SEEN[seen], *_agreement_cells([one[seen] for one in own]), str(len(own))]
        for label, entries in kept.items()
        for seen in SEEN
        if (own := [one for one in entries if seen in one])
    ]
    return markdown([AGREEMENT, *body]) if body else ""


def _agreement_cells(entries: Sequence[Agreement]) -> list[str]:
    first, second = (fmean(one["mIoU"][k] for one in entries) for k in (0, 1))
    mean, low, high = (fmean(one["weight"][i] for one in entries) for i in range(3))
    return [
        f"{first:.1f} / {second:.1f}",
        f"{fmean(one['alike'] for one in entries):.1f}",
        f"{fmean(one['correlation'] for one in entries):.2f}",
        f"{mean:.2f} ({low:.2f} to {high:.2f})",
    ]


def _differences(lines: Sequence[Line], block: Block, evidence: Evidence) -> str:
    """Return a table of the mIoU of each row minus that of others, as the block asks."""
    gaps: Gaps = {}
    for line in lines:
        for title, other in _others(line, lines, block, evidence):
            for split in TESTS:
                one, two = (some.found(split, evidence) for some in (line, other))
                gap = None if one == two else gap_of(one, two, split)
                if gap is not None:
                    gaps[line.key, title, split] = gap
    if not gaps:
        return ""
    groups = {split: evidence.groups(lines[0].experiment, split) for split in TESTS}
    told = intervals(gaps, groups)
    named = [*block.against, *(_same_row(name, evidence) for name in block.beside)]
    titles = [title for title in named if any(title == other for _, other, _ in told)]
    head = ["mIoU minus that of", *(f"{title}, {split}" for split in TESTS for title in titles)]
    body = [
        [line.name, *(told.get((line.key, o, s), DASH) for s in TESTS for o in titles)]
        for line in lines
        if any(key == line.key for key, _, _ in told)
    ]
    return markdown([head, *body])


def _others(
    line: Line, lines: Sequence[Line], block: Block, evidence: Evidence
) -> Iterator[tuple[str, Line]]:
    """Yield the rows that a row is compared with, each with the title of its column."""
    if line.row.name not in _yardsticks(block.against):
        for name in block.against:
            same = [one for one in lines if one.key == (line.experiment.name, name)]
            yield from ((name, other) for other in same if other.key != line.key)
    order = list(dict.fromkeys(shown.experiment for shown in block.shown))
    for name in block.beside:
        if name not in order[order.index(line.experiment.name) :]:  # those below look up to it
            other = replace(line, experiment=evidence.plan.experiment(name))
            yield _same_row(name, evidence), other


def _same_row(experiment: str, evidence: Evidence) -> str:
    return f"the same with {evidence.plan.experiment(experiment).label}"


def _yardsticks(against: Sequence[str]) -> tuple[str, ...]:
    """Return the rows that are not compared themselves: teachers, where students are meant to win."""
    return tuple(name for name in against if name.endswith("teacher"))


def _calibration(lines: Sequence[Line], evidence: Evidence) -> str:
    """Return expected calibration errors beside those that chance alone makes, of start and end."""
    columns = [(split, boundary) for split in TESTS for boundary in BOUNDARIES]
    body = [
        [
            line.name,
            *(_calibrated(line.found(split, evidence), split, b) for split, b in columns),
            runs({split: line.found(split, evidence) for split in TESTS}),
        ]
        for line in lines
    ]
    head = ["", *(f"{split}, {boundary}" for split, boundary in columns), "runs"]
    legend = (
        "Expected calibration error in percent (by chance: that of a calibrated model that is as "
        "sure, on as many pairs); mean probability of the clip chosen / share that is right. The clip "
        "is the likeliest of each boundary, decoded alone; mean of runs."
    )
    return f"{legend}\n\n{markdown([head, *body])}"


def _calibrated(found: Found, split: str, boundary: str) -> str:
    own = [
        result["calibration"][split][boundary]
        for result in found.values()
        if split in result.get("calibration", {})
    ]
    if not own:
        return DASH
    error, chance, sure, right = (
        fmean(one[name] for one in own) for name in ("error", "by_chance", "confidence", "accuracy")
    )
    return f"{error:.1f} ({chance:.1f}); {sure:.1f} / {right:.1f}"


def _costs(lines: Sequence[Line], evidence: Evidence) -> str:
    """Return what training took of each row, as far as it was noted."""
    columns: dict[str, Callable[[Result], Any]] = {
        "minutes": lambda result: result.get("seconds") and result["seconds"] / 60,
        "peak memory, GiB": lambda result: (
            result.get("peak_rss_bytes") and result["peak_rss_bytes"] / 2**30
        ),
        "epoch kept": lambda result: result.get("best_epoch"),
    }
    body = []
    for line in lines:
        found = line.found(TESTS[0], evidence).values()
        values = [[v for v in map(read, found) if v is not None] for read in columns.values()]
        if any(values):
            how = sorted({f"{one['device']}, threads {one['threads']}" for one in found})
            body.append([line.name, *map(spread, values), "; ".join(how)])
    head = ["", *columns, "on"]
    legend = "Training of one model, validation included, mean of runs ± standard deviation."
    return f"{legend}\n\n{markdown([head, *body])}" if body else ""
