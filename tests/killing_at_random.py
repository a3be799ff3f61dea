"""Run as a program: SIGKILL builds of a cache at random moments, again and again, and look at what is there.

    python killing_at_random.py FOLDER KILLS WORKERS SEED [real]

`real` is `refkd cache` itself, in one process, on real networks; else the teacher is one line, and
several workers are processes. What is killed is the builder, it and its workers, or a worker alone.
Nothing is started by a shell, so that the next builder is at work while orphans of the last one still
are. Prints JSON: where the kills fell, and what went wrong.
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from planned import Ask, all_bytes, build, make_plan

from stores.errors import RefkdError
from stores.unfinished import BUILDING

PAIRS = 96  # three chunks of each teacher
PLAN = make_plan()
MOST_COMMITS = 2  # attempts at one cache that find all chunks done: the next may end in peace
NOTES = "REFKD_TEST_NOTES"  # the file in which a build writes down what it asks


def open_world(folder: Path):
    """Make a world with two real teachers; return what `refkd cache` does with it, they being counted.

    Imported here, for worker processes import this file, and torch takes seconds.
    """
    from attacked import World, make_world

    import pipeline.cache
    from pipeline.asking import Asking

    class Counted(Asking):
        """Teachers that write down what they are asked."""

        def open(self):
            forward, ask = super().open(), Ask(Path(os.environ[NOTES]))

            def counted(array, lo, hi):
                ask.note(array, lo)
                return forward(array, lo, hi)

            return counted

    pipeline.cache.Asking = Counted
    in_child(lambda: make_world(folder, pairs=PAIRS))  # a fork would not survive its threads
    world = World(folder, {name: folder / "teachers" / name for name in ("id", "ood")})
    return lambda out: pipeline.cache.cache(world.data, out, device="cpu", **world.options)


def build_planned(out: Path, workers: int):
    build(out, PLAN, Ask(Path(os.environ[NOTES]), delay_s=0.01), workers=workers)


def start(work, notes: Path) -> int:
    """Do work in a fork of this process; return its number."""
    child = os.fork()
    if child:
        return child
    code = 1  # a fork must never return into the caller
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # no progress bars
        os.environ[NOTES] = str(notes)
        work()
        code = 0
    except RefkdError as error:
        code = 7 if "a worker process died" in str(error) else 1
    except BaseException as error:
        print(repr(error), flush=True)
    os._exit(code)


def in_child(work, notes: Path = Path(os.devnull)) -> None:
    """Let work end by itself, which it must in order."""
    _, status = os.waitpid(start(work, notes), 0)
    assert status == 0, "a build failed that was not disturbed"


def finished(out: Path):
    """The cache in a folder, if it is there."""
    found = [path for path in out.glob("[!.]*") if path.is_dir()]
    return found[0] if found else None


def chunks_done(out: Path) -> int:
    """How many chunks the journal of a build names."""
    journals = list((out / BUILDING).glob("*/journal.jsonl"))
    return journals[0].read_bytes().count(b"\n") if journals else 0


def is_committing(out: Path, num_chunks: int) -> bool:
    """Whether all chunks are done, and sealing, renaming and tidying is what is left."""
    return finished(out) is not None or chunks_done(out) >= num_chunks


class Killing:
    """Kills builds of one cache after another."""

    def __init__(self, folder: Path, workers: int, rng: random.Random, *, real: bool) -> None:
        self.folder, self.workers, self.rng = folder, workers, rng
        self.kills, self.fell, self.wrong = 0, Counter(), []
        if real:
            self.work, self.num_chunks = open_world(folder / "world"), 2 * 3
        else:
            self.work, self.num_chunks = lambda out: build_planned(out, workers), 2 * 10
        out, notes = folder / "whole", folder / "whole.notes"
        began = time.monotonic()
        child = start(lambda: self.work(out), notes)
        wait_for(lambda: is_committing(out, self.num_chunks), child)
        commits = time.monotonic()
        assert os.waitpid(child, 0)[1] == 0, "a build failed that was not disturbed"
        self.chunks_s, self.commit_s = commits - began, time.monotonic() - commits
        self.bytes, self.asked = all_bytes(finished(out)), sorted(Ask(notes).asked())
        assert len(self.asked) == self.num_chunks == len(set(self.asked))

    def one_cache(self, number: int, most: int) -> None:
        """Build a cache, killed so often at most, until it is finished, and look at it."""
        out, notes, kills = self.folder / str(number), self.folder / f"{number}.notes", 0
        commits = 0
        while kills < most and not finished(out) and commits < MOST_COMMITS:
            commits += chunks_done(out) >= self.num_chunks
            kills += self.attempt(out, notes)
            if finished(out) and all_bytes(finished(out)) != self.bytes:
                self.wrong.append(f"{number}: a cache stands there that is not whole")
        self.kills += kills
        in_child(lambda: self.work(out), notes)
        asked = Ask(notes).asked()
        if all_bytes(finished(out)) != self.bytes:
            self.wrong.append(f"{number}: other bytes")
        if sorted(set(asked)) != self.asked:
            self.wrong.append(f"{number}: rows were lost, or others asked")
        if len(asked) - len(self.asked) > kills * self.workers:
            self.wrong.append(f"{number}: {len(asked)} asked after {kills} kills")
        left = [path.name for path in (out / BUILDING).iterdir() if path.suffix != ".lock"]
        if left:
            self.wrong.append(f"{number}: {left} left behind")

    def attempt(self, out: Path, notes: Path) -> bool:
        """Start a build and kill it at some moment; return whether it was still at work."""
        child = start(lambda: self.work(out), notes)
        before = chunks_done(out)
        if before == self.num_chunks or self.rng.random() < 0.25:
            wait_for(lambda: is_committing(out, self.num_chunks), child)
            time.sleep(self.rng.uniform(0, self.commit_s))
        else:
            enough = self.rng.randrange(before, self.num_chunks)
            wait_for(lambda: chunks_done(out) >= enough or finished(out), child)
            rest_s = self.chunks_s / (2 if enough == before else self.num_chunks)
            time.sleep(self.rng.uniform(0, rest_s))
        return self.kill(child, out)

    def kill(self, child: int, out: Path) -> bool:
        workers = _children(child)
        what, victims = "builder", [child]
        if workers and self.rng.random() < 0.2:
            what, victims = "worker", [self.rng.choice(workers)]
        elif self.rng.random() < 0.3:
            what, victims = "all", [*workers, child]
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return self._ended(status, what)
        for victim in victims:
            with suppress(ProcessLookupError):  # a worker that has ended just now
                os.kill(victim, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not self._ended(status, what):
            return False
        self.fell["commit" if is_committing(out, self.num_chunks) else "chunks"] += 1
        return True

    def _ended(self, status: int, what: str) -> bool:
        """Return whether a build was killed, not done, and count by what."""
        if os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 7:
            self.fell[what] += 1
            return True
        if os.WEXITSTATUS(status):
            self.wrong.append("a build failed")
        return False


def wait_for(condition, child: int) -> None:
    """Wait until something is so, or a process has ended."""
    deadline = time.monotonic() + 120
    while (
        not condition() and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    ):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.001)


def _children(process: int) -> list[int]:
    """The workers of a process; the first is multiprocessing's own, which tidies up after all."""
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(number) for number in text.split()][1:]


def main(folder: Path, kills: int, workers: int, seed: int, *, real: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    killing, number = Killing(folder, workers, random.Random(seed), real=real), 0
    while killing.kills < kills and not killing.wrong:
        killing.one_cache(number, kills - killing.kills)
        number += 1
    found = {"kills": killing.kills, "caches": number, "fell": killing.fell, "wrong": killing.wrong}
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]), real="real" in sys.argv[5:])
