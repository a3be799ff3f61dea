"""How wrong each cached teacher is, beside the logits: written once by stage two, sealed.

    CACHE/weights/current           the seal of the folder that counts, replaced in one rename
    CACHE/weights/<seal>/           a Zarr group, sealed with a manifest of its own
        ce/<teacher>                float32 [N, 2], -log P of the ground-truth clips
        views/<v>/<teacher>         the same of moved view v and its ground truth
        manifest.json               cache and cache_seal; means {split: {array: [start, end]}}

Arrays have the names of stores/arraynames.py. Shapes: N rows of the cache, 2 boundaries (start, end).
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stores.arraynames import ce_name
from stores.cache import BUILDING, Cache
from stores.errors import RefkdError
from stores.files import (
    locked,
    publish,
    read_seal,
    read_sealed,
    remove_folder,
    seal_folder,
    write_atomic,
)
from stores.fingerprints import SHORT
from stores.rowarrays import ChunkEncoder, RowArray, array_files

FORMAT = "refkd-weights"
FORMAT_VERSION = 1
CURRENT = "current"
REPAIR = "run `refkd weigh` again"

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
    """Return how the cross-entropies of each array lie in chunks: as the logits do."""
    layout, dimensions = cache.layout, ("sample", "boundary")
    return RowArray(layout.num_rows, (2,), "float32", layout.rows_per_chunk, "raw", dimensions)


def open_weights(cache: Cache) -> Weights:
    """Return the weights of a cache, every file checked before it is used.

    Raises RefkdError if the cache has not been weighed, or the weights are damaged or another's.
    """
    place = cache.folder / "weights"
    if not (place / CURRENT).is_file():
        raise RefkdError(f"{cache.folder} has no weights; run `refkd weigh {cache.folder}` first")
    seal = (place / CURRENT).read_bytes()
    if not re.fullmatch(rb"[0-9a-f]{64}\n", seal):
        raise RefkdError(f"{place / CURRENT} is damaged: it holds no seal; {REPAIR}")
    folder = place / seal[:SHORT].decode()
    manifest, found = read_seal(folder, repair=REPAIR)
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
    return Weights(folder, found, manifest, weights_layout(cache))


class WeightsWriter:
    """Takes cross-entropies chunk by chunk, in order, and keeps their means by split."""

    def __init__(self, cache: Cache, folder: Path) -> None:
        self._cache, self._folder, self._spec = cache, folder, weights_layout(cache)
        self._encoder = ChunkEncoder(self._spec)
        splits = np.asarray(cache.splits)
        self._rows_of = {name: splits == name for name in cache.manifest["splits"]}
        self._sums = {
            name: {array: np.zeros(2) for array in cache.arrays} for name in self._rows_of
        }

    def add(self, array: str, chunk: int, ce_n2: npt.NDArray[np.float32]) -> None:
        """Write the rows of one chunk; sums are float64 by chunk, added in the order of the calls."""
        lo, hi = self._spec.span(chunk)
        path = self._folder / ce_name(array) / self._spec.chunk_file(chunk)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self._encoder.encode(chunk, ce_n2))
        for name, rows_N in self._rows_of.items():
            inside_n2 = ce_n2[rows_N[lo:hi]]
            self._sums[name][array] += inside_n2.sum(axis=0, dtype=np.float64)

    def finish(self) -> None:
        """Write what is no chunk, and seal the folder."""
        cache = self._cache
        specs = {ce_name(array): self._spec for array in cache.arrays}
        for name, data in array_files(specs, {}).items():
            (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self._folder / name).write_bytes(data)
        counts = {name: int(rows_N.sum()) for name, rows_N in self._rows_of.items()}
        means = {
            name: {array: (sums / counts[name]).tolist() for array, sums in by.items()}
            for name, by in self._sums.items()
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
        seal_folder(self._folder, facts)


def write_weights(cache: Cache, chunks: Iterable[tuple[str, int, npt.NDArray[np.float32]]]) -> Path:
    """Write a cache's weights from (array, chunk, cross-entropies [n, 2]) and return their folder.

    They appear whole: readers see the old weights, or none, until the last byte is on the disk.
    """
    place = cache.folder / "weights"
    with _building(cache) as folder:
        writer = WeightsWriter(cache, folder)
        for array, chunk, ce_n2 in chunks:
            writer.add(array, chunk, ce_n2)
        writer.finish()
        _, seal = read_seal(folder, repair=REPAIR)
        place.mkdir(exist_ok=True)
        remove_folder(place / seal[:SHORT])
        publish(folder, place / seal[:SHORT])
        write_atomic(place / CURRENT, f"{seal}\n".encode())
        for other in sorted(place.iterdir()):
            if other.name not in (CURRENT, seal[:SHORT]):
                remove_folder(other)
    return place


@contextmanager
def _building(cache: Cache) -> Iterator[Path]:
    """Yield an empty folder on the cache's own disk, outside it, while no other process weighs it."""
    place = cache.folder.absolute().parent / BUILDING
    folder = place / f"{cache.folder.name}-weights"
    with locked(folder.with_suffix(".lock")):
        remove_folder(folder)  # left by a killed process
        folder.mkdir()
        try:
            yield folder
        finally:
            remove_folder(folder)
