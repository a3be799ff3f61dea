"""The paper's tables as data: which rows stand in each, and what each row changes of the recipe.

Tables 1 to 5 and the warm-up figure are the paper's rows that are ours to run; `controls` are what
it lacks, `light` are students of other sizes than their teachers, `recipes` the named ones. A new
table is an entry in TABLES.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stores.errors import RefkdError
from student.recipe import RECIPES, Recipe

FULL = "RefKD"  # the row that every other one of its table is compared with
STRICT = ("R1@0.5", "R1@0.7", "mIoU")  # the measures of the paper's tables 3 to 5
BROAD = ("R1@0.3", *STRICT)  # and of tables 1 and 2
PLAIN: dict[str, Any] = {"rectify": "none", "reweight": False, "side_weight": 0.0}
GROUND_TRUTH: dict[str, Any] = {**PLAIN, "gt_ce_weight": 1.0}


@dataclass(frozen=True)
class Student:
    """Students of one recipe: the base with changes, taught by some of its teachers.

    `taught_by` is `all`, `none`, one of them by bias (`id`, `ood`), or `twins`: two ID teachers
    that differ by seed alone.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    taught_by: str = "all"
    half_width: bool = False  # of the base, whatever that is

    def recipe(self, base: Recipe, teachers: Sequence[str]) -> Recipe:
        """Return the recipe of this row for a base recipe and the names of its teachers.

        Raises RefkdError, naming the row, if its changes do not go with the base.
        """
        width = {"hidden": base.hidden // 2} if self.half_width else {}
        try:
            return replace(base, **{**self.changes, **width, "teachers": tuple(teachers)})
        except RefkdError as error:  # whose advice is for a recipe that is given, not for a row's
            clash = str(error).partition(";")[0]
            raise RefkdError(
                f'row "{self.name}" does not go with the options given: {clash}; '
                "change those, or choose other rows by --row"
            ) from None


@dataclass(frozen=True)
class Teacher:
    """The teachers themselves, those of one bias; `split` takes the ID teacher where moments lie
    as in training and the OOD teacher elsewhere, as the paper's table 5 does."""

    name: str
    bias: str


@dataclass(frozen=True)
class Average:
    """The teachers of the recipe asked together: the mean of their probabilities, no training."""

    name: str


Row = Student | Teacher | Average


@dataclass(frozen=True)
class Table:
    """Rows in their order, and the measures that are printed of each test split."""

    title: str
    rows: tuple[Row, ...]
    measures: tuple[str, ...] = STRICT
    full: str = FULL
    own_backbones: bool = False  # the student's backbone is its teachers', whatever the recipe's


def show_views(rows: Iterable[Row], base: Recipe) -> bool:
    """Return whether a student of these rows, which change this recipe, is shown moved views."""
    students = [row for row in rows if isinstance(row, Student)]
    return any(row.changes.get("augment", base.augment) == "views" for row in students)


def _warmup(percent: int) -> Student:
    return Student(f"{percent}% warm-up", {"warmup": percent / 100})


def _named(name: str, changes: Mapping[str, Any]) -> Student:
    """Return a named recipe's row; one with teachers of its own has the teacher of that bias."""
    (taught_by,) = changes.get("teachers", ("all",)) or ("none",)
    return Student(f"recipe {name}", changes, taught_by)


def _recipes() -> tuple[Student, ...]:
    """Return a row for each named recipe but the paper's; of names for one recipe the first."""
    named: list[tuple[str, Mapping[str, Any]]] = []
    for name, changes in RECIPES.items():
        if changes and all(changes != other for _, other in named):
            named.append((name, changes))
    return tuple(_named(name, changes) for name, changes in named)


TEACHERS = (Teacher("ID teacher", "id"), Teacher("OOD teacher", "ood"))
REFKD = Student(FULL)
WITHOUT_LR = Student("w/o LR", {"rectify": "none"})
TABLES: dict[str, Table] = {
    "1": Table("RefKD beside its teachers", (*TEACHERS, REFKD), BROAD),
    "2": Table("RefKD by backbone", (*TEACHERS, REFKD), BROAD, own_backbones=True),
    "3": Table(
        "what label rectification (LR) and re-weighting (DR) are worth",
        (
            REFKD,
            WITHOUT_LR,
            Student("w/o DR", {"reweight": False}),
            Student("w/o both", PLAIN),  # eq. 5 throughout
        ),
    ),
    "4": Table(
        "ways to rectify labels",
        (
            REFKD,
            Student("Pure GT", {"rectify": "pure-gt"}),
            Student("Window f", {"rectify": "window"}),
        ),
    ),
    "5": Table(
        "label rectification beside the better teacher of each split",
        (Teacher("Teacher", "split"), REFKD, WITHOUT_LR),
    ),
    "warmup": Table(
        "epochs taught by eq. 5 before eq. 12",
        tuple(_warmup(percent) for percent in (0, 5, 10, 20, 30, 50)),
        full="20% warm-up",
    ),
    "controls": Table(
        "is it RefKD that helps, or anything of the kind",
        (
            REFKD,
            Student("ground truth only", {**GROUND_TRUTH, "augment": "none"}, "none"),
            Student("ground truth, translated", {**GROUND_TRUTH, "augment": "translate"}, "none"),
            Student("ID teacher only", PLAIN, "id"),
            Student("OOD teacher only", PLAIN, "ood"),
            Student("w/o both, with side branches", {"rectify": "none", "reweight": False}),
            Student("fixed halves", {**PLAIN, "granularity": "fixed"}),
            Average("teachers averaged"),
            Student("two ID teachers", {}, "twins"),
        ),
    ),
    "light": Table(
        "students of another size or kind than their teachers",
        (
            REFKD,
            Student("half the width", half_width=True),
            Student("transformer predictor", {"predictor": "transformer"}),
            Student("SeqPAN student", {"backbone": "seqpan"}),
        ),
    ),
    "recipes": Table(
        "the named recipes beside the paper's",
        (REFKD, *_recipes()),
    ),
}
