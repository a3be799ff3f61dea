"""How wrong a teacher is about each boundary, in NumPy, for any worker of stage two (eq. 1-2).

Shapes: N rows, 2 boundaries (start, end), T clips.
"""

import numpy as np
import numpy.typing as npt

LEAST_CE = 1e-12  # so that teachers who are all certain and right can be compared


def ground_truth_ce(
    logits_N2T: npt.NDArray[np.floating],
    clips_N: npt.NDArray[np.integer],
    gt_N2: npt.NDArray[np.integer],
) -> npt.NDArray[np.float32]:
    """Return -log softmax at the ground-truth clip over the valid clips, at least 1e-12, [N, 2].

    With x the logits and g the ground truth it is log(1 + sum over i != g of exp(x_i - x_g)), which
    stays exact where the teacher is nearly certain and 1 - P would round to 0.
    """
    logits_N2T = logits_N2T.astype(np.float32)
    gt_N21 = gt_N2[..., None].astype(np.intp)
    at_gt_N2 = np.take_along_axis(logits_N2T, gt_N21, axis=2)[..., 0]
    place_T = np.arange(logits_N2T.shape[2])
    others_N2T = (place_T < clips_N[:, None, None]) & (place_T != gt_N21)
    rest_N2T = np.where(others_N2T, logits_N2T, -np.inf)
    most_N2 = rest_N2T.max(axis=2)
    alone_N2 = ~others_N2T.any(axis=2)  # a video of one clip: nothing to be wrong about
    most_N2[alone_N2] = 0.0
    with np.errstate(divide="ignore"):  # log 0 is minus infinity, the sum over no clips
        log_rest_N2 = most_N2 + np.log(np.exp(rest_N2T - most_N2[..., None]).sum(axis=2))
    ce_N2: npt.NDArray[np.float32] = np.logaddexp(np.float32(0), log_rest_N2 - at_gt_N2)
    return np.maximum(ce_N2, np.float32(LEAST_CE))
