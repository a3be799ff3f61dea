"""What students are called: rows of the tables by their recipes, and in what else they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.ablations import TABLES, Student
from pipeline.listing import said, settings_said
from pipeline.sources import but_seed
from student.recipe import TEACHER_KNOBS, Recipe, recipe_json

Changes = dict[str, Any]
TAUGHT_BY = {
    "all": ("id", "ood"),
    "none": (),
    "id": ("id",),
    "ood": ("ood",),
    "twins": ("id", "id"),
}
SIZES = tuple(name for name in TEACHER_KNOBS if name != "seed")
OWN_WORDS = "RefKD"  # of a recipe that no table has


@dataclass(frozen=True)
class Taught:
    """A student's recipe as JSON, how each of its teachers was trained, what it read and in what form.

    Where that is not known, `cache` names what its teachers said.
    """

    recipe: Mapping[str, Any]
    teachers: Mapping[str, Mapping[str, Any]]
    cache: str = ""
    read: Mapping[str, Any] = field(default_factory=dict)

    @property
    def besides(self) -> Changes:
        """What the recipe changes of the row that the student belongs to."""
        told = {**recipe_json(Recipe()), **find_row(self).changes}
        other = {*TEACHER_KNOBS, "teachers"}
        return {k: v for k, v in self.recipe.items() if k not in other and v != told[k]}

    @property
    def biases(self) -> tuple[str, ...]:
        """The bias of each teacher; where it is not known, the teacher's name stands for it."""
        return tuple(
            str(self.teachers.get(name, {}).get("bias", name)) for name in self.recipe["teachers"]
        )

    @property
    def sizes(self) -> dict[str, Any]:
        """What the recipe says of the network and its training, whatever the method."""
        return {name: self.recipe[name] for name in SIZES}


def name_students(students: Sequence[Taught]) -> list[str]:
    """Return a name for each of some different students, in their order.

    A lone one is `student`. Of several each is called as its row in the tables, with what its
    recipe changes besides, unless all do, and its size and teachers where those are not the same for all.
    """
    if len(students) == 1:
        return ["student"]
    rows = [find_row(student) for student in students]
    besides = [student.besides for student in students]
    shared = [one for one in besides[0].items() if all(one in own.items() for own in besides)]
    words = [
        ", ".join([row.name, *settings_said(dict(one for one in own.items() if one not in shared))])
        for own, row in zip(besides, rows, strict=True)
    ]
    teachers = teacher_details([student.teachers for student in students])
    details = [
        {name: size for name, size in student.sizes.items() if name not in row.changes}
        | own
        | dict(student.read)
        | ({"cache": student.cache} if student.cache else {})
        for student, row, own in zip(students, rows, teachers, strict=True)
    ]
    return distinguish(words, details)


def teacher_details(groups: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return the settings of each group's teachers, flat, whatever their seeds.

    A setting that only some groups know is off in the others that have a teacher of that name.

    >>> teacher_details([{"id": {"lr": 0.1, "seed": 1}}, {"id": {"lr": 0.1, "moved": True}}, {}])
    [{'id lr': 0.1, 'id moved': False}, {'id lr': 0.1, 'id moved': True}, {}]
    """
    known = {
        (name, setting): None
        for group in groups
        for name in group
        for setting in but_seed(group[name])
    }
    return [
        {
            f"{name} {setting}".strip(): {**group[name], **but_seed(group[name])}.get(
                setting, False
            )
            for name, setting in known
            if name in group
        }
        for group in groups
    ]


def distinguish(names: Sequence[str], details: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return names, each with those of its details that are not the same for all that have them.

    >>> distinguish(["a", "b"], [{"hidden": 64, "lr": 0.1}, {"hidden": 32, "lr": 0.1}])
    ['a, hidden 64', 'b, hidden 32']
    """
    values: dict[str, set[str]] = {}
    for own in details:
        for name, value in own.items():
            values.setdefault(name, set()).add(said(value))
    return [
        ", ".join([name, *settings_said({k: v for k, v in own.items() if len(values[k]) > 1})])
        for name, own in zip(names, details, strict=True)
    ]


@dataclass(frozen=True)
class TableRow:
    """A row that some table has: its name, its place among all rows, what it changes."""

    name: str
    place: int
    changes: Changes


def find_row(student: Taught) -> TableRow:
    """Return the row that a student belongs to: of those whose changes it has, the closest one.

    More than two teachers, of both biases, count as a pair does, and are named.
    """
    crowd = len(student.biases) > 2 and set(student.biases) == set(TAUGHT_BY["all"])
    taught_by = TAUGHT_BY["all"] if crowd else student.biases
    fitting = [
        row
        for biases, row in _rows()
        if biases == taught_by and row.changes.items() <= student.recipe.items()
    ]
    taught = f"taught by {', '.join(student.recipe['teachers']) or 'nobody'}"
    if not fitting:
        return TableRow(f"{OWN_WORDS} {taught}", len(_rows()), {})
    row = max(fitting, key=lambda row: (len(row.changes), -row.place))
    return replace(row, name=f"{row.name} {taught}") if crowd else row


def _rows() -> list[tuple[tuple[str, ...], TableRow]]:
    """Return every row; sizes tell only named recipes apart, elsewhere any student may have them."""
    default, named = recipe_json(Recipe()), TABLES["recipes"]
    found: list[tuple[tuple[str, ...], TableRow]] = []
    for table in TABLES.values():
        for row in table.rows:
            if isinstance(row, Student):
                told = default.keys() - {"teachers"} - ({*SIZES} if table is not named else set())
                changes = {k: v for k, v in row.changes.items() if k in told and v != default[k]}
                found.append((TAUGHT_BY[row.taught_by], TableRow(row.name, len(found), changes)))
    return found
