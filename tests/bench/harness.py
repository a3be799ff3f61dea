"""Side by side measurements: competitors take turns in a random order, and ratios are what counts.

A bench module has `measure(folder, scale) -> list[Figure]`: it makes its inputs in an empty folder,
lets `take_turns` time the competitors, and returns a figure for each claim of docs/benchmarks.md.
"""

import gc
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

REPEATS = 5
Scale = Literal["full", "smoke"]  # smoke: the smallest inputs that run every line


@dataclass(frozen=True)
class Figure:
    """One measured claim: `value` compared with what it should reach."""

    row: str  # of the table in docs/benchmarks.md: "1", "2", ...
    claim: str  # what was measured against what, in a few words
    value: float
    reach: float
    sense: Literal["at least", "at most"]
    unit: str = "ratio"
    spread: tuple[float, float] | None = None  # the smallest and the largest of the repetitions
    details: dict[str, float | int | str] = field(default_factory=dict)
    limit: str = ""  # what keeps a figure that falls short from it, and what was tried

    @property
    def holds(self) -> bool:
        return self.value >= self.reach if self.sense == "at least" else self.value <= self.reach


def take_turns(
    competitors: Mapping[str, Callable[[], object]], *, repeats: int = REPEATS, seed: int = 0
) -> dict[str, list[float]]:
    """Return the seconds of each repetition of each competitor, run in turns of random order.

    Every competitor runs once before, uncounted. Repetition i of all happens within one turn, so
    that ratios within a turn see the same neighbours. A competitor that returns a float times
    itself: that number of seconds is taken instead of the clock's.
    """
    order = list(competitors)
    shuffle = random.Random(seed).shuffle
    for name in order:
        competitors[name]()
    seconds: dict[str, list[float]] = {name: [] for name in competitors}
    for _ in range(repeats):
        shuffle(order)
        for name in order:
            gc.collect()
            began = time.perf_counter()
            own = competitors[name]()
            spent = time.perf_counter() - began
            seconds[name].append(own if isinstance(own, float) else spent)
    return seconds


def ratio(
    seconds: Mapping[str, list[float]], over: str, under: str
) -> tuple[float, tuple[float, float]]:
    """Return the median over turns of `over` / `under`, with the smallest and the largest.

    >>> ratio({"a": [2.0, 6.0, 4.0], "b": [1.0, 2.0, 4.0]}, "a", "b")
    (2.0, (1.0, 3.0))
    """
    each = [a / b for a, b in zip(seconds[over], seconds[under], strict=True)]
    return median(each), (min(each), max(each))
