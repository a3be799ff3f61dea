"""The report's evidence: scores beside floors, differences, the warm-up figure, calibration."""

from collections.abc import Mapping, Sequence
from statistics import stdev
from typing import Any

from pipeline.charts import Line, line_chart
from pipeline.names import Taught, teacher_details
from pipeline.page import Cell, mean_cell, number_table, paragraph, score_table, section, several
from pipeline.scoring import Scored, difference, mean_of
from pipeline.subjects import Subject
from pipeline.table import named_floors
from stores.fingerprints import canonical_json
from student.calibration import BOUNDARIES, NUM_BINS, Calibration
from student.recipe import MOVED

SHOWN = ("mIoU", "R1@0.7")  # of the warm-up figure
Found = Mapping[str, Sequence[Scored]]  # by the subject's name


def scores_section(found: Found, floors: Mapping[str, Mapping[str, Any]], *, suffix: str) -> str:
    """Return a table for each split: floors, then every subject."""
    tables = []
    for split, own in floors.items():
        rows = {
            name: [one.scores[split] for one in scored if split in one.scores]
            for name, scored in found.items()
        }
        rows = {name: some for name, some in rows.items() if some}
        count = next(iter(own.values()))["pairs"]
        moved = " with their moments moved" if split == MOVED else ""
        tables.append(
            score_table(f"{split}: {count} pairs{moved}{suffix}", named_floors(own), rows)
        )
    legend = paragraph(
        "Grey rows are floors: answers that never look at the video. ↓ stands below the best floor "
        "of its column, bold is the best model. Of several seeds: mean ± standard deviation. R1@m: "
        "share of pairs whose span has IoU of at least m; mIoU: mean IoU; dR1@m: R1@m discounted "
        "by how far both boundaries are off.",
        kind="soft",
    )
    return section("Scores", legend, *tables)


def differences(
    main: str,
    found: Found,
    sources: Mapping[str, Sequence[str]],
    *,
    suffix: str,
    drawn: str = "the videos",
) -> str:
    """Return a table of the mIoU of one subject minus that of each other, with its interval.

    `sources` names what is drawn of each pair, its video or what that was cut from, by test split;
    `drawn` calls it by a word.
    """
    rows = {}
    for name, scored in found.items():
        gaps = [
            difference(found[main], scored, split, videos=own) for split, own in sources.items()
        ]
        if name != main and any(gap is not None for gap in gaps):
            rows[f"minus {several(name, len(scored))}"] = [
                Cell("not known")
                if gap is None
                else Cell(f"{gap.mean:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}]", is_best=gap.low > 0)
                for gap in gaps
            ]
    if not rows:
        return ""
    caption = f"mIoU of {several(main, len(found[main]))} minus that of others{suffix}"
    note = paragraph(
        f"With the 95% interval of a paired bootstrap over {drawn} of the split, for the models "
        "that were trained; bold where all of it lies above 0. It does not cover how seeds and "
        "teachers vary: one run proves nothing.",
        kind="soft",
    )
    return number_table(caption, "points", list(sources), rows) + note


def warmup_section(
    subjects: Sequence[Subject], found: Found, splits: Sequence[str], *, suffix: str
) -> str:
    """Return scores against the warm-up, if there are students that differ by it alone, else ""."""
    charts, groups = [], _by_all_but_warmup(subjects)
    for group in groups:
        group.sort(key=_warmup)
        whose = f", {group[0].name}" if len(groups) > 1 else ""
        for measure in SHOWN:
            lines = [
                line
                for place, split in enumerate(splits)
                if (line := _warmup_line(group, found, split, measure, place=place))
            ]
            charts.append(
                line_chart(
                    f"{measure} by warm-up{whose}",
                    lines,
                    x_label="warm-up, percent of the epochs",
                    note=f"percent{suffix}",
                    from_zero=False,
                )
            )
    if not charts:
        return ""
    intro = paragraph(
        "Students that differ only in how long they are taught by the plain mixture of their "
        "teachers (eq. 5) before labels are rectified and teachers re-weighted (eq. 12). Bands: "
        "one standard deviation over seeds.",
        kind="soft",
    )
    return section("Warm-up", intro, f'<div class="charts">{"".join(charts)}</div>')


