"""The training loop of teachers and students: AdamW, linear decay to 0, the best epoch kept.

It can be killed at any time: every epoch ends in a checkpoint, and all that is random in an epoch
is seeded from (seed, role, epoch), so that the run goes on to the weights it would have had.
"""

import logging
import math
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from stores.errors import RefkdError
from stores.seeds import seed_of
from student.averaging import RunningMean
from student.batches import prefetch
from student.checkpoint import load_checkpoint, save_checkpoint
from student.compiling import compile_network
from student.forward import intra_op_threads, reproducible
from student.network import Network
from student.observations import Spread
from student.optimiser import AdamW
from student.recipe import MOVED, SELECTIONS, VAL, Recipe

log = logging.getLogger("refkd")
Batch_contra = TypeVar("Batch_contra", contravariant=True)
Batch = TypeVar("Batch")


class Task(Protocol[Batch]):
    """What is trained: a network, its batches, what a batch costs and how an epoch is judged."""

    network: Network
    num_batches: int

    def batches(self, epoch: int) -> Iterable[Batch]:
        """Return the batches of an epoch, a function of the seed and the epoch alone."""

    def losses(self, batch: Batch, epoch: int) -> dict[str, Tensor]:
        """Return the named, weighted loss terms of a batch; their sum is minimised."""

    def diagnostics(self) -> dict[str, Spread]:
        """Return the spread of what was observed since the last call, and forget it."""

    def validate(self) -> dict[str, dict[str, float]]:
        """Return the scores of each validation split, in percent; {} if there is none."""


@dataclass
class Progress:
    """What a checkpoint holds beside network and optimiser: epochs done, the best one, seconds."""

    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0  # of all sittings; what a killed one did after its last epoch is lost


