"""Training teachers: plainly (ID), or on moved moments as well (OOD; Hao et al., ECCV 2022).

The OOD teacher sees every pair twice: as it is, and with the raw feature rows of its moment cut
out and put back at a uniform place, if asked at another length too. Each view has its own
auxiliary losses, so that what in them depends on no label (SeqPAN's class embeddings) counts twice.
Shapes: N pairs, T clips, L clips of a moment.
"""

import math
from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from stores.dataset import DataSet
from stores.seeds import generator
from student.batches import Gatherer, epoch_order
from student.inputs import Inputs, Outputs
from student.losses import gt_cross_entropy
from student.moving import Mover
from student.network import Network
from student.observations import Spread
from student.recipe import Recipe
from student.validation import Validation


class TeacherBatch(NamedTuple):
    """A batch of pairs as they are and, for the OOD teacher, with their moments moved."""

    inputs: Inputs
    gt_N2: Tensor
    moved: tuple[Inputs, Tensor] | None  # inputs and their ground-truth clips


class Teaching:
    """Trains a teacher on the train split but for some videos (a `training.Task`)."""

    def __init__(
        self,
        network: Network,
        data: DataSet,
        recipe: Recipe,
        *,
        debias: bool,
        moved_span_loss: bool,
        moved_stretch: float,
        left_out: Collection[str] = (),
        device: str,
    ) -> None:
        self.network, self.data, self.recipe, self.device = network, data, recipe, device
        self.debias, self.moved_span_loss = debias, moved_span_loss
        characters = network.shape["characters"]
        rows, pairs = data.rows("train"), data.pairs["train"]
        if left_out:
            kept = [row for row, pair in enumerate(pairs) if pair.video not in left_out]
            rows, pairs = rows.take(kept), [pairs[row] for row in kept]
        self.num_rows = len(rows.ids)
        self.num_batches = math.ceil(self.num_rows / recipe.batch)
        self.gatherer = Gatherer(data, rows, characters=characters, device=device)
        self.mover = Mover(data, rows, pairs, stretch=moved_stretch)
        self.validation = Validation(data)

    def batches(self, epoch: int) -> Iterator[TeacherBatch]:
        recipe = self.recipe
        rng = generator(recipe.seed, "moved moments", epoch)
        for index_N in epoch_order(self.num_rows, recipe.batch, seed=recipe.seed, epoch=epoch):
            inputs = self.gatherer.inputs(index_N, trim=not self.network.compiled)
            gt_N2 = self.gatherer.gt(index_N).to(self.device)
            moved = self._moved(index_N, rng) if self.debias else None
            yield TeacherBatch(inputs, gt_N2, moved)

    def _moved(
        self, index_N: npt.NDArray[np.intp], rng: np.random.Generator
    ) -> tuple[Inputs, Tensor]:
        """Return the batch with every moment moved to a uniform place, and the moved labels."""
        views = self.mover.views(index_N, lambda _, choices: int(rng.integers(choices)))
        features_NTD = torch.from_numpy(views.features_NTD)
        inputs = self.gatherer.inputs_of(index_N, features_NTD, trim=not self.network.compiled)
        return inputs, torch.from_numpy(views.gt_N2).to(self.device)

    def losses(self, batch: TeacherBatch, epoch: int) -> dict[str, Tensor]:
        clips_NT = batch.inputs.clips_NT
        outputs = self.network(batch.inputs)
        terms = {"span": span_loss(outputs, batch.gt_N2, clips_NT)}
        terms |= self.network.backbone.auxiliary(outputs.encoded, batch.gt_N2, clips_NT)
        if batch.moved is None:
            return terms
        inputs, gt_N2 = batch.moved
        moved = self.network(inputs)
        for name, loss in self.network.backbone.auxiliary(moved.encoded, gt_N2, clips_NT).items():
            terms[f"moved_{name}"] = loss
        terms["consistency"] = consistency_loss(
            outputs.encoded.relevance_NT, batch.gt_N2, moved.encoded.relevance_NT, gt_N2
        )
        if self.moved_span_loss:
            terms["moved_span"] = span_loss(moved, gt_N2, clips_NT)
        return terms

    def diagnostics(self) -> dict[str, Spread]:
        return {}

    def validate(self) -> dict[str, dict[str, float]]:
        return self.validation.scores(self.network, device=self.device)


def span_loss(outputs: Outputs, gt_N2: Tensor, clips_NT: Tensor) -> Tensor:
    """Return the cross-entropy of start plus end, batch mean."""
    return gt_cross_entropy(outputs.logits_NBT, gt_N2, clips_NT).sum(dim=1).mean()


def consistency_loss(
    relevance_NT: Tensor, gt_N2: Tensor, moved_NT: Tensor, moved_gt_N2: Tensor
) -> Tensor:
    """Return KL(original || moved) of the relevance inside the moment, batch mean.

    Both are softmaxes over the clips of the original moment; the moved view's logits are
    interpolated linearly to that number of clips. The gradient reaches both views.
    """
    start_N1, moved_start_N1 = gt_N2[:, :1], moved_gt_N2[:, :1]
    length_N1 = gt_N2[:, 1:] - start_N1 + 1
    moved_length_N1 = moved_gt_N2[:, 1:] - moved_start_N1 + 1
    step_L = torch.arange(int(length_N1.max()), device=gt_N2.device)
    inside_NL = step_L < length_N1
    original_NL = relevance_NT.gather(1, (start_N1 + step_L).clamp(max=relevance_NT.shape[1] - 1))
    place_NL = (step_L + 0.5) * moved_length_N1 / length_N1 - 0.5  # clip centres onto clip centres
    place_NL = torch.minimum(place_NL.clamp(min=0.0), (moved_length_N1 - 1).float())
    left_NL = place_NL.long()
    right_NL = torch.minimum(left_NL + 1, moved_length_N1 - 1)
    left, right = (moved_NT.gather(1, moved_start_N1 + i) for i in (left_NL, right_NL))
    moved_NL = torch.lerp(left, right, place_NL - left_NL)
    log_p_NL = F.log_softmax(original_NL.masked_fill(~inside_NL, -torch.inf), dim=1)
    log_q_NL = F.log_softmax(moved_NL.masked_fill(~inside_NL, -torch.inf), dim=1)
    gap_NL = (log_p_NL - log_q_NL).masked_fill(~inside_NL, 0.0)  # -inf minus -inf is nan
    return (log_p_NL.exp() * gap_NL).sum(dim=1).mean()
