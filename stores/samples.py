"""The sample table of a cache: who the rows are, as four small Zarr arrays.

    samples/id      uint8 [N, W]   UTF-8, filled up with zero bytes
    samples/split   uint8 [N]      index into the names of the splits (the array's attribute `names`)
    samples/clips   int16 [N]      clips of the video; later clips of a row are padding
    samples/gt      int16 [N, 2]   first and last clip of the moment

Shapes: N rows sorted by (split, id), W bytes of the longest id.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stores.rowarrays import RowArray

ROWS_PER_CHUNK = 65_536


@dataclass(frozen=True, eq=False)
class Samples:
    """Who the rows of a cache are, sorted by (split, id)."""

    ids: list[str]
    splits: list[str]
    clips_N: npt.NDArray[np.int16]
    gt_N2: npt.NDArray[np.int16]

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
    return sample_specs(len(samples.ids), values["samples/id"].shape[1]), values


def sample_specs(num_rows: int, id_bytes: int) -> dict[str, RowArray]:
    """Return how the arrays of a sample table lie in chunks, by name."""

    def spec(dtype: str, *row_shape: int, dimensions: tuple[str, ...] = ("sample",)) -> RowArray:
        rows = min(num_rows, ROWS_PER_CHUNK)
        return RowArray(num_rows, row_shape, dtype, rows, "zstd", dimensions)

    return {
        "samples/id": spec("uint8", id_bytes, dimensions=("sample", "byte")),
        "samples/split": spec("uint8"),
        "samples/clips": spec("int16"),
        "samples/gt": spec("int16", 2, dimensions=("sample", "boundary")),
    }


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
