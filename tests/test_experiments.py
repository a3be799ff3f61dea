"""The experiments behind docs/results.md: the plan, the page, and how they are run."""

import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from experiments.__main__ import _print_commands
from experiments.full import FULL
from experiments.page import all_blocks, fill_in, write_page
from experiments.plan import Data, Experiment, Part
from experiments.running import Runner, _is_taught
from experiments.smoke import SMOKE
from experiments.steps import Step

from pipeline.ablations import TABLES
from stores.errors import RefkdError
from student.recipe import RECIPES

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
    experiment = Experiment("planted", "", (), data="planted")
    plan = replace(
        SMOKE, data=(Data("planted", (), {"epochs": 3, "hidden": 16, "batch": 16, "lr": 3e-3}),)
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
    plan = replace(SMOKE, data=data, experiments=tuple(each))
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
    plan = replace(SMOKE, data=tuple(data), experiments=tuple(each), seeds=(0,))
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
