"""Tables of scores, in percent, beside the floors of the same data set."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from experiments.evidence import Evidence, distinct
from experiments.lines import DASH, TESTS, Line, markdown, runs, spread
from pipeline.ablations import BROAD
from pipeline.summary import VALIDATION
from student.floors import BY_MIOU, BY_R1, WHOLE

FLOORS = (WHOLE, BY_MIOU, BY_R1)
BEST_FLOOR = "best floor"
MIOU = BROAD[-1]
SIMULATED = "Simulated features."
Scores = Mapping[str, float]


def scores_table(lines: Sequence[Line], evidence: Evidence) -> str:
    """Return all four measures of each row on the tests, and mIoU on what chose its epoch."""
    head = ["", *TESTS, *(f"{split} mIoU" for split in VALIDATION), "runs"]
    best = _best_floors(lines, evidence)
    body = [[BEST_FLOOR, *(_cells({split: [best[split]] for split in best})), ""]]
    for line in lines:
        scores = _scores(line, evidence)
        body.append([line.name, *_cells(scores), _runs(line, evidence)])
    return _after_note(lines, evidence, markdown([head, *body]))


def brief_table(lines: Sequence[Line], evidence: Evidence) -> str:
    """Return the mIoU of each row on the tests."""
    best = _best_floors(lines, evidence)
    body = [[BEST_FLOOR, *(f"{best[split][MIOU]:.1f}" for split in TESTS), ""]]
    for line in lines:
        scores = _scores(line, evidence)
        cells = [spread([one[MIOU] for one in scores[split]]) for split in TESTS]
        body.append([line.name, *cells, _runs(line, evidence)])
    return _after_note(lines, evidence, markdown([["mIoU", *TESTS, "runs"], *body]))


def floors_table(evidence: Evidence) -> str:
    """Return the floors of each data set that has been made: answers that never look at a video."""
    head = ["", *TESTS, *(f"{split} mIoU" for split in VALIDATION)]
    body = []
    for data, kept in evidence.floors.items():
        for floor in FLOORS:
            own = {split: [floors[floor]] for split, floors in kept["floors"].items()}
            span = own[TESTS[0]][0].get("span")
            name = floor if span is None else f"{floor} {span[0]:.2f}-{span[1]:.2f}"
            body.append([f"{data}: {name}", *_cells(own)])
    return markdown([head, *body]) if body else ""


def _best_floors(lines: Sequence[Line], evidence: Evidence) -> dict[str, Scores]:
    """Return the best floor of each measure, by split."""
    (data,) = {line.experiment.data for line in lines}
    return {
        split: {m: max(own[m] for own in floors.values()) for m in BROAD}
        for split, floors in evidence.floors[data]["floors"].items()
    }


def _scores(line: Line, evidence: Evidence) -> dict[str, list[Scores]]:
    return {
        split: [result["scores"][split] for result in distinct(line.found(split, evidence))]
        for split in (*TESTS, *VALIDATION)
    }


def _cells(scores: Mapping[str, Sequence[Scores]]) -> list[str]:
    tests = [_measures(scores.get(split, ())) for split in TESTS]
    return tests + [spread([one[MIOU] for one in scores.get(split, ())]) for split in VALIDATION]


def _measures(scores: Sequence[Scores]) -> str:
    if not scores:
        return DASH
    *others, miou = BROAD
    plain = [f"{fmean(one[measure] for one in scores):.1f}" for measure in others]
    return " / ".join([*plain, spread([one[miou] for one in scores])])


def _runs(line: Line, evidence: Evidence) -> str:
    return runs({split: line.found(split, evidence) for split in TESTS})


def _after_note(lines: Sequence[Line], evidence: Evidence, table: str) -> str:
    (data,) = {line.experiment.data for line in lines}
    return f"{SIMULATED}\n\n{table}" if evidence.floors[data]["simulated"] else table
