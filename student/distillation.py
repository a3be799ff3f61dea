"""The student's task: learn from cached teacher logits, rectified and re-weighted batch by batch.

Shapes: N pairs, K teachers, B = 2 boundaries, T clips; the rest as in student/inputs.py.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stores.dataset import DataSet, Rows
from stores.seeds import generator
from student.answers import Answers
from student.augmentation import translate
from student.batches import Gatherer, Order, epoch_order
from student.inputs import Inputs
from student.losses import gt_cross_entropy, side_loss, span_kl
from student.network import Network
from student.observations import Observations, Spread
from student.recipe import Recipe
from student.spans import masked_softmax
from student.targets import student_targets
from student.validation import Validation
from student.viewing import CachedViews, Taught


class Lesson(NamedTuple):
    """A batch of pairs with what the teachers say of them."""

    inputs: Inputs
    gt_N2: Tensor
    teacher_logits_NKBT: Tensor  # raw; K may be 0
    weights_NKB: Tensor  # introspective weights (eq. 3-4)


class Distillation:
    """Trains a student on rows of one split from what teachers say of them (a `training.Task`).

    `views` are those of the same rows, if the recipe's augmentation shows them; `order` says which
    rows make the batches of an epoch, if not any may follow any other.
    """

    def __init__(
        self,
        network: Network,
        data: DataSet,
        rows: Rows,
        recipe: Recipe,
        *,
        answers: Answers,
        weights_NKB: Tensor,
        views: CachedViews | None = None,
        order: Order | None = None,
        device: str,
    ) -> None:
        assert (recipe.augment == "views") == (views is not None), "views are for who shows them"
        self.network, self.data, self.recipe, self.device = network, data, recipe, device
        characters = network.shape["characters"]
        self.gatherer = Gatherer(data, rows, characters=characters, device=device)
        self.answers, self.weights_NKB, self.views = answers, weights_NKB, views
        self.order: Order = order or partial(epoch_order, len(rows.ids))
        self.num_rows = len(rows.ids)
        self.num_batches = math.ceil(self.num_rows / recipe.batch)
        self.validation = Validation(data)
        self.observed = Observations(recipe.teachers)

    def batches(self, epoch: int) -> Iterator[Lesson]:
        recipe = self.recipe
        compiled = self.network.compiled
        random = generator(recipe.seed, "augment", epoch)
        for index_N in self.order(recipe.batch, seed=recipe.seed, epoch=epoch):
            taught = self._taught(index_N, random)
            yield Lesson(
                self.gatherer.inputs_of(index_N, taught.features_NTD, trim=not compiled),
                taught.gt_N2.to(self.device),
                taught.logits_NKBT.to(self.device, non_blocking=True),
                taught.weights_NKB.to(self.device, non_blocking=True),
            )

    def _taught(self, index_N: npt.NDArray[np.intp], random: np.random.Generator) -> Taught:
        """Return what a batch shows and teaches of these rows, augmented as the recipe says."""
        probability = self.recipe.augment_prob
        taught = Taught(
            self.gatherer.features(index_N),
            self.gatherer.gt(index_N),
            torch.from_numpy(self.answers.rows(index_N)).float(),
            self.weights_NKB[index_N],
        )
        if self.views is not None:
            return self.views.replace(taught, index_N, probability=probability, random=random)
        if self.recipe.augment == "translate":
            clips_N = torch.from_numpy(self.gatherer.rows.clips[index_N].astype(np.int64))
            moved = translate(*taught[:3], clips_N=clips_N, probability=probability, random=random)
            return Taught(*moved, taught.weights_NKB)
        return taught

    def losses(self, batch: Lesson, epoch: int) -> dict[str, Tensor]:
        recipe, mask_NT = self.recipe, batch.inputs.clips_NT
        outputs = self.network(batch.inputs)
        terms: dict[str, Tensor] = {}
        if recipe.teachers:
            side_logits, temperature = outputs.side_logits_NKBT, recipe.temperature
            targets_NBT = self._targets(batch, side_logits, warm=epoch < recipe.num_warm)
            kl_N = span_kl(outputs.logits_NBT, targets_NBT, mask_NT, temperature=temperature)
            terms["kl"] = kl_N.mean()
            if side_logits is not None:
                probs_NKBT = masked_softmax(
                    batch.teacher_logits_NKBT, mask_NT, temperature=temperature
                )
                side_N = side_loss(
                    side_logits,
                    probs_NKBT,
                    mask_NT,
                    weight=recipe.side_weight,
                    temperature=temperature,
                )
                terms["side"] = side_N.mean()
        terms |= self.network.backbone.auxiliary(outputs.encoded, batch.gt_N2, mask_NT)
        if recipe.gt_ce_weight > 0:
            ce_N = gt_cross_entropy(outputs.logits_NBT, batch.gt_N2, mask_NT).sum(dim=1)
            terms["gt_ce"] = recipe.gt_ce_weight * ce_N.mean()
        return terms

    @torch.no_grad()
    def _targets(self, batch: Lesson, side_logits: Tensor | None, *, warm: bool) -> Tensor:
        """Return the distributions that the student is taught, [N, 2, T] (eq. 5 or eq. 12)."""
        if self.recipe.affinity_dropout_off and side_logits is not None and not warm:
            self.network.eval()
            side_logits = self.network(batch.inputs).side_logits_NKBT
            self.network.train()
        targets = student_targets(
            self.recipe,
            teacher_logits_NKBT=batch.teacher_logits_NKBT,
            weights_NKB=batch.weights_NKB,
            side_logits_NKBT=side_logits,
            gt_N2=batch.gt_N2,
            mask_NT=batch.inputs.clips_NT,
            warm=warm,
        )
        self.observed.add(targets.diagnostics)
        return targets.targets_NBT

    def diagnostics(self) -> dict[str, Spread]:
        return self.observed.take()

    def validate(self) -> dict[str, dict[str, float]]:
        return self.validation.scores(self.network, device=self.device)
