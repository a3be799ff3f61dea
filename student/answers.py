"""Where a student's teachers answer from: what training asks of a source, and one that lies in memory.

Shapes: N training pairs, n of them in a batch, K teachers, B = 2 boundaries, T clips.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt


class Answers(Protocol):
    """What the teachers say of training pairs, whoever holds it: memory, a file, or live teachers."""

    def rows(self, index_n: npt.NDArray[np.intp]) -> npt.NDArray[np.floating]:
        """Return raw logits of some pairs, [n, K, B, T], 0 on padding; the array is the caller's own."""


@dataclass(frozen=True, eq=False)
class HeldAnswers:
    """Answers that lie in memory."""

    logits_NKBT: npt.NDArray[np.floating]

    def rows(self, index_n: npt.NDArray[np.intp]) -> npt.NDArray[np.floating]:
        return self.logits_NKBT[index_n]
