"""Options that were given and change nothing that is trained: refused before anything runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from cli.knobs import given_knobs
from pipeline.ablations import Student, Table
from stores.errors import RefkdError
from student.recipe import AUGMENTATIONS, GRANULARITIES, Recipe, beyond_eq_5, reads_branches

NEEDS = {  # what a knob needs to matter: another one, at one of these values
    "augment_prob": ("augment", [value for value in AUGMENTATIONS if value != "none"]),
    "tau": ("rectify", ["window"]),
    "gt_threshold": ("rectify", ["pure-gt"]),
    "hard": ("granularity", [value for value in GRANULARITIES if value != "fixed"]),
    "favour": ("granularity", [value for value in GRANULARITIES if value != "fixed"]),
}
BEYOND_EQ_5 = ("warmup", "affinity_dropout_off")  # matter where targets are by eq. 12
OF_SEVERAL = ("granularity", "favour", "hard")
OF_TEACHERS = ("temperature", "rectify", "side_weight", *OF_SEVERAL, *BEYOND_EQ_5)
OFF = ("none", 0.0)  # said of what no teacher is there for, it does no harm


def refuse_idle(recipe: Recipe, rows: Sequence[Mapping[str, Any]] = ({},)) -> None:
    """Raise RefkdError if a knob that was given matters to none of the recipes that rows change.

    One that is given its default is let pass: it asks for nothing.
    """
    for name in given_knobs() if rows else ():
        option, value = f"--{name.replace('_', '-')}", getattr(recipe, name)
        if value == getattr(Recipe(), name):
            continue
        own = [{**vars(recipe), **changes} for changes in rows if name not in changes]
        if not own:
            raise RefkdError(
                f"{_spoken(option, value)} has no effect: each row sets its own; leave it out, or "
                "choose other rows"
            )
        other, wanted = NEEDS.get(name, ("", []))
        if other and not any(one[other] in wanted for one in own):
            found = ", ".join(dict.fromkeys(one[other] for one in own))
            raise RefkdError(f"{option} is for --{other} {' or '.join(wanted)}, got {found}")
        if name in OF_TEACHERS and not recipe.teachers and value not in OFF:
            raise RefkdError(f"{option} is for students of teachers, got none by --teachers")
        if name in OF_SEVERAL and len(recipe.teachers) == 1:
            raise RefkdError(
                f"{option} is for several teachers, got --teachers {recipe.teachers[0]}"
            )
        if name in BEYOND_EQ_5 and recipe.teachers and not any(map(beyond_eq_5, own)):
            lone = len(recipe.teachers) == 1
            found = f"for the one teacher {recipe.teachers[0]}" if lone else "--no-reweight"
            raise RefkdError(
                f"{option} is for targets by eq. 12, got --rectify none {found}, which is eq. 5 "
                "in every epoch"
            )
        if name == "affinity_dropout_off" and not any(map(reads_branches, own)):
            raise RefkdError(
                f"{option} is for targets that read side branches, got --rectify "
                f"{' or '.join(dict.fromkeys(one['rectify'] for one in own))} without re-weighting"
            )


def refuse_idle_of_table(recipe: Recipe, table: Table, rows: Sequence[str]) -> None:
    """Raise RefkdError if a knob that was given matters to no student of these rows, all if none."""
    students = [
        row for row in table.rows if isinstance(row, Student) and (not rows or row.name in rows)
    ]
    # the base's teachers say which caches a row may learn from, even where it has some of its own, as
    # `two ID teachers` has: what matters to that row alone counts as idle beside one teacher
    refuse_idle(recipe, [{k: v for k, v in r.changes.items() if k != "teachers"} for r in students])


def _spoken(option: str, value: object) -> str:
    if isinstance(value, bool):
        return option if value else f"--no-{option.removeprefix('--')}"
    return f"{option} {value}"
