"""Units of a cache's work: runs of rows that a teacher is asked for, and the chunks they become.

Everything here may run in a worker process: a unit carries all that it needs.

Shapes: n rows of a unit or chunk, 2 boundaries, T clips.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stores.arraynames import logits_name, spoken
from stores.cache import Logits
from stores.cachekeys import CachePlan
from stores.errors import NotAsRecorded, RefkdError
from stores.files import sync, write_atomic
from stores.fingerprints import bytes_digest
from stores.removal import make_way
from stores.rowarrays import ChunkEncoder, RowArray

Forward = Callable[[str, int, int], npt.NDArray[np.float32]]  # array, lo, hi -> [hi - lo, 2, T]


@dataclass(frozen=True)
class Unit:
    """Rows [lo, hi) of one array, and those of their chunks that are still to be written."""

    array: str
    lo: int
    hi: int
    chunks: tuple[int, ...]
    ids: list[str]  # of the rows
    clips_n: npt.NDArray[np.int16]
    recorded: dict[int, str] | None = None  # digests that the chunks must have, if known

    @property
    def num_rows(self) -> int:
        return self.hi - self.lo


@dataclass(frozen=True)
class Chunk:
    """A chunk file that lies whole on the disk."""

    array: str
    chunk: int
    sha256: str


Note = Callable[[Chunk], None]
Settle = Callable[[], None]  # waits until all that was noted is on the disk


def make_units(
    plan: CachePlan,
    chunks: dict[str, list[int]],
    *,
    block_rows: int,
    recorded: dict[tuple[str, int], str] | None = None,
) -> list[Unit]:
    """Return units of whole chunks and blocks that hold these chunks of each array."""
    layout, samples = plan.layout, plan.samples
    size = max(layout.rows_per_chunk, block_rows)
    assert size % layout.rows_per_chunk == size % block_rows == 0, "both are powers of two"
    units = []
    for name, missing in chunks.items():
        by_unit: dict[int, list[int]] = {}
        for chunk in missing:
            by_unit.setdefault(chunk * layout.rows_per_chunk // size, []).append(chunk)
        for index, inside in by_unit.items():
            lo, hi = index * size, min((index + 1) * size, layout.num_rows)
            known = None if recorded is None else {i: recorded[name, i] for i in inside}
            clips_n = samples.clips_N[lo:hi]
            units.append(Unit(name, lo, hi, tuple(inside), samples.ids[lo:hi], clips_n, known))
    return units


def write_rows(
    folder: Path,
    layout: RowArray,
    unit: Unit,
    rows_nBT: npt.NDArray[np.float32],
    note: Note,
) -> list[Chunk]:
    """Write the chunks of a unit from what a teacher said, each file whole or not at all.

    Each chunk is noted as soon as its file is written, so that a kill costs one unit; nobody waits
    for the disk. Raises RefkdError if a logit is not finite, NotAsRecorded if a chunk is not what its digest
    says it was.
    """
    written = []
    for chunk, data in encode_unit(layout, unit, rows_nBT):
        sha256 = bytes_digest(data)
        name = _chunk_file(layout, unit.array, chunk)
        if unit.recorded is not None and unit.recorded[chunk] != sha256:
            raise NotAsRecorded(
                f"{folder / name} cannot be restored: computed again it is not what was recorded"
            )
        write_atomic(make_way(folder, name), data, wait=False)
        written.append(Chunk(unit.array, chunk, sha256))
        note(written[-1])
    return written


def sync_chunks(folder: Path, layout: RowArray, chunks: list[Chunk]) -> None:
    """Wait until chunk files are on the disk.

    One that the disk did not take is removed, for the kernel reports that only once.
    """
    for chunk in chunks:
        path = folder / _chunk_file(layout, chunk.array, chunk.chunk)
        try:
            sync(path)
            sync(path.parent)
        except OSError:
            path.unlink(missing_ok=True)
            raise


def _chunk_file(layout: RowArray, array: str, chunk: int) -> str:
    return f"{logits_name(array)}/{layout.chunk_file(chunk)}"


def encode_unit(
    layout: RowArray, unit: Unit, rows_nBT: npt.NDArray[np.float32]
) -> Iterator[tuple[int, bytes]]:
    """Yield the chunks of a unit that are to be written, as the bytes of their files."""
    stored_nBT = stored_form(rows_nBT, unit, dtype=layout.dtype)
    encode = layout.raw_file if layout.codec == "raw" else ChunkEncoder(layout).encode
    for chunk in unit.chunks:
        lo, hi = layout.span(chunk)
        yield chunk, encode(chunk, stored_nBT[lo - unit.lo : hi - unit.lo])


def stored_form(rows_nBT: npt.NDArray[np.float32], unit: Unit, *, dtype: str) -> Logits:
    """Return logits as a cache keeps them: 0 on padding, and for float16 the row maximum subtracted.

    Raises RefkdError, naming the sample, if a valid logit is not finite or too far below the
    largest one for float16.
    """
    assert rows_nBT.shape[:2] == (unit.num_rows, 2), rows_nBT.shape
    valid_n1T = (np.arange(rows_nBT.shape[2]) < unit.clips_n[:, None])[:, None]
    bad = np.argwhere(~np.isfinite(rows_nBT) & valid_n1T)
    if len(bad):
        said = _saying(rows_nBT, bad[0], unit)
        raise RefkdError(f"{said}, expected a finite logit; train it again with `refkd teach`")
    if dtype != "float16":
        return np.where(valid_n1T, rows_nBT, 0).astype(dtype)
    most_nB1 = np.where(valid_n1T, rows_nBT, -np.inf).max(axis=2, keepdims=True)
    with np.errstate(over="ignore"):  # an infinity is found and named below
        stored_nBT: Logits = np.where(valid_n1T, rows_nBT - most_nB1, 0).astype(dtype)
    bad = np.argwhere(~np.isfinite(stored_nBT))
    if len(bad):
        raise RefkdError(
            f"{_saying(rows_nBT, bad[0], unit)}, too far below its largest logit for float16; "
            "cache it with --dtype float32"
        )
    return stored_nBT


def _saying(rows_nBT: npt.NDArray[np.float32], place: npt.NDArray[np.intp], unit: Unit) -> str:
    """Return which teacher says what at a place (row, boundary, clip)."""
    row, boundary, clip = place
    return f"teacher {spoken(unit.array)} says {rows_nBT[row, boundary, clip]:g} of sample {unit.ids[row]}"
