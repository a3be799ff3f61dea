"""Filling a cache: killed, crowded, out of room or interrupted, it ends with the same bytes."""

import errno
import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from planned import Ask, all_bytes, build, expected, make_plan

from pipeline.cacheplan import foresee
from pipeline.costs import read_costs
from pipeline.filling import fill, is_whole
from pipeline.pool import run_units
from stores.building import Building, cache_folder
from stores.cache import open_cache
from stores.errors import RefkdError
from stores.parts import Part
from stores.removal import remove_folder
from stores.unfinished import BUILDING

PLAN = make_plan()
HERE = Path(__file__).parent
IN_THE_WAY = {
    "an empty folder": "is an empty folder",
    "a copy that was stopped": r"lacks manifest\.json",
    "a copy without its seal": r"lacks manifest\.sha256",
    "a file": "is a file",
    "a dead link": "is a link that leads nowhere, to none",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of the cache, built in one go."""
    return all_bytes(build(tmp_path_factory.mktemp("whole"), PLAN))


def run_program(name, *args):
    return subprocess.Popen(
        [sys.executable, HERE / name, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
    )


def put_in_the_way(folder, what):
    """Let something lie where a cache would be put."""
    if what == "a file":
        folder.write_text("mine")
    elif what == "a dead link":
        folder.symlink_to("none")
    else:
        folder.mkdir()
        if what != "an empty folder":
            (folder / "teachers").mkdir()
        if what == "a copy without its seal":
            (folder / "manifest.json").write_text("{}")


def left_behind(out):
    """What lies in the building folder, lock files aside."""
    return [path.name for path in (out / BUILDING).iterdir() if path.suffix != ".lock"]


def test_same_bytes_from_two_workers(whole, tmp_path):
    """Two processes write the bytes of one, manifest included, each row asked about once."""
    ask = Ask(tmp_path / "notes")
    folder = build(tmp_path / "out", PLAN, ask, workers=2)

    assert all_bytes(folder) == whole
    assert sorted(ask.asked()) == sorted((t, lo) for t in PLAN.arrays for lo in range(0, 300, 32))
    assert os.getpid() not in ask.processes()
    assert left_behind(tmp_path / "out") == []


def test_same_bytes_from_larger_blocks(whole, tmp_path):
    """The block size of a device moves no byte: 32 rows at once or 512."""
    folder = fill(tmp_path, PLAN, Ask(), {"device": "cpu", "torch": "2"}, block_rows=512, workers=1)

    assert all_bytes(folder) == whole


def test_finished_cache_is_not_asked_again(whole, tmp_path):
    """A finished cache is found by its key: nobody is asked, nothing is written."""
    build(tmp_path, PLAN)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    ask = Ask(tmp_path.parent / "notes")

    assert is_whole(tmp_path, PLAN)
    assert all_bytes(build(tmp_path, PLAN, ask)) == whole
    assert ask.asked() == []
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("step", [37, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_any_change_of_the_disk(step, quick_path):
    """Killed before any fsync, rename, link, unlink or mkdir and run again, it ends with the same bytes.

    Temporary files, linking, sealing, the final rename and the tidying are among the points. At
    most one unit is asked for twice, and nothing of an array that could be linked.
    """
    program = run_program("killing.py", quick_path / "kills", step, 2)
    found = json.loads(program.communicate(timeout=550)[0].splitlines()[-1])

    assert found["wrong"] == []
    assert found["points"] >= 300 // step


def build_and_kill(out, notes, workers, rng, *device):
    """Start a build and kill it after a few questions; return whether it was still at work."""
    enough = len(Ask(notes).asked()) + rng.randint(1, 5)
    program = run_program("planned.py", out, notes, workers, 0.03, *device)
    wait_until(lambda: program.poll() is not None or len(Ask(notes).asked()) >= enough)
    time.sleep(rng.uniform(0, 0.1))
    program.kill()
    program.stdout.close()
    return program.wait() == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_killed_at_random_times(workers, whole, quick_path):
    """Killed again and again while workers write, at most one unit a kill and worker is asked twice."""
    rng, kills = random.Random(workers), 0
    for trial in range(4):
        out, notes = quick_path / str(trial), quick_path / f"{trial}.notes"
        here = 0
        while not cache_folder(out, PLAN).exists():
            here += build_and_kill(out, notes, workers, rng)
        asked = Ask(notes).asked()
        kills += here

        assert all_bytes(build(out, PLAN)) == whole
        assert len(asked) - len(set(asked)) <= here * workers
        assert left_behind(out) == []
    assert kills >= 8


GPU = {"device": "like a gpu", "torch": "2"}  # where units are written behind the asking


def test_written_behind_the_asking(whole, tmp_path):
    """Where a GPU is asked, a thread writes each unit while the next is asked for: the same chunks."""
    ask = Ask(tmp_path / "notes")
    folder = build(tmp_path / "out", PLAN, ask, environment=GPU)
    chunks = {name: data for name, data in all_bytes(folder).items() if "/c/" in name}

    assert chunks == {name: data for name, data in whole.items() if "/c/" in name}
    assert len(ask.asked()) == 20
    assert left_behind(tmp_path / "out") == []


def test_killed_while_written_behind(quick_path):
    """Killed at random, it costs the unit that was being written and the one that was asked for."""
    rng, kills, out, notes = random.Random(5), 0, quick_path / "out", quick_path / "notes"
    while not cache_folder(out, PLAN).exists():
        kills += build_and_kill(out, notes, 1, rng, GPU["device"])
    asked = Ask(notes).asked()
    expected = all_bytes(build(quick_path / "whole", PLAN, environment=GPU))

    assert kills >= 2
    assert len(asked) - len(set(asked)) <= 2 * kills
    assert all_bytes(cache_folder(out, PLAN)) == expected
    assert left_behind(out) == []


def test_workers_die_with_their_parent(whole, quick_path):
    """When the building process is killed its workers stop at once, and the next build finishes."""
    out, ask = quick_path / "out", Ask(quick_path / "notes")
    program = run_program("planned.py", out, ask.notes, 2, 0.2)
    wait_until(lambda: len(ask.asked()) >= 3)
    program.send_signal(signal.SIGKILL)
    program.wait()
    program.stdout.close()
    wait_until(lambda: not any(is_alive(process) for process in ask.processes()))
    before = len(ask.asked())

    assert before < 20
    assert all_bytes(build(out, PLAN, ask)) == whole
    assert len(ask.asked()) <= 20 + 2


def is_alive(process):
    """Whether a process runs; one that waits to be collected does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, *, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def test_second_builder_waits(whole, quick_path, caplog):
    """A second process says that it waits for the first, and finds the cache finished."""
    out, first = quick_path / "out", Ask(quick_path / "first")
    program = run_program("planned.py", out, first.notes, 1, 0.1)
    wait_until(lambda: len(first.asked()) >= 2)
    second = Ask(quick_path / "second")
    with caplog.at_level(logging.INFO, logger="refkd"):
        folder = build(out, PLAN, second)
    program.communicate(timeout=60)

    assert f"another process is building {folder}; waiting for it" in caplog.messages
    assert second.asked() == []
    assert all_bytes(folder) == whole


@pytest.mark.slow
def test_builder_takes_over_from_a_dead_one(whole, quick_path):
    """A process that waits for one that is killed takes over its finished chunks."""
    out, first = quick_path / "out", Ask(quick_path / "first")
    program = run_program("planned.py", out, first.notes, 1, 0.1)
    wait_until(lambda: len(first.asked()) >= 4)
    second = run_program("planned.py", out, quick_path / "second", 1, 0)
    time.sleep(1.5)  # so that it stands at the lock, or arrives when the first is dead
    program.kill()
    program.communicate()
    second.communicate(timeout=60)

    assert all_bytes(cache_folder(out, PLAN)) == whole
    assert len(first.asked()) + len(Ask(quick_path / "second").asked()) <= 20 + 1


def full_disk_at(call, monkeypatch):
    """Let the disk be full from the given fsync on, as a network disk reports it."""
    real, calls = os.fsync, iter(range(10_000))

    def fsync(handle):
        if next(calls) >= call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)


