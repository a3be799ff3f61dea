"""Row 9: how long from `refkd distill` to the first step, with 100,000 samples cached?

- From the start of the process to the end of the first step (features, words, logits and weights of a
  batch read, forward, backward, one move of the optimiser), against `python -c 'import torch'`. The cache
  holds two teachers, float32, 128 clips, uncompressed; every digest of it is compared. The network is
  narrow, so that its own arithmetic does not count.
- `distill` and `cache` once their work is done, which must not import torch: the same against it.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from harness import Figure, Scale, ratio, take_turns
from stubbed import TEACHERS, stub_cache_of, stub_dataset

from pipeline.distill import distill
from pipeline.weigh import weigh
from student.model import model_facts, network_shape, save_model
from student.network import Network
from student.recipe import Recipe

PAIRS = {"full": 100_000, "smoke": 200}
VIDEOS = {"full": 2_000, "smoke": 20}
FIRST_STEP = """
import os, sys, tqdm
class UntilTheFirstStep(tqdm.tqdm):
    def update(self, n=1):
        if self.unit == "step" and n:
            os._exit(0)  # and nothing of what would come after it
        super().update(n)
tqdm.tqdm = UntilTheFirstStep
from cli.main import refkd
refkd()
"""
ALREADY = """
import sys
from cli.main import refkd
try:
    refkd()
finally:
    assert "torch" not in sys.modules
"""


def measure(folder: Path, scale: Scale) -> list[Figure]:
    """Return the figures of row 9."""
    data = stub_dataset(folder / "data", pairs=PAIRS[scale], videos=VIDEOS[scale], clips=128)
    teachers, runs = folder / "teachers", folder / "runs"
    cache = stub_cache_of(data, folder / "caches", teachers)
    weigh(cache)
    narrow = ["--hidden", "8", "--epochs", "1", "--threads", "1"]
    named = [part for name in TEACHERS for part in ("--teacher", f"{name}={teachers / name}")]
    _finish(data, cache, runs, Recipe(hidden=8, epochs=1))

    def first_step() -> None:
        begun = folder / "begun"
        shutil.rmtree(begun, ignore_errors=True)
        _run(FIRST_STEP, "distill", str(data), str(cache), str(begun), *narrow)

    competitors: dict[str, Callable[[], object]] = {
        "torch": lambda: _run("import torch"),
        "distill": first_step,
        "distilled": lambda: _run(ALREADY, "distill", str(data), str(cache), str(runs), *narrow),
        "cached": lambda: _run(ALREADY, "cache", str(data), str(cache.parent), *named),
    }
    seconds = take_turns(competitors)
    times = {f"{name}, s": min(each) for name, each in seconds.items()}
    value, spread = ratio(seconds, "distill", "torch")
    claim = "`distill` of 100,000 cached samples until its first step, against importing torch"
    figures = [Figure("9", claim, value, 2.5, "at most", spread=spread, details=times)]
    for command, name in (("distill", "distilled"), ("cache", "cached")):
        value, spread = ratio(seconds, name, "torch")
        claim = f"`{command}` of them that is complete, torch not imported, against importing torch"
        figures.append(Figure("9", claim, value, 2.5, "at most", spread=spread))
    return figures


def _run(code: str, *arguments: str) -> None:
    """Run a program to its end, as `python -c` does."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _finish(data: Path, cache: Path, runs: Path, recipe: Recipe) -> None:
    """Write a finished run of a student that was not trained: how good it is does not matter here."""

    def untaught(folder, dataset, opened, recipe, *, inputs, **how):
        shape = network_shape(dataset, recipe)
        facts = {"kind": "student", "inputs": inputs, "cache_seal": opened.seal}
        weights = Network(shape).state_dict()
        save_model(folder, weights, {**model_facts(dataset, shape), **facts})
        return folder

    with patch("pipeline.tutoring.tutor", untaught):
        distill(data, cache, runs, recipe)
