"""Doing a trial in a process of its own: train the student if need be, score once, keep the result."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.costs import read_costs
from pipeline.planning import Trial
from pipeline.results import DECIMALS, FORMAT, VERSION, Result, Results
from stores.dataset import DataSet, open_dataset
from stores.errors import RefkdError
from stores.fingerprints import SHORT, digest, file_digest
from stores.folds import sources_of
from stores.models import check_fit

log = logging.getLogger("refkd")
LAYERS = ("stores", "student", "pipeline")
Scores = dict[str, dict[str, float]]  # by split, then measure, in percent
Ious = dict[str, list[float]]
Calibrations = dict[str, dict[str, dict[str, float]]]  # by split, then boundary, in percent


@dataclass(frozen=True)
class Judge:
    """Where trials find what they need, and put what they find; called with one."""

    data: Path
    runs: Path
    results: Path
    device: str
    compiled: bool = False

    def __call__(self, trial: Trial) -> dict[str, float]:
        """Keep the result of a trial and return its mIoU by split.

        A result that is there is left as it is: another command may have been quicker. Raises
        RefkdError if the student cannot be trained, BusyError if another process trains it.
        """
        code, results = code_version(), Results(self.results)
        result = results.find(trial.about)
        if result is None:
            result = self._result(trial, code)
            results.keep(result)
        return {split: scores["mIoU"] for split, scores in result["scores"].items()}

    def _result(self, trial: Trial, code: dict[str, str]) -> Result:
        from pipeline.distill import distill
        from student.forward import resolve_device
        from student.model import load_model

        models = trial.models
        if trial.recipe is not None:
            assert trial.cache is not None, "a student is trained from a cache"
            how: dict[str, Any] = {"device": self.device, "threads": 1, "compiled": self.compiled}
            models = (distill(self.data, trial.cache, self.runs, trial.recipe, **how),)
        data, device = open_dataset(self.data), resolve_device(self.device)
        asked = [load_model(folder, device=device) for folder in models]
        for folder, model in zip(models, asked, strict=True):
            check_fit(model.facts, data, name=str(folder))
        networks = [model.network for model in asked]
        scores, ious, calibrations = judge(networks, data, judged_splits(data), device=device)
        facts = asked[0].facts
        alone = len(asked) == 1
        return {
            "format": FORMAT,
            "version": VERSION,
            "about": trial.about,
            "seals": {
                "models": [m.seal for m in asked],
                "data": data.seal,
                **trial.seals,
                **_learned_from(facts, trial),
            },
            "simulated": data.simulated,
            "best_epoch": facts["best_epoch"] if alone else None,
            "scores": scores,
            "calibration": calibrations,
            **(_cost(models[0]) if alone else {}),
            **facts["how"],
            "code": code,
            "iou": ious,
        }


def _learned_from(facts: Mapping[str, Any], trial: Trial) -> dict[str, str]:
    """Return key and seal of the cache that a student learned from, made elsewhere perhaps."""
    if trial.recipe is None:
        return {}
    return {"cache": facts["cache_seal"], "cache_key": facts["cache"]}


def _cost(folder: Path) -> dict[str, Any]:
    """Return the seconds and memory that a model's training took, as far as they were noted."""
    noted = read_costs(folder)
    own = noted.get("distill") or noted.get("teach") or {}
    return {name: own.get(name) for name in ("seconds", "peak_rss_bytes")}


def judge(
    networks: list[Any], data: DataSet, splits: Sequence[str], *, device: str
) -> tuple[Scores, Ious, Calibrations]:
    """Return the scores of networks asked together on some splits, and on val_moved beside val.

    Of every split but those two it also returns each pair's IoU and the calibration of either
    boundary.
    """
    from student.calibration import boundary_calibration, in_percent
    from student.metrics import pair_ious
    from student.recipe import MOVED, VAL
    from student.retrieval import ask_together, best_spans, score_pairs
    from student.validation import MovedSplit

    scores, ious, calibrations = {}, {}, {}
    for split in splits:
        pairs, rows = data.pairs[split], data.rows(split)
        logits_NBT = ask_together(networks, data, rows, device=device)
        spans_N2, _ = best_spans(logits_NBT, rows)
        scores[split] = score_pairs(spans_N2, pairs)
        if split != VAL:
            ious[split] = _rounded(pair_ious(spans_N2, [pair.windows for pair in pairs]))
            calibrations[split] = in_percent(boundary_calibration(logits_NBT, rows.clips, rows.gt))
            continue
        moved = MovedSplit(data)
        logits_NBT = ask_together(
            networks, data, moved.rows, device=device, features=moved.features
        )
        scores[MOVED] = score_pairs(best_spans(logits_NBT, moved.rows)[0], moved.pairs)
    return scores, ious, calibrations


def judged_splits(data: DataSet) -> list[str]:
    """Return val, if there is one, and the test splits.

    Raises RefkdError if there is no test split.
    """
    tests = [split for split, pairs in data.pairs.items() if split.startswith("test") and pairs]
    if not tests:
        raise RefkdError(
            f"{data.folder} has no test split, only {', '.join(data.pairs)}; "
            "prepare it with test annotations"
        )
    return [*(["val"] if data.pairs.get("val") else []), *tests]


def pair_sources(
    data: DataSet, splits: Sequence[str], *, group_by: str = ""
) -> dict[str, list[str]]:
    """Return the video of each pair of some splits, in the order of the IoUs that are kept.

    With `group_by`, a regular expression whose first group finds in a video's id what it was cut
    from, that. Raises RefkdError if a video does not match, or every split has but one source.
    """
    videos = {split: [pair.video for pair in data.pairs[split]] for split in splits}
    if not group_by:
        return videos
    known = sources_of(chain.from_iterable(videos.values()), group_by, option="--group-by")
    sources = {split: [known[video] for video in own] for split, own in videos.items()}
    lone = [split for split, own in sources.items() if len({*own}) == 1]
    told = ", ".join(f"{sources[split][0]} in all videos of {split}" for split in lone)
    if lone == list(sources):
        raise RefkdError(
            f"--group-by {group_by} finds one source, {told}, and intervals need several; mend it"
        )
    if lone:
        log.warning("no interval: --group-by %s finds one source, %s", group_by, told)
    return sources


def _rounded(values_N: npt.NDArray[np.float64]) -> list[float]:
    rounded: list[float] = values_N.round(DECIMALS).tolist()
    return rounded


@cache
def code_version() -> dict[str, str]:
    """Return the version of refkd, and a digest of its source files, which tells copies apart."""
    root = Path(__file__).parent.parent
    sources = {
        path.relative_to(root).as_posix(): file_digest(path)
        for layer in LAYERS
        for path in sorted((root / layer).rglob("*.py"))
    }
    return {"refkd": version("refkd"), "sources": digest(sources)[:SHORT]}