def test_full_disk_while_written_behind(quick_path, monkeypatch):
    """An error of the thread that writes is the build's error, and what it wrote before is kept."""
    ask = Ask(quick_path / "notes")
    with monkeypatch.context() as patch:
        full_disk_at(31, patch)
        with pytest.raises(RefkdError, match=r"no space left on device; [1-9]\d* of 20 chunks are"):
            build(quick_path / "out", PLAN, ask, environment=GPU)
    before = len(ask.asked())
    build(quick_path / "out", PLAN, ask, environment=GPU)

    assert before < 20
    assert len(ask.asked()) <= 20 + 2


@pytest.mark.parametrize("call", [0, 1, 2, 3, 30, 61, 82, 100, 125, 135])
def test_full_disk(call, whole, quick_path, monkeypatch):
    """Full at a chunk, the journal, the samples or the seal: one sentence, and the rest is kept."""
    ask = Ask(quick_path / "notes")
    with monkeypatch.context() as patch:
        full_disk_at(call, patch)
        with pytest.raises(
            RefkdError,
            match=r"cannot write the cache in .*: no space left on device; \d+ of 20 chunks are "
            r"finished and kept, make room and run `refkd cache` again to resume",
        ):
            build(quick_path / "out", PLAN, ask)
    assert all_bytes(build(quick_path / "out", PLAN, ask)) == whole
    assert len(ask.asked()) <= 21


