"""Where a student's teachers answer from: what training asks of a source, and the cache as a source.

Shapes: N training pairs, n of them in a batch, K teachers, B = 2 boundaries, T clips.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stores.windows import Windows

Floats = npt.NDArray[np.floating]
Index = npt.NDArray[np.intp]


class Answers(Protocol):
    """What the teachers say of training pairs, whoever holds it: memory, a file, or live teachers."""

    def rows(self, index_n: Index) -> Floats:
        """Return raw logits of some pairs, [n, K, B, T], 0 on padding; the array is the caller's own."""


@dataclass(frozen=True, eq=False)
class HeldAnswers:
    """Answers that lie in arrays of all pairs, in memory or mapped from files."""

    arrays: Sequence[Floats]  # [N, B, T] of each teacher
    num_clips: int

    def rows(self, index_n: Index) -> Floats:
        return side_by_side(self.arrays, index_n, self.num_clips)


@dataclass(frozen=True, eq=False)
class WindowedAnswers:
    """Answers of which a window is in memory, for as long as its batches are asked for."""

    windows: Windows
    arrays: Sequence[str]  # of each teacher
    num_clips: int

    def rows(self, index_n: Index) -> Floats:
        held = [self.windows.held(array) for array in self.arrays]
        return side_by_side(held, self.windows.places(index_n), self.num_clips)


def side_by_side(arrays: Sequence[Floats], index_n: Index, num_clips: int) -> Floats:
    """Return some rows of several arrays [N, B, T] side by side, [n, K, B, T]; K may be 0."""
    dtype = arrays[0].dtype if arrays else np.float32
    logits_nKBT = np.empty((len(index_n), len(arrays), 2, num_clips), dtype)
    for k, logits_NBT in enumerate(arrays):
        logits_nKBT[:, k] = logits_NBT.take(index_n, axis=0)  # half the time of indexing
    return logits_nKBT
