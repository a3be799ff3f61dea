"""How far kept logits are from those that a teacher says, in logits and as a student's loss sees it.

Shapes: n rows, B = 2 boundaries (start, end), T clips.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Fidelity(NamedTuple):
    """The largest differences over some rows."""

    logit_error: float  # of a valid clip's logit, both taken from their row's largest
    loss_gap: float  # of a pair's loss (eq. 6, start plus end), in nats

    def worst(self, other: "Fidelity") -> "Fidelity":
        """Return the larger one of each."""
        return Fidelity(
            max(self.logit_error, other.logit_error), max(self.loss_gap, other.loss_gap)
        )


EXACT = Fidelity(0.0, 0.0)


def fidelity(
    said_nBT: npt.NDArray[np.floating],
    kept_nBT: npt.NDArray[np.floating],
    clips_n: npt.NDArray[np.integer],
) -> Fidelity:
    """Return the largest logit error and the largest loss gap of rows.

    The loss gap of a row is the larger one for two students, at fixed weights: the loss that what
    the teacher says leaves a student who says exactly what is kept, KL(said || kept), and the
    change of the loss of a student who knows nothing, to whom all clips are alike.
    """
    valid_n1T = (np.arange(said_nBT.shape[2]) < clips_n[:, None])[:, None]
    said, kept = _from_largest(said_nBT, valid_n1T), _from_largest(kept_nBT, valid_n1T)
    error = float(np.abs(np.where(valid_n1T, said - kept, 0.0)).max())
    log_said, log_kept = _log_softmax(said, valid_n1T), _log_softmax(kept, valid_n1T)
    p_said, p_kept = (np.where(valid_n1T, np.exp(x), 0.0) for x in (log_said, log_kept))
    learned_n = (p_said * (log_said - log_kept)).sum(axis=(1, 2))
    ignorant_n = (p_said * log_said - p_kept * log_kept).sum(axis=(1, 2))
    return Fidelity(error, float(np.maximum(learned_n, np.abs(ignorant_n)).max()))


def _from_largest(
    logits_nBT: npt.NDArray[np.floating], valid_n1T: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Return logits less the largest valid one of their row, 0 on padding."""
    exact = logits_nBT.astype(np.float64)
    most = np.where(valid_n1T, exact, -np.inf).max(axis=2, keepdims=True)
    found: npt.NDArray[np.float64] = np.where(valid_n1T, exact - most, 0.0)
    return found


def _log_softmax(
    logits_nBT: npt.NDArray[np.float64], valid_n1T: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Return log-probabilities over the valid clips of logits whose largest is 0, 0 on padding."""
    total = np.where(valid_n1T, np.exp(logits_nBT), 0.0).sum(axis=2, keepdims=True)
    found: npt.NDArray[np.float64] = np.where(valid_n1T, logits_nBT - np.log(total), 0.0)
    return found