class Unreadable(Ask):
    """A teacher whose file is gone, from the start or from a row on."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def __call__(self):
        return self.forward if self.after else self.forward("id", 0, 1)

    def forward(self, teacher, lo, hi):
        if lo >= self.after:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/t/id/model")
        return super().forward(teacher, lo, hi)


@pytest.mark.parametrize(("after", "workers"), [(0, 1), (64, 1), (64, 2)])
def test_unreadable_teachers_are_no_full_disk(after, workers, whole, quick_path):
    """What cannot be read is named, in whatever process; nobody is told to make room."""
    with pytest.raises(RefkdError) as caught:
        build(quick_path, PLAN, Unreadable(after), workers=workers)

    assert str(caught.value) == (
        "cannot ask the teachers: no such file or directory (/t/id/model); mend that and run the "
        "same command again, what is finished is kept"
    )
    assert all_bytes(build(quick_path, PLAN)) == whole


def test_a_disk_that_fails_is_not_full(quick_path, monkeypatch):
    """Another error of writing is told as what it is, with the file."""

    def fsync(handle):
        raise OSError(errno.EIO, os.strerror(errno.EIO), "/disk/file")

    monkeypatch.setattr(os, "fsync", fsync)
    message = (
        r"input/output error \(/disk/file\); 0 of 20 chunks .*kept, mend that and run `refkd c"
    )
    with pytest.raises(RefkdError, match=message):
        build(quick_path, PLAN)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a small disk")
def test_really_full_disk(whole, tmp_path):
    """On a real file system of 100 KiB the build stops, and goes on when room is made."""
    disk = tmp_path / "disk"
    disk.mkdir()
    small = ["mount", "-t", "tmpfs", "-o", "size=100k", "none", disk]
    if subprocess.run(small, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    try:
        ask = Ask(tmp_path / "notes")
        (disk / "other").write_bytes(bytes(60_000))
        with pytest.raises(RefkdError, match=r"no space left on device; [1-9]\d* of 20 chunks are"):
            build(disk / "out", PLAN, ask)
        (disk / "other").unlink()
        subprocess.run(["mount", "-o", "remount,size=2m", disk], check=True)

        assert all_bytes(build(disk / "out", PLAN, ask)) == whole
        assert len(ask.asked()) <= 21
    finally:
        subprocess.run(["umount", disk], check=True)


def test_what_each_sitting_asked_is_noted(quick_path):
    """Stopped and resumed, the sittings' rows add up; a third one that finds nothing to do adds none."""
    out = quick_path / "out"
    with pytest.raises(RefkdError):
        build(out, PLAN, Ask(trouble={("ood", 64): "nan"}, delay_s=0.02))
    folder = cache_folder(out, PLAN)
    first = read_costs(folder)["cache"]
    build(out, PLAN, Ask(delay_s=0.02))
    both = read_costs(folder)["cache"]
    build(out, PLAN)

    assert (first["rows"], both["rows"]) == (5 * 32, 600)
    assert both["seconds"] - first["seconds"] > 0.1 < first["seconds"]
    assert read_costs(folder)["cache"] == both