def train(
    task: Task[Batch],
    recipe: Recipe,
    checkpoint: Path,
    *,
    device: str,
    threads: int,
    name: str,
    compiled: bool = False,
    origin: Mapping[str, str] | None = None,
) -> Progress:
    """Train to the last epoch, from the checkpoint if there is one; return history and best weights.

    `origin` are the digests of what is learned from. Raises RefkdError if a loss or a weight stops
    being a number, or the checkpoint is damaged or was learned from something else.
    """
    began = time.monotonic()
    network = task.network.to(device)
    if compiled:
        compile_network(network)
    optimiser = AdamW(network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    mean = RunningMean(network, recipe.average) if recipe.average > 0 else None
    progress = _resume(checkpoint, network, optimiser, mean, device=device, origin=origin)
    began -= progress.seconds
    num_steps = recipe.epochs * task.num_batches
    with (
        intra_op_threads(threads),
        reproducible(device),
        tqdm(
            total=num_steps,
            initial=len(progress.history) * task.num_batches,  # its speed is that of this sitting
            desc=name,
            unit="step",
            file=sys.stderr,
            dynamic_ncols=True,
        ) as bar,
    ):
        for epoch in range(len(progress.history), recipe.epochs):
            torch.manual_seed(seed_of(recipe.seed, "dropout", epoch))
            network.train()
            sums: dict[str, Tensor] = {}
            for step, batch in enumerate(prefetch(task.batches(epoch))):
                done = epoch * task.num_batches + step
                optimiser.lr = recipe.lr * (1 - done / num_steps)  # to 0, warm-up included
                terms = task.losses(batch, epoch)
                loss = torch.stack(list(terms.values())).sum()
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
                optimiser.step()
                if mean is not None:
                    mean.update()
                for term, value in terms.items():
                    sums[term] = sums.get(term, 0.0) + value.detach()
                bar.update()
            network.eval()
            with mean.in_place() if mean is not None else nullcontext():
                entry = _entry(task, epoch, sums)
                _check_finite(entry, network, name, recipe)
                progress.history.append(entry)
                if progress.best_epoch == 0 or _better(
                    entry, progress.history[progress.best_epoch - 1], recipe.select
                ):
                    progress.best_epoch = epoch + 1
                    progress.best_weights = {k: v.clone() for k, v in network.state_dict().items()}
            progress.seconds = time.monotonic() - began
            save_checkpoint(checkpoint, _state(progress, network, optimiser, mean), origin=origin)
            bar.clear()
            told = {"epochs_done": epoch + 1}  # for whoever shows the progress of many runs
            log.info("%s %s", name, describe_epoch(entry, recipe.epochs), extra=told)
    if progress.history[-1]["val"] is None:
        log.warning("%s: there is no val split, so the last epoch is kept", name)
    return progress


def describe_epoch(entry: dict[str, Any], epochs: int) -> str:
    """Return one line: the epoch, each loss term, and the validation scores if there are any."""
    parts = [f"epoch {entry['epoch']}/{epochs}"]
    parts += [f"{term} {value:.4f}" for term, value in entry["losses"].items()]
    for split in (VAL, MOVED):
        if entry[split] is not None:
            parts.append(f"{split} mIoU {entry[split]['mIoU']:.2f}")
    return "  ".join(parts)


def _entry(task: Task[Batch], epoch: int, sums: dict[str, Tensor]) -> dict[str, Any]:
    """Return the record of a finished epoch: counted from 1, losses as means over batches, diagnostics, scores."""
    losses = {term: value.item() / task.num_batches for term, value in sums.items()}
    return {
        "epoch": epoch + 1,
        "losses": losses,
        "diagnostics": task.diagnostics(),
        VAL: None,
        MOVED: None,
        **task.validate(),
    }


def _better(entry: dict[str, Any], best: dict[str, Any], select: str) -> bool:
    """Return whether an epoch replaces the best: by mean mIoU, then mean R1@0.7; the later without val."""
    if entry["val"] is None:
        return True
    splits = SELECTIONS[select]
    now, before = (
        [sum(e[split][measure] for split in splits) for measure in ("mIoU", "R1@0.7")]
        for e in (entry, best)
    )
    return now > before


def _check_finite(entry: dict[str, Any], network: Network, name: str, recipe: Recipe) -> None:
    """Raise RefkdError if a loss of an epoch, or a weight after its last step, is not finite."""
    wrong = [term for term, value in entry["losses"].items() if not math.isfinite(value)]
    what = f"loss {', '.join(wrong)} is"
    if not wrong and not all(bool(p.isfinite().all()) for p in network.parameters()):
        wrong, what = ["weights"], "weights are"
    if wrong:
        raise RefkdError(
            f"{name}: {what} no longer a number in epoch {entry['epoch']}; "
            f"train with a lower --lr than {recipe.lr}"
        )


def _state(
    progress: Progress,
    network: Network,
    optimiser: AdamW,
    mean: RunningMean | None,
) -> dict[str, Any]:
    return {
        "network": network.state_dict(),
        "mean": mean.state_dict() if mean is not None else None,
        "optimiser": optimiser.state_dict(),
        "history": progress.history,
        "best_epoch": progress.best_epoch,
        "best_weights": progress.best_weights,
        "seconds": progress.seconds,
    }


def _resume(
    checkpoint: Path,
    network: Network,
    optimiser: AdamW,
    mean: RunningMean | None,
    *,
    device: str,
    origin: Mapping[str, str] | None,
) -> Progress:
    """Put network, optimiser and mean back to the last checkpoint; return the progress made by then."""
    state = load_checkpoint(checkpoint, device=device, origin=origin)
    if state is None:
        return Progress()
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    if mean is not None:
        mean.load_state_dict(state["mean"])
    done = len(state["history"])
    log.info("going on after epoch %d of %s", done, checkpoint, extra={"epochs_done": done})
    kept = ("history", "best_epoch", "best_weights", "seconds")
    return Progress(**{name: state[name] for name in kept})
