"""Stage two: how wrong is each cached teacher, in one pass over the chunks, on Dask.

A task reads one chunk, checks it and returns its cross-entropies, so any thread, process or
machine that sees the cache can run it, and all of them give the same bits.
"""

import logging
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.costs import measured
from stores.arraynames import array_parts
from stores.cache import Cache, open_cache
from stores.errors import RefkdError
from stores.weights import open_weights, write_weights
from student.crossentropy import ground_truth_ce

log = logging.getLogger("refkd")

WINDOW = 256  # chunks under way at once, so that memory does not grow with the cache


def weigh(cache: Path, *, scheduler: str | None = None) -> Path:
    """Write each teacher's cross-entropies and their means into a cache, and return their folder.

    Runs on threads of this process, or on the Dask scheduler at an address. Weights that are
    there and intact are returned as they are.
    Raises RefkdError if the cache is unfinished or damaged, or no scheduler answers.
    """
    opened = open_cache(cache)
    if _is_weighed(opened):
        log.info("%s is already weighed", cache)
        return cache / "weights"
    work = {"rows": opened.num_rows * len(opened.arrays)}
    if scheduler is None:
        with measured(cache, "weigh", **work):
            return write_weights(opened, _cross_entropies(opened, "threads"))

    from distributed import Client

    try:
        client = Client(scheduler)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise RefkdError(
            f"no Dask scheduler answers at {scheduler} ({error}); start one with `dask scheduler`, "
            "or leave out --scheduler"
        ) from None
    with client, measured(cache, "weigh", **work, scheduler=scheduler):
        return write_weights(opened, _cross_entropies(opened, client))


def _is_weighed(cache: Cache) -> bool:
    try:
        open_weights(cache)
    except RefkdError:
        return False
    return True


def _cross_entropies(
    cache: Cache, scheduler: Any
) -> Iterator[tuple[str, int, npt.NDArray[np.float32]]]:
    """Yield (array, chunk, cross-entropies [n, 2]) of every chunk in order."""
    from dask.base import compute
    from dask.delayed import delayed

    chunks = ((name, i) for name in cache.arrays for i in range(cache.layout.num_chunks))
    task = delayed(_weigh_chunk, pure=False)
    folder = str(cache.folder.absolute())  # workers may stand elsewhere
    while window := list(islice(chunks, WINDOW)):
        tasks = [task(folder, cache.seal, name, chunk) for name, chunk in window]
        found = compute(*tasks, scheduler=scheduler)  # type: ignore[no-untyped-call]
        for (name, chunk), ce_n2 in zip(window, found, strict=True):
            yield name, chunk, ce_n2


def _weigh_chunk(folder: str, seal: str, array: str, chunk: int) -> npt.NDArray[np.float32]:
    """Return the cross-entropies of one chunk's rows, shape (n, 2)."""
    cache = _open(folder, seal)
    lo, hi = cache.layout.span(chunk)
    gt_N2 = cache.view_gt(array_parts(array)[1])
    return ground_truth_ce(cache.chunk(array, chunk), cache.clips[lo:hi], gt_N2[lo:hi])


@lru_cache(maxsize=2)
def _open(folder: str, seal: str) -> Cache:
    """Return the cache of a seal, opened once in each process."""
    cache = open_cache(Path(folder))
    if cache.seal != seal:
        raise RefkdError(f"{folder} has changed while it was weighed; run `refkd weigh` again")
    return cache
