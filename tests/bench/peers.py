"""Other ways to keep logits on disk, as their users read random rows: each fills the buffer it is given.

Every reader takes row numbers and a float16 buffer [n, K, 2, T] for the logits of K teachers; whoever
calls it makes float32 of the buffer. Shapes as in bench/reading.py.
"""

from collections.abc import Callable
from pathlib import Path

import h5py
import lmdb
import numpy as np
import pyarrow as pa
import torch
import zarr

Reader = Callable[[np.ndarray, np.ndarray], None]  # rows, and the buffer to fill
Arrays = list[np.ndarray]  # [N, 2, T] of each teacher


def memmap(folder: Path, arrays: Arrays) -> Reader:
    """One raw file per teacher, rows picked as most would write it: by indexing the np.memmap itself."""
    mapped = []
    for k, logits in enumerate(arrays):
        logits.tofile(folder / f"{k}.bin")
        path = folder / f"{k}.bin"
        mapped.append(np.memmap(path, logits.dtype, "r", shape=logits.shape))

    def read(index, out):
        for k, logits in enumerate(mapped):
            out[:, k] = logits[index]

    return read


def memmap_take(folder: Path, arrays: Arrays) -> Reader:
    """The same files, by the quickest way that NumPy has to pick rows: `take` of the plain array."""
    mapped = []
    for k, logits in enumerate(arrays):
        logits.tofile(folder / f"{k}.bin")
        mapped.append(np.asarray(np.memmap(folder / f"{k}.bin", logits.dtype, "r")))
        mapped[k] = mapped[k].reshape(logits.shape)

    def read(index, out):
        for k, logits in enumerate(mapped):
            out[:, k] = logits.take(index, axis=0)

    return read


def arrow(folder: Path, arrays: Arrays) -> Reader:
    """One Arrow IPC file, mapped, with a column of fixed-size binary rows per teacher: Arrow's `take`."""
    table, width = _arrow_table(folder, arrays), arrays[0][0].nbytes

    def read(index, out):
        rows = pa.array(index)
        for k in range(out.shape[1]):
            taken = table.column(k).take(rows)
            found = np.frombuffer(taken.buffers()[1], out.dtype, len(index) * width // 2)
            out[:, k] = found.reshape(out[:, k].shape)

    return read


def arrow_view(folder: Path, arrays: Arrays) -> Reader:
    """The same file without Arrow's own functions: NumPy's `take` over the bytes of its columns."""
    table = _arrow_table(folder, arrays)
    views = [
        np.frombuffer(table.column(k).buffers()[1], logits.dtype, logits.size).reshape(logits.shape)
        for k, logits in enumerate(arrays)
    ]

    def read(index, out):
        for k, logits in enumerate(views):
            out[:, k] = logits.take(index, axis=0)

    return read


def _arrow_table(folder: Path, arrays: Arrays) -> pa.RecordBatch:
    width = arrays[0][0].nbytes
    kind = pa.binary(width)
    columns = [
        pa.Array.from_buffers(kind, len(logits), [None, pa.py_buffer(logits)]) for logits in arrays
    ]
    batch = pa.record_batch(columns, [str(k) for k in range(len(arrays))])
    path = str(folder / "rows.arrow")
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return pa.ipc.open_file(pa.memory_map(path)).get_batch(0)


def hdf5(folder: Path, arrays: Arrays) -> Reader:
    """One HDF5 file with a contiguous dataset per teacher; h5py wants rows sorted, each once."""
    with h5py.File(folder / "rows.h5", "w") as file:
        for k, logits in enumerate(arrays):
            file.create_dataset(str(k), data=logits)
    opened = h5py.File(folder / "rows.h5", "r")
    datasets = [opened[str(k)] for k in range(len(arrays))]

    def read(index, out):
        rows, place = np.unique(index, return_inverse=True)
        for k, logits in enumerate(datasets):
            out[:, k] = logits[rows][place]

    return read


def lmdb_rows(folder: Path, arrays: Arrays) -> Reader:
    """One LMDB environment, a record per row that holds all teachers."""
    size = 4 * sum(logits.nbytes for logits in arrays) + (1 << 24)
    environment = lmdb.open(str(folder / "lmdb"), map_size=size, sync=False)
    with environment.begin(write=True) as write:
        for row in range(len(arrays[0])):
            value = b"".join(logits[row].tobytes() for logits in arrays)
            write.put(row.to_bytes(8, "big"), value, append=True)
    transaction = environment.begin(buffers=True)

    def read(index, out):
        for place, row in enumerate(index.tolist()):
            found = np.frombuffer(transaction.get(row.to_bytes(8, "big")), out.dtype)
            out[place] = found.reshape(out.shape[1:])

    return read


def torch_files(folder: Path, arrays: Arrays) -> Reader:
    """One file of torch.save per row, with all teachers."""
    for row in range(len(arrays[0])):
        side_by_side = torch.from_numpy(np.stack([logits[row] for logits in arrays]))
        torch.save(side_by_side, folder / f"{row}.pt")

    def read(index, out):
        for place, row in enumerate(index.tolist()):
            out[place] = torch.load(folder / f"{row}.pt", weights_only=True).numpy()

    return read


def plain_zarr(cache: Path, names: list[str]) -> Reader:
    """The very cache, through zarr-python alone."""
    group = zarr.open_group(cache, mode="r")
    arrays = [group[f"teachers/{name}/logits"] for name in names]

    def read(index, out):
        for k, logits in enumerate(arrays):
            out[:, k] = logits.oindex[index]

    return read
