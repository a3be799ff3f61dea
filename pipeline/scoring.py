"""The scores of everything a report is about, each model asked once or known from its result.

Scores are in percent. Shapes: S seeds, N pairs.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from pipeline.judging import judge
from pipeline.subjects import Member, Subject
from stores.dataset import DataSet
from stores.models import check_fit
from student.bootstrap import Interval, paired_interval
from student.floors import fit_spans, floors_of
from student.model import load_model
from student.recipe import MOVED, VAL
from student.validation import MovedSplit

log = logging.getLogger("refkd")
Scores = dict[str, Any]


@dataclass(frozen=True)
class Scored:
    """What one member reached on each split: measures, each pair's IoU, calibration."""

    scores: Mapping[str, Scores]
    ious: Mapping[str, Sequence[float]]  # of the tests, in the order of the pairs
    calibrations: Mapping[str, Mapping[str, Mapping[str, float]]]  # of the tests, by boundary


def score_subjects(
    subjects: Sequence[Subject], data: DataSet, splits: Sequence[str], *, device: str
) -> dict[str, list[Scored]]:
    """Return what each member of each subject reached, by the subject's name.

    Raises RefkdError if a model does not fit the data.
    """
    unknown = sum(member.result is None for subject in subjects for member in subject.members)
    with tqdm(
        total=unknown, desc="report", unit="model", file=sys.stderr, disable=not unknown
    ) as bar:
        found = {}
        for subject in subjects:
            found[subject.name] = [
                _known(one) or _asked(one, data, splits, device=device, bar=bar)
                for one in subject.members
            ]
    return found


def _known(member: Member) -> Scored | None:
    result = member.result
    if result is None:
        return None
    return Scored(result["scores"], result["iou"], result.get("calibration", {}))


def _asked(
    member: Member, data: DataSet, splits: Sequence[str], *, device: str, bar: "tqdm[Any]"
) -> Scored:
    assert member.folder is not None, "a member has a folder or a result"
    model = load_model(member.folder, device=device)
    check_fit(model.facts, data, name=str(member.folder))
    if model.facts["data"] != data.seal:
        log.warning("%s was trained on other data than %s", member.folder, data.folder)
    scored = Scored(*judge([model.network], data, splits, device=device))
    bar.update()
    return scored


def split_floors(data: DataSet, splits: Sequence[str]) -> dict[str, dict[str, Scores]]:
    """Return the floors of each split, and of val_moved where val is among them."""
    train = data.pairs.get("train")
    fitted = fit_spans(train) if train else {}
    pairs = {split: data.pairs[split] for split in splits}
    if VAL in pairs:
        pairs[MOVED] = MovedSplit(data).pairs
    return {split: floors_of(fitted, some) for split, some in pairs.items()}


def mean_of(scored: Sequence[Scored], split: str, measure: str) -> float | None:
    """Return the mean over members of a measure of a split, None if a member lacks it."""
    values = [one.scores[split][measure] for one in scored if split in one.scores]
    return fmean(values) if len(values) == len(scored) else None


def difference(
    one: Sequence[Scored], other: Sequence[Scored], split: str, *, videos: Sequence[str]
) -> Interval | None:
    """Return how much more mIoU one has than another, with its paired bootstrap interval.

    `videos` names the video of each pair. Of several members each pair's mean IoU counts. None if
    the IoUs of a member are not known, or all pairs are of one video.
    """
    means = [_mean_ious(scored, split) for scored in (one, other)]
    if means[0] is None or means[1] is None:
        return None
    return paired_interval(100 * (means[0] - means[1]), groups=videos)


def _mean_ious(scored: Sequence[Scored], split: str) -> npt.NDArray[np.float64] | None:
    ious = [one.ious.get(split) for one in scored]
    if any(iou is None for iou in ious):
        return None
    mean_N: npt.NDArray[np.float64] = np.array(ious, np.float64).mean(axis=0)
    return mean_N
