"""Four processes that build one cache at once: no row lost, none asked about twice, whoever dies."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from attacked import make_world
from planned import Ask, all_bytes, build, make_plan

import stores.building
from pipeline.cache import cache
from stores.building import cache_folder
from stores.cache import open_cache
from stores.cachechecks import damaged_files
from stores.errors import RefkdError
from stores.unfinished import BUILDING

PLAN = make_plan()
HERE = Path(__file__).parent
EVERYTHING = sorted((teacher, lo) for teacher in PLAN.arrays for lo in range(0, 300, 32))
PROGRAM = """
import logging, sys
from pathlib import Path
from planned import Ask, build, make_plan
logging.basicConfig(level=logging.INFO, format="%(message)s")
out, notes, workers, delay_s, *teachers = sys.argv[1:]
ask = Ask(Path(notes), delay_s=float(delay_s))
print("ready", flush=True)
input()
build(Path(out), make_plan(tuple(teachers)), ask, workers=int(workers))
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of the cache, built by one process."""
    return all_bytes(build(tmp_path_factory.mktemp("whole"), PLAN))


class Builder:
    """A process that builds a cache once it is told to begin."""

    def __init__(self, out, notes, *, workers=1, delay_s=0.06, teachers=("id", "ood")):
        self.notes, self.log = Ask(notes), notes.with_suffix(".log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, out, notes, str(workers), str(delay_s), *teachers],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])},
            )

    def begin(self):
        assert self.process.stdout.readline() == "ready\n"
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def end(self):
        self.process.communicate(timeout=120)
        assert self.process.returncode == 0, self.log.read_text()

    @property
    def is_waiting(self):
        return "another process is building" in self.log.read_text()

    @property
    def asked(self):
        return self.notes.asked()


def begin_all(builders):
    for builder in builders:
        builder.begin()


def wait_until(condition, *, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def left_behind(out):
    return [path.name for path in (out / BUILDING).iterdir() if path.suffix != ".lock"]


def test_four_at_once(whole, tmp_path):
    """One builds, with two workers or alone; three say that they wait, and find the work done."""
    out = tmp_path / "out"
    builders = [Builder(out, tmp_path / f"{i}.notes", workers=1 + i % 2) for i in range(4)]
    begin_all(builders)
    for builder in builders:
        builder.end()
    waiting = [builder for builder in builders if builder.is_waiting]

    assert sorted(row for builder in builders for row in builder.asked) == EVERYTHING
    assert sum(bool(builder.asked) for builder in builders) == 1
    assert len(waiting) == 3
    line = f"another process is building {cache_folder(out, PLAN)}; waiting for it\n"
    assert all(builder.log.read_text().startswith(line) for builder in waiting)
    assert all_bytes(cache_folder(out, PLAN)) == whole
    assert left_behind(out) == []


def test_the_dead_are_succeeded(whole, tmp_path):
    """Each builder is killed while the others wait, until the last: it takes over what they had done."""
    out = tmp_path / "out"
    builders = [Builder(out, tmp_path / f"{i}.notes", delay_s=0.1) for i in range(4)]
    begin_all(builders)
    left, killed = list(builders), []
    for _ in range(3):
        wait_until(lambda: sum(len(builder.asked) > 2 for builder in left) == 1)
        (holder,) = [builder for builder in left if builder.asked]
        left.remove(holder)
        wait_until(lambda: all(builder.is_waiting for builder in left))
        holder.kill()
        killed.append(holder)
    left[0].end()
    rows = [row for builder in builders for row in builder.asked]

    assert all(len(builder.asked) >= 3 for builder in killed)
    assert sorted(set(rows)) == EVERYTHING
    assert len(rows) - len(EVERYTHING) <= len(killed)
    assert all_bytes(cache_folder(out, PLAN)) == whole
    assert left_behind(out) == []


@pytest.mark.parametrize("name", ["teachers/id/logits/c/0/0/.0.tmp", "samples/gt/c/0/0"])
def test_an_orphan_that_writes_on(name, whole, tmp_path, monkeypatch):
    """What a dead builder's worker writes at the very end is not sealed into the cache of the next."""
    real = stores.building.seal_folder

    def seal(group, facts):
        (group / name).write_bytes(b"late")
        return real(group, facts)

    with monkeypatch.context() as patch:
        patch.setattr("stores.building.seal_folder", seal)
        with pytest.raises(RefkdError, match=rf"{name} changed while .* run `refkd cache` again"):
            build(tmp_path, PLAN)
    assert not cache_folder(tmp_path, PLAN).exists()
    ask = Ask(tmp_path / "notes")
    assert all_bytes(build(tmp_path, PLAN, ask)) == whole
    assert ask.asked() == []


@pytest.mark.slow
def test_four_different_caches_at_once(whole, tmp_path):
    """Caches of other teachers grow beside each other in one folder, each whole, none in another's way."""
    out, sets = tmp_path / "out", [("id",), ("ood",), ("id", "ood"), ("id", "ood", "third")]
    builders = [Builder(out, tmp_path / f"{i}.notes", teachers=some) for i, some in enumerate(sets)]
    begin_all(builders)
    for builder, teachers in zip(builders, sets, strict=True):
        builder.end()
        assert not builder.is_waiting
        alone = build(tmp_path / "alone", make_plan(teachers))
        assert all_bytes(cache_folder(out, make_plan(teachers))) == all_bytes(alone)
    assert all_bytes(cache_folder(out, PLAN)) == whole


@pytest.mark.slow
def test_the_command_four_times_at_once(tmp_path):
    """`refkd cache` itself, four times, two of them with workers: one forwards, and all name the cache."""
    world = make_world(tmp_path / "world", pairs=96)
    alone = cache(world.data, tmp_path / "alone", device="cpu", **world.options)
    teachers = [f"--teacher={name}={folder}" for name, folder in world.teachers.items()]
    command = [sys.executable, "-c", "from cli.main import refkd; refkd()", "cache"]
    programs = [
        subprocess.Popen(
            [*command, world.data, tmp_path / "out", *teachers, f"--workers={1 + i % 2}", "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"},
        )
        for i in range(4)
    ]
    said = [program.communicate(timeout=300) for program in programs]
    folder = tmp_path / "out" / alone.name
    worked = [told for _, told in said if "192/192 rows" in told]

    assert [json.loads(out) for out, _ in said] == [{"cache": str(folder)}] * 4
    assert len(worked) == 1
    assert all_bytes(folder) == all_bytes(alone)
    assert not damaged_files(open_cache(folder))
