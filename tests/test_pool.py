"""Worker processes: what they yield, and what an error costs."""

import multiprocessing
import threading
import time

import pytest
from planned import Ask, make_plan, said

from pipeline.pool import nothing, run_units
from stores.errors import RefkdError
from stores.units import make_units

PLAN = make_plan()
UNITS = make_units(PLAN, {"id": list(range(10))}, block_rows=32)


def never():
    raise AssertionError("nobody is to be asked")


def test_no_units_no_teachers(tmp_path):
    """Where nothing is left to do, no teacher is loaded."""
    assert list(run_units([], never, tmp_path, PLAN.layout, note=print, workers=4)) == []


def test_one_process_goes_in_order(tmp_path):
    """One process takes the units in order and yields each with its chunks."""
    done = list(run_units(UNITS, Ask(), tmp_path, PLAN.layout, note=print, workers=1))

    assert [unit.lo for unit, _ in done] == list(range(0, 300, 32))
    assert [chunk.chunk for _, (chunk,) in done] == list(range(10))


@pytest.mark.parametrize("behind", [False, True])
def test_the_next_is_asked_while_the_disk_is_waited_for(behind, tmp_path):
    """The disk is done with a unit only when the next one is asked for; with `behind` so is the writing."""
    second, waited = threading.Event(), []

    def forward(teacher, lo, hi):
        if lo:
            second.set()
        return said(teacher, lo, hi)

    def wait(*chunk):
        waited.append(second.wait(60))

    how = {"note": wait, "settle": nothing} if behind else {"note": print, "settle": wait}
    layout = PLAN.layout
    done = list(
        run_units(UNITS, lambda: forward, tmp_path, layout, workers=1, behind=behind, **how)
    )

    assert waited == [True] * 10
    assert [unit.lo for unit, _ in done] == list(range(0, 300, 32))
    assert [chunk.chunk for _, (chunk,) in done] == list(range(10))


@pytest.mark.parametrize("behind", [False, True])
def test_what_the_disk_refuses_is_an_error(behind, tmp_path):
    """A disk that fails at the very last unit fails the whole, after all others were yielded."""
    calls, done = iter(range(10)), []

    def settle():
        if next(calls) == 9:
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        done.extend(
            unit.lo
            for unit, _ in run_units(
                UNITS,
                Ask(),
                tmp_path,
                PLAN.layout,
                note=print,
                settle=settle,
                workers=1,
                behind=behind,
            )
        )

    assert done[:9] == list(range(0, 288, 32))


@pytest.mark.parametrize("trouble", ["nan", "error"])
def test_behind_the_asking_nothing_is_lost(trouble, tmp_path):
    """Where a unit cannot be asked for, or not be written, all before it are yielded first."""

    def forward(teacher, lo, hi):
        if trouble == "error" and lo == 96:
            raise RefkdError("the teacher says nan")
        return Ask(trouble={("id", 96): trouble}).forward(teacher, lo, hi)

    done = []
    with pytest.raises(RefkdError, match="says nan"):
        done.extend(
            unit.lo
            for unit, _ in run_units(
                UNITS, lambda: forward, tmp_path, PLAN.layout, note=print, workers=1, behind=True
            )
        )

    assert done == [0, 32, 64]


def test_work_under_way_is_kept(tmp_path):
    """After an error every unit that was asked for is yielded or is the one that failed."""
    ask, done = Ask(tmp_path / "notes", trouble={("id", 64): "nan"}), []
    with pytest.raises(RefkdError, match="says nan of sample video034#1"):
        done.extend(
            unit.lo
            for unit, _ in run_units(UNITS, ask, tmp_path, PLAN.layout, note=print, workers=2)
        )

    assert sorted([*done, 64]) == sorted(lo for _, lo in ask.asked())


def test_an_error_while_opening_is_passed_on(tmp_path):
    """What a worker cannot load is said in its own words."""
    with pytest.raises(RefkdError, match="no teacher here"):
        list(run_units(UNITS, Refusing(), tmp_path, PLAN.layout, note=print, workers=2))


class Refusing:
    def __call__(self):
        raise RefkdError("no teacher here")


class Lingering:
    """A worker that does its work and does not end: here for a thread, else for a lock of the dead."""

    def __call__(self):
        threading.Thread(target=time.sleep, args=(900,)).start()
        return said


def test_a_worker_that_does_not_end(tmp_path):
    """When all units are done nobody waits for it: it is gone, long before it would have ended."""
    began = time.monotonic()
    done = list(run_units(UNITS, Lingering(), tmp_path, PLAN.layout, note=print, workers=2))

    assert len(done) == 10
    assert multiprocessing.active_children() == []
    assert time.monotonic() - began < 600
