"""A table of the paper, or one that it lacks: every row trained from caches, scored, compared."""

import logging
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.ablations import TABLES, Student, Table, show_views
from pipeline.crew import Told, work_off
from pipeline.judging import Judge, judged_splits, pair_sources
from pipeline.planning import PlannedRow, Planner, Trial
from pipeline.results import Result, Results
from pipeline.sources import make_groups, open_sources, unlike
from pipeline.summary import VALIDATION, summarise
from stores.dataset import open_dataset
from stores.errors import RefkdError
from student.floors import floors
from student.recipe import Recipe, recipe_json

log = logging.getLogger("refkd")


def ablate(
    data: Path,
    caches: Sequence[Path],
    runs: Path,
    *,
    table: str,
    recipe: Recipe,
    given: Collection[str] = (),
    seeds: int,
    jobs: int = 1,
    teachers: Mapping[str, Sequence[Path]] | None = None,
    results: Path | None = None,
    rows: Sequence[str] = (),
    group_by: str = "",
    device: str = "auto",
    compiled: bool = False,
) -> dict[str, Any]:
    """Train what a table still lacks, `jobs` students at once, and return its rows in numbers.

    A row's students have the recipe's seed and the `seeds` - 1 that follow; `given` names the fields
    of the recipe that were asked for, which caches then may not contradict. Results are kept in
    `results` (`runs`/results if not given), found there by what they are about, and shared by all
    tables. `rows` are the names of those wanted, all if none is named; intervals draw videos, or what
    `group_by` finds in their ids. Raises RefkdError if a cache does not fit, or at the end if a
    student failed.
    """
    dataset, chosen = open_dataset(data), _with_rows(table, rows)
    folders = teachers or {}
    sources = open_sources(caches, dataset, folders)
    twins = any(isinstance(row, Student) and row.taught_by == "twins" for row in chosen.rows)
    views = show_views(chosen.rows, recipe)
    groups = make_groups(sources, recipe.teachers, twins=twins, views=views)
    planner = Planner(dataset, recipe, given=given, seeds=seeds, sources=sources, folders=folders)
    judged = judged_splits(dataset)
    dataset.warn_of_left_out(judged)
    tests = [split for split in judged if split not in VALIDATION]
    groups_of = pair_sources(dataset, tests, group_by=group_by)
    folder = results or runs / "results"
    kept = Results(folder)
    planned = _answerable(planner.rows(chosen, groups), kept, folders, data=dataset.seal)
    if not planned:
        raise RefkdError(f"no row of table {table} is left; mend what is said of each above")
    todo = _missing(planned, kept)
    if todo:
        _do(todo, Judge(data, runs, folder, device, compiled), at_once=jobs)
    kept = Results(folder)
    return {
        "table": table,
        "title": chosen.title,
        "recipe": _changed(recipe),
        "full": chosen.full,
        "splits": tests,
        "validation": list(VALIDATION),
        "measures": list(chosen.measures),
        "simulated": dataset.simulated,
        "data": dataset.seal,
        "results": str(folder),
        "floors": {
            split: floors(dataset.pairs.get("train"), dataset.pairs[split]) for split in tests
        },
        "group_by": group_by,
        "rows": summarise(planned, kept, table=chosen, tests=tests, videos=groups_of),
    }


def _changed(recipe: Recipe) -> dict[str, Any]:
    """Return what a recipe changes of the paper's, seed apart."""
    default = recipe_json(Recipe())
    found = recipe_json(recipe).items()
    return {name: v for name, v in found if name != "seed" and v != default[name]}


def _with_rows(name: str, rows: Sequence[str]) -> Table:
    """Return a table with those of its rows that are named, or all; raises RefkdError if it lacks one."""
    table = TABLES[name]
    known = [row.name for row in table.rows]
    for row in rows:
        if row not in known:
            raise RefkdError(f"table {name} has no row {row}; its rows are {'; '.join(known)}")
    if rows and table.full not in rows:
        log.info("add --row %s for differences from it", shlex.quote(table.full))
    return replace(table, rows=tuple(r for r in table.rows if not rows or r.name in rows))


def _answerable(
    rows: Sequence[PlannedRow],
    kept: Results,
    folders: Mapping[str, Sequence[Path]],
    *,
    data: str,
) -> list[PlannedRow]:
    """Return the rows whose models are at hand or were scored before; say which are left out."""
    found = []
    for row in rows:
        trials = _trials([row])
        lacking = [t for t in trials if not (t.recipe or t.models or kept.find(t.about))]
        if trials and not lacking:
            found.append(row)
            continue
        log.warning("row %s is left out: %s", row.name, _reason(lacking, folders, data=data))
    return found


