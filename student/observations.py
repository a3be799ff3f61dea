"""What a student makes of its teachers, pair by pair, summed up over an epoch.

Shapes: N pairs of a batch, K teachers.
"""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from student.targets import Diagnostics

NAMES = ("weight", "share", "confidence", "affinity")  # w, its re-weighted share, rho, pi
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
DIGITS = 6  # significant ones: what is drawn needs no more, and histories stay small


class Spread(TypedDict):
    """The mean of some values and their QUANTILES."""

    mean: float
    quantiles: list[float]


class Observations:
    """Each teacher's w, share, rho and pi of every pair, left on the device until asked for."""

    def __init__(self, teachers: Sequence[str]) -> None:
        self.teachers = tuple(teachers)
        self._seen: dict[str, list[Tensor]] = {}

    def add(self, diagnostics: Diagnostics) -> None:
        """Add a batch; nothing is copied from the device, so that it need not be waited for."""
        for name, value_NK in zip(NAMES, diagnostics, strict=True):
            if value_NK is not None:
                self._seen.setdefault(name, []).append(value_NK)

    def take(self) -> dict[str, Spread]:
        """Return the spread over the pairs added since the last call, as `<name>/<teacher>`."""
        found = {
            f"{name}/{teacher}": spread(value_N)
            for name, seen in self._seen.items()
            for teacher, value_N in zip(
                self.teachers, torch.cat(seen).T.double().cpu().numpy(), strict=True
            )
        }
        self._seen = {}
        return found


def spread(value_N: npt.NDArray[np.float64]) -> Spread:
    """Return mean and quantiles of values, the same in whichever order they come."""
    ordered_N = np.sort(value_N)
    quantiles: list[float] = np.quantile(ordered_N, QUANTILES).tolist()
    return {"mean": _rounded(float(ordered_N.mean())), "quantiles": [*map(_rounded, quantiles)]}


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
