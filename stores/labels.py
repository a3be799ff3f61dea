"""Rows of a cache's sample table, part by part, so that a pass over the cache needs no memory for all."""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from stores.cache import Cache
from stores.samples import sample_specs

KEPT = 16  # chunks of the table, of 65,536 rows, that are kept decoded


class Labels:
    """Reads rows of the sample table; every chunk is checked when it is read."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        width = cache.manifest["id_bytes"]
        self._specs = sample_specs(cache.num_rows, width, num_views=cache.num_views)
        self._part = lru_cache(maxsize=KEPT)(self._read_part)

    def clips(self, lo: int, hi: int) -> npt.NDArray[np.int16]:
        """Return the clips of each row's video, shape (hi - lo,)."""
        return self._rows("samples/clips", lo, hi)

    def gt(self, view: int, lo: int, hi: int) -> npt.NDArray[np.int16]:
        """Return the first and last clip of each row's moment in a view, shape (hi - lo, 2)."""
        return self._rows(f"samples/views/{view}/gt" if view else "samples/gt", lo, hi)

    def splits(self, lo: int, hi: int) -> npt.NDArray[np.uint8]:
        """Return each row's split as a place in the manifest's `splits`, shape (hi - lo,)."""
        return self._rows("samples/split", lo, hi)

    def _rows(self, name: str, lo: int, hi: int) -> npt.NDArray[Any]:
        size = self._specs[name].rows_per_chunk
        first = lo // size
        parts = [self._part(name, chunk) for chunk in range(first, -(-hi // size))]
        rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return rows[lo - first * size : hi - first * size]

    def _read_part(self, name: str, chunk: int) -> npt.NDArray[Any]:
        return self._cache.rows(name, self._specs[name], chunk)
