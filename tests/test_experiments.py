"""The experiments behind docs/results.md: the plan, its commands, what is found of it, the page."""

import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from experiments.__main__ import _print_commands
from experiments.evidence import Evidence
from experiments.floors import keep_floors
from experiments.full import FULL
from experiments.page import all_blocks, fill_in, write_page
from experiments.plan import Block, Data, Experiment, Part, Shown
from experiments.running import Runner, _is_taught
from experiments.smoke import SMOKE
from experiments.steps import Step, data_steps, experiment_steps
from experiments.tables import block_text, gap_of, interval_cell
from test_sources import source

from cli.main import refkd
from pipeline.ablations import TABLES
from pipeline.planning import Planner
from pipeline.results import Results, data_content
from pipeline.sources import make_groups
from stores.errors import RefkdError
from student.bootstrap import Interval
from student.recipe import RECIPES
from student.views import VERSION

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "results.md"
TESTS = ("test_iid", "test_ood")
TEACHERS = Part("1", ("ID teacher", "OOD teacher"))


def test_the_page_says_what_the_kept_results_say():
    """Every generated part of docs/results.md is what `make experiments --tables` would write."""
    page = PAGE.read_text()

    assert fill_in(page, all_blocks(FULL, ROOT / "docs" / "results")) == page


@pytest.mark.parametrize("plan", [FULL, SMOKE], ids=["full", "smoke"])
def test_a_plan_holds_together(plan):
    """What blocks show is run, what they compare with is shown beside it, and nothing is run in vain."""
    run = {
        (one.name, row.name)
        for one in plan.experiments
        for part in (*one.parts, *((TEACHERS,) if one.together else ()))  # others ask those
        for row in part.chosen
    }
    seen = set()
    for block in plan.blocks:
        for shown in block.shown:
            parts = shown.parts or plan.experiment(shown.experiment).parts
            rows = {row.name for part in parts for row in part.chosen}
            seen |= {(shown.experiment, row) for row in rows}
            if len(block.shown) == 1:
                assert set(block.against) <= rows, f"{block.name} lacks a row to compare with"

    assert seen <= run
    assert {name for name, _ in run} == {name for name, _ in seen}
    assert len({one.name for one in plan.experiments}) == len(plan.experiments)
    assert len({block.name for block in plan.blocks}) == len(plan.blocks)


def test_the_full_plan_has_what_the_claims_need():
    """Three pairs, every table, three backbones, the best recipe with either OOD teacher."""
    assert FULL.seeds == (0, 1, 2)
    assert {part.table for one in FULL.experiments for part in one.parts} == set(TABLES)
    assert {one.backbone for one in FULL.experiments} == {"vslnet", "seqpan", "mrtnet"}
    for name, kind in (("claims", "ood"), ("claims-moved", "ood-moved")):
        claims = FULL.experiment(name)
        assert claims.teachers == ("id", kind)
        rows = {row.name for part in claims.parts for row in part.chosen}
        assert rows >= {"ID teacher", "OOD teacher", "RefKD", "w/o both", "fixed halves"}
        assert ("recipe best" in rows) == ("best" in RECIPES)
    recipes = {row.name for part in FULL.experiment("recipes").parts for row in part.chosen}
    shown = {
        row.name: RECIPES[row.name.removeprefix("recipe ")] for row in TABLES["recipes"].rows[1:]
    }
    assert recipes >= shown.keys()
    assert all(changes in shown.values() for name, changes in RECIPES.items() if name != "paper")


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
        assert used <= known | {"$REFKD_DATA"}
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


TOGETHER = SMOKE.experiment("together")


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


# what is found: results that `ablate` would keep are those that a plan's rows have

KINDS = {"id": "id", "ood": "ood"}
PLAN = replace(
    SMOKE,
    data=(Data("planted", (), {"epochs": 3, "hidden": 16}),),
    experiments=(
        Experiment(
            "all",
            "all",
            (Part("1"), Part("3"), Part("5"), Part("controls"), Part("recipes")),
            data="planted",
        ),
    ),
)
ALL = PLAN.experiments[0]


