"""Zarr arrays that are chunked along their rows only, as metadata and whole chunks in memory.

Whoever asks for bytes writes them: encoding and writing stay apart, so that a digest is known
before a byte is on the disk.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stores.codecs import codec_chain, decode, unspecified_codecs, with_checksum, without_time

if TYPE_CHECKING:  # zarr takes a while to import, and whoever only reads needs none of it
    import zarr
    from zarr.core.buffer import Buffer

LEAST_ROWS = 32  # one block of a teacher on a CPU
MOST_ROWS = 2048
MANY_SAMPLES, MOST_ROWS_OF_MANY = 1_000_000, 8192


def rows_per_chunk(num_rows: int) -> int:
    """Return the largest power of two not above an eighth of the rows, within 32 and 2,048.

    From a million rows on, chunks have 8,192.

    >>> [rows_per_chunk(n) for n in (1, 300, 12_404, 999_999, 1_000_000)]
    [32, 32, 1024, 2048, 8192]
    """
    most = MOST_ROWS if num_rows < MANY_SAMPLES else MOST_ROWS_OF_MANY
    eighth = max(num_rows // 8, 1)
    return min(max(1 << (eighth.bit_length() - 1), LEAST_ROWS), most)


@dataclass(frozen=True)
class RowArray:
    """An array [num_rows, *row_shape] in chunks of whole rows."""

    num_rows: int
    row_shape: tuple[int, ...]
    dtype: str
    rows_per_chunk: int
    codec: str
    dimensions: tuple[str, ...]

    @property
    def num_chunks(self) -> int:
        return -(-self.num_rows // self.rows_per_chunk)

    @property
    def chunk_shape(self) -> tuple[int, ...]:
        return (self.rows_per_chunk, *self.row_shape)

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk's values before they are encoded."""
        return math.prod(self.chunk_shape) * np.dtype(self.dtype).itemsize

    def span(self, chunk: int) -> tuple[int, int]:
        """Return the rows [lo, hi) of a chunk; the last chunk may hold fewer than the others."""
        lo = chunk * self.rows_per_chunk
        return lo, min(lo + self.rows_per_chunk, self.num_rows)

    def chunk_file(self, chunk: int) -> str:
        """Return the name of a chunk's file inside the array's folder."""
        return "/".join(["c", str(chunk), *("0" for _ in self.row_shape)])

    def rows(self, chunk: int, data: bytes) -> npt.NDArray[Any]:
        """Return the rows of a chunk from the bytes of its file, which have been checked."""
        dtype = np.dtype(self.dtype)
        lo, hi = self.span(chunk)
        values = np.frombuffer(decode(self.codec, dtype.itemsize, data), dtype.newbyteorder("<"))
        return values.reshape(self.chunk_shape)[: hi - lo]

    def raw_file(self, chunk: int, rows: npt.NDArray[Any]) -> bytes:
        """Return the file of a chunk of an array with codec `raw` from exactly its rows.

        The same bytes as from `ChunkEncoder`, hundreds of times as fast, in any thread.
        """
        lo, hi = self.span(chunk)
        assert self.codec == "raw"
        assert rows.shape == (hi - lo, *self.row_shape), "a chunk is written whole"
        dtype = np.dtype(self.dtype).newbyteorder("<")
        missing = self.rows_per_chunk - len(rows)
        rest = np.full((missing, *self.row_shape), self._unwritten, dtype)
        return with_checksum(rows.astype(dtype, copy=False).tobytes() + rest.tobytes())

    @property
    def _unwritten(self) -> float:
        """What values that were never written read as: NaN if they are floats."""
        return float("nan") if np.dtype(self.dtype).kind == "f" else 0

    def create(
        self, group: "zarr.Group", name: str, *, attributes: dict[str, Any] | None = None
    ) -> "zarr.Array[Any]":
        """Create the array, empty, in a Zarr group."""
        from zarr.codecs import BytesCodec

        dtype = np.dtype(self.dtype)
        with unspecified_codecs():
            return group.create_array(
                name,
                shape=(self.num_rows, *self.row_shape),
                chunks=self.chunk_shape,
                dtype=dtype,
                filters=None,
                serializer=BytesCodec(endian="little"),
                compressors=codec_chain(self.codec, dtype.itemsize),
                fill_value=self._unwritten,
                attributes=attributes,
                dimension_names=self.dimensions,
                config={"write_empty_chunks": True},  # a chunk of zeros is a file like any other
            )


class ChunkEncoder:
    """Turns rows into the bytes of chunk files."""

    def __init__(self, spec: RowArray) -> None:
        self.spec = spec
        self._files: dict[str, Buffer] = {}
        group = _group_in_memory(self._files)
        self._array = spec.create(group, "rows")

    def encode(self, chunk: int, rows: npt.NDArray[np.generic]) -> bytes:
        """Return the file of one chunk from exactly its rows."""
        lo, hi = self.spec.span(chunk)
        assert rows.shape == (hi - lo, *self.spec.row_shape), "a chunk is written whole"
        self._array[lo:hi] = rows
        data = self._files.pop(f"rows/{self.spec.chunk_file(chunk)}").to_bytes()
        return without_time(self.spec.codec, data)


def array_files(
    arrays: dict[str, RowArray],
    values: dict[str, npt.NDArray[np.generic]],
    *,
    attributes: dict[str, dict[str, Any]] | None = None,
) -> dict[str, bytes]:
    """Return the files of a Zarr group by name: all metadata, and the chunks of arrays with values."""
    files: dict[str, Buffer] = {}
    group = _group_in_memory(files)
    for name, spec in arrays.items():
        array = spec.create(group, name, attributes=(attributes or {}).get(name))
        if name in values:
            array[...] = values[name]
    return {name: data.to_bytes() for name, data in sorted(files.items())}


def _group_in_memory(files: "dict[str, Buffer]") -> "zarr.Group":
    """Return an empty Zarr group whose files appear in a dictionary, by name."""
    import zarr
    from zarr.storage import MemoryStore

    return zarr.create_group(MemoryStore(files))