def test_a_finished_part_adds_nothing(quick_path):
    """Run again, a part keeps the note of what it did; the other part has its own."""
    out, how = quick_path / "out", {"block_rows": 32, "workers": 1}
    for number in (1, 1, 2):
        folder = fill(out, PLAN, Ask(), GPU, part=Part(number, 2), **how)

    costs = read_costs(folder)
    assert costs.keys() == {"cache part 1/2", "cache part 2/2"}
    assert [cost["rows"] for cost in costs.values()] == [10 * 32, 8 * 32 + 2 * 12]


def test_nan_names_the_sample(whole, tmp_path):
    """A NaN stops the build and names its sample; other chunks are kept and not asked for again."""
    notes = tmp_path / "notes"
    ask = Ask(notes, trouble={("ood", 64): "nan"})
    message = r"teacher ood says nan of sample video034#1, expected a finite logit"
    with pytest.raises(RefkdError, match=message):
        build(tmp_path / "out", PLAN, ask)
    before = len(ask.asked())

    assert not cache_folder(tmp_path / "out", PLAN).exists()
    assert all_bytes(build(tmp_path / "out", PLAN, Ask(notes))) == whole
    assert (before, len(ask.asked())) == (6, 21)


def test_worker_that_dies(whole, tmp_path):
    """A worker that is killed, as by a lack of memory, ends the build with a sentence."""
    ask = Ask(trouble={("ood", 96): "death"})
    with pytest.raises(RefkdError, match="a worker process died, perhaps for lack of memory; run"):
        build(tmp_path, PLAN, ask, workers=2)

    assert all_bytes(build(tmp_path, PLAN)) == whole


def test_other_torch_is_not_mixed_in(tmp_path, caplog):
    """Half-built work of another torch version is left out with a notice, not resumed."""
    ask = Ask(tmp_path / "notes", trouble={("ood", 128): "nan"})
    with pytest.raises(RefkdError):
        build(tmp_path / "out", PLAN, ask)
    newer = {"device": "cpu", "torch": "3"}
    with caplog.at_level(logging.INFO, logger="refkd"):
        folder = build(tmp_path / "out", PLAN, again := Ask(tmp_path / "again"), environment=newer)

    assert len(ask.asked()) == 10
    assert len(again.asked()) == 20
    assert "9 chunks in" in caplog.text
    assert "were made on another device kind, processor or torch version" in caplog.text
    assert [array["built"] for array in open_cache(folder).manifest["arrays"].values()] == [
        newer
    ] * 2


def test_damaged_half_built_chunk_is_made_again(whole, tmp_path):
    """A chunk that the journal names but whose file has changed or gone does not count as done."""
    ask = Ask(tmp_path / "notes", trouble={("ood", 288): "nan"})
    with pytest.raises(RefkdError):
        build(tmp_path / "out", PLAN, ask)
    group = tmp_path / "out" / BUILDING / PLAN.key[:16] / "group/teachers/id/logits/c"
    (group / "2/0/0").unlink()
    (group / "5/0/0").write_bytes((group / "6/0/0").read_bytes())
    again = Ask(tmp_path / "again")

    assert all_bytes(build(tmp_path / "out", PLAN, again)) == whole
    assert [lo for name, lo in again.asked() if name == "id"] == [64, 160]


