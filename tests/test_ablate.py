"""Tables trained for real on the planted data set: whole, killed, shared, and from files alone."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from statistics import fmean

import pytest
from click.testing import CliRunner
from test_crew import WAIT_S, is_running
from tqdm import tqdm

from cli.main import refkd
from pipeline.ablate import _Progress, _with_rows, ablate
from pipeline.ablation_table import ablation_table
from pipeline.crew import Told
from pipeline.planning import Trial
from stores.errors import RefkdError
from stores.models import read_facts
from student.recipe import Recipe

QUICK = Recipe(hidden=8, epochs=2, batch=48, lr=3e-3, warmup=0.5)
OPTIONS = ["--hidden=8", "--epochs=2", "--batch=48", "--lr=3e-3", "--warmup=0.5", "--device=cpu"]


def run(data, cache, runs, *, table="5", recipe=QUICK, seeds=1, **how):
    return ablate(data, [cache], runs, table=table, recipe=recipe, seeds=seeds, device="cpu", **how)


def folders(teacher_folders):
    return {name: [folder] for name, folder in teacher_folders.items()}


def trained(runs):
    return sorted(path.name for path in runs.iterdir() if (path / "manifest.json").exists())


def results_in(folder):
    return {path.name: json.loads(path.read_bytes()) for path in sorted(folder.iterdir())}


def said(result):
    """Rows, scores and intervals: what is the same wherever it was computed."""
    return {**result, "results": None}


@pytest.fixture(scope="module")
def whole(data_folder, cache_folder, teacher_folders, tmp_path_factory):
    """Table 5 with two seeds, trained two at a time, and the folder of its runs."""
    runs = tmp_path_factory.mktemp("runs")
    teachers = folders(teacher_folders)
    found = run(data_folder, cache_folder, runs, seeds=2, jobs=2, teachers=teachers)
    return found, runs


def test_a_table(whole):
    """Each row has its students, each run one file, each teacher too; scores stand beside floors."""
    found, runs = whole
    rows = {row["row"]: row for row in found["rows"]}

    assert list(rows) == ["Teacher", "RefKD", "w/o LR"]
    assert [row["runs"] for row in rows.values()] == [1, 2, 2]
    assert found["splits"] == ["test_iid", "test_ood"]
    assert len(trained(runs)) == 4
    kinds = [result["about"]["kind"] for result in results_in(runs / "results").values()]
    assert sorted(kinds) == ["student"] * 4 + ["teacher"] * 2
    for name in ("Teacher", "w/o LR"):
        for interval in rows[name]["difference"].values():
            assert interval["low"] <= interval["mean"] <= interval["high"]
    assert found["floors"]["test_ood"]["whole video"]["mIoU"] > 0


def test_the_numbers_are_the_runs_own(whole):
    """Mean and deviation of a row are those of its result files; differences those of its pairs."""
    found, runs = whole
    row = next(row for row in found["rows"] if row["row"] == "w/o LR")
    kept = results_in(runs / "results").values()
    students = [result for result in kept if result["about"]["kind"] == "student"]
    own = [r for r in students if r["about"]["recipe"]["rectify"] == "none"]
    full = [r for r in students if r["about"]["recipe"]["rectify"] == "mixed"]
    mious = sorted(result["scores"]["test_ood"]["mIoU"] for result in own)

    assert sorted(result["about"]["recipe"]["seed"] for result in own) == [0, 1]
    assert sorted(row["scores"]["test_ood"]["mIoU"]["values"]) == mious
    assert row["scores"]["test_ood"]["mIoU"]["mean"] == pytest.approx(sum(mious) / 2)
    gap = sum(mious) / 2 - sum(r["scores"]["test_ood"]["mIoU"] for r in full) / 2
    assert row["difference"]["test_ood"]["mean"] == pytest.approx(gap, abs=1e-2)


def test_nothing_is_done_twice(whole, data_folder, cache_folder, caplog):
    """The same table again trains and scores nothing, starts no process, and says the same."""
    found, runs = whole
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    with caplog.at_level("INFO", "refkd"):
        again = run(data_folder, cache_folder, runs, seeds=2)

    assert again == found
    assert "6 of 6 models are finished" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*")} == before


def test_tables_share_runs(whole, data_folder, cache_folder, tmp_path):
    """Table 3 finds RefKD and w/o LR of table 5 and trains the two rows that are left."""
    _, runs = whole
    shutil.copytree(runs, tmp_path / "runs")
    found = run(data_folder, cache_folder, tmp_path / "runs", table="3")

    assert [row["row"] for row in found["rows"]] == ["RefKD", "w/o LR", "w/o DR", "w/o both"]
    assert len(trained(tmp_path / "runs")) == 4 + 2


def test_rows_without_the_full_method(caplog):
    """It is said which row the differences want; nothing is said where it is there."""
    with caplog.at_level("INFO", "refkd"):
        _with_rows("3", [])
        _with_rows("3", ["w/o DR", "RefKD"])
        assert caplog.text == ""
        _with_rows("warmup", ["0% warm-up"])

    assert "add --row '20% warm-up' for differences from it" in caplog.text


def test_rows_by_name(whole, data_folder, cache_folder, tmp_path):
    """Only the rows that are named are trained; a name that the table lacks is refused with those it has."""
    _, runs = whole
    shutil.copytree(runs, tmp_path / "runs")
    found = run(data_folder, cache_folder, tmp_path / "runs", table="3", rows=["w/o DR", "RefKD"])

    assert [row["row"] for row in found["rows"]] == ["RefKD", "w/o DR"]
    assert found["rows"][1]["difference"].keys() == {"test_iid", "test_ood"}
    assert len(trained(tmp_path / "runs")) == 4 + 1
    message = "table 3 has no row LR; its rows are RefKD; w/o LR; w/o DR; w/o both"
    with pytest.raises(RefkdError, match=f"^{re.escape(message)}$"):
        run(data_folder, cache_folder, tmp_path / "runs", table="3", rows=["LR"])


def test_from_the_files_alone(whole, data_folder, cache_folder, tmp_path, caplog):
    """Where runs, teachers and the very cache are gone, the kept files still print the table."""
    found, runs = whole
    results = tmp_path / "committed"
    shutil.copytree(runs / "results", results)
    for path in results.iterdir():  # as if another build of the cache had been used
        kept = path.read_text()
        path.write_text(re.sub(r'"cache_key": "\w{64}"', f'"cache_key": "{"0" * 64}"', kept))
    with caplog.at_level("INFO", "refkd"):
        again = run(data_folder, cache_folder, tmp_path / "runs", seeds=2, results=results)

    assert said(again) == said(found)
    assert not (tmp_path / "runs").exists()
    assert "4 results are of caches with other keys" in caplog.text


def test_videos_of_one_source(whole, data, data_folder, cache_folder):
    """Of three sources, drawn thrice, one comes alone in 1 of 27: the interval reaches its mean gap."""
    _, runs = whole
    found = run(data_folder, cache_folder, runs, seeds=2, group_by=r"_0(\d)\d$")
    students = [r for r in results_in(runs / "results").values() if "recipe" in r["about"]]
    tens = [pair.video[-2] for pair in data.pairs["test_ood"]]

    def mean_iou(rectify, source):
        ious = [
            r["iou"]["test_ood"] for r in students if r["about"]["recipe"]["rectify"] == rectify
        ]
        return fmean(
            iou for own in ious for iou, ten in zip(own, tens, strict=True) if ten == source
        )

    gaps = [100 * (mean_iou("none", source) - mean_iou("mixed", source)) for source in "012"]
    (row,) = (row for row in found["rows"] if row["row"] == "w/o LR")
    told = row["difference"]["test_ood"]

    assert found["group_by"] == r"_0(\d)\d$"
    assert {*tens} == {*"012"}
    assert (told["low"], told["high"]) == pytest.approx((min(gaps), max(gaps)))


def test_teachers_that_are_not_given(data_folder, cache_folder, tmp_path, caplog):
    """Their row is left out, and it is said how to have it."""
    found = run(data_folder, cache_folder, tmp_path)

    assert [row["row"] for row in found["rows"]] == ["RefKD", "w/o LR"]
    assert "row Teacher is left out: give --teacher id=DIR --teacher ood=DIR" in caplog.text


def test_a_folder_that_is_another_teacher(
    data_folder, cache_folder, teacher_folders, tmp_path, caplog
):
    """It is said what it is and what was expected; a table of which nothing is left is an error."""
    teachers = {"id": [teacher_folders["ood"]], "ood": [teacher_folders["ood"]]}

    with pytest.raises(RefkdError, match=r"^no row of table 5 is left; mend what is said"):
        run(data_folder, cache_folder, tmp_path, rows=["Teacher"], teachers=teachers)
    folder = re.escape(str(teacher_folders["ood"]))
    message = f"no --teacher id is that teacher of the cache: {folder} has .*bias ood, expected id"
    assert re.search(f"row Teacher is left out: {message}", caplog.text)


def test_a_run_that_fails_costs_only_itself(whole, data_folder, cache_folder, tmp_path):
    """The others are finished and kept; the error names row, seed and reason."""
    _, runs = whole
    facts = {name: read_facts(runs / name)[0] for name in trained(runs)}
    (full,) = [
        name
        for name, own in facts.items()
        if (own["recipe"]["rectify"], own["recipe"]["seed"]) == ("mixed", 0)
    ]
    (tmp_path / full).mkdir()
    (tmp_path / full / "thesis.txt").write_text("dear")  # something else lies where it would be

    with pytest.raises(RefkdError, match=r"^1 of 2 models failed: RefKD s0: .* holds other files"):
        run(data_folder, cache_folder, tmp_path)
    (kept,) = results_in(tmp_path / "results").values()
    assert kept["about"]["recipe"]["rectify"] == "none"


def test_epochs_of_another_sitting_are_no_speed_of_this_one():
    """A job that tells 7 epochs at first has done 6 before: the bar shows them, and counts one."""
    progress = _Progress([Trial("RefKD s0", {}, recipe=Recipe(epochs=9))])
    with progress.bar:
        for told in (Told(0, "begun"), Told(0, "epochs", 7), Told(0, "epochs", 8)):
            progress.take(told)
        assert (progress.bar.initial, progress.bar.n) == (6, 8)


def test_progress_without_a_bar(monkeypatch):
    """TQDM_DISABLE switches bars off, and what they count with."""
    monkeypatch.setattr("pipeline.ablate.tqdm", partial(tqdm, disable=True))
    progress = _Progress([Trial("RefKD s0", {}, recipe=Recipe(epochs=9))])
    with progress.bar:
        for told in (Told(0, "begun"), Told(0, "epochs", 7), Told(0, "epochs", 8)):
            progress.take(told)


def group_is_alive(group):
    """Whether a process of a session that is no zombie is left."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    for pid in pids:
        try:
            if os.getpgid(pid) == group and is_running(pid):
                return True
        except ProcessLookupError:
            continue
    return False


