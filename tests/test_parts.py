"""Parts of a cache on machines that share a folder: the bytes of one machine, whoever dies or repeats."""

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from planned import BLOCK_ROWS, CPU, Ask, all_bytes, build, make_plan

import stores.building
from pipeline.cache import cache
from pipeline.filling import fill
from stores.arraynames import logits_name
from stores.building import Building, cache_folder
from stores.cache import open_cache
from stores.errors import RefkdError
from stores.parts import Part, parse_part, share_of
from stores.unfinished import BUILDING
from stores.units import make_units

PLAN = make_plan()
HERE = Path(__file__).parent
NEWER = {"device": "cpu", "torch": "3"}
EVERYTHING = sorted((teacher, lo) for teacher in PLAN.arrays for lo in range(0, 300, 32))
PROGRAM = """
import sys
from pathlib import Path
from planned import BLOCK_ROWS, CPU, Ask, fill, make_plan
from stores.parts import parse_part
out, notes, part, delay_s = sys.argv[1:]
ask = Ask(Path(notes), delay_s=float(delay_s))
how = {"block_rows": BLOCK_ROWS, "workers": 1, "part": parse_part(part)}
fill(Path(out), make_plan(), ask, CPU, **how)
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of the cache, built by one process."""
    return all_bytes(build(tmp_path_factory.mktemp("whole"), PLAN))


def do_part(out, part, ask=None, *, plan=PLAN, environment=CPU, block_rows=BLOCK_ROWS):
    how = {"block_rows": block_rows, "workers": 1, "part": parse_part(part)}
    return fill(out, plan, ask or Ask(), environment, **how)


