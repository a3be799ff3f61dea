"""What a report is about: models and results that differ by seed alone are one subject."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.names import Taught, distinguish, find_row, name_students, teacher_details
from pipeline.results import About, Result, Results, Settings, data_content
from pipeline.sources import but_seed
from stores.dataset import DataSet
from stores.errors import RefkdError
from stores.files import MANIFEST
from stores.fingerprints import SHORT, canonical_json
from stores.models import read_facts
from student.recipe import BIASES, Recipe, recipe_json

log = logging.getLogger("refkd")
SHORT_CACHE = 8  # digits of a cache's key that a reader needs
LOGITS = {"dtype": "float32", "precision": "float32"}  # of a cache, unless asked otherwise
TRAINED_ON, SHOWN_DATA = "trained_on", "these data"  # of a student, unless it learned from others
VIEWS = {"views": "number", "version of views": "version"}  # as a name says it, and a cache
RESULTS = "results"  # where `refkd ablate` keeps them, inside a folder of runs


@dataclass(frozen=True)
class Member:
    """One model, or several asked together: what it is about, its folder, its result, or both."""

    about: About  # kind, teachers, and recipe of a student, as in pipeline/results.py
    folder: Path | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)  # the manifest in the folder
    result: Result | None = None
    given: str = ""  # a teacher's name, as the user gave it

    @property
    def taught(self) -> Taught:
        """The recipe and the teachers of a student."""
        recipe = recipe_json(Recipe()) | self.about["recipe"]
        return Taught(
            recipe, self.about["teachers"], self.about.get("cache", ""), _read(self.about)
        )

    @property
    def seeds(self) -> list[int]:
        """The seed of the student, or of each teacher."""
        some = [self.about["recipe"]] if "recipe" in self.about else self.about["teachers"].values()
        return [int(how["seed"]) for how in some]


@dataclass(frozen=True)
class Subject:
    """A row of the report: its name, its kind (teacher, student, average), its members by seed."""

    name: str
    kind: str
    members: tuple[Member, ...]

    @property
    def at_hand(self) -> list[Member]:
        """The members whose folders are there, not only their results."""
        return [one for one in self.members if one.folder is not None]


def find_subjects(
    paths: Sequence[Path], teachers: Mapping[str, Sequence[Path]], data: DataSet
) -> list[Subject]:
    """Return teachers, then the students found in paths, then averages of teachers.

    Results lie in a path or in its folder `results`; those of other data are left out. Raises
    RefkdError if a path holds neither runs nor results, or there is no run of a student.
    """
    content = data_content(data)
    results = [r for path in paths for r in _results_in(path) if r["about"]["data"] == content]
    by_seal = {tuple(result["seals"]["models"]): result for result in results}
    folders = [(path, name) for name, some in teachers.items() for path in some]
    folders += [(path, "") for path in find_runs(paths)]
    members: dict[tuple[str, ...], Member] = {}
    for path, name in folders:
        facts, seal = read_facts(path)
        if name in BIASES and name != facts.get("bias", name):  # names mostly say the bias
            log.warning("--teacher %s is %s, a teacher of bias %s", name, path, facts["bias"])
        own = _at_hand(path, facts, by_seal.get((seal,)), name, scored_on=data.seal)
        members.setdefault((seal,), own)
    for seals, result in by_seal.items():
        members.setdefault(seals, Member(result["about"], result=result))
    groups: dict[str, list[Member]] = {}
    for member in members.values():
        groups.setdefault(_key(member.about), []).append(member)
    by_kind: dict[str, list[list[Member]]] = {"teacher": [], "student": [], "average": []}
    for group in map(_once, groups.values()):
        by_kind[group[0].about["kind"]].append(sorted(group, key=lambda one: one.seeds))
    if not any(member.folder for group in by_kind["student"] for member in group):
        raise RefkdError("no student is among the runs; give folders that `refkd distill` wrote")
    by_kind["student"].sort(key=lambda group: _place(group[0].taught))
    return [
        *_named(by_kind["teacher"], _teacher_names(by_kind["teacher"])),
        *_named(by_kind["student"], name_students([g[0].taught for g in by_kind["student"]])),
        *_named(by_kind["average"], _names_apart(by_kind["average"], "teachers averaged")),
    ]


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """Return the run folders among some paths or directly inside them, sorted within each.

    Raises RefkdError if a path is a file or holds neither a run nor results.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_file():
            raise RefkdError(f"{path} is a file, expected a folder of runs, or a run; leave it out")
        inside = sorted(path.glob(f"[!.]*/{MANIFEST}"))
        here = [path] if (path / MANIFEST).is_file() else [manifest.parent for manifest in inside]
        if not here and not _results_in(path):
            raise RefkdError(f"no finished run at {path}; run `refkd distill` first")
        found += here
    return found


