"""Run as a program: kill a build before chosen changes of the disk, finish it, compare the bytes.

    python killing.py FOLDER STEP FIRST

Every STEP-th change from FIRST on is such a point. Prints JSON: the number of points, of changes in a
whole build, and what went wrong.
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from planned import Ask, all_bytes, build, make_plan

from stores.building import cache_folder
from stores.cache import open_cache
from stores.unfinished import BUILDING

CHANGES = ("fsync", "replace", "link", "unlink", "rmdir", "mkdir")
SIBLING = make_plan(("id",))  # lies there already, so that the build links an array too
PLAN = make_plan(("id", "other"))


class Killer:
    """Counts changes of the disk and kills this process before the chosen one."""

    def __init__(self, point):
        self.left = point
        for name in CHANGES:
            setattr(os, name, self.counting(getattr(os, name)))

    def counting(self, change):
        def counted(*args, **kwargs):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*args, **kwargs)

        return counted


def in_child(work):
    """Do work in a fork of this process; return whether it ended by itself, in order."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # no progress bars
        try:
            work()
            code = 0
        except BaseException as error:  # a fork must never return into the caller
            print(repr(error), flush=True)
            code = 1
        os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    assert os.WEXITSTATUS(status) == 0, "a build failed without being killed"
    return True


def kill_and_finish(folder, whole, sibling, point):
    """Return whether the kill came in time, and what is wrong once the build is finished."""
    out, notes = folder / str(point), folder / f"{point}.notes"
    shutil.copytree(sibling, out)
    if in_child(lambda: (Killer(point), build(out, PLAN, Ask(notes)))):
        return False, []
    in_child(lambda: build(out, PLAN, Ask(notes)))
    wrong = []
    if all_bytes(cache_folder(out, PLAN)) != whole:
        wrong.append(f"{point}: other bytes")
    if [path.suffix for path in (out / BUILDING).iterdir() if path.suffix != ".lock"]:
        wrong.append(f"{point}: something was left behind")
    asked = Ask(notes).asked()
    if len(asked) - len(set(asked)) > 1 or {name for name, _ in asked} - {"other"}:
        wrong.append(f"{point}: asked too often")
    shutil.rmtree(out)
    return True, wrong


def main(folder, step, first):
    folder.mkdir(parents=True, exist_ok=True)
    sibling = folder / "sibling"
    in_child(lambda: build(sibling, SIBLING))
    shutil.copytree(sibling, folder / "whole")
    in_child(lambda: build(folder / "whole", PLAN))
    in_child(lambda: open_cache(cache_folder(folder / "whole", PLAN)).logits("id"))
    whole = all_bytes(cache_folder(folder / "whole", PLAN))
    wrong, points, point = [], 0, first
    while True:
        killed, found = kill_and_finish(folder, whole, sibling, point)
        if not killed:
            break
        wrong, points, point = wrong + found, points + 1, point + step
    print(json.dumps({"points": points, "changes": point - 1, "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
