"""A whole network: standardised features, embedded words, a backbone, its predictor, side branches.

A backbone is one file with a class and a VERSION, and one line in BACKBONES (student/recipe.py).
Shapes as in student/inputs.py.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from stores.errors import RefkdError
from stores.seeds import seed_of
from student.inputs import Encoded, Inputs, Outputs
from student.layers import QueryEmbedding, initialise
from student.predictors import PREDICTOR_CLASSES
from student.recipe import BACKBONES


class Backbone(Protocol):
    """What a backbone must offer: blended features, and the losses that ground truth gives them."""

    def __call__(self, inputs: Inputs, query_NLH: Tensor) -> Encoded:
        """Return what it makes of standardised features and projected words, both 0 on padding."""

    def auxiliary(self, encoded: Encoded, gt_N2: Tensor, clips_NT: Tensor) -> dict[str, Tensor]:
        """Return named, weighted losses, each a scalar."""


def find_backbone(name: str) -> tuple[Callable[..., Backbone], int]:
    """Return a backbone's class and the number of its code's version.

    Raises RefkdError if there is no backbone of that name.
    """
    if name not in BACKBONES:
        raise RefkdError(f"backbone must be one of {', '.join(BACKBONES)}, got {name}")
    module_name, _, class_name = BACKBONES[name].partition(":")
    module = import_module(module_name)
    return getattr(module, class_name), module.VERSION


class SideBranch(nn.Module):
    """A projection and a predictor of its own that imitate one teacher (eq. 7)."""

    def __init__(self, hidden: int, dropout: float, *, predictor: str, num_clips: int) -> None:
        super().__init__()
        self.project = nn.Linear(hidden, hidden)
        initialise(self)
        self.predict = PREDICTOR_CLASSES[predictor](hidden, dropout, num_clips=num_clips)

    def forward(self, blended_NTH: Tensor, clips_NT: Tensor) -> Tensor:
        logits_NBT: Tensor = self.predict(self.project(blended_NTH), clips_NT)
        return logits_NBT


class Network(nn.Module):
    """Features and words in, start and end logits out; `shape` is what rebuilds it from a file."""

    mean_D: Tensor
    deviation_D: Tensor

    def __init__(
        self, shape: dict[str, Any], *, seed: int = 0, teachers: Sequence[str] = ()
    ) -> None:
        super().__init__()
        hidden, dropout, num_clips = shape["hidden"], shape["dropout"], shape["num_clips"]
        self.shape = shape
        self.compiled = False  # then batches must keep one shape (student/compiling.py)
        self.register_buffer("mean_D", torch.zeros(shape["num_channels"]))
        self.register_buffer("deviation_D", torch.ones(shape["num_channels"]))
        build, _ = find_backbone(shape["backbone"])
        torch.manual_seed(seed_of(seed, "weights"))
        self.embed = QueryEmbedding(
            shape["word_width"], 2 + len(shape["characters"]), hidden, dropout
        )
        self.backbone: Backbone = build(
            hidden,
            dropout,
            num_channels=shape["num_channels"],
            num_clips=num_clips,
            num_words=shape["num_words"],
        )
        predictor = shape["predictor"]
        self.predict = PREDICTOR_CLASSES[predictor](hidden, dropout, num_clips=num_clips)
        torch.manual_seed(seed_of(seed, "side branches"))  # so that they leave the rest as it is
        self.side = nn.ModuleList(
            SideBranch(hidden, dropout, predictor=predictor, num_clips=num_clips) for _ in teachers
        )

    def standardise(self, stats_2D: npt.NDArray[np.float32]) -> None:
        """Take the channels' means and deviations, [2, D], that features are standardised by."""
        self.mean_D.copy_(torch.from_numpy(np.array(stats_2D[0])))
        self.deviation_D.copy_(torch.from_numpy(np.array(stats_2D[1])))

    def forward(self, inputs: Inputs, *, side: bool = True) -> Outputs:
        """Return what the network says of a batch; `side` false leaves its side branches out."""
        features_NTD = (inputs.features_NTD - self.mean_D) / self.deviation_D
        inputs = inputs._replace(features_NTD=features_NTD * inputs.clips_NT[..., None])
        encoded = self.backbone(inputs, self.embed(inputs))
        logits_NBT = self.predict(encoded.blended_NTH, inputs.clips_NT)
        if not side or not len(self.side):
            return Outputs(logits_NBT, encoded, None)
        blended = encoded.blended_NTH
        own_gpu = [blended.device] if blended.is_cuda else []  # by default every GPU there is
        with torch.random.fork_rng(own_gpu, enabled=self.training):
            # what side branches draw must not move the masks of the rest
            answers = [branch(blended, inputs.clips_NT) for branch in self.side]
        return Outputs(logits_NBT, encoded, torch.stack(answers, dim=1))
