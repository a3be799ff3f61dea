"""SIGKILLs at random moments of a build, its commit included: nothing corrupt, lost, doubled or redone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def kill_builds(folder, *args, program="killing_at_random.py"):
    """Run a program that kills builds, or weighings, and return what it found."""
    done = subprocess.run(
        [sys.executable, HERE / program, folder, *map(str, args)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"},
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("kills", "workers"), [(5, 1), (1, 2)])
def test_a_few_kills(kills, workers, quick_path):
    """Killed and begun again at once, a build ends with the bytes of one that was left in peace."""
    found = kill_builds(quick_path, kills, workers, 0)

    assert found["wrong"] == []
    assert found["kills"] == kills


@pytest.mark.parametrize(
    ("step", "first", "least"),
    [(6, 1, 12), pytest.param(1, 1, 80, marks=pytest.mark.slow)],
    ids=["some", "all"],
)
def test_killed_weighings(step, first, least, quick_path):
    """Killed before any change of the disk, the next `weigh` leaves the bytes of one left in peace, alone."""
    found = kill_builds(quick_path, step, first, program="killing_weighing.py")

    assert found["wrong"] == []
    assert found["points"] >= least


SLOW = [(100, 1, "real"), (40, 1, "planned"), (60, 2, "planned")]


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "workers", "teachers"), SLOW)
def test_two_hundred_kills(kills, workers, teachers, quick_path):
    """At most a chunk a kill and worker is asked about twice; a quarter of the kills fall on the commit."""
    found = kill_builds(quick_path, kills, workers, 1, teachers)

    assert found["wrong"] == []
    assert found["kills"] == kills
    assert found["fell"]["commit"] >= kills // 5
    assert found["fell"]["chunks"] >= kills // 5
    assert found["fell"]["builder"] >= kills // 4
    assert sum(count for count, *_ in SLOW) == 200
