"""What a network is given and what it gives back.

Shapes: N pairs, B = 2 boundaries (start, end), T clips, D channels, L words, C characters,
W width of a word vector, H width of the network. Masks are true on real clips and words.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Inputs(NamedTuple):
    """A batch of videos and queries, padded; padded features and words are zero."""

    features_NTD: Tensor  # float32, not yet standardised
    clips_NT: Tensor  # bool
    vectors_NLW: Tensor  # float32, zero where a word is unknown
    known_NL: Tensor  # bool
    chars_NLC: Tensor  # int64; 0 padding, 1 unknown
    words_NL: Tensor  # bool

    def to(self, device: str) -> "Inputs":
        """Return the batch on a device."""
        return Inputs(*(to_device(tensor, device) for tensor in self))


class Encoded(NamedTuple):
    """What a backbone makes of a batch: blended features, and what its auxiliary losses supervise."""

    blended_NTH: Tensor  # features that enter the span predictor, zero on padding
    relevance_NT: Tensor  # logit of each clip being inside the moment; padding is not masked
    own: tuple[Tensor, ...] = ()  # what else the losses of this very backbone read


class Outputs(NamedTuple):
    """What a network says of a batch."""

    logits_NBT: Tensor  # start and end logits; anything on padding
    encoded: Encoded
    side_logits_NKBT: (
        Tensor | None
    )  # the side branches' logits (eq. 7), in the order of the teachers


def to_device(tensor: Tensor, device: str) -> Tensor:
    """Return a tensor on a device; to a GPU it is copied through pinned memory, without waiting."""
    if device != "cpu" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def length_mask(lengths_N: Tensor, size: int) -> Tensor:
    """Return a mask [N, size], true for the first lengths_N positions of each row.

    >>> length_mask(torch.tensor([1, 3]), 3).int().tolist()
    [[1, 0, 0], [1, 1, 1]]
    """
    return torch.arange(size, device=lengths_N.device) < lengths_N[:, None]