def _by_all_but_warmup(subjects: Sequence[Subject]) -> list[list[Subject]]:
    groups: dict[str, list[Subject]] = {}
    for subject in subjects:
        if subject.kind == "student":
            taught: Taught = subject.members[0].taught
            recipe = {k: v for k, v in taught.recipe.items() if k not in ("warmup", "seed")}
            read = [dict(taught.read), taught.cache]
            key = canonical_json([recipe, *read, *teacher_details([taught.teachers])])
            groups.setdefault(key, []).append(subject)
    return [group for group in groups.values() if len(group) > 1]


def _warmup(subject: Subject) -> float:
    return 100 * float(subject.members[0].taught.recipe["warmup"])


def _warmup_line(
    group: Sequence[Subject], found: Found, split: str, measure: str, *, place: int
) -> Line | None:
    xs, ys, low, high = [], [], [], []
    for subject in group:
        scored = found[subject.name]
        mean = mean_of(scored, split, measure)
        if mean is None:
            continue
        values = [one.scores[split][measure] for one in scored]
        spread = stdev(values) if len(values) > 1 else 0.0
        xs.append(_warmup(subject))
        ys.append(mean)
        low.append(mean - spread)
        high.append(mean + spread)
    return Line(split, xs, ys, place, (low, high), dots=True) if xs else None


def calibration_section(
    found: Found,
    bins: Mapping[str, Mapping[str, Calibration]],
    tests: Sequence[str],
    *,
    suffix: str,
) -> str:
    """Return how far probabilities are from how often they are right: tables and diagrams.

    `bins` holds, by split and then by subject, the calibration of both boundaries together.
    """
    intro = paragraph(
        "A model says how likely it thinks the clip that it takes for the start, or the end, of "
        f"the moment. The expected calibration error is the mean over {NUM_BINS} bins, of equally "
        "many predictions each, of the distance between the share that is right and the mean "
        "probability (Guo et al. 2017). By chance: the error of a perfectly calibrated model that "
        "is as sure, on as many pairs. The diagrams show the first seed, start and end together, in "
        "fewer bins where there are few pairs.",
        kind="soft",
    )
    tables = [_calibration_table(found, split, suffix) for split in tests]
    charts = [
        line_chart(
            f"Reliability on {split}",
            _reliability_lines(own),
            x_label="mean probability of the clips chosen, percent",
            note=f"percent that are right{suffix}",
            whole=False,
        )
        for split, own in bins.items()
    ]
    figures = f'<div class="charts">{"".join(charts)}</div>' if charts else ""
    return section("Calibration", intro, *tables, figures)


def _calibration_table(found: Found, split: str, suffix: str) -> str:
    head = [
        *(f"error, {boundary}" for boundary in BOUNDARIES),
        *(f"by chance, {boundary}" for boundary in BOUNDARIES),
        "mean probability",
        "right",
    ]
    rows = {}
    for name, scored in found.items():
        own = [one.calibrations[split] for one in scored if split in one.calibrations]
        if not own:
            continue
        cells = [
            mean_cell([one[boundary][key] for one in own])
            for key in ("error", "by_chance")
            for boundary in BOUNDARIES
        ]
        cells += [
            mean_cell([sum(one[boundary][key] for boundary in BOUNDARIES) / 2 for one in own])
            for key in ("confidence", "accuracy")
        ]
        rows[several(name, len(own))] = cells
    return number_table(f"{split}: calibration{suffix}", "percent", head, rows) if rows else ""


def _reliability_lines(own: Mapping[str, Calibration]) -> list[Line]:
    lines = [
        Line(
            name,
            [100 * one.confidence for one in found.bins],
            [100 * one.accuracy for one in found.bins],
            place,
            dots=True,
        )
        for place, (name, found) in enumerate(own.items())
    ]
    end = max(x for line in lines for x in line.xs)
    return [*lines, Line("calibrated", [0.0, end], [0.0, end], None)]
