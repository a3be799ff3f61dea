"""Processes that work off jobs: what they tell, and that none is left behind."""

import os
import signal
import subprocess
import sys
import time

import pytest
from chores import do

from pipeline import crew
from pipeline.crew import BROKEN, KILLED, work_off

WAIT_S = 60.0  # at most, for what takes a second on a quiet machine


def told_of(jobs, *, at_once=1):
    """What each job told, in its order: [[(kind, value), ...], ...]."""
    told = [[] for _ in jobs]
    for one in work_off(jobs, do, at_once=at_once):
        told[one.job].append((one.kind, one.value))
    return told


def is_running(pid):
    """Whether a process is there and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def read_pid(path):
    """The process id that a sleeping job wrote, once it has."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.02)
    raise AssertionError("the job never began")


def gone(pid):
    deadline = time.monotonic() + WAIT_S
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not is_running(pid)


def test_what_jobs_tell():
    """Epochs and warnings pass through, other notices do not; an error is told and costs one job."""
    told = told_of([("tell", 7), ("fail", "this"), ("return", "that")])

    assert told == [
        [("begun", None), ("epochs", 7), ("notice", "mind the step"), ("done", 7)],
        [("begun", None), ("failed", "this is wrong, expected better")],
        [("begun", None), ("done", "that")],
    ]


def test_a_full_disk_is_told_in_words():
    """As the command line says it, without the advice, which stands once below all jobs."""
    (told,) = told_of([("lack", "runs/x")])

    assert told[-1] == ("failed", "no space left on the disk at runs/x")


def test_one_thread_and_no_bar_each():
    """Workers have one OpenMP thread and no progress bars; this process keeps its environment."""
    before = dict(os.environ)
    told = told_of([("environment", "OMP_NUM_THREADS"), ("environment", "TQDM_DISABLE")])

    assert [some[-1] for some in told] == [("done", "1"), ("done", "1")]
    assert dict(os.environ) == before


def test_a_process_that_dies_costs_one_job(capfd):
    """Killed or broken by a bug, its job has failed and another process takes the next one."""
    told = told_of([("die", None), ("break", "here"), ("return", 1)])

    assert told[0][-1] == ("failed", KILLED)
    assert told[1][-1] == ("failed", BROKEN)
    assert told[2][-1] == ("done", 1)
    assert "ZeroDivisionError: here" in capfd.readouterr().err


def test_side_by_side(tmp_path):
    """Two at once run two at once: one job waits while the other goes on, and is killed at the end."""
    jobs = [("sleep", str(tmp_path / "pid")), *[("return", n) for n in range(4)]]
    events = work_off(jobs, do, at_once=2)
    done = []
    for told in events:
        if told.kind == "done":
            done.append(told.job)
        if len(done) == 4:
            break
    pid = read_pid(tmp_path / "pid")
    assert is_running(pid)
    events.close()

    assert done == [1, 2, 3, 4]
    assert not is_running(pid)


def test_work_at_hand_elsewhere_is_tried_again(tmp_path):
    """A job that another command is at goes to the end of the line, not to the failures."""
    jobs = [("wait for", str(tmp_path / "f")), ("return", 1)]
    told = [(one.job, one.kind) for one in work_off(jobs, quick_wait, at_once=1)]

    assert told == [
        (0, "begun"),
        (0, "waiting"),
        (1, "begun"),
        (1, "done"),
        (0, "begun"),
        (0, "done"),
    ]


def quick_wait(job):
    """A job in a process that does not wait long before it tries again."""
    crew.WAIT_S = 0.0
    return do(job)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_parent(tmp_path, how):
    """However the parent is stopped, its worker processes stop as well."""
    code = (
        "import sys; from chores import do; from pipeline.crew import work_off\n"
        "if __name__ == '__main__':\n"
        "    list(work_off([('sleep', sys.argv[1])], do, at_once=1))\n"
    )
    (tmp_path / "parent.py").write_text(code)
    paths = os.pathsep.join(path for path in sys.path if path)
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py", tmp_path / "pid"],
        env={**os.environ, "PYTHONPATH": paths},
        stderr=subprocess.DEVNULL,
    )
    pid = read_pid(tmp_path / "pid")
    assert is_running(pid)
    parent.send_signal(how)
    parent.wait(WAIT_S)

    assert gone(pid)
