"""How wrong each cached teacher is, beside the logits: written once by stage two, sealed.

Writing them is in stores/weights_writer.py.

    CACHE/weights/current           the seal of the folder that counts, replaced in one rename
    CACHE/weights/<seal>/           a Zarr group, sealed with a manifest of its own
        ce/<teacher>                float32 [N, 2], -log P of the ground-truth clips
        views/<v>/<teacher>         the same of moved view v and its ground truth
        manifest.json               cache and cache_seal; means {split: {array: [start, end]}}

Arrays have the names of stores/arraynames.py. Shapes: N rows of the cache, 2 boundaries (start, end).
"""

import json
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stores.arraynames import ce_name
from stores.cache import Cache
from stores.errors import RefkdError
from stores.files import read_seal, read_sealed
from stores.fingerprints import SHORT
from stores.rowarrays import MANY_SAMPLES, RowArray
from stores.unfinished import CURRENT

FORMAT = "refkd-weights"
FORMAT_VERSION = 1
REPAIR = "run `refkd weigh` again"
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
