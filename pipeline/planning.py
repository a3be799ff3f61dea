"""From a table and caches to trials: which models must be trained or only asked, and for which rows.

Caches whose teachers were trained alike but for their seeds are pairs of one group: student i of a
row learns from pair i, counted round. Every other difference between teachers makes another group
of rows. What a trial is about decides whether it was done before, in whichever table.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.ablations import Average, Row, Student, Table, Teacher
from pipeline.listing import settings_said
from pipeline.results import (
    About,
    Settings,
    about_key,
    about_student,
    about_teachers,
    plain_settings,
)
from pipeline.sources import Group, Source, backbone_of
from stores.cachechecks import check_cache
from stores.dataset import DataSet
from stores.errors import RefkdError
from stores.models import read_facts
from student.recipe import BIASES, Recipe
from student.views import VERSION as VIEWS

log = logging.getLogger("refkd")
TRUE_TO_TRAINING = ("test_iid", "test")  # splits whose moments lie as in training; others do not


@dataclass(frozen=True)
class Trial:
    """A model to train and score, or models to score together."""

    name: str
    about: About
    recipe: Recipe | None = None  # of a student
    cache: Path | None = None
    models: tuple[Path, ...] = ()  # folders of teachers
    seals: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """A digest that trials about the same share, whatever they are called."""
        return about_key(self.about)

    @property
    def steps(self) -> int:
        """How long it takes, in epochs; to score a model counts as one."""
        return self.recipe.epochs if self.recipe else 1


@dataclass(frozen=True)
class PlannedRow:
    """A row and its trials, one for each seed; `by_split` holds others for some splits."""

    group: str
    name: str
    trials: tuple[Trial, ...]
    by_split: dict[str, tuple[Trial, ...]] = field(default_factory=dict)

    def of_split(self, split: str) -> tuple[Trial, ...]:
        """Return the trials that a row shows of a split."""
        return self.by_split.get(split, self.trials)


class Planner:
    """Makes the trials of rows, for one data set, base recipe and number of students."""

    def __init__(
        self,
        data: DataSet,
        base: Recipe,
        *,
        given: Collection[str] = (),
        seeds: int,
        sources: Sequence[Source],
        folders: Mapping[str, Sequence[Path]],
    ) -> None:
        self._data, self._base, self._given = data, base, given
        self._seeds, self._sources = seeds, sources
        self._folders = [
            (folder, read_facts(folder)[0]["inputs"])
            for folder in dict.fromkeys(folder for some in folders.values() for folder in some)
        ]

    def rows(self, table: Table, groups: Sequence[Group]) -> list[PlannedRow]:
        """Return the rows of a table for each group; those that cannot be made are told and left out.

        Raises RefkdError if a cache lacks what a row shows its students, or two rows are the same.
        """
        for group in groups:
            if len(group.sources) > self._seeds:
                count = len(group.sources)
                raise RefkdError(
                    f"{count} caches hold teachers that differ by seed alone, which {self._seeds} "
                    f"students a row cannot all learn from; give --seeds {count}"
                )
        found = []
        for group in groups:
            each = [(row, self._row(row, group, table)) for row in table.rows]
            planned = [(row, one) for row, one in each if one is not None]
            _check_different(planned, table)
            found += [one for _, one in planned]
        return found

    def _row(self, row: Row, group: Group, table: Table) -> PlannedRow | None:
        if isinstance(row, Student):
            trials = self._students(row, group, own_backbone=table.own_backbones)
            return PlannedRow(group.name, row.name, trials) if trials else None
        if isinstance(row, Average):
            averages = [
                self._asked(row, group, {n: source.trained[n] for n in self._base.teachers})
                for source in group.sources
            ]
            return PlannedRow(group.name, row.name, _each_once(averages))
        if row.bias != "split":
            return PlannedRow(group.name, row.name, self._teachers(row, row.bias, group))
        by_bias = {bias: self._teachers(row, bias, group) for bias in BIASES}
        tests = [split for split in self._data.pairs if split.startswith("test")]
        by_split = {s: by_bias["id" if s in TRUE_TO_TRAINING else "ood"] for s in tests}
        return PlannedRow(group.name, row.name, (), by_split)

    def _students(self, row: Student, group: Group, *, own_backbone: bool) -> tuple[Trial, ...]:
        taught = self._taught(row, group)
        trials = []
        for index in range(self._seeds if taught else 0):
            source, names = taught[index % len(taught)]
            recipe = row.recipe(self._base, names)
            if own_backbone:
                asked = self._base.backbone if "backbone" in self._given else ""
                found = backbone_of(source, self._base.teachers, asked=asked)
                recipe = replace(recipe, backbone=found)
            if recipe.augment == "views":
                _check_views(source, _name(group, row))
            recipe = replace(recipe, seed=recipe.seed + index)
            trials.append(self._student(_name(group, row, recipe.seed), recipe, source))
        return tuple(trials)

    def _taught(self, row: Student, group: Group) -> list[tuple[Source, list[str]]]:
        """Return the caches that the students of a row learn from, and the teachers' names in each."""
        names = list(self._base.teachers)
        if row.taught_by == "twins":
            of_group = [group.sources[0].trained[n] for n in group.sources[0].of_bias("id", names)]
            pairs = [(source, source.twins(like)) for like in of_group for source in self._sources]
            found = [(source, two) for source, two in pairs if two]
            missing = (
                "give one more CACHE, of two teachers trained as the ID teacher was but with other "
                "--seed, as in `refkd cache --teacher a=DIR --teacher b=DIR`, and `refkd weigh` it"
            )
        elif row.taught_by in BIASES:
            found = [(source, source.of_bias(row.taught_by, names)[:1]) for source in group.sources]
            found = [(source, some) for source, some in found if some]
            missing = f"none of the teachers {', '.join(names)} has --bias {row.taught_by}"
        else:
            chosen = names if row.taught_by == "all" else []
            found, missing = [(source, chosen) for source in group.sources], ""
        if not found:
            log.warning("row %s is left out: %s", _name(group, row), missing)
        return found

    def _student(self, name: str, recipe: Recipe, source: Source) -> Trial:
        from student.network import find_backbone  # torch takes seconds to import

        about = about_student(
            recipe,
            source.trained,
            self._data,
            backbone_version=find_backbone(recipe.backbone)[1],
            logits=source.logits,
        )
        if recipe.augment == "views":
            about["views"] = source.cache.manifest.get("views")
        arrays = source.cache.manifest["arrays"]
        seals = {
            "cache": source.cache.seal,
            "cache_key": source.cache.key,
            "teachers": {teacher: arrays[teacher]["teacher"] for teacher in recipe.teachers},
        }
        return Trial(name, about, recipe=recipe, cache=source.cache.folder, seals=seals)

    def _teachers(self, row: Teacher, bias: str, group: Group) -> tuple[Trial, ...]:
        return _each_once(
            self._asked(row, group, {name: source.trained[name]})
            for source in group.sources
            for name in source.of_bias(bias, self._base.teachers)[:1]
        )

    def _asked(self, row: Row, group: Group, trained: Mapping[str, Settings]) -> Trial:
        """Return a trial of teachers that are asked, without folders if theirs are not all given."""
        folders = [self._folder(settings) for settings in trained.values()]
        seeds = "+".join(str(settings["seed"]) for settings in trained.values())
        models = tuple(folder for folder in folders if folder is not None)
        return Trial(
            _name(group, row, seeds),
            about_teachers(trained, self._data),
            models=models if len(models) == len(folders) else (),
        )

    def _folder(self, trained: Settings) -> Path | None:
        for folder, inputs in self._folders:
            if plain_settings(inputs) == plain_settings(trained):
                return folder
        return None


