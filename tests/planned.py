"""A cache planned by hand and a teacher that is one line of NumPy; worker processes import this.

Run as a program it builds the cache: python planned.py OUT NOTES WORKERS DELAY_S [DEVICE]
"""

import os
import sys
import time
from pathlib import Path

import numpy as np

from pipeline.filling import fill
from stores.arraynames import array_name
from stores.cache import open_cache
from stores.cachekeys import ArrayPlan, CachePlan
from stores.fingerprints import digest
from stores.labels import Labels
from stores.rowarrays import RowArray
from stores.samples import Samples, Views
from stores.weights import weights_layout
from stores.weights_writer import weighed_chunk, write_weights

CPU = {"device": "cpu", "torch": "2"}
NUM_ROWS, NUM_CLIPS, BLOCK_ROWS = 300, 8, 32  # ten chunks, the last one of 12 rows


def make_plan(
    teachers=("id", "ood"),
    *,
    num_rows=NUM_ROWS,
    dtype="float32",
    codec="raw",
    salt=None,
    rows=None,
    views=0,
):
    """Plan a cache; `salt` stands for each teacher's weights, `rows` for each chunk's content.

    With `views` each teacher has so many arrays more, in which moments begin one clip earlier.
    """
    layout = RowArray(num_rows, (2, NUM_CLIPS), dtype, 32, codec, ("sample", "boundary", "clip"))
    numbers = np.arange(num_rows)
    clips_N = (1 + numbers % NUM_CLIPS).astype(np.int16)
    end_N = numbers % clips_N
    gt_N2 = np.stack([end_N // 2, end_N], axis=1).astype(np.int16)
    moved = Views(
        version=1,
        gt_VN2=np.stack([np.maximum(gt_N2 - [[1, 0]], 0)] * max(views, 1)),
        seeds_VN=np.arange(max(views, 1))[:, None] + numbers,
    )
    samples = Samples(
        ids=[f"video{n // 2:03d}#{n % 2}" for n in numbers],
        splits=["train" if n < num_rows - 40 else "val" for n in numbers],
        clips_N=clips_N,
        gt_N2=gt_N2,
        views=moved if views else None,
    )
    chunk_rows = rows or [digest([num_rows, chunk]) for chunk in range(layout.num_chunks)]
    arrays = {}
    for name in teachers:
        inputs = {
            "teacher weights": (salt or {}).get(name, name),
            "dtype": dtype,
            "codec": codec,
            "features": digest(chunk_rows),
        }
        arrays[name] = ArrayPlan(digest(inputs), inputs, f"seal of {name}")
        for view in range(1, views + 1):
            own = {**inputs, "view version": 1, "seeds": str(view)}
            seen = [digest([one, view]) for one in chunk_rows]
            array = ArrayPlan(digest(own), own, f"seal of {name}", chunk_rows=seen)
            arrays[array_name(name, view)] = array
    inputs = {
        "teachers": {name: array.key for name, array in arrays.items()},
        "samples": {"ids": digest(samples.ids)},
    }
    return CachePlan(
        key=digest(inputs),
        inputs=inputs,
        arrays=arrays,
        layout=layout,
        chunk_rows=chunk_rows,
        samples=samples,
        precision="float32",
        data_seal="seal of data",
        simulated=True,
    )


def said(teacher, lo, hi):
    """What a teacher says of rows lo to hi, [hi - lo, 2, T], a number for each place."""
    row, boundary, clip = np.ogrid[lo:hi, 0:2, 0:NUM_CLIPS]
    logits = 10 * np.sin(1.0 + len(teacher) + row * 0.37 + boundary * 1.3 + clip * 2.1)
    return logits.astype(np.float32)


def expected(teacher, plan):
    """What a float32 cache must hold of a teacher: what it says, 0 on padding."""
    logits = said(teacher, 0, plan.layout.num_rows)
    valid = np.arange(NUM_CLIPS) < plan.samples.clips_N[:, None, None]
    return np.where(valid, logits, np.float32(0))


class Ask:
    """Opens `said` in each process, and writes down in a file who was asked for which rows.

    `delay_s` makes a teacher slow; `trouble` is what happens at (teacher, first row): nan or death.
    """

    def __init__(self, notes: Path | None = None, *, delay_s=0.0, trouble=None):
        self.notes, self.delay_s, self.trouble = notes, delay_s, trouble or {}

    def __call__(self):
        return self.forward

    def forward(self, teacher, lo, hi):
        self.note(teacher, lo)
        time.sleep(self.delay_s)
        logits, trouble = said(teacher, lo, hi), self.trouble.get((teacher, lo))
        if trouble == "nan":
            logits[5, 1, 0] = np.nan
        elif trouble == "death":
            os._exit(9)
        return logits

    def note(self, teacher, lo):
        """Write down that this process is asked."""
        if self.notes is not None:
            with self.notes.open("a") as file:
                file.write(f"{os.getpid()} {teacher} {lo}\n")

    def asked(self):
        """The (teacher, first row) of every question so far."""
        return [(teacher, int(lo)) for _, teacher, lo in self._lines()]

    def processes(self):
        """The processes that were asked."""
        return {int(process) for process, _, _ in self._lines()}

    def _lines(self):
        if self.notes is None or not self.notes.exists():
            return []
        return [line.split() for line in self.notes.read_text().splitlines()]


def build(out: Path, plan, ask=None, *, workers=1, environment=None):
    """Fill a cache with what `said` says."""
    return fill(out, plan, ask or Ask(), environment or CPU, block_rows=BLOCK_ROWS, workers=workers)


def all_bytes(folder: Path):
    """The bytes of every file of a folder, by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def make_ce(plan):
    """Cross-entropies [N, 2] of each array of a plan."""
    return {
        name: np.random.default_rng(seed).exponential(size=(NUM_ROWS, 2)).astype(np.float32)
        for seed, name in enumerate(plan.arrays)
    }


def build_weighed(out, plan, ce):
    """Build a cache of a plan with weights in it and return its folder."""
    folder = build(out, plan)
    write_weights(open_cache(folder), weighed_chunks(open_cache(folder), ce))
    return folder


def weighed_chunks(cache, ce):
    """Yield what stage two would write of a cache, from the cross-entropies [N, 2] of each array."""
    layout, labels = weights_layout(cache), Labels(cache)
    for name in cache.arrays:
        for chunk in range(layout.num_chunks):
            lo, hi = layout.span(chunk)
            yield weighed_chunk(cache, labels, name, chunk, ce[name][lo:hi])


if __name__ == "__main__":
    build(
        Path(sys.argv[1]),
        make_plan(),
        Ask(Path(sys.argv[2]), delay_s=float(sys.argv[4])),
        workers=int(sys.argv[3]),
        environment={**CPU, "device": sys.argv[5]} if len(sys.argv) > 5 else None,
    )