@pytest.fixture
def planned(data, tmp_path):
    """Every trial that `ablate` would make of the plan's rows, by row, and the folder for results."""
    keep_floors(data.folder, tmp_path / "planted")
    pairs = [
        {bias: {**PLAN.teacher_settings(ALL, bias, seed), **code(data)} for bias in KINDS}
        for seed in PLAN.seeds
    ]
    sources = [source(f"pair {i}", own) for i, own in enumerate(pairs)]
    for i, seeds in enumerate(((0, 1), (1, 0))):
        sources.append(
            source(f"twins {i}", {n: pairs[s]["id"] for n, s in zip("ab", seeds, strict=True)})
        )
    for one in sources:
        one.cache.manifest["views"] = {"number": PLAN.views, "version": VERSION}
    base = PLAN.base(ALL)
    planner = Planner(data, base, seeds=2, sources=sources, folders={})
    groups = make_groups(sources, base.teachers, twins=True)
    rows = {}
    for part in ALL.parts:
        rows |= {row.name: row for row in planner.rows(TABLES[part.table], groups)}
    return rows, tmp_path


def code(data):
    return {"data": data.seal, "backbone_version": 1}


def group(folder, **groups):
    """Say of which video each pair of a test split is; those of other splits are of one."""
    path = folder / "planted" / "floors.json"
    floors = json.loads(path.read_text())
    floors["groups"] = {**{split: ["v"] for split in TESTS}, **groups}
    path.write_text(json.dumps(floors))


def keep(folder, about, ious, **more):
    scores = {
        split: {"R1@0.3": 1.0, "R1@0.5": 2.0, "R1@0.7": 3.0, "mIoU": 100 * float(np.mean(own))}
        for split, own in ious.items()
    }
    return Results(folder / "planted").keep(
        {"format": "refkd-result", "about": about, "scores": scores, "iou": ious, **more}
    )


def test_what_ablate_keeps_is_found(planned):
    """Every row of every table, each student and teacher at the place of its pair, for each split."""
    rows, folder = planned
    marks = {}
    for row in rows.values():
        for split in TESTS:
            for trial in row.of_split(split):
                marks[trial.key] = len(marks)
                ious = {s: [marks[trial.key] / 1000] for s in TESTS}
                keep(folder, trial.about, ious)
    evidence = Evidence(PLAN, folder)

    for part in ALL.parts:
        for row in part.chosen:
            for split in TESTS:
                found = evidence.of(ALL, row, split)
                trials = rows[row.name].of_split(split)
                about = [found[place]["about"] for place in (0, 1)]
                assert about == [trial.about for trial in trials], (row.name, split)


def test_what_ablate_keeps_of_teachers_together_is_found(planned, data):
    """Students of all teachers count for each place, their mean is one result, asked once."""
    _, folder = planned
    taught = {
        f"{bias}{seed}": {**PLAN.teacher_settings(ALL, bias, seed), **code(data)}
        for seed in PLAN.seeds
        for bias in KINDS
    }
    one = source("crowd", taught)
    base = replace(PLAN.base(ALL), teachers=tuple(taught))
    planner = Planner(data, base, seeds=2, sources=[one], folders={})
    groups = make_groups([one], base.teachers, twins=False)
    together = replace(TOGETHER, data="planted")
    students, mean = (
        planner.rows(replace(TABLES[part.table], rows=part.chosen), groups)[0]
        for part in together.parts
    )
    group(folder)
    for place, trial in enumerate((*students.trials, *mean.trials)):
        keep(folder, trial.about, {split: [place / 4] for split in TESTS})
    plan = replace(PLAN, experiments=(together,))
    evidence = Evidence(plan, folder)
    student, average = (part.chosen[0] for part in together.parts)

    found = evidence.of(together, student, "test_iid")
    assert [found[place]["iou"]["test_iid"] for place in (0, 1)] == [[0.0], [0.25]]
    assert len(mean.trials) == 1
    block = Block("b", (Shown("together"),), (average.name,))
    text = block_text(block, evidence)
    assert "| 50.0 | - | - | 1 |" in text.replace("1.0 / 2.0 / 3.0 / ", "")
    assert "| RefKD | -37.50 [-37.50, -37.50] (1 run); by pair -50.0 -25.0 |" in text