def _each_once(trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """Return trials without those about the same: a teacher of two caches is one run."""
    return tuple({trial.key: trial for trial in trials}.values())


def _check_different(planned: Sequence[tuple[Row, PlannedRow]], table: Table) -> None:
    """Raise RefkdError if two rows are one and the same under two names."""
    known: dict[tuple[str, ...], Row] = {}
    for row, one in planned:
        keys = tuple(_taught_alike(trial) for trial in one.trials)
        if keys and keys in known:
            other = known[keys]
            raise RefkdError(
                f"rows {other.name} and {row.name} of the table '{table.title}' are one and the same "
                f"{_in_common(other, row, one.trials[0].recipe)}, or choose rows by --row"
            )
        known[keys] = row


def _taught_alike(trial: Trial) -> str:
    """Return what is equal for trials that train the same: shares of epochs count as whole epochs."""
    if trial.recipe is None:
        return trial.key
    recipe = trial.recipe
    alike = {
        "warmup": recipe.num_warm if recipe.beyond_eq_5 else 0,
        "rectify": recipe.rectify if recipe.teachers else "none",
        "reweight": recipe.reweight and len(recipe.teachers) > 1,
    }
    return about_key({**trial.about, "recipe": {**trial.about["recipe"], **alike}})


def _in_common(first: Row, second: Row, recipe: Recipe | None) -> str:
    """Return what two rows, both with this recipe, have in common where they should differ, and a way out."""
    one, other = (dict(row.changes) if isinstance(row, Student) else {} for row in (first, second))
    both = {**one, **other}
    differ = [name for name in both if one.get(name) != other.get(name)]
    if recipe is None or not differ:
        return "for these teachers; leave that to --recipe paper"
    if not recipe.teachers:
        return "without teachers; name some by --teachers"
    if len(recipe.teachers) == 1 and recipe.reweight and recipe.rectify == "none":
        return f"for the one teacher {recipe.teachers[0]} with rectify none; name several by --teachers"
    if len(recipe.teachers) == 1 and differ == ["reweight"]:
        return f"for the one teacher {recipe.teachers[0]}; name several by --teachers"
    if differ == ["warmup"] and recipe.beyond_eq_5:
        return f"with {recipe.num_warm} of {recipe.epochs} epochs of warm-up; give more --epochs"
    if differ == ["warmup"]:  # nothing to warm up for
        differ = ["rectify", "reweight"]
    alike = settings_said({name: getattr(recipe, name) for name in differ})
    return f"with {', '.join(alike)}; leave that to --recipe paper"


def _check_views(source: Source, name: str) -> None:
    """Raise RefkdError, before anything is trained, if a cache has no views to show a row."""
    try:
        check_cache(source.cache, views=VIEWS)
    except RefkdError as error:
        raise RefkdError(
            f"row {name} cannot be trained: {error}, or leave it out by --row"
        ) from None


def _name(group: Group, row: Row, seed: int | str | None = None) -> str:
    words = (group.name, row.name, "" if seed is None else f"s{seed}")
    return " ".join(word for word in words if word)
