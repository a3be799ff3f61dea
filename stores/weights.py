"""How wrong each cached teacher is, beside the logits: written once by stage two, sealed.

    CACHE/weights/current           the seal of the folder that counts, replaced in one rename
    CACHE/weights/<seal>/           a Zarr group, sealed with a manifest of its own
        ce/<teacher>                float32 [N, 2], -log P of the ground-truth clips
        views/<v>/<teacher>         the same of moved view v and its ground truth
        manifest.json               cache and cache_seal; means {split: {array: [start, end]}}

Arrays have the names of stores/arraynames.py. Shapes: N rows of the cache, n of a chunk, S splits,
2 boundaries (start, end).
"""

import json
import logging
import re
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stores.arraynames import ce_name
from stores.cache import Cache
from stores.errors import RefkdError
from stores.files import (
    SYNCING,
    read_seal,
    read_sealed,
    seal_folder,
    sync,
)
from stores.fingerprints import SHORT, bytes_digest
from stores.labels import Labels
from stores.placing import CURRENT, new_weights, put_in_place
from stores.rowarrays import MANY_SAMPLES, RowArray, array_files

log = logging.getLogger("refkd")
FORMAT = "refkd-weights"
FORMAT_VERSION = 1
REPAIR = "run `refkd weigh` again"
MOST_UNDER_WAY = 64  # chunks on their way to the disk
FEWER = 8  # times fewer files for many samples: making each costs as much as some thousand rows

Means = dict[str, dict[str, list[float]]]  # split -> array -> mean of start, of end


@dataclass(frozen=True, eq=False)
class Weights:
    """An open weight store; its manifest is checked, every other file is when it is read."""

    folder: Path
    seal: str
    manifest: dict[str, Any]
    spec: RowArray

    @cached_property
    def ce(self) -> dict[str, npt.NDArray[np.float32]]:
        """Cross-entropy of each array with its ground truth, [N, 2], in the cache's row order."""
        chunks = range(self.spec.num_chunks)
        arrays = sorted({name for means in self.means.values() for name in means})
        return {
            name: np.concatenate([self._rows(name, chunk) for chunk in chunks]) for name in arrays
        }

    @property
    def means(self) -> Means:
        """Mean cross-entropy by split, array and boundary."""
        means: Means = self.manifest["means"]
        return means

    def _rows(self, array: str, chunk: int) -> npt.NDArray[np.float32]:
        name = f"{ce_name(array)}/{self.spec.chunk_file(chunk)}"
        data = read_sealed(self.folder, name, self.manifest, repair=REPAIR)
        rows: npt.NDArray[np.float32] = self.spec.rows(chunk, data)
        return rows


def weights_layout(cache: Cache) -> RowArray:
    """Return how cross-entropies lie in chunks: as the logits do, or in an eighth as many if many."""
    layout, dimensions = cache.layout, ("sample", "boundary")
    each = layout.rows_per_chunk * (FEWER if layout.num_rows >= MANY_SAMPLES else 1)
    return RowArray(layout.num_rows, (2,), "float32", each, "raw", dimensions)


def open_weights(cache: Cache) -> Weights:
    """Return the weights of a cache, every file checked before it is used.

    Raises RefkdError if the cache has not been weighed, or the weights are damaged or another's.
    """
    current = _current(cache)
    try:
        return _open(cache, current)
    except RefkdError:
        if (now := _current(cache)) == current:
            raise
    return _open(cache, now)  # others took their place meanwhile


def is_weighed(cache: Cache) -> bool:
    """Return whether a cache has weights that are whole."""
    try:
        open_weights(cache)
    except RefkdError:
        return False
    return True


def _current(cache: Cache) -> bytes:
    """Return the line in `current`."""
    path = cache.folder / "weights" / CURRENT
    if not path.is_file():
        raise RefkdError(f"{cache.folder} has no weights; run `refkd weigh {cache.folder}` first")
    seal = path.read_bytes()
    if not re.fullmatch(rb"[0-9a-f]{64}\n", seal):
        raise RefkdError(f"{path} is damaged: it holds no seal; {REPAIR}")
    return seal


def _open(cache: Cache, seal: bytes) -> Weights:
    """Return the weights that a line in `current` names."""
    place = cache.folder / "weights"
    folder = place / seal[:SHORT].decode()
    try:
        manifest, found = read_seal(folder, repair=REPAIR)
    except FileNotFoundError:  # it went between two looks
        raise RefkdError(f"{folder} is missing; {REPAIR}") from None
    if f"{found}\n".encode() != seal:
        raise RefkdError(f"{folder} is damaged: its seal is not the one in {CURRENT}; {REPAIR}")
    if manifest["format_version"] != FORMAT_VERSION:
        raise RefkdError(
            f"{folder} has version {manifest['format_version']} of the format of weights, this "
            f"refkd reads version {FORMAT_VERSION}; {REPAIR}"
        )
    if manifest["cache_seal"] != cache.seal:
        raise RefkdError(f"{place} belongs to another cache than {cache.folder}; {REPAIR}")
    for name in manifest["files"]:
        read_sealed(folder, name, manifest, repair=REPAIR)
    return Weights(folder, found, manifest, _stored_layout(cache, folder, manifest))


def _stored_layout(cache: Cache, folder: Path, manifest: dict[str, Any]) -> RowArray:
    """Return how the cross-entropies lie in chunks, as their metadata says."""
    name = f"{ce_name(cache.arrays[0])}/zarr.json"
    metadata = json.loads(read_sealed(folder, name, manifest, repair=REPAIR))
    rows, _ = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    return replace(weights_layout(cache), rows_per_chunk=rows)


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