def test_results_of_other_data_or_recipes_are_not_found(planned, data):
    """A result of another data set, another width, or another teacher is not shown."""
    rows, folder = planned
    about = rows["RefKD"].trials[0].about
    for change in (
        {"data": "0" * 64},
        {"recipe": {**about["recipe"], "hidden": 8}},
        {"teachers": {**about["teachers"], "ood": {**about["teachers"]["ood"], "folds": 3}}},
    ):
        keep(folder, {**about, **change}, {split: [0.5] for split in TESTS})
    evidence = Evidence(PLAN, folder)

    assert evidence.floors["planted"]["data"] == data_content(data)
    assert evidence.of(ALL, TABLES["3"].rows[0], "test_iid") == {}


def test_newer_code_counts_before_older(planned):
    """Results of an older version of a backbone's code are shown until there are newer ones."""
    rows, folder = planned
    about = rows["RefKD"].trials[0].about
    keep(folder, about, {split: [0.25] for split in TESTS})
    old = Evidence(PLAN, folder).of(ALL, TABLES["3"].rows[0], "test_iid")
    keep(folder, {**about, "backbone_version": 2}, {split: [0.75] for split in TESTS})
    new = Evidence(PLAN, folder).of(ALL, TABLES["3"].rows[0], "test_iid")

    assert (old[0]["iou"]["test_iid"], new[0]["iou"]["test_iid"]) == ([0.25], [0.75])


CLAIM = Block("claims", (Shown("all", (Part("1"),)),), ("ID teacher",))


def test_scores_and_differences_by_hand(planned):
    """Means and deviations over runs; a student is compared with its own teachers, pair by pair."""
    rows, folder = planned
    group(folder, test_iid=["v", "w", "w"], test_ood=["v", "v", "w"])
    student, teacher = rows["RefKD"], rows["ID teacher"]
    ious = {"test_iid": [0.5, 0.7, 0.6], "test_ood": [0.2, 0.2, 0.2]}
    keep(folder, student.trials[0].about, ious)
    keep(folder, student.trials[1].about, {**ious, "test_iid": [0.8, 0.8, 0.8]})
    keep(
        folder, teacher.trials[1].about, {"test_iid": [0.7, 0.8, 0.6], "test_ood": [0.3, 0.3, 0.1]}
    )
    lines = block_text(CLAIM, Evidence(PLAN, folder)).splitlines()
    table = {line.split(" | ")[0].strip("| "): line for line in lines}

    # mIoU 60 and 80: mean 70, deviation of a sample 20 / root 2
    assert (
        "| RefKD | 1.0 / 2.0 / 3.0 / 70.0 ± 14.1 | 1.0 / 2.0 / 3.0 / 20.0 ± 0.0 | - | - | 2 |"
        in lines
    )
    assert table["ID teacher"].endswith("| - | - | 1 |")
    assert any(line.startswith("| whole video |") for line in lines)
    # only pair 1 has both: 0.8 - 0.7 of video v, 0.8 - 0.8 and 0.8 - 0.6 of w, 10 either way
    # -0.1 and -0.1 of v, 0.1 of w; of two videos one is drawn twice with chance 1/4
    iid, ood = "+10.00 [+10.00, +10.00] (1 run)", "-3.33 [-10.00, +10.00] (1 run)"
    assert table["RefKD"] == f"| RefKD | {iid} | {ood} |"
    assert lines[-1] == "Not run yet: OOD teacher."


def found(*ious):
    """Results by place, each of one split."""
    return {place: {"iou": {"test_iid": own}} for place, own in enumerate(ious) if own is not None}


