"""Rows 7 and 8: what does a cache save where teachers would be asked in every step?

Row 7: a student's epoch from the cache against the same epoch with both teachers asked about every batch,
in the blocks of stage one, the batch read once for both. Row 8: eight ablations from one cache, stage one
and stage two counted, against eight with live teachers. The losses are the same bits (tests/test_live.py),
and how often a teacher was asked about a pair is counted.

The figures are shares of (S + 2F) / S, each part timed alone, in the same turn:
- S: a student's step on a batch that lies ready: losses, gradients, clipping, optimiser.
- F: half of what both teachers take to answer a batch: inputs gathered, teachers asked in the blocks of stage
  one, weights made of their answers as stage two would (cross-entropies and eq. 3-4).
It is a yardstick and no bound. Both runs prepare the student's own batches and write a checkpoint, which
brings their ratio nearer to 1; but a live run's teachers take turns with the steps and drive their data out of
the caches of the processor, which brings it further away, so that shares above 1 happen. What teachers cost
beside the steps is told as well ("S + 2F beside each other"). Teachers are loaded outside the clock, the cache is
opened inside it. Everything runs on one core and one thread, so that nobody's work hides behind another's.
"""

import itertools
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from filmed import film
from harness import Figure, Scale, take_turns
from liveteachers import LiveTeachers, cached_distillation, live_distillation
from stage_one import one_core
from untrained import save_teacher

from pipeline.cache import cache
from pipeline.costs import read_costs
from pipeline.weigh import weigh
from stores.cache import open_cache
from stores.dataset import DataSet, open_dataset
from student.batches import prefetch
from student.distillation import Distillation
from student.forward import intra_op_threads
from student.optimiser import AdamW
from student.recipe import Recipe
from student.training import train

REACH = 0.97
LIMIT = (
    "both runs prepare the student's own batches and write a checkpoint, which neither S nor 2F holds, and "
    "a run from the cache opens it"
)
BATCH = 32
SIZES = {
    "full": {
        "epoch": {"pairs": 12 * BATCH, "clips": 128, "hidden": 128},
        "ablations": {"pairs": 6 * BATCH, "clips": 64, "hidden": 128},
    },
    "smoke": {
        "epoch": {"pairs": 2 * BATCH, "clips": 16, "hidden": 16},
        "ablations": {"pairs": 2 * BATCH, "clips": 16, "hidden": 16},
    },
}
EPOCHS = 5
ABLATIONS: dict[str, dict[str, Any]] = {
    "full": {},
    "w/o LR": {"rectify": "none"},
    "w/o DR": {"reweight": False},
    "w/o both": {"rectify": "none", "reweight": False, "side_weight": 0.0},
    "pure ground truth": {"rectify": "pure-gt"},
    "window": {"rectify": "window"},
    "fixed weights": {"granularity": "fixed"},
    "hard weights": {"hard": True},
}


def measure(folder: Path, scale: Scale) -> list[Figure]:
    """Return the figures of rows 7 and 8."""
    sizes = SIZES[scale]
    with one_core():
        return [
            one_epoch(World(folder / "epoch", **sizes["epoch"]), sizes["epoch"]),
            many_students(World(folder / "ablations", **sizes["ablations"]), sizes["ablations"]),
        ]


class World:
    """Data, two teachers with random weights, and a base recipe of published widths."""

    def __init__(self, folder: Path, *, pairs: int, clips: int, hidden: int) -> None:
        self.folder = folder
        self.data: DataSet = open_dataset(film(folder / "data", train=pairs, clips=clips))
        self.teachers = {
            name: save_teacher(folder / name, self.data, seed=seed, hidden=hidden)
            for seed, name in enumerate(("id", "ood"))
        }
        self.recipe = Recipe(hidden=hidden, batch=BATCH, epochs=EPOCHS)
        self.runs = 0

    def caches(self) -> Path:
        """Run stage one and stage two, and return the weighed cache."""
        made = cache(self.data.folder, self.folder / "caches", teachers=self.teachers, device="cpu")
        weigh(made)
        return made

    def train(self, task: Distillation, recipe: Recipe) -> float:
        """Train as `refkd distill` does and return the seconds."""
        self.runs += 1
        began = time.perf_counter()
        train(
            task,
            recipe,
            self.folder / f"{self.runs}.checkpoint",
            device="cpu",
            threads=1,
            name="student",
        )
        (self.folder / f"{self.runs}.checkpoint").unlink()
        return time.perf_counter() - began

    def parts(self, recipe: Recipe) -> tuple[Callable[[], float], ...]:
        """Return what times S, 2F, and both at once, each the mean over as many as an epoch has."""
        task, live = live_distillation(self.data, recipe, self.teachers)
        steps = Steps(task, next(iter(task.batches(0))))

        def asking_s() -> float:
            began = time.perf_counter()
            with intra_op_threads(1):
                deque(askings(live, task), maxlen=0)
            return (time.perf_counter() - began) / task.num_batches

        return (
            lambda: steps.seconds(itertools.repeat(None, task.num_batches)),
            asking_s,
            lambda: steps.seconds(prefetch(askings(live, task))),
        )


