"""The report's curves over epochs: validation scores, losses, and what a student makes of teachers."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from pipeline.charts import Line, line_chart
from pipeline.page import paragraph, section, several
from pipeline.subjects import Subject
from student.observations import NAMES, QUANTILES
from student.recipe import MOVED, VAL, recipe_from_json

Entry = Mapping[str, Any]  # what a history holds of one epoch
MOST = 6  # subjects shown at once: as many as there are colours
TITLES = {
    "weight": "w: introspective weight (eq. 3-4)",
    "share": "share in the target (eq. 12)",
    "confidence": "rho: confidence (eq. 10)",
    "affinity": "pi: affinity (eq. 9)",
}
assert tuple(TITLES) == NAMES


def training_section(subjects: Sequence[Subject]) -> str:
    """Return validation curves of the first subjects, and the losses of all."""
    trained = [subject for subject in subjects if subject.at_hand]
    judged = [
        line_chart(f"mIoU on {split}", lines, x_label="epoch", note="percent; dot: epoch kept")
        for split in (VAL, MOVED)
        if (lines := _validation_lines(trained[:MOST], split))
    ]
    losses = [_loss_chart(subject) for subject in trained]
    parts = [f'<div class="charts">{"".join([*judged, *losses[:MOST]])}</div>']
    if len(trained) > MOST:
        parts.append(
            f"<details><summary>Losses of {len(trained) - MOST} more</summary>"
            f'<div class="charts">{"".join(losses[MOST:])}</div></details>'
        )
    note = "Of several seeds the mean; bands: one standard deviation."
    several_seeds = any(len(subject.at_hand) > 1 for subject in trained)
    return section("Training", *([paragraph(note, kind="soft")] if several_seeds else []), *parts)


def teaching_section(subject: Subject) -> str:
    """Return how w, its re-weighted share, rho and pi of each teacher spread over the pairs.

    Of several seeds the first is shown; "" if nothing was observed.
    """
    facts = subject.at_hand[0].facts
    history, recipe = facts["history"], facts["recipe"]
    num_warm = recipe_from_json(dict(subject.at_hand[0].taught.recipe)).num_warm
    charts = []
    for name, title in TITLES.items():
        lines = [
            line
            for place, teacher in enumerate(recipe["teachers"])
            if (line := _spread_line(history, f"{name}/{teacher}", teacher, place))
        ]
        if lines:
            charts.append(
                line_chart(
                    title,
                    lines,
                    x_label="epoch",
                    until=num_warm + 0.5 if num_warm else None,
                    from_zero=False,
                )
            )
    if not charts:
        return ""
    low, inner_low, _, inner_high, high = (f"{100 * q:g}%" for q in QUANTILES)
    intro = paragraph(
        f"Of {subject.name}: each training pair, once an epoch. Thick: the median; band: from "
        f"{inner_low} to {inner_high} of the pairs; thin: {low} and {high}. Shaded: the warm-up.",
        kind="soft",
    )
    return section(
        "What the student makes of its teachers",
        intro,
        f'<div class="charts">{"".join(charts)}</div>',
    )


def _validation_lines(subjects: Sequence[Subject], split: str) -> list[Line]:
    lines = []
    for place, subject in enumerate(subjects):
        line = _mean_line(
            subject, lambda entry: entry.get(split) and entry[split]["mIoU"], place=place
        )
        if line is not None:
            lines.append(line)
    return lines


def _loss_chart(subject: Subject) -> str:
    histories = [one.facts["history"] for one in subject.at_hand]
    terms = dict.fromkeys(t for history in histories for entry in history for t in entry["losses"])
    lines = []
    for place, term in enumerate(terms):
        line = _mean_line(subject, _loss_of(term), place=place, name=term, mark=False)
        assert line is not None, "the term is in some epoch"
        lines.append(line)
    return line_chart(f"Losses of {subject.name}", lines, x_label="epoch", note="weighted")


def _loss_of(term: str) -> Callable[[Entry], float | None]:
    return lambda entry: entry["losses"].get(term)


def _mean_line(
    subject: Subject,
    value: Callable[[Entry], float | None],
    *,
    place: int,
    name: str = "",
    mark: bool = True,
) -> Line | None:
    """Return the mean of a value over the members of a subject, epoch by epoch, with its deviation."""
    by_epoch: dict[int, list[float]] = {}
    for one in subject.at_hand:
        for entry in one.facts["history"]:
            found = value(entry)
            if found is not None:
                by_epoch.setdefault(entry["epoch"], []).append(found)
    if not by_epoch:
        return None
    means = [fmean(values) for values in by_epoch.values()]
    spread = [stdev(values) if len(values) > 1 else 0.0 for values in by_epoch.values()]
    low = [mean - sd for mean, sd in zip(means, spread, strict=True)]
    high = [mean + sd for mean, sd in zip(means, spread, strict=True)]
    alone = len(subject.at_hand) == 1
    return Line(
        name or several(subject.name, len(subject.at_hand)),
        list(by_epoch),
        means,
        place,
        None if alone else (low, high),
        marked=subject.at_hand[0].facts["best_epoch"] if alone and mark else None,
    )


def _spread_line(history: Sequence[Entry], key: str, teacher: str, place: int) -> Line | None:
    """Return the median of what was observed, in bands of its quantiles."""
    seen = [entry for entry in history if isinstance(entry["diagnostics"].get(key), dict)]
    if not seen:
        return None
    low, inner_low, middle, inner_high, high = zip(
        *(entry["diagnostics"][key]["quantiles"] for entry in seen), strict=True
    )
    epochs = [entry["epoch"] for entry in seen]
    return Line(teacher, epochs, middle, place, (inner_low, inner_high), (low, high))