def _results_in(path: Path) -> list[Result]:
    return [result for place in (path, path / RESULTS) for result in Results(place).every()]


def _at_hand(
    folder: Path, facts: dict[str, Any], result: Result | None, name: str, *, scored_on: str
) -> Member:
    """Return a model folder as a member; what it is about is its result's word, or its manifest's."""
    if result is not None:
        about = result["about"]
    elif facts["kind"] == "teacher":
        about = {
            "kind": "teacher",
            "teachers": {facts["bias"]: _but_data(facts["inputs"], scored_on)},
        }
    else:
        taught = facts.get("taught_by", {})
        about = {
            "kind": "student",
            "recipe": facts["recipe"],
            "teachers": {name: _but_data(how, facts["data"]) for name, how in taught.items()},
            **{name: facts[name] for name in ("logits", "views") if name in facts},
        }
        if facts["data"] != scored_on:
            about[TRAINED_ON] = facts["data"][:SHORT]
        known = all(taught.get(teacher) for teacher in facts["recipe"]["teachers"])
        if not known or ("views" not in facts and facts["recipe"]["augment"] == "views"):
            about["cache"] = facts["cache"][:SHORT_CACHE]  # all that tells what it read from others
    return Member(about, folder, facts, result, name)


def _but_data(trained: Settings, own: str) -> dict[str, Any]:
    """Return how a teacher was trained; on which data only if it was on other data, as results do."""
    return {k: v for k, v in trained.items() if (k, v) != ("data", own)}


def _once(group: Sequence[Member]) -> list[Member]:
    """Leave out what counts twice: results of models that are at hand with other bits, trained again
    elsewhere, and students of no teacher that were trained beside several caches.
    """
    found: dict[str, list[Member]] = {}
    for member in group:
        own = found.setdefault(f"{_key(member.about)} {_all_seeds(member.about)}", [])
        if not own or (member.folder and member.about["teachers"]):
            own.append(member)
    return [member for own in found.values() for member in own]


def _all_seeds(about: About) -> list[int]:
    """Return the seed of a student, if it is one, then those of the teachers."""
    some = [about["recipe"]] if "recipe" in about else []
    return [how.get("seed") for how in (*some, *about["teachers"].values())]


def _key(about: About) -> str:
    """Return what is equal for members of one subject."""
    recipe = recipe_json(Recipe()) | about.get("recipe", {})
    teachers = {name: but_seed(how) for name, how in about["teachers"].items()}
    if about["kind"] != "student":  # whatever a teacher is called
        return canonical_json([about["kind"], list(teachers.values())])
    recipe = {name: value for name, value in recipe.items() if name != "seed"}
    return canonical_json([recipe, teachers, _read(about), about.get("cache", "")])


def _read(about: About) -> dict[str, Any]:
    """Return which data a student learned from, and in what form it read its teachers there.

    An older run does not say the form.
    """
    found = dict(about.get("logits") or LOGITS) if about["teachers"] else {}
    found[TRAINED_ON] = about.get(TRAINED_ON, SHOWN_DATA)
    views = about.get("views") or {}
    return found | {name: views[key] for name, key in VIEWS.items() if key in views}


def _place(student: Taught) -> tuple[int, int]:
    """Return the place of a student among others: its row's, those that change little besides first."""
    return find_row(student).place, len(student.besides)


def _named(groups: Sequence[Sequence[Member]], names: Sequence[str]) -> list[Subject]:
    return [
        Subject(name, group[0].about["kind"], tuple(group))
        for name, group in zip(names, groups, strict=True)
    ]


def _teacher_names(groups: Sequence[Sequence[Member]]) -> list[str]:
    """Return the names that were given, or the bias; where those are equal, with what differs."""
    given = ["/".join(dict.fromkeys(one.given for one in group if one.given)) for group in groups]
    biases = [next(iter(group[0].about["teachers"].values()))["bias"] for group in groups]
    bases = [f"{(name or bias).upper()} teacher" for name, bias in zip(given, biases, strict=True)]
    names = list(bases)
    for base in dict.fromkeys(bases):
        alike = [index for index, other in enumerate(bases) if other == base]
        for index, name in zip(alike, _names_apart([groups[i] for i in alike], base), strict=True):
            names[index] = name
    return names


def _names_apart(groups: Sequence[Sequence[Member]], base: str) -> list[str]:
    """Return a name for each of some groups of teachers: the base and what differs between them."""
    teachers = [group[0].about["teachers"] for group in groups]
    if all(len(some) == 1 for some in teachers):  # whatever it is called
        teachers = [{"": how} for some in teachers for how in some.values()]
    return distinguish([base] * len(groups), teacher_details(teachers))