class Steps:
    """A student's steps on one batch that lies ready, as `training.train` takes them."""

    def __init__(self, task: Distillation, batch: Any) -> None:
        self.task, self.batch = task, batch
        self.optimiser = AdamW(task.network.parameters(), lr=1e-3, weight_decay=0.0)

    def seconds(self, beside: Iterable[None]) -> float:
        """Return the seconds of a step, one for each item of what is to happen beside the steps."""
        network, recipe = self.task.network.train(), self.task.recipe
        began = time.perf_counter()
        with intra_op_threads(1):
            for _ in beside:
                terms = self.task.losses(self.batch, recipe.epochs - 1)  # after the warm-up
                self.optimiser.zero_grad()
                torch.stack(list(terms.values())).sum().backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
                self.optimiser.step()
        return (time.perf_counter() - began) / self.task.num_batches


def askings(live: LiveTeachers, task: Distillation) -> Iterator[None]:
    """Ask both teachers about each batch of an epoch, and weigh what they say, as a live run does."""
    for index_n in task.order(BATCH, seed=0, epoch=0):
        live.rows(index_n)
        task.weights_NKB[index_n]
        yield


def one_epoch(world: World, size: dict[str, int]) -> Figure:
    """Return the figure of row 7."""
    recipe = replace(world.recipe, epochs=1, warmup=0.0)  # what a step costs after the warm-up
    opened = open_cache(world.caches())
    step, asking, beside = world.parts(recipe)

    def live() -> float:
        task, teachers = live_distillation(world.data, recipe, world.teachers)
        seconds = world.train(task, recipe)
        assert teachers.asked == 2 * size["pairs"], "each teacher is asked about each pair"
        return seconds

    seconds = take_turns(
        {
            "cached": lambda: world.train(cached_distillation(world.data, recipe, opened), recipe),
            "live": live,
            "step": step,
            "asking": asking,
            "beside": beside,
        }
    )
    turns = list(zip(*(seconds[n] for n in ("cached", "live", "step", "asking")), strict=True))
    saved = [live_s / cached_s for cached_s, live_s, _, _ in turns]
    limits = [(step_s + asking_s) / step_s for _, _, step_s, asking_s in turns]
    shares = [ratio / limit for ratio, limit in zip(saved, limits, strict=True)]
    return Figure(
        "7",
        "an epoch with both teachers live over one from the cache, as a share of (S + 2F) / S",
        median(shares),
        REACH,
        "at least",
        spread=(min(shares), max(shares)),
        limit="" if median(shares) >= REACH else LIMIT,
        details={
            **size,
            "live over cached": median(saved),
            "(S + 2F) / S": median(limits),
            "S seconds": median(seconds["step"]),
            "F seconds": median(seconds["asking"]) / 2,
            "S + 2F beside each other, seconds": median(seconds["beside"]),
        },
    )


def many_students(world: World, size: dict[str, int]) -> Figure:
    """Return the figure of row 8."""
    World.caches(small := World(world.folder / "warm", **SIZES["smoke"]["ablations"]))
    small.train(live_distillation(small.data, small.recipe, small.teachers)[0], small.recipe)
    began = time.perf_counter()
    made = world.caches()
    first_s = time.perf_counter() - began
    asked_by_stage_one = read_costs(made)["cache"]["rows"]
    cached_s: list[float] = []
    live_s: list[float] = []
    limits: list[float] = []
    asked_live = 0

    def from_cache(recipe: Recipe) -> None:
        began = time.perf_counter()
        task = cached_distillation(world.data, recipe, open_cache(made))
        world.train(task, recipe)
        cached_s.append(time.perf_counter() - began)

    def from_teachers(recipe: Recipe) -> None:
        nonlocal asked_live
        task, teachers = live_distillation(world.data, recipe, world.teachers)
        live_s.append(world.train(task, recipe))
        asked_live += teachers.asked

    shuffle = random.Random(0).shuffle
    for changes in ABLATIONS.values():
        recipe = replace(world.recipe, **changes)
        step, asking, _ = world.parts(recipe)
        turns = [from_cache, from_teachers]
        shuffle(turns)
        halves = []  # S and 2F are timed on both sides of what they are compared with
        for turn in turns:
            halves.append((step(), asking()))
            turn(recipe)
        step_s, asking_s = (mean(part) for part in zip(*halves, strict=True))
        limits.append((step_s + asking_s) / step_s)

    assert asked_by_stage_one == 2 * size["pairs"], "one pass of each teacher over the pairs"
    assert asked_live == len(ABLATIONS) * EPOCHS * asked_by_stage_one
    total = sum(live_s) / (first_s + sum(cached_s))
    shares = [
        live / cached / limit for live, cached, limit in zip(live_s, cached_s, limits, strict=True)
    ]
    return Figure(
        "8",
        "eight ablations with live teachers over eight from one cache, as a share of mean (S + 2F) / S",
        total / mean(limits),
        REACH,
        "at least",
        spread=(min(shares), max(shares)),
        limit="" if total / mean(limits) >= REACH else LIMIT,
        details={
            **size,
            "epochs": EPOCHS,
            "live over cached": total,
            "mean (S + 2F) / S": mean(limits),
            "stage one and two, seconds": first_s,
            "eight cached, seconds": sum(cached_s),
            "eight live, seconds": sum(live_s),
            "forwards of a teacher for the cache": asked_by_stage_one,
            "forwards live": asked_live,
        },
    )