def start_part(out, notes, part, delay_s=0.0):
    """Start a process that does a part."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, out, notes, part, str(delay_s)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)])},
    )


def ended(*programs):
    """Wait for processes that must end well."""
    for program in programs:
        _, told = program.communicate(timeout=120)
        assert program.returncode == 0, told


def left_behind(out):
    return [path.name for path in (out / BUILDING).iterdir() if path.suffix != ".lock"]


def test_three_processes(whole, tmp_path):
    """Three processes, a part each, at once: the bytes of one, each row asked about once, by its part."""
    out, notes = tmp_path / "out", tmp_path / "notes"
    ended(*[start_part(out, notes, f"{number}/3", 0.02) for number in (1, 2, 3)])
    ask = Ask(notes)

    assert all_bytes(cache_folder(out, PLAN)) == whole
    assert sorted(ask.asked()) == EVERYTHING
    assert len(ask.processes()) == 3
    assert left_behind(out) == []


def test_same_part_twice_at_once(whole, tmp_path):
    """Two machines that do the same part at once do no harm: none lost, none doubled in the cache."""
    out, notes = tmp_path / "out", tmp_path / "notes"
    ended(*[start_part(out, notes, part, 0.02) for part in ("1/2", "2/2", "1/2", "2/2")])

    assert all_bytes(cache_folder(out, PLAN)) == whole
    assert left_behind(out) == []


def test_one_after_the_other(whole, tmp_path, caplog):
    """Parts may come one by one, in any order; the last makes the cache whole, others say what is left."""
    told = []
    for part in ("3/3", "1/3", "2/3"):
        assert not cache_folder(tmp_path, PLAN).exists()
        with caplog.at_level(logging.INFO, logger="refkd"):
            folder = do_part(tmp_path, part)
        told += [line for line in caplog.messages if "still to come" in line]
        caplog.clear()

    assert all_bytes(folder) == whole
    assert told == [
        f"part 3/3 of {folder} is done, 14 of 20 chunks are still to come; the last part makes it "
        "whole, or `refkd cache` without --part",
        f"part 1/3 of {folder} is done, 7 of 20 chunks are still to come; the last part makes it "
        "whole, or `refkd cache` without --part",
    ]
    assert do_part(tmp_path, "1/3", Ask(tmp_path / "notes")) == folder
    assert not (tmp_path / "notes").exists()


def test_part_that_dies_is_done_elsewhere(whole, tmp_path):
    """A part that was killed is done again anywhere; what it had finished is not asked about twice."""
    out, ask = tmp_path / "out", Ask(tmp_path / "notes")
    program = start_part(out, ask.notes, "1/2", 0.1)
    deadline = time.monotonic() + 60
    while len(ask.asked()) < 4:
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)
    program.send_signal(signal.SIGKILL)
    program.communicate()
    before = len(ask.asked())
    do_part(out, "2/2", ask)

    assert not cache_folder(out, PLAN).exists()
    assert all_bytes(do_part(out, "1/2", ask)) == whole
    assert before < 10
    assert len(ask.asked()) - len(EVERYTHING) <= 1
    assert sorted(set(ask.asked())) == EVERYTHING


def test_the_rest_without_part(whole, tmp_path):
    """`refkd cache` without --part does what parts have left, and asks about nothing they did."""
    out, ask = tmp_path / "out", Ask(tmp_path / "notes")
    do_part(out, "2/3", ask)
    mine = len(ask.asked())

    assert all_bytes(build(out, PLAN, ask)) == whole
    assert 0 < mine < 10
    assert sorted(ask.asked()) == EVERYTHING
    assert left_behind(out) == []


def test_nobody_saw_the_last_chunk(whole, tmp_path, monkeypatch):
    """Where the shared folder showed the last chunks too late, all parts are done and a plain run ends it."""
    out, ask = tmp_path / "out", Ask(tmp_path / "notes")
    with monkeypatch.context() as patch:
        patch.setattr(Building, "is_complete", lambda building: False)
        for part in ("1/2", "2/2"):
            do_part(out, part, ask)
    assert not cache_folder(out, PLAN).exists()

    assert all_bytes(build(out, PLAN, ask)) == whole
    assert sorted(ask.asked()) == EVERYTHING


def test_another_kind_of_machine_is_refused(whole, tmp_path):
    """A part is not done on another kind of machine than the others; nothing of it is left behind."""
    do_part(tmp_path, "1/2")
    before = all_bytes(tmp_path)
    message = (
        "holds work done on device cpu, torch 2, here it would be device cpu, torch 3, and the "
        "parts of a cache must be alike; run the part on a machine of that kind, or delete"
    )
    with pytest.raises(RefkdError, match=message):
        do_part(tmp_path, "2/2", environment=NEWER)

    assert all_bytes(tmp_path) == before
    assert all_bytes(do_part(tmp_path, "2/2")) == whole


def test_another_kind_of_machine_has_only_begun(tmp_path):
    """It is refused before a chunk is done, too: a part says where it runs before it asks anybody."""
    Building(tmp_path, PLAN, CPU, Part(1, 2)).begin()
    ask = Ask(tmp_path / "notes")

    with pytest.raises(
        RefkdError, match="holds work done on device cpu, torch 2, here it would be"
    ):
        do_part(tmp_path, "2/2", ask, environment=NEWER)
    assert ask.asked() == []


def test_plain_build_elsewhere_starts_over(tmp_path):
    """Without --part the old rule holds: chunks of another kind of machine are made again."""
    out, ask = tmp_path / "out", Ask(tmp_path / "notes")
    do_part(out, "1/2", ask)
    folder = build(out, PLAN, ask, environment=NEWER)

    assert len(ask.asked()) == 10 + 20
    assert [one["built"] for one in open_cache(folder).manifest["arrays"].values()] == [NEWER] * 2


def test_lines_of_others_are_left_alone(tmp_path):
    """A line that another machine is writing is not cut off its journal, whoever reads it."""
    do_part(tmp_path, "1/2")
    (part,) = (tmp_path / BUILDING / PLAN.key[:16]).glob("part-1-of-2.*.jsonl")
    plain = part.with_name("journal.jsonl")
    for journal in (part, plain):
        with journal.open("ab") as file:
            file.write(b'{"array":"ood","chu')
    before = part.read_bytes(), plain.read_bytes()
    Building(tmp_path, PLAN, CPU, Part(2, 2))

    assert (part.read_bytes(), plain.read_bytes()) == before
    Building(tmp_path, PLAN, CPU)
    assert (part.read_bytes(), plain.read_bytes()) == (before[0], b"")


def test_two_finish_at_once(whole, tmp_path, monkeypatch, caplog):
    """Of two that find the cache complete one wins the rename; the other one returns its cache."""
    real, calls = stores.building.publish, []

    def after_another(built, final):
        calls.append(built)
        if len(calls) == 1:
            do_part(tmp_path, "2/2")  # meanwhile, on another machine
        real(built, final)

    do_part(tmp_path, "1/2")
    monkeypatch.setattr(stores.building, "publish", after_another)
    with caplog.at_level(logging.INFO, logger="refkd"):
        folder = do_part(tmp_path, "2/2")

    assert len(calls) == 2
    assert len(set(calls)) == 2
    assert f"another machine has finished {folder}" in caplog.messages
    assert all_bytes(folder) == whole
    assert left_behind(tmp_path) == []


def test_overtaken_while_it_works(whole, tmp_path):
    """A part that others do and finish meanwhile stops after the unit it is at."""
    ask = Ask(tmp_path / "notes")

    class Overtaken(Ask):
        def forward(self, teacher, lo, hi):
            if not ask.asked():
                build_rest(tmp_path / "out")
            return ask.forward(teacher, lo, hi)

    def build_rest(out):
        do_part(out, "1/2")
        do_part(out, "2/2")

    folder = do_part(tmp_path / "out", "1/2", Overtaken())

    assert len(ask.asked()) == 1
    assert all_bytes(folder) == whole


def test_plain_build_waits_for_parts(whole, tmp_path, caplog):
    """On one machine, where locks work, a plain run waits until the parts under way are done."""
    out, notes = tmp_path / "out", tmp_path / "notes"
    program = start_part(out, notes, "1/2", 0.05)
    deadline = time.monotonic() + 60
    while not Ask(notes).asked():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)
    with caplog.at_level(logging.INFO, logger="refkd"):
        folder = build(out, PLAN, ask := Ask(tmp_path / "mine"))
    ended(program)

    assert f"another process is building {folder}; waiting for it" in caplog.messages
    assert len(ask.asked()) == 10
    assert all_bytes(folder) == whole


def test_no_locks(whole, tmp_path, monkeypatch):
    """On a file system that knows no locks parts go on without; what else fails is told."""

    def no_locks(number):
        def flock(file, kind):
            raise OSError(number, os.strerror(number))

        return flock

    monkeypatch.setattr("fcntl.flock", no_locks(errno.ENOLCK))
    for part in ("1/2", "2/2"):
        folder = do_part(tmp_path / "out", part)
    assert all_bytes(folder) == whole

    monkeypatch.setattr("fcntl.flock", no_locks(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        do_part(tmp_path / "other", "1/2")


def test_siblings_are_linked_by_parts(tmp_path):
    """What a finished cache beside holds is taken over, from elsewhere as a whole, not asked again."""
    out, ask = tmp_path / "out", Ask(tmp_path / "notes")
    build(out, make_plan(("id",)), environment=NEWER)
    for part in ("1/2", "2/2"):
        folder = do_part(out, part, ask)

    assert sorted(ask.asked()) == [one for one in EVERYTHING if one[0] == "ood"]
    arrays = open_cache(folder).manifest["arrays"]
    assert (arrays["id"]["built"], arrays["ood"]["built"]) == (NEWER, CPU)


def test_array_is_never_of_two_makes(whole, tmp_path):
    """A cache from elsewhere that appears when parts have begun an array is left alone."""
    out, other, ask = tmp_path / "out", tmp_path / "other", Ask(tmp_path / "notes")
    do_part(out, "1/2", ask)
    (folder := build(other, make_plan(("id",)), environment=NEWER)).rename(out / folder.name)

    assert all_bytes(do_part(out, "2/2", ask)) == whole
    assert sorted(ask.asked()) == EVERYTHING


def test_threads_of_many_parts(whole, tmp_path):
    """Five parts of 7 at once, then the other two: whole, and the same."""
    parts = [threading.Thread(target=do_part, args=(tmp_path, f"{n}/7")) for n in range(1, 6)]
    for one in parts:
        one.start()
    for one in parts:
        one.join()
    do_part(tmp_path, "7/7")

    assert all_bytes(do_part(tmp_path, "6/7")) == whole


@pytest.mark.parametrize("of", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("block_rows", [32, 128])
def test_shares_are_a_partition(of, block_rows):
    """Every unit belongs to one part, as many to each or one more; what is missing moves none of them."""
    missing = {name: list(range(10)) for name in PLAN.arrays}
    units = make_units(PLAN, missing, block_rows=block_rows)
    shares = [
        share_of(Part(number, of), PLAN, units, block_rows=block_rows)
        for number in range(1, of + 1)
    ]
    names = [sorted((unit.array, unit.lo) for unit in share) for share in shares]

    assert sorted(name for share in names for name in share) == sorted(
        (unit.array, unit.lo) for unit in units
    )
    assert max(map(len, names)) - min(map(len, names)) <= 1
    some = make_units(PLAN, {"ood": [1, 4, 9]}, block_rows=block_rows)
    for number, share in enumerate(names, start=1):
        left = share_of(Part(number, of), PLAN, some, block_rows=block_rows)
        assert {(unit.array, unit.lo) for unit in left} <= set(share)


@pytest.mark.parametrize("text", ["0/3", "4/3", "1/0", "3", "a/b", "1/3/3", "-1/3", "", "1 /3"])
def test_no_part(text, data_folder, teacher_folders, tmp_path):
    """What is no part is refused before anything is read."""
    with pytest.raises(RefkdError, match=r"--part .*is no part; give I/N with I from 1 to N, such"):
        parse_part(text)
    with pytest.raises(RefkdError, match="is no part"):
        cache(data_folder, tmp_path / "out", teachers=teacher_folders, part=text)


def test_real_teachers(cache_folder, data_folder, teacher_folders, tmp_path):
    """Parts with real networks give the bytes of the cache that one process built."""
    how = {"teachers": teacher_folders, "device": "cpu"}
    for part in ("2/2", "1/2"):
        folder = cache(data_folder, tmp_path, part=part, **how)
    expected = {n: b for n, b in all_bytes(cache_folder).items() if not n.startswith("weights/")}

    assert all_bytes(folder) == expected
    for name in teacher_folders:
        assert np.isfinite(open_cache(folder).logits(name)).all()
        assert (folder / logits_name(name)).is_dir()
