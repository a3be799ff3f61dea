"""The tables hold every row that the paper and our controls ask for, and each row is a recipe."""

from dataclasses import fields

import pytest

from pipeline.ablations import BROAD, STRICT, TABLES, Average, Student, Teacher, _named
from stores.errors import RefkdError
from student.recipe import RECIPES, Recipe

BASE = Recipe(seed=4, epochs=20)
TEACHERS = {"all": ("id", "ood"), "none": (), "id": ("id",), "ood": ("ood",), "twins": ("a", "b")}
NO_BRANCHES = {"rectify": "none", "reweight": False, "side_weight": 0.0}


def changes_of(table):
    """What each row of students makes of the base recipe, by name: only the fields that change."""
    found = {}
    for row in TABLES[table].rows:
        if isinstance(row, Student):
            recipe = row.recipe(BASE, TEACHERS[row.taught_by])
            found[row.name] = {
                knob.name: getattr(recipe, knob.name)
                for knob in fields(Recipe)
                if getattr(recipe, knob.name) != getattr(BASE, knob.name)
            }
    return found


def test_every_table():
    """Tables 1 to 5, the warm-up figure, the controls, light students and named recipes."""
    assert set(TABLES) == {"1", "2", "3", "4", "5", "warmup", "controls", "light", "recipes"}


def test_rows_in_order():
    """Each table has the paper's rows in the paper's order."""
    names = {name: [row.name for row in table.rows] for name, table in TABLES.items()}

    assert names["1"] == names["2"] == ["ID teacher", "OOD teacher", "RefKD"]
    assert names["3"] == ["RefKD", "w/o LR", "w/o DR", "w/o both"]
    assert names["4"] == ["RefKD", "Pure GT", "Window f"]
    assert names["5"] == ["Teacher", "RefKD", "w/o LR"]
    assert names["warmup"] == [f"{p}% warm-up" for p in (0, 5, 10, 20, 30, 50)]
    assert names["controls"] == [
        "RefKD",
        "ground truth only",
        "ground truth, translated",
        "ID teacher only",
        "OOD teacher only",
        "w/o both, with side branches",
        "fixed halves",
        "teachers averaged",
        "two ID teachers",
    ]


def test_what_the_ablations_change():
    """w/o both is eq. 5 throughout without side branches; the others switch off one thing each."""
    assert changes_of("3") == {
        "RefKD": {},
        "w/o LR": {"rectify": "none"},
        "w/o DR": {"reweight": False},
        "w/o both": NO_BRANCHES,
    }
    assert changes_of("4") == {
        "RefKD": {},
        "Pure GT": {"rectify": "pure-gt"},
        "Window f": {"rectify": "window"},
    }
    assert changes_of("5") == {"RefKD": {}, "w/o LR": {"rectify": "none"}}
    assert changes_of("1") == changes_of("2") == {"RefKD": {}}


def test_what_the_warm_up_changes():
    """Fractions of the epochs; 20% is the paper's own, with which the others are compared."""
    warm = changes_of("warmup")

    assert [change.get("warmup", 0.2) for change in warm.values()] == [0, 0.05, 0.1, 0.2, 0.3, 0.5]
    assert warm[TABLES["warmup"].full] == {}


def test_what_the_controls_change():
    """No teacher, one teacher and plain averages have neither rectification nor side branches.

    What the branches alone are worth, their losses beside eq. 5, is a row of its own.
    """
    truth = {"teachers": (), "gt_ce_weight": 1.0, **NO_BRANCHES}

    assert changes_of("controls") == {
        "RefKD": {},
        "ground truth only": truth,
        "ground truth, translated": {**truth, "augment": "translate"},
        "ID teacher only": {"teachers": ("id",), **NO_BRANCHES},
        "OOD teacher only": {"teachers": ("ood",), **NO_BRANCHES},
        "w/o both, with side branches": {"rectify": "none", "reweight": False},
        "fixed halves": {"granularity": "fixed", **NO_BRANCHES},
        "two ID teachers": {"teachers": ("a", "b")},
    }


