"""The sample table of a cache: who the rows are, as four small Zarr arrays.

    samples/id      uint8 [N, W]   UTF-8, filled up with zero bytes
    samples/split   uint8 [N]      index into the names of the splits (the array's attribute `names`)
    samples/clips   int16 [N]      clips of the video; later clips of a row are padding
    samples/gt      int16 [N, 2]   first and last clip of the moment
    samples/views/<v>/gt     int16 [N, 2]   the same in moved view v, counted from 1
    samples/views/<v>/seed   int64 [N]      the seed that the view's place is drawn from

Shapes: N rows sorted by (split, id), V views of each, W bytes of the longest id.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stores.arraynames import view_samples
from stores.rowarrays import RowArray

ROWS_PER_CHUNK = 65_536


@dataclass(frozen=True, eq=False)
class Views:
    """Moved views of the rows of a cache, and the version of the code that moves them."""

    version: int
    gt_VN2: npt.NDArray[np.int16]
    seeds_VN: npt.NDArray[np.int64]

    @property
    def number(self) -> int:
        return len(self.seeds_VN)


@dataclass(frozen=True, eq=False)
class Samples:
    """Who the rows of a cache are, sorted by (split, id)."""

    ids: list[str]
    splits: list[str]
    clips_N: npt.NDArray[np.int16]
    gt_N2: npt.NDArray[np.int16]
    views: Views | None = None

    @property
    def num_views(self) -> int:
        return 0 if self.views is None else self.views.number

    @property
    def id_bytes(self) -> int:
        """Bytes of the longest id."""
        return max(len(name.encode()) for name in self.ids)

    @property
    def split_names(self) -> list[str]:
        """The splits that occur, sorted: what the codes of samples/split stand for."""
        return sorted(set(self.splits))


def sample_arrays(samples: Samples) -> tuple[dict[str, RowArray], dict[str, npt.NDArray[Any]]]:
    """Return the arrays of a sample table and their values, by name."""
    codes = {name: code for code, name in enumerate(samples.split_names)}
    values: dict[str, npt.NDArray[Any]] = {
        "samples/id": encode_ids(samples.ids),
        "samples/split": np.array([codes[split] for split in samples.splits], np.uint8),
        "samples/clips": samples.clips_N.astype(np.int16),
        "samples/gt": samples.gt_N2.astype(np.int16),
    }
    if samples.views is not None:
        both = zip(samples.views.gt_VN2, samples.views.seeds_VN, strict=True)
        for view, (gt_N2, seeds_N) in enumerate(both, start=1):
            values[f"{view_samples(view)}/gt"] = gt_N2.astype(np.int16)
            values[f"{view_samples(view)}/seed"] = seeds_N.astype(np.int64)
    width = values["samples/id"].shape[1]
    return sample_specs(len(samples.ids), width, num_views=samples.num_views), values


def sample_specs(num_rows: int, id_bytes: int, *, num_views: int = 0) -> dict[str, RowArray]:
    """Return how the arrays of a sample table lie in chunks, by name."""

    def spec(dtype: str, *row_shape: int, dimensions: tuple[str, ...] = ("sample",)) -> RowArray:
        rows = min(num_rows, ROWS_PER_CHUNK)
        return RowArray(num_rows, row_shape, dtype, rows, "zstd", dimensions)

    labels = spec("int16", 2, dimensions=("sample", "boundary"))
    specs = {
        "samples/id": spec("uint8", id_bytes, dimensions=("sample", "byte")),
        "samples/split": spec("uint8"),
        "samples/clips": spec("int16"),
        "samples/gt": labels,
    }
    for view in range(1, num_views + 1):
        specs |= {f"{view_samples(view)}/gt": labels, f"{view_samples(view)}/seed": spec("int64")}
    return specs


def encode_ids(ids: list[str]) -> npt.NDArray[np.uint8]:
    """Return texts as rows of UTF-8 bytes, filled up with zeros.

    >>> encode_ids(["a", "bc"]).tolist()
    [[97, 0], [98, 99]]
    """
    encoded = np.array([text.encode() for text in ids], dtype=np.bytes_)
    return encoded.view(np.uint8).reshape(len(ids), encoded.itemsize)


def decode_ids(ids_NW: npt.NDArray[np.uint8]) -> list[str]:
    """Return the texts of rows of UTF-8 bytes; the inverse of `encode_ids`."""
    rows = np.ascontiguousarray(ids_NW).view(np.dtype(("S", ids_NW.shape[1])))
    return [bytes(row).decode() for row in rows[:, 0]]
