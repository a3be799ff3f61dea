"""From a table and caches to trials: which models must be trained or only asked, and for which rows.

Caches whose teachers were trained alike but for their seeds are pairs of one group: student i of a
row learns from pair i, counted round. Every other difference between teachers makes another group
of rows. What a trial is about decides whether it was done before, in whichever table.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.ablations import Average, Row, Student, Table, Teacher
from pipeline.results import (
    About,
    about_key,
    about_student,
    about_teachers,
    same_settings,
)
from stores.cache import Cache, check_cache, open_cache
from stores.dataset import DataSet
from stores.errors import RefkdError
from stores.fingerprints import canonical_json
from stores.models import read_facts
from stores.weights import open_weights
from student.recipe import Recipe

log = logging.getLogger("refkd")
Settings = dict[str, Any]
TRUE_TO_TRAINING = ("test_iid", "test")  # splits whose moments lie as in training; others do not


@dataclass(frozen=True)
class Source:
    """A cache, and how each of its teachers was trained."""

    cache: Cache
    trained: dict[str, Settings]

    def of_bias(self, bias: str, names: Sequence[str]) -> list[str]:
        """Return which of these teachers have a bias."""
        return [name for name in names if self.trained[name]["bias"] == bias]

    @property
    def twins(self) -> list[str]:
        """Two ID teachers that differ by seed alone, or none."""
        names = self.of_bias("id", self.cache.teachers)
        for index, one in enumerate(names):
            for other in names[index + 1 :]:
                if _but_seed(self.trained[one]) == _but_seed(self.trained[other]):
                    return [one, other]
        return []

    @property
    def logits(self) -> dict[str, Any]:
        """The facts of the cache that change what a student reads."""
        return {name: self.cache.manifest[name] for name in ("dtype", "precision")}


@dataclass(frozen=True)
class Group:
    """Caches of teachers that differ by seed alone; the name says what is theirs, if there are others."""

    name: str
    sources: list[Source]


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


def open_sources(
    caches: Sequence[Path], data: DataSet, folders: Mapping[str, Sequence[Path]]
) -> list[Source]:
    """Return caches, each checked against the data, with what is known of their teachers.

    Raises RefkdError if one is of other data, was not weighed, or comes twice.
    """
    sources: list[Source] = []
    for path in caches:
        cache = open_cache(path)
        check_cache(cache, data=data)
        open_weights(cache)
        if cache.key in [source.cache.key for source in sources]:
            raise RefkdError(f"{path} holds the same as another cache given; give each once")
        trained = {name: _settings(cache, name, folders) for name in cache.teachers}
        sources.append(Source(cache, trained))
    return sources


def _settings(cache: Cache, name: str, folders: Mapping[str, Sequence[Path]]) -> Settings:
    """Return how a cached teacher was trained, as the cache or the teacher's own folder says."""
    array = cache.manifest["arrays"][name]
    trained: Settings = array.get("trained") or {}
    for folder in () if trained else folders.get(name, ()):
        facts, seal = read_facts(folder)
        if seal == array["teacher"]:
            trained = facts["inputs"]
    if not trained:
        raise RefkdError(
            f"{cache.folder} does not say how teacher {name} was trained; "
            f"give its folder by --teacher {name}=DIR, or run `refkd cache` anew"
        )
    return trained


def make_groups(sources: Sequence[Source], names: Sequence[str], *, twins: bool) -> list[Group]:
    """Return the caches that hold the teachers of these names, by how those were trained.

    With `twins`, a cache may hold two ID teachers instead. Raises RefkdError if another lacks one.
    """
    alike: dict[str, list[Source]] = {}
    for source in sources:
        if not (twins and source.twins) or set(names) <= set(source.trained):
            check_cache(source.cache, teachers=names)
            trained = {name: _but_seed(source.trained[name]) for name in names}
            alike.setdefault(canonical_json([trained, source.logits]), []).append(source)
    if not alike:
        raise RefkdError(f"no cache given holds the teachers {', '.join(names)}; add one that does")
    flat = [_flat(sources[0], names) for sources in alike.values()]
    shared = {name for name in flat[0] if all(own.get(name) == flat[0][name] for own in flat)}
    return [
        Group(", ".join(f"{k} {v}" for k, v in own.items() if k not in shared), group)
        for own, group in zip(flat, alike.values(), strict=True)
    ]


