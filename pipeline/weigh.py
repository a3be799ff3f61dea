"""Stage two: how wrong is each cached teacher, in one pass over the chunks, on Dask.

A task reads some chunks, checks them and returns what is to be written, so any thread, process or
machine that sees the cache can run it, and all of them give the same bits. Threads: as many as the
process has cores, or DASK_NUM_WORKERS.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import lru_cache, partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.costs import measured
from stores.arraynames import array_parts
from stores.cache import Cache, open_cache, reopen_cache
from stores.errors import RefkdError
from stores.labels import Labels
from stores.placing import tidy
from stores.weights import is_weighed, weights_layout
from stores.weights_writer import WeighedChunk, weighed_chunk, write_weights
from student.crossentropy import ground_truth_ce

log = logging.getLogger("refkd")

MOST_VALUES = 1 << 22  # logits of a task: far more work than Dask's own
LEAST_TASKS = 8  # for each thread, where there are chunks enough, so that all end together
TASKS_AHEAD = 8  # for each thread, so that memory does not grow with the cache

Chunks = tuple[tuple[str, int], ...]  # arrays and numbers of the chunks that a task is to give
Compute = Callable[..., Sequence[list[WeighedChunk]]]


def weigh(cache: Path, *, scheduler: str | None = None) -> Path:
    """Write each teacher's cross-entropies and their means into a cache, and return their folder.

    Runs on threads of this process, or on the Dask scheduler at an address. Weights that are
    there and intact are returned as they are.
    Raises RefkdError if the cache is unfinished or damaged, or no scheduler answers.
    """
    from dask.base import compute

    opened = open_cache(cache)
    if is_weighed(opened):
        log.info("%s is already weighed", cache)
        tidy(cache)
        return cache / "weights"
    if scheduler is None:
        threads = num_threads()
        on_threads = partial(compute, scheduler="threads", num_workers=threads)
        return _weigh(opened, on_threads, threads=threads)

    from distributed import Client

    try:
        client = Client(scheduler)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise RefkdError(
            f"no Dask scheduler answers at {scheduler} ({error}); start one with `dask scheduler`, "
            "or leave out --scheduler"
        ) from None
    with client:
        cores = client.nthreads()  # type: ignore[no-untyped-call]
        threads = sum(cores.values()) or 1  # none yet: tasks wait for a worker
        on_cluster = partial(compute, scheduler=client)
        return _weigh(opened, on_cluster, threads=threads, scheduler=scheduler)


def num_threads() -> int:
    """Return how many threads Dask uses in this process: what its settings say, or all cores.

    Raises RefkdError if its settings say no number.
    """
    from dask import config
    from dask.system import CPU_COUNT

    asked = config.get("num_workers", None)
    if asked is None:
        return int(CPU_COUNT)
    if not isinstance(asked, int) or isinstance(asked, bool) or asked < 1:
        raise RefkdError(f"DASK_NUM_WORKERS must be a whole number of at least 1, got {asked}")
    return asked


def _weigh(cache: Cache, compute: Compute, *, threads: int, **told: Any) -> Path:
    """Write the weights unless another process has by now, and measure what that takes."""
    rows = cache.num_rows * len(cache.arrays)
    with ExitStack() as measuring:

        def chunks() -> Iterator[WeighedChunk]:  # asked for only once it is our turn
            measuring.enter_context(measured(cache.folder, "weigh", rows=rows, **told))
            yield from _weighed_chunks(cache, compute, threads=threads)

        return write_weights(cache, chunks(), anew=False)


def _weighed_chunks(cache: Cache, compute: Compute, *, threads: int) -> Iterator[WeighedChunk]:
    """Yield what is to be written, in order; the next are under way while these are taken."""
    from dask.delayed import delayed

    layout = weights_layout(cache)
    chunks = ((name, i) for name in cache.arrays for i in range(layout.num_chunks))
    fair = len(cache.arrays) * layout.num_chunks // (LEAST_TASKS * threads)
    most = MOST_VALUES // (layout.rows_per_chunk * math.prod(cache.layout.row_shape))
    size = max(min(fair, most), 1)
    tasks = iter(lambda: tuple(islice(chunks, size)), ())
    task = delayed(_weigh_chunks, pure=False)
    folder = str(cache.folder.absolute())  # workers may stand elsewhere

    def run(window: list[Chunks]) -> list[WeighedChunk]:
        return list(chain.from_iterable(compute(*(task(folder, cache.seal, c) for c in window))))

    with ThreadPoolExecutor(1) as ahead:
        under_way: Future[list[WeighedChunk]] | None = None
        while window := list(islice(tasks, TASKS_AHEAD * threads)):
            following = ahead.submit(run, window)
            if under_way is not None:
                yield from under_way.result()
            under_way = following
        if under_way is not None:
            yield from under_way.result()


def _weigh_chunks(folder: str, seal: str, chunks: Chunks) -> list[WeighedChunk]:
    """Return what is to be written in some chunks, given by array and number."""
    cache, labels = _open(folder, seal)
    return [_weigh_chunk(cache, labels, array, chunk) for array, chunk in chunks]


def _weigh_chunk(cache: Cache, labels: Labels, array: str, chunk: int) -> WeighedChunk:
    view, logits = array_parts(array)[1], cache.layout
    first, end = weights_layout(cache).span(chunk)
    parts = []
    for number in range(first // logits.rows_per_chunk, -(-end // logits.rows_per_chunk)):
        lo, hi = logits.span(number)
        clips_n, gt_n2 = labels.clips(lo, hi), labels.gt(view, lo, hi)
        parts.append(ground_truth_ce(cache.chunk(array, number), clips_n, gt_n2))
    return weighed_chunk(cache, labels, array, chunk, np.concatenate(parts))


@lru_cache(maxsize=2)
def _open(folder: str, seal: str) -> tuple[Cache, Labels]:
    """Return the cache of a seal and its labels, opened once in each process."""
    cache = reopen_cache(Path(folder), seal)
    return cache, Labels(cache)