def test_what_light_students_change():
    """The size or the kind of the network; the method and the teachers stay."""
    assert changes_of("light") == {
        "RefKD": {},
        "half the width": {"hidden": 64},
        "transformer predictor": {"predictor": "transformer"},
        "SeqPAN student": {"backbone": "seqpan"},
    }


def test_half_the_width_is_half_of_the_base():
    """Whatever the base is; 64 for the paper's 128."""
    (row,) = [row for row in TABLES["light"].rows if row.name == "half the width"]

    assert [row.recipe(Recipe(hidden=h), ("id",)).hidden for h in (64, 128, 256)] == [32, 64, 128]


def test_named_recipes_have_a_row_each():
    """But for the paper's, the full method, and second names; one without teachers learns from none."""
    rows = {row.name: row for row in TABLES["recipes"].rows}

    others = [name for name in RECIPES if name not in ("paper", "views-gt-side")]  # it is the best
    assert RECIPES["views-gt-side"] == RECIPES["best"]
    assert list(rows) == ["RefKD", *(f"recipe {name}" for name in others)]
    for name in ("paper", *others):
        row = rows["RefKD" if name == "paper" else f"recipe {name}"]
        assert row.changes == RECIPES[name]
    alone = _named("alone", {"teachers": (), "gt_ce_weight": 1.0})
    assert rows["recipe views-gt-ood"].taught_by == "ood"
    assert (alone.taught_by, _named("both", {"hard": True}).taught_by) == ("none", "all")


def test_ground_truth_only_is_the_same_whatever_the_base_moves():
    """A base recipe that moves moments leaves the plain control plain."""
    moving = Recipe(augment="translate")
    rows = {row.name: row for row in TABLES["controls"].rows}

    assert rows["ground truth only"].recipe(moving, ()).augment == "none"
    assert rows["fixed halves"].recipe(moving, ("id", "ood")).augment == "translate"


def test_a_row_that_the_base_does_not_go_with_is_named():
    """What was given already is not advised again."""
    rows = {row.name: row for table in ("4", "light") for row in TABLES[table].rows}

    with pytest.raises(
        RefkdError, match=r'^row "Window f" .*: side-weight 0 .* rectify window'
    ) as f:
        rows["Window f"].recipe(Recipe(**NO_BRANCHES), ("id", "ood"))
    assert "give" not in str(f.value).partition(":")[2]
    with pytest.raises(RefkdError, match=r'^row "half the width" .* multiple of 8, got 12; change'):
        rows["half the width"].recipe(Recipe(hidden=24), ("id",))


def test_rows_that_train_nothing():
    """Teachers stand in tables 1, 2 and 5, of each split in 5; their average is a control."""
    asked = {
        name: [row for row in table.rows if not isinstance(row, Student)]
        for name, table in TABLES.items()
    }

    both = [Teacher("ID teacher", "id"), Teacher("OOD teacher", "ood")]
    assert asked["1"] == asked["2"] == both
    assert asked["5"] == [Teacher("Teacher", "split")]
    assert asked["controls"] == [Average("teachers averaged")]
    assert asked["3"] == asked["4"] == asked["warmup"] == []


@pytest.mark.parametrize("name", TABLES)
def test_a_table_names_its_full_method(name):
    """The row that others are compared with is a row of students in the table, once."""
    table = TABLES[name]

    assert [isinstance(row, Student) for row in table.rows if row.name == table.full] == [True]


def test_measures_and_backbones():
    """The paper prints R1@0.3 in tables 1 and 2; table 2 alone takes its teachers' backbone."""
    assert {name for name, table in TABLES.items() if table.measures == BROAD} == {"1", "2"}
    assert STRICT == ("R1@0.5", "R1@0.7", "mIoU")
    assert BROAD == ("R1@0.3", "R1@0.5", "R1@0.7", "mIoU")
    assert [name for name, table in TABLES.items() if table.own_backbones] == ["2"]