SURE = Interval(1.0, 0.5, 2.0)


@pytest.mark.parametrize(
    ("one", "other", "cell"),
    [
        ((0.5, 0.5, 0.5), (0.3, 0.4, 0.5), "**{}**; by pair +20.0 +10.0 +0.0"),
        ((0.5, 0.5, None), (0.3, 0.4, 0.5), "{} (2 runs); by pair +20.0 +10.0"),
        ((0.5, 0.5, 0.5), (None, None, 0.6), "{} (1 run)"),
        ((0.5, 0.5, None), (0.3, 0.4, None), "{}; by pair +20.0 +10.0"),
        ((0.5, None, None), (0.4, None, None), "{}"),
    ],
)
def test_what_a_difference_rests_on(one, other, cell):
    """Three runs are bold, fewer never; fewer than a row or the other has are said; each pair's part."""
    some = [found(*(iou and [iou, iou] for iou in ious)) for ious in (one, other)]
    text = interval_cell(SURE, gap_of(*some, "test_iid"))

    assert text == cell.format("+1.00 [+0.50, +2.00]")
    assert "**" not in interval_cell(Interval(1.0, -0.5, 2.0), gap_of(*some, "test_iid"))


def test_rows_without_a_pair_in_common_have_no_difference():
    """A student of pair 0 says nothing of a teacher of pair 1."""
    assert gap_of(found([0.5], None), found(None, [0.5]), "test_iid") is None


def test_counts_of_runs_that_differ_by_split(planned):
    """A row with two runs on one test and one on the other says both."""
    rows, folder = planned
    both, one = (rows["RefKD"].trials[i].about for i in (0, 1))
    keep(folder, both, {split: [0.5] for split in TESTS})
    keep(folder, one, {"test_iid": [0.5]})
    evidence = Evidence(PLAN, folder)

    for tells in ("scores", "calibration"):
        text = block_text(replace(CLAIM, against=(), tells=tells), evidence)
        (line,) = (line for line in text.splitlines() if line.startswith("| RefKD |"))
        assert line.endswith("| 2/1 |")


def test_floors_know_what_videos_were_cut_from(data, tmp_path):
    """Without an expression each video is a group; kept again with one, the first group of its match."""
    for cut_from, first in (("", "test_iid_000"), (r"^(.*?)_\d+$", "test_iid")):
        keep_floors(data.folder, tmp_path, cut_from)
        kept = json.loads((tmp_path / "floors.json").read_text())
        assert kept["groups"]["test_iid"][0] == first
        assert len(kept["groups"]["test_ood"]) == len(data.pairs["test_ood"])


def test_tables_without_groups_are_refused(planned):
    """Floors of an older version do not say of which video a pair is: no interval is made without."""
    rows, folder = planned
    for row in ("RefKD", "ID teacher"):
        keep(folder, rows[row].trials[0].about, {split: [0.5] for split in TESTS})
    path = folder / "planted" / "floors.json"
    floors = json.loads(path.read_text())
    del floors["groups"]
    path.write_text(json.dumps(floors))

    with pytest.raises(RefkdError, match=r"floors of planted do not say which pairs of test_iid"):
        block_text(CLAIM, Evidence(PLAN, folder))


def test_calibration_and_costs(planned):
    """Means over runs; what a result does not say is a dash."""
    rows, folder = planned
    told = {"error": 9.0, "by_chance": 2.0, "confidence": 40.0, "accuracy": 31.0}
    more = {
        "seconds": 90.0,
        "peak_rss_bytes": 2**30,
        "device": "cpu",
        "threads": 1,
        "best_epoch": 3,
    }
    ious = {split: [0.5] for split in TESTS}
    calibration = {"test_iid": {"start": told, "end": {**told, "error": 1.0}}}
    keep(folder, rows["RefKD"].trials[0].about, ious, calibration=calibration, **more)
    keep(folder, rows["ID teacher"].trials[0].about, ious)
    evidence = Evidence(PLAN, folder)
    calibrated = block_text(replace(CLAIM, against=(), tells="calibration"), evidence)
    costs = block_text(replace(CLAIM, against=(), tells="costs"), evidence)

    assert "| RefKD | 9.0 (2.0); 40.0 / 31.0 | 1.0 (2.0); 40.0 / 31.0 | - | - | 1 |" in calibrated
    assert "| ID teacher | - | - | - | - | 1 |" in calibrated
    assert "| RefKD | 1.5 | 1.0 | 3.0 | cpu, threads 1 |" in costs
    assert "ID teacher" not in costs.partition("Not run yet")[0]