@pytest.mark.slow  # four processes that import torch, one after another
def test_killed_and_resumed(whole, data_folder, cache_folder, teacher_folders, tmp_path):
    """SIGKILL in the middle leaves no process behind; the same command ends with the same table."""
    teachers = [f"--teacher={name}={folder}" for name, folder in teacher_folders.items()]
    command = [
        *(sys.executable, "-c", "from cli.main import refkd; refkd()", "ablate"),
        *(str(data_folder), str(cache_folder), str(tmp_path)),
        *("--table=5", "--seeds=2", "--jobs=2", *OPTIONS, *teachers),
    ]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    for line in process.stderr:
        if "RefKD s0: mIoU" in line:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    deadline = time.monotonic() + WAIT_S
    while group_is_alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not group_is_alive(process.pid)
    kept = len(list((tmp_path / "results").iterdir()))
    assert 0 < kept < 6
    again = subprocess.run(command, capture_output=True, text=True, check=True)

    found, _ = whole
    assert again.stdout == ablation_table(found) + "\n"
    assert f"{kept} of 6 models are finished" in again.stderr
    assert "epoch/s" in again.stderr  # one bar, and none of the runs' own
    assert "step/s" not in again.stderr
    assert "leaked" not in again.stderr


def test_as_a_command(whole, data_folder, cache_folder):
    """The command prints the table; with --json the last line is the whole result."""
    found, runs = whole
    arguments = ["ablate", str(data_folder), str(cache_folder), str(runs), "--table=5", "--seeds=2"]
    row = CliRunner().invoke(refkd, [*arguments, *OPTIONS, "--row=w/o LR", "--json"])
    text = CliRunner().invoke(refkd, [*arguments, *OPTIONS], catch_exceptions=False)
    told = CliRunner().invoke(refkd, [*arguments, *OPTIONS, "--json"], catch_exceptions=False)

    assert text.stdout == ablation_table(found) + "\n"
    assert json.loads(told.stdout.splitlines()[-1]) == found
    assert "6 of 6 models are finished" in told.stderr
    (only,) = json.loads(row.stdout.splitlines()[-1])["rows"]
    assert only == {**found["rows"][2], "difference": {}}
