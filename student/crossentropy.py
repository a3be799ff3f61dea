"""How wrong a teacher is about each boundary, in NumPy, for any worker of stage two (eq. 1-2).

Shapes: N rows, n rows of a block of them, 2 boundaries (start, end), T clips.
"""

import numpy as np
import numpy.typing as npt

LEAST_CE = 1e-12  # so that teachers who are all certain and right can be compared
BLOCK_VALUES = 1 << 17  # logits looked at together: few enough for a core's cache
WIDE = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)  # of each float16


def ground_truth_ce(
    logits_N2T: npt.NDArray[np.floating],
    clips_N: npt.NDArray[np.integer],
    gt_N2: npt.NDArray[np.integer],
) -> npt.NDArray[np.float32]:
    """Return -log softmax at the ground-truth clip over the valid clips, at least 1e-12, [N, 2].

    With x the logits and g the ground truth it is log(1 + sum over i != g of exp(x_i - x_g)), which
    stays exact where the teacher is nearly certain and 1 - P would round to 0.
    """
    num_rows, num_boundaries, num_clips = logits_N2T.shape
    ce_N2 = np.empty((num_rows, num_boundaries), np.float32)
    block = max(BLOCK_VALUES // (num_boundaries * num_clips), 1)
    room_n2T = np.empty((min(block, num_rows), num_boundaries, num_clips), np.float32)
    for lo in range(0, num_rows, block):
        own = slice(lo, min(lo + block, num_rows))
        x_n2T = room_n2T[: own.stop - lo]
        _widen(logits_N2T[own], x_n2T)
        ce_N2[own] = _block_ce(x_n2T, clips_N[own], gt_N2[own])
    return np.maximum(ce_N2, np.float32(LEAST_CE))


def _block_ce(
    x_n2T: npt.NDArray[np.float32],
    clips_n: npt.NDArray[np.integer],
    gt_n2: npt.NDArray[np.integer],
) -> npt.NDArray[np.float32]:
    """Return the cross-entropies of a block, whose logits are used up."""
    gt_n21 = gt_n2[..., None].astype(np.intp)
    at_gt_n2 = np.take_along_axis(x_n2T, gt_n21, axis=2)[..., 0]
    place_T = np.arange(x_n2T.shape[2], dtype=np.int16)
    np.copyto(x_n2T, -np.inf, where=place_T >= clips_n.astype(np.int16)[:, None, None])
    np.put_along_axis(x_n2T, gt_n21, -np.inf, axis=2)
    most_n2 = x_n2T.max(axis=2)
    most_n2[most_n2 == -np.inf] = 0.0  # a video of one clip: nothing to be wrong about
    np.subtract(x_n2T, most_n2[..., None], out=x_n2T)
    np.exp(x_n2T, out=x_n2T)
    with np.errstate(divide="ignore"):  # log 0 is minus infinity, the sum over no clips
        log_rest_n2 = most_n2 + np.log(x_n2T.sum(axis=2))
    ce_n2: npt.NDArray[np.float32] = np.logaddexp(np.float32(0), log_rest_n2 - at_gt_n2)
    return ce_n2


def _widen(values: npt.NDArray[np.floating], out: npt.NDArray[np.float32]) -> None:
    """Write values as float32; NumPy's own cast takes twice as long for float16 as a table."""
    if values.dtype == np.float16:
        np.take(WIDE, values.view(np.uint16), out=out, mode="clip")
    else:
        np.copyto(out, values, casting="same_kind")