def test_nothing_was_run(tmp_path):
    """Without floors or results every block says so."""
    assert set(all_blocks(FULL, tmp_path).values()) == {"Not run yet."}


def test_floors_of_other_data_are_refused(data, make_data, tmp_path):
    """Results that are kept are of one data set; another one cannot add to them."""
    keep_floors(data.folder, tmp_path / "kept")
    keep_floors(data.folder, tmp_path / "kept")
    other = make_data(tmp_path / "other", train=40)

    with pytest.raises(RefkdError, match=r"holds other data than the results in .*kept are of"):
        keep_floors(other, tmp_path / "kept")


def test_prose_is_left_alone(tmp_path):
    """Only what stands between markers is replaced; a second time nothing is new."""
    page = tmp_path / "page.md"
    parts = [f"<!-- generated: {block.name} -->\nstale\n<!-- end -->" for block in SMOKE.blocks]
    page.write_text("# Mine\n\n" + "\n\nprose between\n\n".join(parts) + "\n\nthe end\n")

    assert write_page(SMOKE, tmp_path, page) is True
    text = page.read_text()
    assert text.startswith(
        "# Mine\n\n<!-- generated: claims -->\n\nNot run yet.\n\n<!-- end -->\n\nprose"
    )
    assert text.endswith("<!-- end -->\n\nthe end\n")
    assert "stale" not in text
    assert write_page(SMOKE, tmp_path, page) is False


def test_markers_that_do_not_fit():
    """A part that no block fills, or a block that stands nowhere, is an error that names both."""
    with pytest.raises(RefkdError, match="the page marks the parts a, the plan has b; mark each"):
        fill_in("<!-- generated: a -->\n<!-- end -->", {"b": ""})


# how it is run


def test_a_teacher_that_is_there(teacher_folders, tmp_path):
    """Its folder is not trained again, whatever settings came since; one of other settings is not it."""
    experiment = replace(ALL, data="planted")
    plan = replace(
        PLAN, data=(Data("planted", (), {"epochs": 3, "hidden": 16, "batch": 16, "lr": 3e-3}),)
    )
    for kind, folder in teacher_folders.items():
        settings = plan.teacher_settings(experiment, kind, 0)
        step = Step(("refkd", "teach", "data", str(folder)), settings=settings)
        assert _is_taught(step)
        for change in ({"epochs": 4}, {"seed": 1}, {"folds": 2}, {"moved_span_loss": True}):
            assert not _is_taught(replace(step, settings={**settings, **change}))
    assert not _is_taught(Step(("refkd", "teach", "data", str(tmp_path)), settings=settings))


def test_one_experiment_that_fails_costs_only_itself(tmp_path, caplog):
    """It is told, the others go on, and the error at the end names it."""
    data = (
        Data("bad", ("python -c 'raise SystemExit(3)'",), {}),
        Data("real", ("refkd prepare data --annotations $REFKD_DATA/a --features f",), {}),
    )
    each = [Experiment(one.name, "", (), data=one.name) for one in data]
    plan = replace(PLAN, data=data, experiments=tuple(each))
    runner = Runner(source=None, work=tmp_path, results=tmp_path / "results", jobs=1)

    with pytest.raises(RefkdError, match=r"^experiments that failed: bad, real; mend what stands"):
        list(runner.run(plan, ["bad", "real"]))
    assert (
        "experiment bad failed: python -c raise SystemExit(3) failed with exit code 3"
        in caplog.text
    )
    assert "experiment real failed: this needs the real data; give its folder" in caplog.text


