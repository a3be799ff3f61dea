"""From an experiment to the commands that make it, in order; what is printed is what is run."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experiments.agreement import NAME
from experiments.plan import Data, Experiment, Part, Plan, teacher_folder


@dataclass(frozen=True)
class Step:
    """A command; `keeps` names the variable that its output goes to, as `$NAME` in later ones."""

    words: tuple[str, ...]
    keeps: str = ""
    data: str = ""  # the name of the data set in whose folder it is run
    settings: dict[str, Any] = field(default_factory=dict, compare=False)  # of a teacher

    def __str__(self) -> str:
        """The line for a shell."""
        text = " ".join(word if word.startswith("$") else shlex.quote(word) for word in self.words)
        return f"{self.keeps}=$({text})" if self.keeps else text


def data_steps(data: Data) -> list[Step]:
    """Return the commands that make a data set."""
    return [Step(tuple(shlex.split(line)), data=data.name) for line in data.commands]


def experiment_steps(plan: Plan, experiment: Experiment, *, results: str, jobs: int) -> list[Step]:
    """Return the commands of an experiment once its data set is there, teachers first.

    `results` is the folder for the files that finished models leave.
    """
    return [
        *_teach(plan, experiment),
        *(step for part in experiment.parts for step in _caches(plan, experiment, part)),
        *_agree(plan, experiment, results),
        *(_ablate(plan, experiment, part, results, jobs) for part in experiment.parts),
    ]


def _teach(plan: Plan, experiment: Experiment) -> Iterator[Step]:
    data = plan.data_of(experiment)
    own = _options(plan.own_fields(experiment))
    for seed in () if experiment.taught_on else plan.seeds:
        for name in experiment.teachers:
            kind = plan.kinds[name]
            words = ["refkd", "teach", "data", teacher_folder(experiment, name, seed)]
            words += ["--bias", kind.bias, *own, "--seed", str(seed), "--threads", "1"]
            words += ["--moved-span-loss"] if kind.moved_span_loss else []
            words += (
                ["--moved-stretch", f"{kind.moved_stretch:g}"] if kind.moved_stretch > 1 else []
            )
            words += ["--select", kind.select] if kind.select else []
            words += ["--folds", str(kind.folds)] if kind.folds else []
            words += ["--fold-by", data.source] if kind.folds and data.source else []
            settings = plan.teacher_settings(experiment, name, seed)
            yield Step(tuple(words), data=data.name, settings=settings)


def _caches(plan: Plan, experiment: Experiment, part: Part) -> Iterator[Step]:
    for teachers in _pairs(plan, experiment, part):
        named = [f"--teacher={name}={folder}" for name, folder in teachers.items()]
        views = plan.views if plan.needs_views(experiment, part) else 0
        words = ["refkd", "cache", "data", "caches", *named]
        words += ["--views", str(views)] if views else []
        variable = _variable(experiment, teachers, views)
        yield Step(tuple(words), keeps=variable, data=experiment.data)
        yield Step(("refkd", "weigh", f"${variable}"), data=experiment.data)


def _agree(plan: Plan, experiment: Experiment, results: str) -> Iterator[Step]:
    """Ask how alike the teachers answer, of the caches with views if there are any, of twins likewise."""
    if not experiment.agreement:
        return
    part = max(
        experiment.parts,
        key=lambda one: (plan.needs_twins(one), plan.needs_views(experiment, one)),
    )
    views = plan.views if plan.needs_views(experiment, part) else 0
    asked = _pairs(plan, experiment, part)[-len(plan.seeds) :]  # twins come last
    caches = [f"${_variable(experiment, own, views)}" for own in asked]
    words = ["python", "$EXPERIMENTS_CODE/agree.py"]
    words += [] if plan.needs_twins(part) else ["--crossed"]  # twins have different seeds already
    words += [f"{results}/{NAME}", experiment.name, *caches]
    yield Step(tuple(words), data=experiment.data)


def _ablate(plan: Plan, experiment: Experiment, part: Part, results: str, jobs: int) -> Step:
    pairs = _pairs(plan, experiment, part)
    views = plan.views if plan.needs_views(experiment, part) else 0
    caches = [f"${_variable(experiment, own, views)}" for own in pairs]
    words = ["refkd", "ablate", "data", *caches, "runs", "--table", part.table]
    words += [f"--row={row}" for row in part.rows]
    words += ["--seeds", str(len(plan.seeds)), "--jobs", str(jobs), "--results", results]
    words += [] if experiment.recipe == "paper" else ["--recipe", experiment.recipe]
    words += ["--teachers", ",".join(pairs[0])] if experiment.together else []
    words += _options(plan.own_fields(experiment))
    for own in pairs[: len(plan.seeds)]:  # twins are the same ID teachers
        words += [f"--teacher={name}={folder}" for name, folder in own.items()]
    return Step(tuple(words), data=experiment.data)


def _pairs(plan: Plan, experiment: Experiment, part: Part) -> list[dict[str, str]]:
    """Return the teachers of each cache: folders by name; twins are ID teachers of two seeds."""
    if experiment.together:
        named = plan.crowd(experiment).items()
        return [{name: teacher_folder(experiment, *taught) for name, taught in named}]
    first, second = experiment.teachers
    pairs = [
        {
            "id": teacher_folder(experiment, first, seed),
            "ood": teacher_folder(experiment, second, seed),
        }
        for seed in plan.seeds
    ]
    if plan.needs_twins(part):
        pairs += [
            {name: teacher_folder(experiment, first, s) for name, s in zip("ab", two, strict=True)}
            for two in twin_seeds(plan.seeds)
        ]
    return pairs


def twin_seeds(seeds: Sequence[int]) -> list[tuple[int, int]]:
    """Return the seeds of two ID teachers for each student, every teacher as often first as second.

    >>> twin_seeds((0, 1, 2))
    [(0, 1), (1, 2), (2, 0)]
    """
    return list(zip(seeds, [*seeds[1:], seeds[0]], strict=True))


def _variable(experiment: Experiment, teachers: dict[str, str], views: int) -> str:
    """Return the variable of a cache: one shell runs all data sets."""
    words = [experiment.data, *(Path(folder).name for folder in teachers.values())]
    words += [f"views-{views}"] * (views > 0)
    return re.sub(r"\W", "_", "_".join(words)).upper()


def _options(fields: dict[str, Any]) -> list[str]:
    return [
        word
        for name, value in fields.items()
        if (name, value) != ("backbone", "vslnet")
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]
