"""Row 5: what does `refkd cache` cost beyond the teachers' forward passes?

The bare forward is a loop of plain PyTorch over the same data, on one thread as stage one: blocks of 32
rows gathered from the memory map, through networks that are loaded already, their logits kept in memory.
Stage one is the whole stage: it opens and digests the data, loads the teachers, asks them, checks and
encodes what they say, waits for the disk at every chunk, seals and publishes. The logits are the same bits.

It is timed with the machine's cores and on a single one: where a core is left over, the thread that
reads blocks ahead has it. Teachers are VSLNets of the published widths, with random weights.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from filmed import film
from harness import Figure, Scale, ratio, take_turns
from untrained import save_teacher

from pipeline.cache import cache
from stores.cache import open_cache
from stores.dataset import open_dataset
from student.batches import Gatherer
from student.forward import block_rows, intra_op_threads
from student.model import load_model
from student.network import Network

SIZES = {
    "full": {"train": 1024, "clips": 128, "hidden": 128},
    "smoke": {"train": 64, "clips": 16, "hidden": 16},
}
REACH = 1.05
LIMIT = (
    "what is no forward pass - digests of data and chunks, loading the teachers, waiting for the disk at the "
    "end - takes a few tenths of a second of a short run, and without a second core nothing hides it; its share "
    "falls with the number of pairs"
)


def measure(folder: Path, scale: Scale) -> list[Figure]:
    """Return the figures of row 5: with the cores that there are, and with one."""
    size = SIZES[scale]
    bare = Bare(film(folder / "data", train=size["train"], clips=size["clips"]))
    for seed, name in enumerate(("id", "ood")):
        save_teacher(folder / name, bare.data, seed=seed, hidden=size["hidden"])
        bare.networks[name] = load_model(folder / name).network
    stage = StageOne(bare.data.folder, {name: folder / name for name in bare.networks})
    seconds = take_turns(
        {
            "stage": stage.run,
            "bare": bare.run,
            "stage, one core": lambda: on_one_core(stage.run),
            "bare, one core": lambda: on_one_core(bare.run),
        }
    )
    for name, logits_NBT in bare.logits.items():
        assert open_cache(stage.folder).logits(name).tobytes() == logits_NBT.tobytes()
    return [
        figure("stage one against the bare forward", seconds, "", {**size, "teachers": 2}),
        figure("the same on a single core", seconds, ", one core", {}),
    ]


def figure(
    claim: str, seconds: dict[str, list[float]], where: str, details: dict[str, float | int | str]
) -> Figure:
    """Return a figure of the stage's seconds over those of the bare forward."""
    value, spread = ratio(seconds, f"stage{where}", f"bare{where}")
    told = {
        "stage seconds": float(np.median(seconds[f"stage{where}"])),
        "bare seconds": float(np.median(seconds[f"bare{where}"])),
    }
    return Figure(
        "5",
        claim,
        value,
        REACH,
        "at most",
        spread=spread,
        details={**details, **told},
        limit="" if value <= REACH else LIMIT,
    )


class Bare:
    """The teachers' forward passes and nothing else."""

    def __init__(self, folder: Path) -> None:
        self.data = open_dataset(folder)
        self.rows = self.data.rows("train")
        self.networks: dict[str, Network] = {}
        self.logits: dict[str, npt.NDArray[np.float32]] = {}

    @torch.inference_mode()
    def run(self) -> None:
        number, size = len(self.rows.ids), block_rows("cpu")
        with intra_op_threads(1):
            for name, network in self.networks.items():
                gatherer = Gatherer(
                    self.data,
                    self.rows,
                    characters=network.shape["characters"],
                    most_words=network.shape["num_words"],
                    device="cpu",
                )
                blocks = (
                    network(gatherer.inputs(np.arange(lo, lo + size))).logits_NBT
                    for lo in range(0, number, size)
                )
                self.logits[name] = torch.cat(list(blocks)).numpy()


class StageOne:
    """The stage, from nothing to a finished cache each time."""

    def __init__(self, data: Path, teachers: dict[str, Path]) -> None:
        self.data, self.teachers, self.out = data, teachers, data.with_name("caches")
        self.folder = self.out

    def run(self) -> float:
        shutil.rmtree(self.out, ignore_errors=True)
        began = time.perf_counter()
        self.folder = cache(self.data, self.out, teachers=self.teachers, device="cpu")
        return time.perf_counter() - began


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this thread, and those that it starts, on one of its cores."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def on_one_core(run):  # type: ignore[no-untyped-def] # whatever it returns
    """Run something on one core."""
    with one_core():
        return run()
