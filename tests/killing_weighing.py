"""Run as a program: kill `weigh` before chosen changes of the disk, weigh again, look at what lies there.

    python killing_weighing.py FOLDER STEP FIRST

Every STEP-th change from FIRST on is such a point, first of a cache that has no weights, then of one
whose weights are damaged. Prints JSON: the number of points, of changes, and what went wrong.
"""

import json
import shutil
import sys
from pathlib import Path

import dask.threaded  # noqa: F401
import distributed  # noqa: F401 - once, as each child would
from killing import Killer, in_child
from planned import all_bytes, build, make_plan

from pipeline.weigh import weigh

PLAN = make_plan(("id",), num_rows=64)


def cut_short(cache):
    """Damage the weights of a cache: a file of theirs loses its last byte."""
    path = sorted((cache / "weights").rglob("c/0/0"))[0]
    path.write_bytes(path.read_bytes()[:-1])


def kill_and_weigh(folder, base, name, whole, point):
    """Return whether the kill came in time, and what is wrong once the cache is weighed again."""
    out = folder / str(point)
    shutil.copytree(base, out)
    cache = out / name
    if in_child(lambda: (Killer(point), weigh(cache))):
        shutil.rmtree(out)
        return False, []
    in_child(lambda: weigh(cache))
    wrong = []
    if all_bytes(cache) != whole:
        wrong.append(f"{point}: other bytes, or something was left in the cache")
    if left := [path.name for path in (out / ".building").iterdir() if path.suffix != ".lock"]:
        wrong.append(f"{point}: left behind {left}")
    shutil.rmtree(out)
    return True, wrong


def main(folder, step, first):
    base, hurt = folder / "base", folder / "hurt"
    cache = build(base, PLAN)
    shutil.copytree(base, hurt)
    in_child(lambda: weigh(hurt / cache.name))
    whole = all_bytes(hurt / cache.name)
    cut_short(hurt / cache.name)
    wrong, points, changes = [], 0, 0
    for start in (base, hurt):
        point = first
        while True:
            killed, found = kill_and_weigh(folder, start, cache.name, whole, point)
            if not killed:
                break
            wrong, points, point = wrong + found, points + 1, point + step
        changes += point - 1
    print(json.dumps({"points": points, "changes": changes, "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
