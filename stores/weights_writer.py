"""Writing a cache's weights: chunks in any process, means on the way, the whole in one rename.

What they look like on disk and how they are read stands in stores/weights.py. Shapes: N rows of the
cache, n of a chunk, S splits, 2 boundaries (start, end).
"""

import logging
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stores.arraynames import ce_name
from stores.cache import Cache
from stores.files import SYNCING, seal_folder, sync
from stores.fingerprints import bytes_digest
from stores.labels import Labels
from stores.placing import new_weights, put_in_place
from stores.rowarrays import array_files
from stores.weights import FORMAT, FORMAT_VERSION, is_weighed, weights_layout

log = logging.getLogger("refkd")
MOST_UNDER_WAY = 64  # chunks on their way to the disk


@dataclass(frozen=True, eq=False)
class WeighedChunk:
    """Cross-entropies of an array, as many rows as lie in a file of theirs, ready to be written."""

    array: str
    chunk: int
    data: bytes  # of its file
    sha256: str
    counts_S: npt.NDArray[np.int64]  # rows of each split
    sums_S2: npt.NDArray[np.float64]  # of their cross-entropies, one row after the other


def weighed_chunk(
    cache: Cache, labels: Labels, array: str, chunk: int, ce_n2: npt.NDArray[np.float32]
) -> WeighedChunk:
    """Return the cross-entropies of a chunk of `weights_layout` as they are written, in any process."""
    spec = weights_layout(cache)
    splits_n = labels.splits(*spec.span(chunk))
    number = len(cache.manifest["splits"])
    data = spec.raw_file(chunk, ce_n2)
    return WeighedChunk(
        array,
        chunk,
        data,
        bytes_digest(data),
        np.bincount(splits_n, minlength=number),
        np.stack([np.bincount(splits_n, ce_N, number) for ce_N in ce_n2.T], axis=1),
    )


class WeightsWriter:
    """Takes weighed chunks in order, pushes them to the disk behind the caller's back, keeps means.

    Use it in a `with` block, which waits for the disk.
    """

    def __init__(self, cache: Cache, folder: Path) -> None:
        self._cache, self._folder, self._spec = cache, folder, weights_layout(cache)
        splits = len(cache.manifest["splits"])
        self._counts = {array: np.zeros(splits, np.int64) for array in cache.arrays}
        self._sums = {array: np.zeros((splits, 2)) for array in cache.arrays}
        self._digests: dict[str, str] = {}
        self._pool = ThreadPoolExecutor(SYNCING)
        self._under_way: deque[Future[None]] = deque()

    def __enter__(self) -> "WeightsWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def add(self, weighed: WeighedChunk) -> None:
        """Write one chunk; sums are float64 by chunk, added in the order of the calls."""
        array = weighed.array
        name = f"{ce_name(array)}/{self._spec.chunk_file(weighed.chunk)}"
        while len(self._under_way) >= MOST_UNDER_WAY:  # a slow disk must not fill the memory
            self._under_way.popleft().result()
        path = self._folder / name
        self._under_way.append(self._pool.submit(_write_synced, path, weighed.data))
        self._digests[name] = weighed.sha256
        self._counts[array] += weighed.counts_S
        self._sums[array] += weighed.sums_S2

    def finish(self) -> str:
        """Write what is no chunk, seal the folder and return the seal."""
        cache = self._cache
        while self._under_way:
            self._under_way.popleft().result()
        specs = {ce_name(array): self._spec for array in cache.arrays}
        for name, data in array_files(specs, {}).items():
            _write(self._folder / name, data)
        splits, arrays = cache.manifest["splits"], cache.arrays
        counts = dict(zip(splits, self._counts[arrays[0]].tolist(), strict=True))
        means = {
            name: {array: (self._sums[array][code] / counts[name]).tolist() for array in arrays}
            for code, name in enumerate(splits)
        }
        facts = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "cache": cache.key,
            "cache_seal": cache.seal,
            "teachers": cache.teachers,
            "counts": counts,
            "means": means,
        }
        return seal_folder(self._folder, facts, digests=self._digests)


def write_weights(cache: Cache, chunks: Iterable[WeighedChunk], *, anew: bool = True) -> Path:
    """Write a cache's weights from its weighed chunks, in order, and return their folder.

    They appear whole: readers see the old weights, or none, until the last byte is on the disk. Unless
    they are wanted `anew`, no chunk is asked for if by then another process has written them.
    """
    with new_weights(cache.folder) as folder:
        if not anew and is_weighed(cache):
            log.info("%s is already weighed", cache.folder)
            return cache.folder / "weights"
        with WeightsWriter(cache, folder) as writer:
            for weighed in chunks:
                writer.add(weighed)
            seal = writer.finish()
        put_in_place(folder, cache.folder, seal)
    return cache.folder / "weights"


def _write(path: Path, data: bytes) -> None:
    """Write a file that nobody else sees yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _write_synced(path: Path, data: bytes) -> None:
    """Write a file that nobody else sees yet, and push it to the disk."""
    _write(path, data)
    sync(path)
