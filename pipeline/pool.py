"""Who fills a cache: this process, or workers that take units and note their own finished chunks.

A worker whose parent dies stops at once. Workers are spawned, never forked, for neither torch nor
zarr survives a fork with its threads.
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from pipeline.lifeline import hold_to_parent
from stores.errors import RefkdError
from stores.rowarrays import RowArray
from stores.units import Chunk, Forward, Note, Unit, write_rows, write_unit

OpenForward = Callable[[], Forward]
Written = tuple[Unit, list[Chunk]]


def run_units(
    units: list[Unit],
    open_forward: OpenForward,
    folder: Path,
    layout: RowArray,
    *,
    note: Note,
    workers: int,
    behind: bool = False,
) -> Iterator[Written]:
    """Write the chunks of all units into a Zarr group and yield each unit when it is done.

    `open_forward` is called once in each process that does work, `note` with each chunk in the
    process that wrote it. After an error, units under way are still yielded before it is raised.
    With `behind` a lone process writes each unit while it asks for the next one.
    """
    if workers == 1 or len(units) <= 1:
        if units:
            write = _write_behind if behind else _write_each
            yield from write(units, open_forward(), folder, layout, note)
        return
    executor = ProcessPoolExecutor(
        max_workers=min(workers, len(units)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(open_forward, folder, layout, note),
    )
    try:
        futures = [executor.submit(_work, unit) for unit in units]
        yield from _in_order_of_completion(futures)
    except BrokenProcessPool:
        raise RefkdError(
            "a worker process died, perhaps for lack of memory; run the command again to resume, "
            "with fewer --workers"
        ) from None
    finally:
        executor.shutdown(cancel_futures=True)


def _write_each(
    units: list[Unit], forward: Forward, folder: Path, layout: RowArray, note: Note
) -> Iterator[Written]:
    for unit in units:
        yield unit, write_unit(folder, layout, unit, forward, note)


def _write_behind(
    units: list[Unit], forward: Forward, folder: Path, layout: RowArray, note: Note
) -> Iterator[Written]:
    """Write each unit in a thread while the next one is asked for; at most one is being written.

    So a kill costs the unit that is being written and the one that is being asked for.
    """
    failure: Exception | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="refkd-writer") as writer:
        writing: list[tuple[Unit, Future[list[Chunk]]]] = []
        for unit in units:
            try:
                rows_nBT = forward(unit.array, unit.lo, unit.hi)
            except Exception as error:  # the unit before it still counts
                failure = error
                break
            for written, chunks in writing:
                yield written, chunks.result()
            writing = [(unit, writer.submit(write_rows, folder, layout, unit, rows_nBT, note))]
        for written, chunks in writing:
            yield written, chunks.result()
    if failure is not None:
        raise failure


def _in_order_of_completion(futures: list[Future[Written]]) -> Iterator[Written]:
    """Yield results as they come; after an error start nothing new, and raise it at the end."""
    failure: BaseException | None = None
    for future in as_completed(futures):
        if future.cancelled():
            continue
        error = future.exception()
        if error is None:
            yield future.result()
        elif failure is None:
            failure = error
            for other in futures:
                other.cancel()
    if failure is not None:
        raise failure


class _Worker:
    """What a worker process keeps between its units."""

    def __init__(
        self, open_forward: OpenForward, folder: Path, layout: RowArray, note: Note
    ) -> None:
        self._open_forward, self._note = open_forward, note
        self._folder, self._layout = folder, layout
        self._forward: Forward | None = None

    def write(self, unit: Unit) -> list[Chunk]:
        if self._forward is None:  # not in the initialiser: its errors would not be passed on
            self._forward = self._open_forward()
        return write_unit(self._folder, self._layout, unit, self._forward, self._note)


_worker: _Worker | None = None


def _start(open_forward: OpenForward, folder: Path, layout: RowArray, note: Note) -> None:
    """Prepare a worker process."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends us
    hold_to_parent()
    _worker = _Worker(open_forward, folder, layout, note)


def _work(unit: Unit) -> Written:
    assert _worker is not None, "the pool has started this process"
    return unit, _worker.write(unit)
