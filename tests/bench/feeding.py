"""Row 4: what does feeding cost a student's step?

The step is that of `refkd distill` at the size of Charades with published widths, side branches, rectification
and re-weighting on: a shuffled epoch from a sealed data set and its weighed cache, through `Distillation.batches`
and `prefetch`, as `train` takes it, against as many steps on one batch that lies ready. With a spare core
means one thread that computes on two cores; without, two. The first batch of an epoch is not waited for:
an epoch of Charades has 388. Features are simulated, teachers and student have random weights.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import torch
from filmed import QUERIES_PER_VIDEO, film
from harness import Figure, Scale, ratio, take_turns
from liveteachers import cached_distillation
from untrained import save_teacher

from pipeline.cache import cache
from pipeline.weigh import weigh
from stores.cache import open_cache
from stores.dataset import open_dataset
from student.batches import prefetch
from student.distillation import Distillation, Lesson
from student.forward import intra_op_threads
from student.optimiser import AdamW
from student.recipe import Recipe
from student.targets import student_targets

CORES = 2
BATCH = 32
SIZES = {
    "full": {"pairs": 20 * BATCH, "clips": 128, "hidden": 128},
    "smoke": {"pairs": 2 * BATCH, "clips": 16, "hidden": 16},
}
TIMES_TARGETS = 20  # of a turn


def measure(folder: Path, scale: Scale) -> list[Figure]:
    """Return the figures of row 4."""
    size = SIZES[scale]
    student = Student(distillation(folder, **size))
    waited_s: list[float] = []

    def fed() -> Iterator[Lesson]:
        batches = prefetch(student.task.batches(0))
        while (began := time.perf_counter()) and (batch := next(batches, None)) is not None:
            waited_s.append(time.perf_counter() - began)
            yield batch

    def fixed() -> Iterator[Lesson]:
        return iter([student.batch] * student.task.num_batches)

    def on_threads(number: int, batches: Callable[[], Iterable[Lesson]]) -> Callable[[], float]:
        def run() -> float:
            with intra_op_threads(number):
                return student.learn(batches())

        return run

    waits_ms: list[float] = []  # of turns with a spare core, the first batch left out

    def fed_beside_a_core() -> float:
        waited_s.clear()
        seconds = on_threads(CORES - 1, fed)()
        waits_ms.append(1000 * median(waited_s[1:]))
        return seconds

    with cores(CORES):
        seconds = take_turns(
            {
                "fed, a spare core": fed_beside_a_core,
                "fixed, a spare core": on_threads(CORES - 1, fixed),
                "fed, no spare core": on_threads(CORES, fed),
                "fixed, no spare core": on_threads(CORES, fixed),
                "targets": student.targets_seconds,
            }
        )
    waits_ms = waits_ms[1:]  # the first turn does not count
    told = {name: 1000 * median(each) for name, each in seconds.items()}
    facts = {**size, "videos": size["pairs"] // QUERIES_PER_VIDEO, "batch": BATCH}
    share, shares = ratio(seconds, "targets", "fixed, a spare core")
    return [
        stepping("a spare core", 1.05, seconds, {**facts, **ms(told, "a spare core")}),
        stepping("no spare core", 1.15, seconds, ms(told, "no spare core")),
        Figure(
            "4",
            "waiting for a batch, a spare core",
            median(waits_ms),
            1.0,
            "at most",
            unit="ms",
            spread=(min(waits_ms), max(waits_ms)),
        ),
        Figure(
            "4",
            "rectification and re-weighting over the step that they are part of",
            share,
            0.05,
            "at most",
            spread=shares,
            details={"milliseconds": told["targets"]},
        ),
    ]


def stepping(
    where: str,
    reach: float,
    seconds: dict[str, list[float]],
    details: dict[str, float | int | str],
) -> Figure:
    """Return the figure of a fed step over one on a fixed batch."""
    value, spread = ratio(seconds, f"fed, {where}", f"fixed, {where}")
    claim = f"a student's step against the same on one fixed batch, {where}"
    return Figure("4", claim, value, reach, "at most", spread=spread, details=details)


def ms(told: dict[str, float], where: str) -> dict[str, float]:
    """Return the milliseconds of both kinds of step."""
    return {f"{kind} ms": told[f"{kind}, {where}"] for kind in ("fed", "fixed")}


def distillation(folder: Path, *, pairs: int, clips: int, hidden: int) -> Distillation:
    """Return the task of a student with the paper's recipe, past its warm-up, from a cache."""
    data = open_dataset(film(folder / "data", train=pairs, clips=clips))
    teachers = {
        name: save_teacher(folder / name, data, seed=seed, hidden=hidden)
        for seed, name in enumerate(("id", "ood"))
    }
    made = cache(data.folder, folder / "caches", teachers=teachers, device="cpu")
    weigh(made)
    recipe = Recipe(hidden=hidden, batch=BATCH, warmup=0.0)
    return cached_distillation(data, recipe, open_cache(made))


class Student:
    """A student, its optimiser, and a batch that lies ready."""

    def __init__(self, task: Distillation) -> None:
        self.task, self.batch = task, next(iter(task.batches(0)))
        self.optimiser = AdamW(task.network.parameters(), lr=1e-3, weight_decay=0.0)

    def learn(self, batches: Iterable[Lesson]) -> float:
        """Take a step on each batch, and return the seconds of one from when the first is there."""
        network, recipe = self.task.network.train(), self.task.recipe
        number, began = 0, 0.0
        for batch in batches:
            began = began or time.perf_counter()
            terms = self.task.losses(batch, recipe.epochs - 1)
            self.optimiser.zero_grad()
            torch.stack(list(terms.values())).sum().backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
            self.optimiser.step()
            number += 1
        spent = time.perf_counter() - began
        self.task.diagnostics()  # forgets them
        return spent / number

    def targets_seconds(self) -> float:
        """Return the seconds in which the targets of the fixed batch are made, on one thread."""
        batch = self.batch
        with torch.no_grad(), intra_op_threads(1):
            side_logits_NKBT = self.task.network(batch.inputs).side_logits_NKBT
            began = time.perf_counter()
            for _ in range(TIMES_TARGETS):
                student_targets(
                    self.task.recipe,
                    teacher_logits_NKBT=batch.teacher_logits_NKBT,
                    weights_NKB=batch.weights_NKB,
                    side_logits_NKBT=side_logits_NKBT,
                    gt_N2=batch.gt_N2,
                    mask_NT=batch.inputs.clips_NT,
                    warm=False,
                )
        return (time.perf_counter() - began) / TIMES_TARGETS


@contextmanager
def cores(number: int) -> Iterator[None]:
    """Keep every thread of this process on so many of its cores, those that it starts as well."""
    before = os.sched_getaffinity(0)
    try:
        confine(set(sorted(before)[:number]))
        yield
    finally:
        confine(before)


def confine(cores: set[int]) -> None:
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), cores)