@pytest.mark.parametrize("what", IN_THE_WAY)
def test_something_else_under_its_name(what, whole, tmp_path):
    """It is named before anybody is asked, whether planned, looked for or built, and what is said helps."""
    folder, ask = cache_folder(tmp_path / "out", PLAN), Ask(tmp_path / "notes")
    folder.parent.mkdir()
    put_in_the_way(folder, what)
    for look in (is_whole, lambda *how: foresee(*how, dict), lambda *how: build(*how, ask)):
        with pytest.raises(RefkdError, match=rf"{folder} {IN_THE_WAY[what]}, expected a whole"):
            look(tmp_path / "out", PLAN)
    assert ask.asked() == []
    remove_folder(folder)

    assert all_bytes(build(tmp_path / "out", PLAN)) == whole


@pytest.mark.parametrize(("part", "place"), [(None, "group"), (Part(1, 1), r"whole-\w+")])
def test_a_chunk_that_changes_before_it_is_sealed(part, place, tmp_path):
    """A file that is not what was noted is no part of a cache; it is named where it was looked at."""
    building = Building(tmp_path, PLAN, GPU, part)
    building.begin()
    units = building.units(32)
    for _, chunks in run_units(
        units, Ask(), building.group, PLAN.layout, note=building.note, workers=1
    ):
        for chunk in chunks:
            building.record(chunk)
    (building.group / "teachers/id/logits/c/3/0/0").write_bytes(b"other")
    message = (
        rf"/{place}/teachers/id/logits/c/3/0/0 changed while the cache was built; run `refkd c"
    )
    with pytest.raises(RefkdError, match=message):
        building.finish()

    assert not cache_folder(tmp_path, PLAN).exists()


def test_stray_files_are_left_out(whole, tmp_path):
    """What a killed writer left in the group is not sealed into the cache."""
    group = tmp_path / BUILDING / PLAN.key[:16] / "group"
    for stray in ("teachers/id/logits/c/0/0/.0.abc.tmp", "teachers/third/zarr.json", "zarr.json"):
        (group / stray).parent.mkdir(parents=True, exist_ok=True)
        (group / stray).write_bytes(b"half a file")

    assert all_bytes(build(tmp_path, PLAN)) == whole


def test_logits_by_row(tmp_path):
    """The one row of one teacher is what it said of that row, wherever the chunks end."""
    logits = open_cache(build(tmp_path, PLAN)).logits("ood")

    np.testing.assert_array_equal(logits[[0, 31, 32, 299]], expected("ood", PLAN)[[0, 31, 32, 299]])


def test_views_are_arrays_like_the_others(tmp_path, caplog):
    """Stopped in a view it goes on there; views more, or none, ask nothing about the others again."""
    plan, out, ask = make_plan(views=2), tmp_path / "out", Ask(tmp_path / "notes")
    stopped = Ask(tmp_path / "notes", trouble={("ood/views/1", 96): "nan"})
    with pytest.raises(
        RefkdError, match=r"teacher ood, view 1 says nan of sample video050#1, expected a finite"
    ):
        build(out, plan, stopped)
    folder = build(out, plan, ask)
    asked = ask.asked()

    assert len(asked) - len(set(asked)) == 1  # the one that it was stopped in
    assert len(set(asked)) == 6 * 10
    assert all_bytes(folder) == all_bytes(build(tmp_path / "whole", plan))

    three, none = build(out, make_plan(views=3), ask), build(out, make_plan(), ask)
    more = ask.asked()[len(asked) :]

    assert {array for array, _ in more} == {"id/views/3", "ood/views/3"}
    assert len(more) == 2 * 10
    assert (
        open_cache(three).logits("id/views/2").tobytes() == expected("id/views/2", plan).tobytes()
    )
    assert all_bytes(none) == all_bytes(build(tmp_path / "none", make_plan()))
