"""From nothing to a finished model folder: lock, resume or start, train, seal, publish.

While a model is trained, its checkpoint lies in `.<name>.building` beside the folder it will be,
its log (with times) in `<name>.log`, and in the end what it cost in `<name>.cost`.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch

from pipeline.costs import measured
from stores.errors import BusyError, RefkdError
from stores.files import describe_change, read_json, write_json
from stores.models import is_finished, training_folder, training_lock
from stores.removal import sweep
from student.compiling import compiler
from student.forward import environment
from student.model import save_model
from student.recipe import Recipe
from student.training import Progress, Task, train

log = logging.getLogger("refkd")
Batch = TypeVar("Batch")


def fit(
    folder: Path,
    recipe: Recipe,
    *,
    stage: str,
    name: str,
    inputs: dict[str, Any],
    work: dict[str, Any],
    facts: Callable[[], dict[str, Any]],
    task: Callable[[], Task[Batch]],
    folds: Sequence[Callable[[], Task[Batch]]] = (),
    origin: Mapping[str, str] | None = None,
    device: str,
    threads: int | None,
    compiled: bool = False,
) -> Path:
    """Train a task to a finished model folder, going on where a killed run stopped.

    `name` stands before its notices; `inputs` identify the model; `work` is noted beside what it
    cost; `facts`, `task` and `folds` are called only if there is work to do. `folds` are tasks that
    are trained first, each as the task is, to weights that stand beside those of the task.
    `origin` are the digests of what is learned from, which checkpoints carry. A run that goes on
    keeps the number of threads it began with, and is compiled as it was, so that its bits stay the same.
    Raises RefkdError before any work if no model could appear in `folder`.
    """
    with training_lock(folder) as mine:
        if not mine:
            raise BusyError(f"{folder} is being trained by another process; wait for it to finish")
        building = training_folder(folder)
        if is_finished(folder, inputs):
            sweep(building)  # of a run killed after its last word
            return folder
        how = _begin(building, inputs, device=device, threads=threads, compiled=compiled)
        noted = {**how, "epochs": recipe.epochs, **work}

        def trained(task: Callable[[], Task[Batch]], checkpoint: str, name: str) -> Progress:
            return train(
                task(),
                recipe,
                building / checkpoint,
                device=device,
                threads=how["threads"],
                name=name,
                compiled="compiled" in how,
                origin=origin,
            )

        with (
            _logged(folder.with_name(f"{folder.name}.log")),
            measured(folder, stage, **noted) as cost,
        ):
            parts = [  # a finished one is read from its checkpoint, at the last epoch
                trained(make, f"checkpoint-{fold}", f"{name}, fold {fold + 1}/{len(folds)}")
                for fold, make in enumerate(folds)
            ]
            progress = trained(task, "checkpoint", name)
            cost["seconds"] = round(sum(one.seconds for one in [*parts, progress]), 3)
        learned = {"inputs": inputs, "how": how, **_course(progress)}
        if parts:
            learned["fold_courses"] = [_course(part) for part in parts]
        weights = [part.best_weights for part in parts]
        save_model(folder, progress.best_weights, {**facts(), **learned}, folds=weights)
        sweep(building)
    return folder


def _course(progress: Progress) -> dict[str, Any]:
    """Return what a model records of its training."""
    return {"history": progress.history, "best_epoch": progress.best_epoch}


def _begin(
    building: Path, inputs: dict[str, Any], *, device: str, threads: int | None, compiled: bool
) -> dict[str, Any]:
    """Return how a run computes: as recorded if it was begun before, else as asked, recorded now.

    Raises RefkdError if the half-trained model is of other inputs or was computed otherwise.
    """
    here = environment(device)
    processor = here.pop("processor")
    as_asked = {**here, "compiled": compiler(device)} if compiled else here
    record = building / "begun.json"
    if record.exists():
        begun = read_json(record, repair=f"delete {building} to start over")
        if begun["inputs"] != inputs:
            change = describe_change(begun["inputs"], inputs)
            raise RefkdError(
                f"{building} holds half a training of other inputs: {change}; "
                "choose another folder or delete it"
            )
        how: dict[str, Any] = begun["how"]
        as_begun = {**here, "compiled": compiler(device)} if "compiled" in how else here
        if as_begun.items() <= how.items():
            if as_begun != as_asked:
                log.warning(
                    "going on %s, as the run began", "uncompiled" if compiled else "compiled"
                )
            if threads not in (None, how["threads"]):
                log.warning("going on with %d threads, as the run began", how["threads"])
            return _gone_on(record, begun, processor)
        if any(building.glob("checkpoint*")):  # else there is nothing to lose
            change = describe_change({name: how.get(name) for name in as_begun}, as_begun)
            there = f"with --device {how['device']}, " if how["device"] != here["device"] else ""
            raise RefkdError(
                f"{building} holds half a training that was computed otherwise: {change}; "
                f"go on {there}where it was begun, or delete it to start over"
            )
    how = {**as_asked, "processor": processor, "threads": threads or torch.get_num_threads()}
    building.mkdir(parents=True, exist_ok=True)
    write_json(record, {"inputs": inputs, "how": how})
    return how


def _gone_on(record: Path, begun: dict[str, Any], processor: str) -> dict[str, Any]:
    """Return how a run computes that goes on here; another processor is said and recorded with it."""
    how: dict[str, Any] = begun["how"]
    so_far = how.get("processor", processor)  # records of older versions lack it
    if processor not in so_far.split(", "):
        log.warning("going on by %s what %s began: bits may differ", processor, so_far)
        how["processor"] = f"{so_far}, {processor}"
        write_json(record, begun)
    return how


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Copy notices with their times to a log file while a model is trained."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    log.addHandler(handler)
    began = time.monotonic()
    try:
        yield
        log.info("trained in %.1f s", time.monotonic() - began)
    finally:
        log.removeHandler(handler)
        handler.close()
