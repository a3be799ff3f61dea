"""Example queries for the report: what each model answered, and how sure it was of each clip.

Shapes: N rows of the split, B = 2 boundaries, T clips; T of one video in an answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten

import numpy as np
import numpy.typing as npt

from pipeline.charts import TimeRow, time_line
from pipeline.page import paragraph, section
from stores.dataset import DataSet
from stores.pairs import Pair
from student.metrics import pair_ious
from student.retrieval import best_spans

LONGEST = 32  # letters of a name that fit into a time line
QUANTILES = (0.75, 0.5, 0.25)  # of the student's IoU: neither the best nor hand-picked
Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Answer:
    """A model's span in seconds, its IoU with the ground truth, and its probabilities [B, T]."""

    span_s: tuple[float, float]
    iou: float
    chances_BT: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Example:
    """A pair and the answer of each model to it."""

    pair: Pair
    answers: dict[str, Answer]


def examples_section(
    logits: Mapping[str, Logits], data: DataSet, split: str, *, student: str, suffix: str
) -> str:
    """Return time lines of some queries: the ground truth's and each model's, by its name.

    `logits` holds what each model says of every row of the split, [N, B, T].
    """
    chosen = choose(logits[student], data, split)
    intro = paragraph(
        f"Pairs of {split} at the upper quartile, the median and the lower quartile of the IoU of "
        f"{student}{suffix}. Bars are spans, the dotted lines the ground truth; curves are "
        "probabilities of the start (whole) and the end (dashed), each row drawn to its own "
        "highest.",
        kind="soft",
    )
    figures = [_figure(example) for example in answer(logits, data, split, chosen)]
    return section("Examples", intro, f'<div class="charts">{"".join(figures)}</div>')


def choose(logits_NBT: Logits, data: DataSet, split: str) -> list[int]:
    """Return the rows of a split that stand at the quartiles of a model's IoU, the best first."""
    spans_N2, _ = best_spans(logits_NBT, data.rows(split))
    ious = pair_ious(spans_N2, [pair.windows for pair in data.pairs[split]])
    order = np.argsort(ious, kind="stable")
    places = [round(quantile * (len(order) - 1)) for quantile in QUANTILES]
    return list(dict.fromkeys(int(order[place]) for place in places))


def answer(
    logits: Mapping[str, Logits], data: DataSet, split: str, chosen: Sequence[int]
) -> list[Example]:
    """Return the chosen rows of a split with every model's answer."""
    pairs, rows = [data.pairs[split][row] for row in chosen], data.rows(split).take(chosen)
    answers: list[dict[str, Answer]] = [{} for _ in chosen]
    for name, logits_NBT in logits.items():
        some_NBT = logits_NBT[list(chosen)]
        spans_N2, _ = best_spans(some_NBT, rows)
        ious = pair_ious(spans_N2, [pair.windows for pair in pairs])
        for n, clips in enumerate(rows.clips.tolist()):
            start_s, end_s = spans_N2[n].tolist()
            chances_BT = _softmax(some_NBT[n, :, :clips])
            answers[n][name] = Answer((start_s, end_s), float(ious[n]), chances_BT)
    return [Example(pair, found) for pair, found in zip(pairs, answers, strict=True)]


def _softmax(logits_BT: Logits) -> npt.NDArray[np.float64]:
    lifted_BT = np.exp(logits_BT.astype(np.float64) - logits_BT.max(axis=1, keepdims=True))
    chances_BT: npt.NDArray[np.float64] = lifted_BT / lifted_BT.sum(axis=1, keepdims=True)
    return chances_BT


def _figure(example: Example) -> str:
    pair = example.pair
    told = ", ".join(f"{start_s:.1f} to {end_s:.1f} s" for start_s, end_s in pair.windows)
    rows = [TimeRow(f"ground truth: {told}", pair.windows)]
    for place, (name, found) in enumerate(example.answers.items()):
        start_s, end_s = found.span_s
        rows.append(
            TimeRow(
                f"{shorten(name, LONGEST, placeholder='…')}: {start_s:.1f} to {end_s:.1f} s, IoU {found.iou:.2f}",
                [found.span_s],
                place,
                found.chances_BT,
            )
        )
    title = f"“{pair.query.strip()}”"
    return time_line(title, rows, pair.duration_s, note=f"in {pair.video}", name=pair.id)
