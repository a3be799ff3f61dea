"""Calibration: is a model right as often as it says, about the clip where a moment starts or ends?

Shapes: N pairs, B = 2 boundaries (start, end), T clips. All numbers are shares from 0 to 1.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stores.seeds import generator

BOUNDARIES = ("start", "end")
NUM_BINS = 15  # as in Guo et al. 2017
NUM_DRAWS = 200
Floats = npt.NDArray[np.float64]


class Bin(NamedTuple):
    """Predictions of about the same confidence: its mean, the share that was right, how many."""

    confidence: float
    accuracy: float
    num: int


class Calibration(NamedTuple):
    """What `calibration` returns."""

    error: float  # the expected calibration error
    by_chance: float  # the same of a perfectly calibrated model that is as sure, on as many pairs
    confidence: float
    accuracy: float
    bins: tuple[Bin, ...]


def boundary_calibration(
    logits_NBT: npt.NDArray[np.floating],
    clips_N: npt.NDArray[np.integer],
    gt_N2: npt.NDArray[np.integer],
) -> dict[str, Calibration]:
    """Return the calibration of the start and of the end over the split that the rows are."""
    confidence_NB, hit_NB = boundary_confidence(logits_NBT, clips_N, gt_N2)
    return {
        boundary: calibration(confidence_NB[:, b], hit_NB[:, b])
        for b, boundary in enumerate(BOUNDARIES)
    }


def boundary_confidence(
    logits_NBT: npt.NDArray[np.floating],
    clips_N: npt.NDArray[np.integer],
    gt_N2: npt.NDArray[np.integer],
) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the probability of each boundary's likeliest clip, and whether it is the true one, [N, B].

    Only the clips of a row's own video count; of equally likely clips the first is taken. The true
    clips are those of a pair's first window.
    """
    on_NT = np.arange(logits_NBT.shape[-1]) < clips_N[:, None]
    raw_NBT = np.where(on_NT[:, None], logits_NBT.astype(np.float64), -np.inf)
    likeliest_NB = raw_NBT.argmax(axis=-1)
    lifted_NBT = np.exp(raw_NBT - raw_NBT.max(axis=-1, keepdims=True))
    return 1 / lifted_NBT.sum(axis=-1), likeliest_NB == gt_N2


def in_percent(found: dict[str, Calibration]) -> dict[str, dict[str, float]]:
    """Return calibrations by boundary as JSON in percent, without their bins."""
    return {
        boundary: {
            name: round(100 * value, 4) for name, value in one._asdict().items() if name != "bins"
        }
        for boundary, one in found.items()
    }


def calibration(
    confidence_N: Floats, hit_N: npt.NDArray[np.bool_], *, num_bins: int = NUM_BINS
) -> Calibration:
    """Return the expected calibration error of predictions with these confidences.

    It is the mean over bins, weighted by their counts, of |accuracy - confidence| (Guo et al.
    2017, eq. 3; Naeini et al. 2015). Bins hold equally many predictions (Nguyen and O'Connor
    2015), not equally wide ranges: among many clips nearly all confidences would share the lowest
    range. Few predictions per bin make an error by chance alone, so the error that is due to
    chance, a mean over draws of which predictions are right, stands beside it.
    """
    order = np.argsort(confidence_N, kind="stable")
    sure_N, right_N = confidence_N[order], hit_N[order].astype(np.float64)
    counts_K = np.array([len(part) for part in np.array_split(order, min(num_bins, len(order)))])
    starts_K = np.cumsum(counts_K) - counts_K
    sure_K, right_K = (np.add.reduceat(x, starts_K) / counts_K for x in (sure_N, right_N))
    draws_DN = generator(0, "calibration").random((NUM_DRAWS, len(order))) < sure_N
    drawn_DK = np.add.reduceat(draws_DN.astype(np.float64), starts_K, axis=1) / counts_K
    share_K = counts_K / len(order)
    return Calibration(
        error=float((share_K * abs(right_K - sure_K)).sum()),
        by_chance=float((share_K * abs(drawn_DK - sure_K)).sum(axis=1).mean()),
        confidence=float(sure_N.mean()),
        accuracy=float(right_N.mean()),
        bins=tuple(
            map(Bin, sure_K.tolist(), right_K.tolist(), counts_K.tolist()),
        ),
    )
