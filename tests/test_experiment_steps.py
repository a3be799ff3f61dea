"""Experiments become commands: those of refkd, in order, as a shell reads them."""

from dataclasses import replace

import pytest
from experiments.full import FULL
from experiments.plan import Experiment, Part
from experiments.smoke import SMOKE
from experiments.steps import Step, data_steps, experiment_steps

from cli.main import refkd
from pipeline.ablations import TABLES

TOGETHER = SMOKE.experiment("together")


@pytest.mark.parametrize("plan", [FULL, SMOKE], ids=["full", "smoke"])
def test_every_command_parses(plan):
    """Each command is one of refkd's with its real options, or a script of the data's."""
    steps = [step for data in plan.data for step in data_steps(data)]
    for experiment in plan.experiments:
        steps += experiment_steps(plan, experiment, results="kept", jobs=2)
    known = {f"${step.keeps}" for step in steps if step.keeps}

    for step in steps:
        program, *words = step.words
        used = {word.partition("/")[0] for word in words if word.startswith("$")}
        assert used <= known | {"$REFKD_DATA", "$EXPERIMENTS_CODE"}
        if program == "refkd":
            assert refkd.commands[words[0]].make_context(words[0], words[1:]).params
        else:
            assert program == "python"


def test_a_step_as_a_shell_reads_it():
    """Words are quoted but for variables, and what a command prints is kept in one."""
    assert str(Step(("refkd", "weigh", "$CACHE"))) == "refkd weigh $CACHE"
    step = Step(("refkd", "cache", "data", "--teacher=id=my teacher"), keeps="CACHE")
    assert str(step) == "CACHE=$(refkd cache data '--teacher=id=my teacher')"


def test_folds_of_windows_of_one_video():
    """Teachers of a data set whose videos were cut from others are cross-fitted by those."""
    plan = replace(FULL, seeds=(0,))
    steps = experiment_steps(plan, plan.experiment("folds"), results="kept", jobs=1)
    elsewhere = replace(plan.experiment("folds"), data="charades")

    assert str(steps[0]).endswith(r"--seed 0 --threads 1 --folds 3 --fold-by '_(\d+)$'")
    assert steps[0].settings["fold_by"] == r"_(\d+)$"
    assert "fold_by" not in plan.teacher_settings(plan.experiment("claims"), "id", 0)
    assert not plan.teacher_settings(elsewhere, "id-folds", 0)["fold_by"]


def test_commands_by_hand():
    """Teachers by kind and seed, a cache of each pair, a table of all of them."""
    experiment = Experiment(
        "x",
        "x",
        (Part("3", ("RefKD",)),),
        data="built-in",
        teachers=("id", "ood-moved"),
        backbone="seqpan",
        recipe="paper",
    )
    lines = list(map(str, experiment_steps(SMOKE, experiment, results="kept", jobs=3)))
    own = "--backbone seqpan --epochs 1 --hidden 8 --batch 96"
    moved = "teachers/seqpan-ood-moved-1"
    cache = f"refkd cache data caches --teacher=id=teachers/seqpan-id-1 --teacher=ood={moved}"
    held = "BUILT_IN_SEQPAN_ID_{0}_SEQPAN_OOD_MOVED_{0}"

    assert lines[0] == (
        f"refkd teach data teachers/seqpan-id-0 --bias id {own} --seed 0 --threads 1"
    )
    assert (
        lines[3]
        == f"refkd teach data {moved} --bias ood {own} --seed 1 --threads 1 --moved-span-loss"
    )
    assert lines[6] == f"{held.format(1)}=$({cache})"
    assert lines[7] == f"refkd weigh ${held.format(1)}"
    assert lines[8].startswith(
        f"refkd ablate data ${held.format(0)} ${held.format(1)} runs "
        f"--table 3 --row=RefKD --seeds 2 --jobs 3 --results kept {own} --teacher=id="
    )
    assert len(lines) == 9


