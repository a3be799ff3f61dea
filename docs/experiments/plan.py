"""What the experiments are made of, and a plan that holds them.

A plan is data: data sets, kinds of teachers, experiments (tables of `refkd ablate` with the teachers
they learn from) and blocks (generated parts of the page). Teachers come in pairs, one for each seed;
student i of every row learns from pair i. FULL and SMOKE stand in full.py and smoke.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.ablations import TABLES, Row, Student, show_views
from student.recipe import RECIPES, TEACHER_KNOBS, Recipe, recipe_json

Settings = dict[str, Any]
OTHER_DATA = "another"  # stands for the data of teachers that are only scored, whatever its seal


@dataclass(frozen=True)
class Data:
    """A data set: commands that make the folder `data`, and the recipe fields of all its models."""

    name: str
    commands: tuple[str, ...]  # $REFKD_DATA is the folder given as DATA
    base: Mapping[str, Any]
    source: str = ""  # finds in a video's id what it was cut from; whole videos have none


@dataclass(frozen=True)
class Kind:
    """A kind of teacher: the options of `refkd teach` beside recipe and seed."""

    bias: str
    moved_span_loss: bool = False
    moved_stretch: float = 1.0
    folds: int = 0  # cross-fitted if at least 2
    select: str = ""  # what chooses the epoch, if not val


@dataclass(frozen=True)
class Part:
    """A table of `refkd ablate`, or only some of its rows."""

    table: str
    rows: tuple[str, ...] = ()

    @property
    def chosen(self) -> tuple[Row, ...]:
        """The rows, in the order of the table."""
        every = TABLES[self.table].rows
        assert set(self.rows) <= {row.name for row in every}, f"a row that {self.table} lacks"
        return tuple(row for row in every if not self.rows or row.name in self.rows)


@dataclass(frozen=True)
class Experiment:
    """Tables whose students learn from one kind of ID teacher and one kind of OOD teacher.

    Student i learns from pair i of them; if they teach `together`, every student from all pairs, or
    from all teachers of one kind, if only one is named.
    """

    name: str
    label: str  # stands before its rows where a block shows several experiments
    parts: tuple[Part, ...]
    data: str = "multithumos"
    teachers: tuple[str, ...] = ("id", "ood")  # kinds, at most one of a bias
    backbone: str = "vslnet"  # of teachers and, unless a row changes it, of students
    recipe: str = "paper"  # a name of RECIPES, which every row starts from
    changes: Mapping[str, Any] = field(default_factory=dict)  # recipe fields of all its models
    together: bool = False
    agreement: bool = False  # whether to measure how alike its teachers, or its twins, answer
    taught_on: str = ""  # the data set its teachers are of, if they are only scored on this one


@dataclass(frozen=True)
class Shown:
    """Rows of an experiment that a block shows."""

    experiment: str
    parts: tuple[Part, ...] = ()  # those of the experiment if none is named
    label: str = ""  # instead of the experiment's


@dataclass(frozen=True)
class Block:
    """A generated part of the page: some rows, and what they are compared with."""

    name: str
    shown: tuple[Shown, ...]
    against: tuple[str, ...] = ()  # rows of the same experiment
    beside: tuple[str, ...] = ()  # experiments whose rows of the same name are compared with too
    tells: Literal[
        "floors", "brief", "scores", "differences", "agreement", "calibration", "costs"
    ] = "scores"


@dataclass(frozen=True)
class Plan:
    """Everything that `make experiments` does and shows."""

    data: tuple[Data, ...]
    kinds: Mapping[str, Kind]
    experiments: tuple[Experiment, ...]  # in the order in which they are run
    blocks: tuple[Block, ...]
    seeds: tuple[int, ...] = (0, 1, 2)  # of the pairs of teachers; students count up from 0
    views: int = 8  # in caches of tables with a row that shows views

    def experiment(self, name: str) -> Experiment:
        """Return the experiment of a name."""
        return next(one for one in self.experiments if one.name == name)

    def data_of(self, experiment: Experiment) -> Data:
        """Return the data set of an experiment."""
        return next(one for one in self.data if one.name == experiment.data)

    def base(self, experiment: Experiment) -> Recipe:
        """Return the recipe that the rows of an experiment change."""
        return Recipe(**{**RECIPES[experiment.recipe], **self.own_fields(experiment)})

    def own_fields(self, experiment: Experiment) -> Settings:
        """Return the recipe fields that are the same for all models of an experiment."""
        base = self.data_of(experiment).base
        return {"backbone": experiment.backbone, **experiment.changes, **base}

    def teacher_settings(self, experiment: Experiment, kind: str, seed: int) -> Settings:
        """Return how a teacher is trained, as its model says, but for data and code."""
        recipe = Recipe(**{**self.own_fields(experiment), "seed": seed})
        settings = {k: v for k, v in recipe_json(recipe).items() if k in TEACHER_KNOBS}
        found = {**settings, **vars(self.kinds[kind])}
        if experiment.taught_on:
            found["data"] = OTHER_DATA
        if not self.kinds[kind].folds:
            return found
        return {**found, "fold_by": self.data_of(experiment).source}

    def crowd(self, experiment: Experiment) -> dict[str, tuple[str, int]]:
        """Return kind and seed of the teachers that teach together, by their names in the cache."""
        return {
            f"{self.kinds[kind].bias}{seed}": (kind, seed)
            for seed in self.seeds
            for kind in experiment.teachers
        }

    def needs_views(self, experiment: Experiment, part: Part) -> bool:
        """Return whether a row of a table shows views to its students."""
        return show_views(part.chosen, self.base(experiment))

    def needs_twins(self, part: Part) -> bool:
        """Return whether a row of a table learns from two ID teachers."""
        return any(isinstance(row, Student) and row.taught_by == "twins" for row in part.chosen)


def teacher_folder(experiment: Experiment, kind: str, seed: int) -> str:
    """Return the folder of a teacher, seen from the working folder of the experiment's data set."""
    backbone = [] if experiment.backbone == "vslnet" else [experiment.backbone]
    name = "-".join([*backbone, *map(str, experiment.changes.values()), kind, str(seed)])
    above = f"../{experiment.taught_on}/" if experiment.taught_on else ""
    return f"{above}teachers/{name}"