# all of it, for real


def experiments(work, *options):
    """The command that runs the smallest plan in a folder, and its environment."""
    words = [sys.executable, "-m", "experiments", "--smoke", "--work", str(work), *options]
    path = os.pathsep.join([str(ROOT / "docs"), str(ROOT)])
    return words, {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def finish(work, *options):
    words, env = experiments(work, *options)
    ran = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran


@pytest.mark.slow  # trains a dozen small models
def test_killed_resumed_and_from_files_alone(tmp_path):
    """SIGKILL amid the students; the same command finishes; a third does nothing; tables need no data."""
    words, env = experiments(tmp_path / "work")
    process = subprocess.Popen(words, env=env, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "RefKD s0: mIoU" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    finish(tmp_path / "work")
    page = (tmp_path / "work" / "results.md").read_text()
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "work").rglob("*.json")}
    again = finish(tmp_path / "work")
    (tmp_path / "other").mkdir()
    (tmp_path / "work" / "results").rename(tmp_path / "other" / "results")
    finish(tmp_path / "other", "--tables")

    assert "Not run yet" not in page
    assert page.count("| folds: RefKD |") == 1
    assert page.count("two ID teachers") == 1
    assert page.count("| teachers averaged |") == 2  # of each pair, and of all
    assert "models are finished" in again.stderr
    assert "trained in" not in again.stderr
    assert all(p.stat().st_mtime_ns == when for p, when in kept.items() if p.exists())
    assert (tmp_path / "other" / "results.md").read_text() == page
    assert json.loads((tmp_path / "other/results/built-in/floors.json").read_text())["simulated"]


def test_commands_run_where_they_belong(tmp_path, capsys):
    """A shell that runs them is in the folder of the right data set, with the caches of that one."""
    data = [
        Data(name, (f"refkd simulate data --clips {n}",), {}) for n, name in ((8, "a"), (9, "b"))
    ]
    each = [
        Experiment(f"{name} {table}", "", (Part(table, ("RefKD",)),), data=name)
        for table, name in (("1", "a"), ("1", "b"), ("3", "a"))
    ]
    plan = replace(PLAN, data=tuple(data), experiments=tuple(each), seeds=(0,))
    _print_commands(plan, [one.name for one in each], results=Path("kept"), jobs=1)
    pretend = (
        'refkd() { echo "$(basename "$PWD") $1 ${3-}" >> "$NOTES"; echo "$PWD/$1"; }\nset -eu\n'
    )
    env = {**os.environ, "NOTES": str(tmp_path / "notes")}
    script = pretend + capsys.readouterr().out
    subprocess.run(["bash", "-c", script], cwd=tmp_path, env=env, check=True, capture_output=True)
    notes = (tmp_path / "notes").read_text().splitlines()

    for name in "ab":
        own = [note for note in notes if note.startswith(name)]
        assert own.count(f"{name} simulate --clips") == 1
        assert own.count(f"{name} cache caches") == 1
    tables = [note for note in notes if " ablate " in note]
    assert tables == [f"{name} ablate {tmp_path}/{name}/cache" for name in "aba"]


def test_commands_are_printed(tmp_path):
    """--commands prints each command once and runs none; an unknown experiment is told."""
    printed = finish(tmp_path, "--commands").stdout.splitlines()
    words, env = experiments(tmp_path, "--only", "nothing")
    odd = subprocess.run(words, env=env, capture_output=True, text=True, check=False)

    commands = [line for line in printed if line.startswith("refkd")]
    assert len(commands) == len(set(commands)) > 8
    assert all(shlex.split(line) for line in printed)
    assert list(tmp_path.iterdir()) == []
    assert odd.returncode == 1
    assert "Error: no experiment nothing; there are claims, controls, folds, together" in odd.stderr
