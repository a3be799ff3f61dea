"""SMOKE: a plan of minutes that goes every way the full one goes, on the built-in data set."""

from dataclasses import replace

from experiments.full import FULL, KINDS
from experiments.plan import Block, Data, Experiment, Part, Shown
from student.recipe import RECIPES

VIEWED = [f"recipe {name}" for name, own in RECIPES.items() if own.get("augment") == "views"]
SMALLEST = {"epochs": 1, "hidden": 8, "batch": 96}
TEACHERS = ("ID teacher", "OOD teacher")

SMOKE = replace(
    FULL,
    data=(Data("built-in", ("refkd simulate data --clips 8",), SMALLEST),),
    kinds={**KINDS, "id-folds": replace(KINDS["id-folds"], folds=2)},
    experiments=(
        Experiment(
            "claims",
            "plain",
            (Part("1"), Part("5", ("Teacher",)), Part("recipes", ("RefKD", *VIEWED[:1]))),
            data="built-in",
            agreement=True,
        ),
        Experiment(
            "controls",
            "controls",
            (Part("controls", ("teachers averaged", "ground truth only", "two ID teachers")),),
            data="built-in",
            agreement=True,
        ),
        Experiment(
            "folds",
            "folds",
            (Part("1", ("RefKD",)),),
            data="built-in",
            teachers=("id-folds", "ood"),
        ),
        Experiment(
            "together",
            "together",
            (Part("recipes", ("RefKD",)), Part("controls", ("teachers averaged",))),
            data="built-in",
            together=True,
        ),
    ),
    blocks=(
        Block("claims", (Shown("claims"), Shown("controls")), TEACHERS),
        Block(
            "together",
            (Shown("together", (Part("1"), Part("controls", ("teachers averaged",)))),),
            (*TEACHERS, "teachers averaged"),
        ),
        Block("folds", (Shown("claims", (Part("1"),)), Shown("folds")), TEACHERS),
        Block("agreement", (Shown("claims"), Shown("controls")), tells="agreement"),
        Block("calibration", (Shown("claims"),), tells="calibration"),
        Block("costs", (Shown("claims"),), tells="costs"),
    ),
    seeds=(0, 1),
    views=1,
)
