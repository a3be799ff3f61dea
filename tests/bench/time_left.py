"""Row 12: is the truth inside the range of the time left that `refkd cache` shows?

Real teachers are asked about a data set as a user would ask them, by the command, in a process of its
own. Each range that it prints is an observation; what was in truth left is known when the process
has ended. Nothing is told of how busy the machine is, which is what the range is for.
"""

import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic as now_s

from conftest import make_dataset, write_words
from harness import Figure, Scale
from untrained import save_teacher

from stores.dataset import open_dataset

SIZES = {"full": {"train": 8270, "hidden": 128}, "smoke": {"train": 400, "hidden": 16}}
RUNS = {"full": (1, 1, 1, 2), "smoke": (1,)}  # workers of each
REACH = 0.9
PROGRAM = "from cli.main import refkd; refkd()"
SHOWN = re.compile(rb"(\d+)/(\d+) rows, ([\d:]+)-([\d:]+) left")


@dataclass(frozen=True)
class Observation:
    """A range that was shown, and the seconds that were left in truth."""

    share_done: float
    low_s: float
    high_s: float
    true_s: float

    @property
    def holds(self) -> bool:
        return self.low_s <= self.true_s <= self.high_s


def measure(folder: Path, scale: Scale) -> list[Figure]:
    """Build a cache some times over and compare what was shown with what came true."""
    size = SIZES[scale]
    data = make_dataset(folder / "data", write_words(folder / "words.8d.txt"), train=size["train"])
    opened = open_dataset(data)
    teachers = [
        save_teacher(folder / name, opened, seed=seed, hidden=size["hidden"])
        for seed, name in enumerate(("id", "ood"))
    ]
    found = [
        watch(data, folder / f"caches{number}", teachers, workers=workers)
        for number, workers in enumerate(RUNS[scale])
    ]
    shares = [sum(one.holds for one in run) / len(run) for run in found]
    every = [one for run in found for one in run]
    middle = [one for one in every if 0.4 <= one.share_done <= 0.6] or every
    return [
        Figure(
            row="12",
            claim="share of the shown ranges of the time left that held the truth",
            value=sum(one.holds for one in every) / len(every),
            reach=REACH,
            sense="at least",
            unit="of 1",
            spread=(min(shares), max(shares)),
            details={
                "builds": len(found),
                "ranges shown": len(every),
                "seconds of a build after the first range": median(run[0].true_s for run in found),
                "ranges that held at once": sum(run[0].holds for run in found),
                "width at half time, by the truth": median(
                    (one.high_s - one.low_s) / max(one.true_s, 1.0) for one in middle
                ),
            },
        )
    ]


def watch(data: Path, out: Path, teachers: list[Path], *, workers: int) -> list[Observation]:
    """Run `refkd cache` and return what it said of the time left, with what was left in truth."""
    named = [word for path in teachers for word in ("--teacher", f"{path.name}={path}")]
    command = [sys.executable, "-c", PROGRAM, "cache", data, out, *named, "--workers", workers]
    with subprocess.Popen(
        [str(word) for word in [*command, "--device", "cpu"]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"},
    ) as process:
        assert process.stderr is not None
        ends: list[float] = []  # when the folder is told, whatever the interpreter does after that
        told = threading.Thread(target=lambda: (process.stdout.readline(), ends.append(now_s())))
        told.start()
        shown: list[tuple[float, float, float, float]] = []
        rest = b""
        while data_read := os.read(process.stderr.fileno(), 65536):
            now = now_s()
            *lines, rest = re.split(rb"[\r\n]", rest + data_read)
            for line in (*lines, rest):
                said = SHOWN.search(line)
                if said is not None:
                    done, total, low, high = said.groups()
                    entry = (int(done) / int(total), seconds(low), seconds(high), now)
                    if not shown or entry[:3] != shown[-1][:3]:
                        shown.append(entry)
        told.join()
    assert process.returncode == 0, rest
    assert shown, "no range was shown"
    return [Observation(share, low, high, ends[0] - at) for share, low, high, at in shown]


def seconds(face: bytes) -> float:
    """Return the seconds of a clock face such as 1:02:03."""
    total = 0
    for part in face.split(b":"):
        total = 60 * total + int(part)
    return float(total)
