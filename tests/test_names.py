"""Names of students: their rows in the tables, and in what else they differ."""

from dataclasses import replace

from pipeline.ablations import GROUND_TRUTH, PLAIN
from pipeline.names import Taught, find_row, name_students, teacher_details
from student.recipe import RECIPES, Recipe, recipe_json

ID = {"bias": "id", "hidden": 64, "seed": 0, "backbone_version": 1}
OOD = {"bias": "ood", "hidden": 64, "seed": 0, "moved_span_loss": False, "backbone_version": 1}


def student(teachers=(("id", ID), ("ood", OOD)), **changes):
    recipe = replace(Recipe(), teachers=tuple(name for name, _ in teachers), **changes)
    return Taught(recipe_json(recipe), dict(teachers))


def test_a_lone_student():
    """Whatever its recipe, it is the student."""
    assert name_students([student(rectify="none")]) == ["student"]


def test_rows_of_the_tables():
    """Recipes that a table has go by its word, whatever their seed and size."""
    some = [
        student(),
        student(rectify="none", hidden=64, epochs=7, seed=3),
        student(**PLAIN),
        student(**PLAIN, granularity="fixed"),
        student((), **GROUND_TRUTH),
        student((("id", ID),), **PLAIN),
        student((("a", ID), ("b", {**ID, "seed": 1}))),
        student(warmup=0.0),
    ]

    assert [find_row(one).name for one in some] == [
        "RefKD",
        "w/o LR",
        "w/o both",
        "fixed halves",
        "ground truth only",
        "ID teacher only",
        "two ID teachers",
        "0% warm-up",
    ]


def test_what_a_recipe_changes_besides():
    """The closest row, then each knob that is not the same for all; what all share is not said."""
    names = name_students([student(hidden=64), student(hidden=64, rectify="none", temperature=2.0)])

    assert names == ["RefKD", "w/o LR, temperature 2"]


def test_what_a_row_sets_is_said_where_a_recipe_differs():
    """A knob that other rows fix is no secret of theirs: recipe `views` without re-weighting says so."""
    views = RECIPES["views"]
    names = name_students(
        [student(**views, reweight=False), student(rectify="none", reweight=False)]
    )

    assert names == ["recipe views, reweight no", "w/o both, with side branches"]
    names = name_students([student(**views, reweight=False), student(rectify="none")])
    assert names == ["recipe views, reweight no", "w/o LR"]
    names = name_students([student(rectify="pure-gt", tau=0.3), student(rectify="window")])
    assert names == ["Pure GT, tau 0.3", "Window f"]


def test_sizes_and_teachers_that_differ():
    """Width, and how the teachers were trained, but for their seeds and what they have in common."""
    moved = (("id", {**ID, "seed": 5}), ("ood", {**OOD, "moved_span_loss": True}))
    names = name_students([student(), student(moved, hidden=64)])

    assert names[0] == "RefKD, hidden 128, ood moved-span-loss no"
    assert names[1] == "RefKD, hidden 64, ood moved-span-loss yes"


def test_named_recipes():
    """A recipe that fixes a size is not told by it, one without teachers is none of the controls."""
    recipes = [RECIPES["best"], RECIPES["views-gt-16"]]
    alone = {k: v for k, v in RECIPES["views-gt-alone"].items() if k != "teachers"}
    names = name_students([*(student(**own) for own in recipes), student((), **alone), student()])

    assert names == ["recipe best", "recipe views-gt-16", "recipe views-gt-alone", "RefKD"]


def test_teachers_who_teach_together():
    """Two pairs in one cache: the row of a pair, and who they are."""
    pairs = (("id0", ID), ("ood0", OOD), ("id1", {**ID, "seed": 1}), ("ood1", {**OOD, "seed": 1}))

    assert find_row(student(pairs, **RECIPES["best"])).name == (
        "recipe best taught by id0, ood0, id1, ood1"
    )


def test_teachers_of_no_table():
    """Three teachers are named."""
    three = student((("id", ID), ("ood", OOD), ("third", {})))

    assert find_row(three).name == "RefKD taught by id, ood, third"


def test_teachers_that_nothing_is_known_of():
    """Their names stand for their biases, and what they said tells one student from the other."""
    recipe = recipe_json(Recipe(rectify="none"))

    assert name_students([Taught(recipe, {}, "1a"), Taught(recipe, {}, "2b")]) == [
        "w/o LR, cache 1a",
        "w/o LR, cache 2b",
    ]


def test_a_setting_at_its_default_is_said_by_its_value():
    """A stretch of 1, which a cache leaves out, is no `no`; data are told by their first digits."""
    how = {"bias": "ood", "data": "f" * 64, "moved_stretch": 1.0}
    one, other = teacher_details([{"ood": how}, {"ood": how | {"moved_stretch": 2.0}}])

    assert (one["ood moved_stretch"], other["ood moved_stretch"]) == (1.0, 2.0)
    assert one["ood data"] == "f" * 16
