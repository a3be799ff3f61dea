"""Large caches: rows in random order within windows of whole chunks, two of which are in memory.

An epoch visits the chunks in random order, some of them at a time: a window. The rows of a window come
in random order too, while the next window is read, checked and decoded by threads; nothing else is
in memory. Which caches are read so, and in which order, follows from the cache and from (seed, epoch,
batch), never from the machine: a student has the same bits wherever it is trained.

Shapes: N rows that are trained on, n of them in a batch, 2 boundaries, T clips.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from stores.arraynames import logits_name
from stores.cache import Cache, Logits
from stores.codecs import decode_into
from stores.seeds import generator

# Of decoded logits, all arrays of a cache; above, it is read in windows. To change one of these
# numbers changes what students of such caches become.
MAPPED_BYTES = 16 << 30  # uncompressed: the kernel holds in memory what fits (stores/mapped.py)
HELD_BYTES = 256 << 20  # compressed: decoded once
WINDOW_BYTES = 48 << 20  # of a window's decoded chunks, all arrays of a cache; two are in memory
MOST_THREADS = 4

Index = npt.NDArray[np.intp]


def is_windowed(cache: Cache) -> bool:
    """Return whether students read a cache in windows; if not, any row may follow any other."""
    layout = cache.layout
    decoded = layout.num_chunks * layout.chunk_bytes * len(cache.arrays)
    return decoded > (MAPPED_BYTES if layout.codec == "raw" else HELD_BYTES)


class Windows:
    """Some arrays of a cache, of which two windows are in memory while `batches` goes over the rows.

    Only the rows of one range are visited; indices count from its beginning.
    """

    def __init__(self, cache: Cache, arrays: Sequence[str], rows: slice) -> None:
        self._cache, self._arrays, self._layout = cache, list(arrays), cache.layout
        self._first, self._end, _ = rows.indices(cache.num_rows)
        self._slot = np.zeros(self._layout.num_chunks, np.intp)  # where a chunk lies in memory
        self._held: dict[str, Logits] = {}
        self._own = threading.local()  # memory of each thread that decodes

    def held(self, array: str) -> Logits:
        """Return the rows of an array that are in memory, in the order of `places`."""
        return self._held[array]

    def places(self, index_n: Index) -> Index:
        """Return where rows of the batch that was yielded last lie in `held`."""
        chunk_n, inside_n = np.divmod(index_n + self._first, self._layout.rows_per_chunk)
        return self._slot[chunk_n] * self._layout.rows_per_chunk + inside_n

    def batches(self, batch: int, *, seed: int, epoch: int) -> Iterator[Index]:
        """Yield the batches of an epoch, every row once, each while its rows are in memory.

        One epoch at a time. Raises RefkdError, naming the samples, if a chunk is damaged.
        """
        size = self._chunks_per_window(batch)
        windows = self._windows(size, generator(seed, "windows", epoch))
        self._make_room(2 * size)
        order_N, window_N = self._order(windows, generator(seed, "order", epoch))
        with ThreadPoolExecutor(_threads(), thread_name_prefix="refkd-windows") as pool:
            work = [self._read(pool, 0, windows), self._read(pool, 1, windows)]
            for lo in range(0, len(order_N), batch):
                index_n = order_N[lo : lo + batch]
                oldest, newest = window_N[lo], window_N[lo + len(index_n) - 1]
                while len(work) < oldest + 2:  # the window before the oldest is read over
                    work.append(self._read(pool, len(work), windows))
                for future in work[newest]:
                    future.result()
                work[newest].clear()
                yield index_n

    def _chunks_per_window(self, batch: int) -> int:
        """Return how many: two may be cut by the range's ends, the others hold a batch or more."""
        fitting = WINDOW_BYTES // (self._layout.chunk_bytes * len(self._cache.arrays))
        return max(fitting, 2 + -(-batch // self._layout.rows_per_chunk))

    def _windows(self, size: int, random: np.random.Generator) -> list[list[int]]:
        """Return the chunks of each window of an epoch."""
        per_chunk = self._layout.rows_per_chunk
        chunks = np.arange(self._first // per_chunk, -(-self._end // per_chunk))
        order: list[int] = random.permutation(chunks).tolist()
        return [order[lo : lo + size] for lo in range(0, len(order), size)]

    def _order(
        self, windows: list[list[int]], random: np.random.Generator
    ) -> tuple[Index, npt.NDArray[np.int32]]:
        """Return the rows of an epoch in their order, and the window of each."""
        parts = []
        for chunks in windows:
            spans = [self._layout.span(chunk) for chunk in chunks]
            rows = [np.arange(max(lo, self._first), min(hi, self._end)) for lo, hi in spans]
            parts.append(random.permutation(np.concatenate(rows)) - self._first)
        numbers = np.arange(len(windows), dtype=np.int32)
        return np.concatenate(parts), np.repeat(numbers, [len(part) for part in parts])

    def _make_room(self, chunks: int) -> None:
        layout = self._layout
        shape = (chunks * layout.rows_per_chunk, *layout.row_shape)
        for array in self._arrays:
            if array not in self._held or len(self._held[array]) != shape[0]:
                self._held[array] = np.empty(shape, np.dtype(layout.dtype).newbyteorder("<"))

    def _read(
        self, pool: ThreadPoolExecutor, number: int, windows: list[list[int]]
    ) -> list[Future[None]]:
        """Begin to read a window into its half of the memory; there may be no window of this number."""
        if number >= len(windows):
            return []
        chunks = windows[number]
        half = len(windows[0]) * (number % 2)
        self._slot[chunks] = half + np.arange(len(chunks))
        return [
            pool.submit(self._decode, array, chunk) for chunk in chunks for array in self._arrays
        ]

    def _decode(self, array: str, chunk: int) -> None:
        layout = self._layout
        data = self._cache.read(f"{logits_name(array)}/{layout.chunk_file(chunk)}")
        assert data is not None, "a chunk that is not listed is an error"
        if not hasattr(self._own, "scratch"):
            self._own.scratch = np.empty(layout.chunk_bytes, np.uint8)
        lo = self._slot[chunk] * layout.rows_per_chunk
        out = self._held[array][lo : lo + layout.rows_per_chunk].reshape(-1).view(np.uint8)
        size = np.dtype(layout.dtype).itemsize
        decode_into(layout.codec, size, data, out, self._own.scratch)


def _threads() -> int:
    return min(os.cpu_count() or 1, MOST_THREADS)
