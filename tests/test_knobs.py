"""Options made from the fields of Recipe, and the named recipes."""

import dataclasses
import re
import shlex

import click
import pytest
from click.testing import CliRunner

from cli.knobs import TellsRecipes, recipe_options
from cli.main import refkd
from stores.errors import RefkdError
from student.recipe import RECIPES, TEACHER_KNOBS, Recipe


def recipe_of(*arguments, names=()):
    """Return the recipe that a command with these options receives."""
    received = []

    @click.command()
    @recipe_options(*names)
    def command(*, recipe):
        received.append(recipe)

    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    if result.exception:
        raise result.exception
    return received[0]


def test_every_knob_is_an_option_of_distill():
    """`refkd distill` has an option for each field of Recipe, with its help and its default."""
    options = {option.name: option for option in refkd.commands["distill"].params}
    knobs = {knob.name: knob for knob in dataclasses.fields(Recipe)}

    assert knobs.keys() <= options.keys()
    for name, knob in knobs.items():
        assert knob.metadata["help"][1:] in options[name].help
        assert options[name].show_default
    assert recipe_of() == Recipe()


def test_teach_has_the_knobs_of_a_teacher_only():
    """`refkd teach` offers the shared knobs and none of those about learning from teachers."""
    options = {option.name for option in refkd.commands["teach"].params}

    assert {*TEACHER_KNOBS, "select", "fold_by"} <= options
    assert {"warmup", "rectify", "teachers"} & options == set()


def test_a_named_recipe_is_told(caplog):
    """What it changes of the paper's, which itself goes without saying."""
    caplog.set_level("INFO")
    recipe_of()
    assert caplog.messages == []

    recipe_of("--recipe=views")
    assert caplog.messages == ["recipe views: augment views, augment-prob 0.7, select val+moved"]


def test_values_reach_the_recipe():
    """Numbers, switches, choices and comma lists arrive as the field's own type."""
    recipe = recipe_of(
        *("--teachers", "id, ood,big", "--epochs", "7", "--lr", "5e-4", "--no-reweight", "--hard"),
        *("--rectify", "window", "--tau", "0.2"),
    )

    assert recipe == Recipe(
        teachers=("id", "ood", "big"),
        epochs=7,
        lr=5e-4,
        reweight=False,
        hard=True,
        rectify="window",
        tau=0.2,
    )


def test_no_teachers_is_an_empty_list():
    """An empty --teachers means ground truth only, which the recipe then demands be said."""
    assert recipe_of("--teachers", "", "--gt-ce-weight", "1").teachers == ()
    with pytest.raises(RefkdError, match="no teachers means ground truth only"):
        recipe_of("--teachers", "")


def test_a_named_recipe_gives_way_to_options(monkeypatch):
    """--recipe changes the defaults; what is given wins, even where it is a default's own value."""
    changes = {"epochs": 30, "rectify": "none", "reweight": False, "teachers": ("ood",)}
    monkeypatch.setitem(RECIPES, "tried", changes)

    assert recipe_of("--recipe", "tried") == Recipe(**changes)
    given = ("--epochs", "100", "--reweight", "--teachers", "id,ood")
    assert recipe_of("--recipe", "tried", *given) == Recipe(rectify="none")
    assert recipe_of("--recipe", "paper") == Recipe()


def test_every_named_recipe_is_a_recipe():
    """The paper's are the defaults; each other one changes fields of Recipe to valid values."""
    assert RECIPES["paper"] == {}
    for changes in RECIPES.values():
        Recipe(**changes)


def test_help_ends_with_the_recipes():
    """Each by its name and the options that make it: given alone, they are that very recipe."""

    @click.command(cls=TellsRecipes)
    @recipe_options()
    def command(*, recipe):
        pass

    help = CliRunner().invoke(command, ["--help"], terminal_width=300).output
    shown = dict(re.findall(r"^  (\S+) +(.+)$", help.partition("Recipes:\n")[2], re.MULTILINE))

    assert shown.pop("paper") == "the defaults"
    assert shown.keys() == RECIPES.keys() - {"paper"}
    for name, options in shown.items():
        assert recipe_of(*shlex.split(options)) == Recipe(**RECIPES[name])


def test_those_who_take_a_recipe_tell_them():
    """Every command that has --recipe, and no other."""
    commands = refkd.commands.items()
    asked = {
        n for n, command in commands if "--recipe" in {o for p in command.params for o in p.opts}
    }

    assert asked == {"distill", "ablate"}
    assert {n for n, command in commands if isinstance(command, TellsRecipes)} == asked