def _reason(lacking: Sequence[Trial], folders: Mapping[str, Sequence[Path]], *, data: str) -> str:
    """Return why trials of teachers cannot be done: no folder was given, or that of another one."""
    wanted = [
        (name, {"data": data, **trained})  # which a trial says of other data only
        for trial in lacking
        for name, trained in trial.about["teachers"].items()
    ]
    for name, trained in wanted:
        given = {folder: unlike(folder, trained) for folder in folders.get(name, ())}
        if given and all(given.values()):
            told = "; ".join(f"{folder} has {others}" for folder, others in given.items())
            return f"no --teacher {name} is that teacher of the cache: {told}"
    options = " ".join(f"--teacher {name}=DIR" for name in sorted({name for name, _ in wanted}))
    return f"give {options} for each cache" if wanted else "no cache has such a teacher"


def _missing(rows: Sequence[PlannedRow], kept: Results) -> list[Trial]:
    """Return the trials without a result, each once, those of the first seed first."""
    trials = {trial.key: trial for trial in _trials(rows)}
    known = [(trial, kept.find(trial.about)) for trial in trials.values()]
    elsewhere = sum(_of_another_cache(trial, result) for trial, result in known)
    if elsewhere:
        log.info(
            "%d results are of caches with other keys; their teachers were trained alike on the "
            "same data, so that nothing is trained again",
            elsewhere,
        )
    done = sum(result is not None for _, result in known)
    log.info("%d of %d models are finished", done, len(known))
    return [trial for trial, result in known if result is None]


def _of_another_cache(trial: Trial, result: Result | None) -> bool:
    if result is None or not trial.recipe or not trial.recipe.teachers:
        return False
    return bool(result["seals"]["cache_key"] != trial.seals["cache_key"])


def _trials(rows: Sequence[PlannedRow]) -> list[Trial]:
    """Return the trials of rows, seed after seed, so that whole tables of few seeds come first."""
    lines = [list(line) for row in rows for line in (row.trials, *row.by_split.values())]
    return [trial for some in zip_longest(*lines) for trial in some if trial is not None]


def _do(trials: Sequence[Trial], judge: Judge, *, at_once: int) -> None:
    """Do trials under one progress bar; raise RefkdError at the end if some failed."""
    progress = _Progress(trials)
    with progress.bar, closing(work_off(trials, judge, at_once=at_once)) as events:
        for told in events:
            progress.take(told)
    if progress.failed:
        some = "; ".join(progress.failed[:3])
        raise RefkdError(
            f"{len(progress.failed)} of {len(trials)} models failed: {some}; "
            "mend that and run the same command again: finished work is kept"
        )


class _Progress:
    """One bar for all models, in epochs, with the names of those that are under way."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self.failed: list[str] = []
        self._trials, self._finished = trials, 0
        self._steps: dict[int, int] = {}  # done, by the place of a trial that is under way
        total = sum(trial.steps for trial in trials)
        self.bar = tqdm(total=total, unit="epoch", file=sys.stderr, dynamic_ncols=True)

    def take(self, told: Told) -> None:
        """Show what one of the models told."""
        trial = self._trials[told.job]
        if told.kind == "begun":
            self._steps[told.job] = 0
        elif told.kind == "epochs":
            self._advance(told.job, told.value)
        elif told.kind == "notice":
            log.warning("%s: %s", trial.name, told.value)
        elif told.kind == "done":
            self._finished += 1
            self._advance(told.job, trial.steps)
            said = ", ".join(f"{split} {miou:.2f}" for split, miou in told.value.items())
            log.info("%s: mIoU %s (%d of %d)", trial.name, said, self._finished, len(self._trials))
        elif told.kind == "failed":
            self.failed.append(f"{trial.name}: {told.value}")
            log.warning("%s failed: %s", trial.name, told.value)
        if told.kind in ("done", "failed", "waiting"):
            del self._steps[told.job]
        self.bar.set_description(", ".join(self._trials[job].name for job in self._steps))

    def _advance(self, job: int, steps: int) -> None:
        gained = steps - self._steps[job]
        earlier = max(gained - 1, 0)  # epochs are told one by one: these are of another sitting
        if not self.bar.disable:  # by TQDM_DISABLE: it counts nothing then
            self.bar.initial += earlier
            self.bar.n += earlier
            self.bar.last_print_n += earlier
        self.bar.update(gained - earlier)
        self._steps[job] = steps