def test_teachers_who_teach_together():
    """One cache of all pairs, from which every student learns; no teacher is asked alone."""
    lines = list(map(str, experiment_steps(SMOKE, TOGETHER, results="kept", jobs=1)))
    named = {"id0": "id-0", "ood0": "ood-0", "id1": "id-1", "ood1": "ood-1"}
    options = " ".join(f"--teacher={name}=teachers/{folder}" for name, folder in named.items())
    held = "BUILT_IN_ID_0_OOD_0_ID_1_OOD_1"

    assert lines[4:6] == [f"{held}=$(refkd cache data caches {options})", f"refkd weigh ${held}"]
    assert lines[8].startswith(
        f"refkd ablate data ${held} runs --table recipes --row=RefKD --seeds 2 --jobs 1 "
        "--results kept --teachers id0,ood0,id1,ood1 --epochs 1"
    )
    assert lines[8].endswith(options)


def test_teachers_of_one_kind_who_teach_together():
    """Without an ID teacher: one cache of the OOD teachers of every seed."""
    alone = replace(TOGETHER, teachers=("ood",))
    lines = list(map(str, experiment_steps(SMOKE, alone, results="kept", jobs=1)))
    options = "--teacher=ood0=teachers/ood-0 --teacher=ood1=teachers/ood-1"

    assert [line.split()[3] for line in lines[:2]] == ["teachers/ood-0", "teachers/ood-1"]
    assert lines[2] == f"BUILT_IN_OOD_0_OOD_1=$(refkd cache data caches {options})"
    assert " --teachers ood0,ood1 " in lines[6]


def test_recipes_with_views_get_caches_with_views(monkeypatch):
    """A table with a row that shows views learns from caches that hold them; others do not."""
    viewed = replace(TABLES["recipes"].rows[0], name="recipe v", changes={"augment": "views"})
    rows = (*TABLES["recipes"].rows, viewed)
    monkeypatch.setitem(TABLES, "recipes", replace(TABLES["recipes"], rows=rows))
    experiment = Experiment("x", "x", (Part("1"), Part("recipes")), data="built-in")
    lines = list(map(str, experiment_steps(SMOKE, experiment, results="kept", jobs=1)))
    tables = [line for line in lines if " ablate " in line]

    assert sum(line.endswith("--views 1)") for line in lines) == 2
    assert ["VIEWS" in line for line in tables] == [False, True]


def test_what_teachers_are_beside_their_kind():
    """Fields that all models of an experiment share, and how the epoch is chosen, are said and named."""
    teachers, changes = ("id", "ood-selected"), {"predictor": "transformer"}
    part = Part("3", ("RefKD",))
    experiment = Experiment("x", "x", (part,), "built-in", teachers, "seqpan", changes=changes)
    lines = list(map(str, experiment_steps(SMOKE, experiment, results="kept", jobs=1)))
    own = "--backbone seqpan --predictor transformer --epochs 1"

    assert lines[1].startswith(
        f"refkd teach data teachers/seqpan-transformer-ood-selected-0 --bias ood {own}"
    )
    assert lines[1].endswith("--moved-span-loss --select val+moved")
    assert "select" not in lines[0]
    assert own in lines[-1]
    settings = SMOKE.teacher_settings(experiment, "ood-selected", 1)
    assert (settings["predictor"], settings["select"]) == ("transformer", "val+moved")


def test_teachers_of_another_data_set():
    """They are trained by its experiments and found in its folder; here they are only scored."""
    part = Part("1", ("ID teacher",))
    experiment = Experiment("x", "x", (part,), "built-in", taught_on="elsewhere")
    lines = list(map(str, experiment_steps(SMOKE, experiment, results="kept", jobs=1)))

    assert not any(line.startswith("refkd teach") for line in lines)
    assert "--teacher=id=../elsewhere/teachers/id-0" in lines[0]
    assert "--teacher=ood=../elsewhere/teachers/ood-1" in lines[-1]
