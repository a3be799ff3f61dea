"""Blocks of the page in Markdown: scores, differences, calibration, costs; from kept results alone.

Scores and differences are in percent.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

from experiments.differences import LEAST_RUNS, Gaps, Key, gap_of, intervals
from experiments.evidence import Evidence, Found, distinct
from experiments.plan import Block, Experiment
from pipeline.ablations import BROAD, Row
from pipeline.results import Result
from pipeline.summary import VALIDATION
from student.calibration import BOUNDARIES
from student.floors import BY_MIOU, BY_R1, WHOLE

TESTS = ("test_iid", "test_ood")
DASH = "-"


@dataclass(frozen=True)
class Line:
    """A row of a block: its name there, and where its results are."""

    name: str
    experiment: Experiment
    row: Row

    @property
    def key(self) -> Key:
        """What tells it from other rows, whatever it is called."""
        return self.experiment.name, self.row.name


def block_text(block: Block, evidence: Evidence) -> str:
    """Return a block in Markdown: tables of the rows that were run, and a line of those that were not."""
    every = _lines(block, evidence)
    there = [line for line in every if _any(line, evidence)]
    if not there:
        return "Not run yet."
    tables = {"scores": _scores, "calibration": _calibration, "costs": _costs}
    parts = [tables[block.tells](there, evidence)] if block.tells in tables else []
    parts.append(_differences(there, block, evidence))
    lacking = [line.name for line in every if line not in there]
    if lacking:
        parts.append(f"Not run yet: {'; '.join(lacking)}.")
    return "\n\n".join(part for part in parts if part)


def _lines(block: Block, evidence: Evidence) -> list[Line]:
    """Return the rows of a block, each once; the experiment's label tells those of several apart."""
    several = len({one.experiment for one in block.shown}) > 1
    lines: dict[Key, Line] = {}
    for shown in block.shown:
        experiment = evidence.plan.experiment(shown.experiment)
        for part in shown.parts or experiment.parts:
            for row in part.chosen:
                label = shown.label or experiment.label
                name = f"{label}: {row.name}" if several else row.name
                line = Line(name, experiment, row)
                lines.setdefault(line.key, line)
    return list(lines.values())


def _any(line: Line, evidence: Evidence) -> bool:
    return any(_of(line, split, evidence) for split in TESTS)


def _of(line: Line, split: str, evidence: Evidence) -> Found:
    return evidence.of(line.experiment, line.row, split)


def _scores(lines: Sequence[Line], evidence: Evidence) -> str:
    """Return a table of floors and rows; each cell of a test has four measures."""
    (data,) = {line.experiment.data for line in lines}
    kept = evidence.floors[data]["floors"]
    head = ["", *TESTS, *(f"{split} mIoU" for split in VALIDATION), "runs"]
    body = []
    for floor in (WHOLE, BY_MIOU, BY_R1):
        own = {split: floors[floor] for split, floors in kept.items() if floor in floors}
        span = next((one["span"] for one in own.values() if "span" in one), None)
        name = floor if span is None else f"{floor} {span[0]:.2f}-{span[1]:.2f}"
        cells = [_measures([own[split]]) if split in own else DASH for split in TESTS]
        cells += [f"{own[split]['mIoU']:.1f}" if split in own else DASH for split in VALIDATION]
        if own:
            body.append([name, *cells, ""])
    for line in lines:
        found = {split: _of(line, split, evidence) for split in (*TESTS, *VALIDATION)}
        scores = {
            split: [result["scores"][split] for result in distinct(own)]
            for split, own in found.items()
        }
        cells = [_measures(scores[split]) for split in TESTS]
        cells += [_spread([one["mIoU"] for one in scores[split]]) for split in VALIDATION]
        body.append([line.name, *cells, _runs(found)])
    simulated = " Simulated features." if evidence.floors[data]["simulated"] else ""
    legend = f"{' / '.join(BROAD)}, mean of runs; mIoU ± standard deviation.{simulated}"
    return f"{legend}\n\n{markdown([head, *body])}"


def _runs(found: Mapping[str, Found]) -> str:
    """Return how many runs the tests show, of each if they differ."""
    counts = [str(len(distinct(found[split]))) for split in TESTS]
    return "/".join(counts if len(set(counts)) > 1 else counts[:1])


def _measures(scores: Sequence[dict[str, float]]) -> str:
    if not scores:
        return DASH
    *others, miou = BROAD
    plain = [f"{fmean(one[measure] for one in scores):.1f}" for measure in others]
    return " / ".join([*plain, _spread([one[miou] for one in scores])])


def _differences(lines: Sequence[Line], block: Block, evidence: Evidence) -> str:
    """Return a table of the mIoU of each row minus that of others, as the block asks."""
    gaps: Gaps = {}
    for line in lines:
        for title, other in _others(line, lines, block, evidence):
            for split in TESTS:
                one, two = (_of(some, split, evidence) for some in (line, other))
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
    legend = (
        "95% intervals of a paired bootstrap over test videos, for the models that were trained: they "
        "do not cover how seeds and teachers vary, and are not corrected for their number. Bold: at "
        f"least {LEAST_RUNS} runs, and without zero. Then the difference of each run, in the order of "
        "the pairs of teachers."
    )
    return f"{legend}\n\n{markdown([head, *body])}"


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
            *(_calibrated(_of(line, split, evidence), split, b) for split, b in columns),
            _runs({split: _of(line, split, evidence) for split in TESTS}),
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
        found = _of(line, TESTS[0], evidence).values()
        values = [[v for v in map(read, found) if v is not None] for read in columns.values()]
        if any(values):
            how = sorted({f"{one['device']}, threads {one['threads']}" for one in found})
            body.append([line.name, *map(_spread, values), "; ".join(how)])
    head = ["", *columns, "on"]
    legend = "Training of one model, validation included, mean of runs ± standard deviation."
    return f"{legend}\n\n{markdown([head, *body])}" if body else ""


def _spread(values: Sequence[float]) -> str:
    if not values:
        return DASH
    return f"{fmean(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table of cells, the first row being its head."""
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, f"|{' --- |' * len(rows[0])}", *body])