def _flat(source: Source, names: Sequence[str]) -> dict[str, Any]:
    """Return settings of teachers by name; those that all teachers share stand once."""
    trained = [_but_seed(source.trained[name]) for name in names]
    found: dict[str, Any] = dict(source.logits)
    for setting in dict.fromkeys(setting for own in trained for setting in own):
        values = [own.get(setting) for own in trained]
        if setting == "backbone_version":
            continue
        if all(value == values[0] for value in values):
            found[setting] = values[0]
        else:
            found |= {f"{n} {setting}": v for n, v in zip(names, values, strict=True)}
    return found


def _but_seed(trained: Settings) -> Settings:
    return {name: value for name, value in trained.items() if name not in ("seed", "data")}


class Planner:
    """Makes the trials of rows, for one data set, base recipe and number of students."""

    def __init__(
        self,
        data: DataSet,
        base: Recipe,
        *,
        seeds: int,
        sources: Sequence[Source],
        folders: Mapping[str, Sequence[Path]],
    ) -> None:
        self._data, self._base, self._seeds = data, base, seeds
        self._sources = sources
        self._folders = [
            (folder, read_facts(folder)[0]["inputs"])
            for folder in dict.fromkeys(folder for some in folders.values() for folder in some)
        ]

    def rows(self, table: Table, groups: Sequence[Group]) -> list[PlannedRow]:
        """Return the rows of a table for each group; those that cannot be made are told and left out."""
        for group in groups:
            if len(group.sources) > self._seeds:
                count = len(group.sources)
                raise RefkdError(
                    f"{count} caches hold teachers that differ by seed alone, which {self._seeds} "
                    f"students a row cannot all learn from; give --seeds {count}"
                )
        planned = [self._row(row, group, table) for group in groups for row in table.rows]
        return [row for row in planned if row is not None]

    def _row(self, row: Row, group: Group, table: Table) -> PlannedRow | None:
        if isinstance(row, Student):
            trials = self._students(row, group, own_backbone=table.own_backbones)
            return PlannedRow(group.name, row.name, trials) if trials else None
        if isinstance(row, Average):
            averages = tuple(
                self._asked(row, group, {n: source.trained[n] for n in self._base.teachers})
                for source in group.sources
            )
            return PlannedRow(group.name, row.name, averages)
        if row.bias != "split":
            return PlannedRow(group.name, row.name, self._teachers(row, row.bias, group))
        by_bias = {bias: self._teachers(row, bias, group) for bias in ("id", "ood")}
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
                recipe = replace(recipe, backbone=_backbone(source, self._base.teachers))
            recipe = replace(recipe, seed=recipe.seed + index)
            trials.append(self._student(_name(group, row, recipe.seed), recipe, source))
        return tuple(trials)

    def _taught(self, row: Student, group: Group) -> list[tuple[Source, list[str]]]:
        """Return the caches that the students of a row learn from, and the teachers' names in each."""
        names = list(self._base.teachers)
        if row.taught_by == "twins":
            found = [(source, source.twins) for source in self._sources if source.twins]
            missing = (
                "give one more CACHE, made with two teachers of --bias id and other --seed, "
                "as in `refkd cache --teacher a=DIR --teacher b=DIR`, and `refkd weigh` it"
            )
        elif row.taught_by in ("id", "ood"):
            found = [(source, source.of_bias(row.taught_by, names)[:1]) for source in group.sources]
            found = [(source, some) for source, some in found if some]
            missing = f"none of the teachers {', '.join(names)} has --bias {row.taught_by}"
        else:
            chosen = names if row.taught_by == "all" else []
            found, missing = [(source, chosen) for source in group.sources], ""
        if not found:
            log.warning("row %s is left out: %s", row.name, missing)
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
        arrays = source.cache.manifest["arrays"]
        seals = {
            "cache": source.cache.seal,
            "cache_key": source.cache.key,
            "teachers": {teacher: arrays[teacher]["teacher"] for teacher in recipe.teachers},
        }
        return Trial(name, about, recipe=recipe, cache=source.cache.folder, seals=seals)

    def _teachers(self, row: Teacher, bias: str, group: Group) -> tuple[Trial, ...]:
        return tuple(
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
            if same_settings(inputs, trained):
                return folder
        return None


def _name(group: Group, row: Row, seed: int | str) -> str:
    return " ".join(word for word in (group.name, row.name, f"s{seed}") if word)


def _backbone(source: Source, names: Sequence[str]) -> str:
    """Return the backbone of a cache's teachers; raises RefkdError if they have several."""
    found = {str(source.trained[name]["backbone"]) for name in names}
    if len(found) != 1:
        raise RefkdError(
            f"the teachers in {source.cache.folder} have the backbones {', '.join(sorted(found))}; "
            "for this table give caches whose teachers have one"
        )
    return found.pop()
