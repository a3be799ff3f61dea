"""How wrong a teacher is about each boundary, in NumPy, for any worker of stage two (eq. 1-2).

Shapes: N rows, n rows of a block of them, 2 boundaries (start, end), T clips.
"""

import numpy as np
import numpy.typing as npt

LEAST_CE = 1e-12  # so that teachers who are all certain and right can be compared
BLOCK_VALUES = 1 << 17  # logits looked at together: few enough for a core's cache
SPARE_EXPONENTS = np.float32(2.0**112)  # 127 - 15: what the exponents of the two formats count from


def ground_truth_ce(
    logits_N2T: npt.NDArray[np.floating],
    clips_N: npt.NDArray[np.integer],
    gt_N2: npt.NDArray[np.integer],
) -> npt.NDArray[np.float32]:
    """Return -log softmax at the ground-truth clip over the valid clips, at least 1e-12, [N, 2].

    With x the logits and g the ground truth it is log(1 + sum over i != g of exp(x_i - x_g)), which
    stays exact where the teacher is nearly certain and 1 - P would round to 0. Logits are finite.
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
    num_clips, flat = x_n2T.shape[2], x_n2T.reshape(-1)
    at_gt = np.arange(gt_n2.size) * num_clips + gt_n2.reshape(-1)  # places in `flat`
    gt_logit_n2 = flat[at_gt].reshape(gt_n2.shape)
    if (clips_n < num_clips).any():
        place_T = np.arange(num_clips, dtype=clips_n.dtype)
        np.copyto(x_n2T, -np.inf, where=place_T >= clips_n[:, None, None])
    flat[at_gt] = -np.inf
    most_n2 = x_n2T.max(axis=2)
    most_n2[most_n2 == -np.inf] = 0.0  # a video of one clip: nothing to be wrong about
    np.subtract(x_n2T, most_n2[..., None], out=x_n2T)
    np.exp(x_n2T, out=x_n2T)
    with np.errstate(divide="ignore"):  # log 0 is minus infinity, the sum over no clips
        log_rest_n2 = most_n2 + np.log(x_n2T.sum(axis=2))
    ce_n2: npt.NDArray[np.float32] = np.logaddexp(np.float32(0), log_rest_n2 - gt_logit_n2)
    return ce_n2


def _widen(values: npt.NDArray[np.floating], out: npt.NDArray[np.float32]) -> None:
    """Write finite values as float32.

    Of float16 bit by bit, four times as fast as NumPy's cast: sign, exponent and fraction move to
    where float32 has them, and the exponent is made up for, which also scales subnormal numbers.
    """
    if values.dtype != np.float16:
        np.copyto(out, values, casting="same_kind")
        return
    bits = out.view(np.int32)
    np.copyto(bits, values.view(np.int16))
    np.left_shift(bits, 16, out=bits)
    np.right_shift(bits, 3, out=bits)  # copies the sign to the right of itself
    np.bitwise_and(bits, np.int32(-0x70002000), out=bits)  # 0x8fffe000: without those copies
    np.multiply(out, SPARE_EXPONENTS, out=out)
