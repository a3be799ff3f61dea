"""What the kept results say of the rows of a plan, found as `refkd ablate` finds them.

Neither data nor models are needed. Results of older versions of the code (of a backbone, of training)
count until there are newer ones.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from experiments.agreement import Agreement, read_agreement
from experiments.floors import Floors, read_floors
from experiments.plan import OTHER_DATA, Experiment, Plan, Settings
from experiments.steps import twin_seeds
from pipeline.ablations import Average, Row, Student
from pipeline.planning import TRUE_TO_TRAINING
from pipeline.results import About, Result, Results, about_key
from stores.errors import RefkdError
from student.recipe import Recipe, recipe_json
from student.views import VERSION as VIEWS

Found = dict[int, Result]  # by the place of the pair of teachers
OF_CODE = ("training_version", "backbone_version")  # what a model says of the code that made it


class Evidence:
    """The results of every data set, in a folder each, and which of them a row has."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self._folders = {data.name: folder / data.name for data in plan.data}

    @cached_property
    def floors(self) -> dict[str, Floors]:
        """The floors of each data set that has been made."""
        found = {name: read_floors(folder) for name, folder in self._folders.items()}
        return {name: floors for name, floors in found.items() if floors is not None}

    def agreement(self, experiment: Experiment) -> list[Agreement]:
        """Return how alike the teachers of an experiment answer, an entry for each cache measured."""
        return read_agreement(self._folders[experiment.data]).get(experiment.name, [])

    def groups(self, experiment: Experiment, split: str) -> list[str]:
        """Return what each pair of a test split was cut from, or its video.

        Raises RefkdError if that is not kept.
        """
        found: list[str] | None = self.floors[experiment.data].get("groups", {}).get(split)
        if found is None:
            raise RefkdError(
                f"the floors of {experiment.data} do not say which pairs of {split} are of one "
                "video; restore floors.json from git, or run `make experiments`"
            )
        return found

    @cached_property
    def _kept(self) -> dict[str, Result]:
        found = [one for folder in self._folders.values() for one in Results(folder).every()]
        return {_key(one["about"]): one for one in sorted(found, key=_code_version)}

    def of(self, experiment: Experiment, row: Row, split: str) -> Found:
        """Return the results of a row that were scored on a split."""
        known = {
            place: self._kept.get(_key(about))
            for place, about in enumerate(self._abouts(experiment, row, split))
        }
        return {
            place: result
            for place, result in known.items()
            if result is not None and split in result["scores"]
        }

    def _abouts(self, experiment: Experiment, row: Row, split: str) -> list[About]:
        if experiment.data not in self.floors:
            return []
        pairs = [
            {
                self.plan.kinds[kind].bias: self.plan.teacher_settings(experiment, kind, seed)
                for kind in experiment.teachers
            }
            for seed in self.plan.seeds
        ]
        content = self.floors[experiment.data]["data"]
        crowd = {
            name: self.plan.teacher_settings(experiment, *taught)
            for name, taught in self.plan.crowd(experiment).items()
        }
        if isinstance(row, Student):
            base = self.plan.base(experiment)
            taught = [
                crowd
                if experiment.together and row.taught_by == "all"
                else self._taught(experiment, row, pair, i)
                for i, pair in enumerate(pairs)
            ]
            recipes = [
                replace(row.recipe(base, list(own)), seed=index) for index, own in enumerate(taught)
            ]
            return [
                self._of_student(recipe, own, content)
                for recipe, own in zip(recipes, taught, strict=True)
            ]
        if isinstance(row, Average):
            asked = [crowd] * len(pairs) if experiment.together else pairs
            return [{"kind": "average", "teachers": own, "data": content} for own in asked]
        biases = (row.bias,) if row.bias != "split" else _of_split(split)
        return [
            {"kind": "teacher", "teachers": {bias: pair[bias]}, "data": content}
            for pair in pairs
            for bias in biases
        ]

    def _taught(
        self, experiment: Experiment, row: Student, pair: dict[str, Settings], place: int
    ) -> dict[str, Settings]:
        """Return the teachers of one student by the names that they have in its cache."""
        if row.taught_by == "twins":
            seeds, kind = twin_seeds(self.plan.seeds)[place], experiment.teachers[0]
            twins = [self.plan.teacher_settings(experiment, kind, seed) for seed in seeds]
            return dict(zip("ab", twins, strict=True))
        chosen = {"all": ("id", "ood"), "none": ()}.get(row.taught_by, (row.taught_by,))
        return {bias: pair[bias] for bias in chosen}

    def _of_student(self, recipe: Recipe, taught: dict[str, Settings], content: str) -> About:
        logits = {"dtype": "float32", "precision": "float32"} if taught else None
        about: About = {
            "kind": "student",
            "recipe": recipe_json(recipe),
            "teachers": taught,
            "logits": logits,
            "data": content,
        }
        if recipe.augment == "views":
            about["views"] = {"number": self.plan.views, "version": VIEWS}
        return about


def distinct(found: Found) -> list[Result]:
    """Return the results of a row, each once: all pairs together are asked only once."""
    return list({id(result): result for result in found.values()}.values())


def _of_split(split: str) -> Sequence[str]:
    """Return which teacher stands for a split in table 5; for validation none does."""
    if not split.startswith("test"):
        return ()
    return ("id",) if split in TRUE_TO_TRAINING else ("ood",)


def _key(about: About) -> str:
    """Return a digest that is equal for results about the same, whichever version of the code made it."""
    teachers: dict[str, Any] = {
        name: {k: OTHER_DATA if k == "data" else v for k, v in own.items() if k not in OF_CODE}
        for name, own in about["teachers"].items()
    }
    plain = {name: value for name, value in about.items() if name not in OF_CODE}
    return about_key({**plain, "teachers": teachers})


def _code_version(result: Result) -> list[int]:
    about = result["about"]
    own = [about, *about["teachers"].values()]
    return [max(int(one.get(name, 0)) for one in own) for name in OF_CODE]
