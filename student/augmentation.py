"""Moving a moment on the clip grid: features, labels and cached logits by one permutation.

Shapes: N pairs of the batch, K teachers, B = 2 boundaries (start, end), T clips of D channels.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Ints = npt.NDArray[np.int64]


def translate(
    features_NTD: Tensor,
    gt_N2: Tensor,
    logits_NKBT: Tensor,
    *,
    clips_N: Tensor,
    probability: float,
    random: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return features, ground truth and logits with the moments of chosen pairs moved.

    Each pair is chosen with the given probability; its clips s to e are cut out and put back as a
    block at a uniform place. The caller seeds the generator, from which two numbers per pair are
    drawn whoever is chosen.
    """
    permutation, gt = draw_moves(
        gt_N2.cpu().numpy(),
        clips_N.cpu().numpy(),
        num_clips=features_NTD.shape[1],
        probability=probability,
        random=random,
    )
    permutation_NT = torch.from_numpy(permutation).to(features_NTD.device)
    pair_N1 = torch.arange(len(permutation), device=features_NTD.device)[:, None]
    moved_NKBT = logits_NKBT.gather(
        -1, permutation_NT[:, None, None].expand_as(logits_NKBT).to(logits_NKBT.device)
    )
    moved_N2 = torch.from_numpy(gt).to(gt_N2)
    return features_NTD[pair_N1, permutation_NT], moved_N2, moved_NKBT


def draw_moves(
    gt_N2: npt.NDArray[np.integer],
    clips_N: npt.NDArray[np.integer],
    *,
    num_clips: int,
    probability: float,
    random: np.random.Generator,
) -> tuple[Ints, Ints]:
    """Return, after random moves, which clip stands at each place [N, T] and the new spans [N, 2].

    Pairs that are not chosen, and moments that fill their video, stay as they are; so does padding.
    """
    draw_2N = random.random((2, len(gt_N2)))
    start, end = gt_N2.astype(np.int64).T
    length = end - start + 1
    place = np.floor(draw_2N[1] * (clips_N - length + 1)).astype(np.int64)  # 0 to n - L
    at = np.where(draw_2N[0] < probability, place, start)
    moved_N2 = np.stack([at, at + length - 1], axis=1)
    return move_permutation(start, at, length, num_clips), moved_N2


def move_permutation(start_N: Ints, at_N: Ints, length_N: Ints, num_clips: int) -> Ints:
    """Return which clip stands at each place once a block begins at `at` instead of `start`, [N, T].

    >>> move_permutation(np.array([1]), np.array([3]), np.array([2]), 6).tolist()
    [[0, 3, 4, 1, 2, 5]]
    """
    start, at, length = start_N[:, None], at_N[:, None], length_N[:, None]
    place = np.arange(num_clips)[None]
    rest = np.where(place < at, place, place - length)  # rank among the clips that stay
    rest = np.where(rest < start, rest, rest + length)
    inside = (place >= at) & (place < at + length)
    return np.where(inside, start + place - at, rest)
