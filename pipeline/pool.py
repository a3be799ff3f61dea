"""Who fills a cache: this process, or workers that take units and note their own finished chunks.

A worker whose parent dies stops at once. Workers are spawned, never forked, for neither torch nor
zarr survives a fork with its threads.
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.lifeline import hold_to_parent
from stores.errors import RefkdError
from stores.rowarrays import RowArray
from stores.units import Chunk, Forward, Note, Settle, Unit, sync_chunks, write_rows

OpenForward = Callable[[], Forward]
Written = tuple[Unit, list[Chunk]]


def nothing() -> None:
    """Do nothing."""


def run_units(
    units: list[Unit],
    open_forward: OpenForward,
    folder: Path,
    layout: RowArray,
    *,
    note: Note,
    workers: int,
    settle: Settle = nothing,
    behind: bool = False,
) -> Iterator[Written]:
    """Write the chunks of all units into a Zarr group and yield each unit when it is written.

    `open_forward` is called once in each process that does work; `note` with each chunk in the
    process that wrote it, `settle` when the disk has a unit's chunks. After an error, units under
    way are still yielded before it is raised; when all units were yielded, the disk has them. A lone
    process waits for the disk in a thread, and with `behind` does all of its writing there.
    """
    if workers == 1 or len(units) <= 1:
        if units:
            write = _write_behind if behind else _sync_behind
            yield from write(units, open_forward(), folder, layout, note, settle)
        return
    context = multiprocessing.get_context("spawn")
    theirs, ours = context.Pipe(duplex=False)
    executor = ProcessPoolExecutor(
        max_workers=min(workers, len(units)),
        mp_context=context,
        initializer=_start,
        initargs=(theirs, open_forward, folder, layout, note, settle),
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
        # nothing is under way any more: workers are ended, not asked to end, for one that is asked may
        # wait for ever for a lock that another, killed at its own end, has taken with it
        ours.close()
        executor.shutdown(cancel_futures=True)
        theirs.close()


def _sync_behind(
    units: list[Unit],
    forward: Forward,
    folder: Path,
    layout: RowArray,
    note: Note,
    settle: Settle,
) -> Iterator[Written]:
    """Write each unit, and ask for the next one while a thread waits until the disk has it.

    A kill costs the unit that is asked for: chunks are noted before the next one is.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="refkd-disk") as disk:
        syncing: Future[None] | None = None
        for unit in units:
            rows_nBT = forward(unit.array, unit.lo, unit.hi)
            chunks = write_rows(folder, layout, unit, rows_nBT, note)
            if syncing is not None:
                syncing.result()
            syncing = disk.submit(_push, folder, layout, chunks, settle)
            yield unit, chunks
        if syncing is not None:
            syncing.result()


def _write_behind(
    units: list[Unit],
    forward: Forward,
    folder: Path,
    layout: RowArray,
    note: Note,
    settle: Settle,
) -> Iterator[Written]:
    """Ask for each unit while a thread encodes, hashes, writes and syncs the one before.

    A kill costs the unit that is asked for and the one that is being written.
    """

    def write(unit: Unit, rows_nBT: npt.NDArray[np.float32]) -> Written:
        chunks = write_rows(folder, layout, unit, rows_nBT, note)
        _push(folder, layout, chunks, settle)
        return unit, chunks

    failure: Exception | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="refkd-writer") as writer:
        writing: Future[Written] | None = None
        for unit in units:
            try:
                rows_nBT = forward(unit.array, unit.lo, unit.hi)
            except Exception as error:  # the unit before it still counts
                failure = error
                break
            if writing is not None:
                yield writing.result()
            writing = writer.submit(write, unit, rows_nBT)
        if writing is not None:
            yield writing.result()
    if failure is not None:
        raise failure


def _push(folder: Path, layout: RowArray, chunks: list[Chunk], settle: Settle) -> None:
    """Wait until chunks, and then the notes of them, are on the disk."""
    sync_chunks(folder, layout, chunks)
    settle()


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
        self,
        open_forward: OpenForward,
        folder: Path,
        layout: RowArray,
        note: Note,
        settle: Settle,
    ) -> None:
        self._open_forward, self._note, self._settle = open_forward, note, settle
        self._folder, self._layout = folder, layout
        self._forward: Forward | None = None

    def write(self, unit: Unit) -> list[Chunk]:
        if self._forward is None:  # not in the initialiser: its errors would not be passed on
            self._forward = self._open_forward()
        rows_nBT = self._forward(unit.array, unit.lo, unit.hi)
        chunks = write_rows(self._folder, self._layout, unit, rows_nBT, self._note)
        _push(self._folder, self._layout, chunks, self._settle)
        return chunks


_worker: _Worker | None = None


def _start(
    until: Connection,
    open_forward: OpenForward,
    folder: Path,
    layout: RowArray,
    note: Note,
    settle: Settle,
) -> None:
    """Prepare a worker process, which ends when the other end of `until` is closed."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends us
    hold_to_parent(until)
    _worker = _Worker(open_forward, folder, layout, note, settle)


def _work(unit: Unit) -> Written:
    assert _worker is not None, "the pool has started this process"
    return unit, _worker.write(unit)
